import { type AnyNode, parse } from "acorn";

/**
 * Replaces every `import(x)` of a bundle by a call of `callee`. Works on the syntax tree, so that the same words in a
 * string stay as they are.
 */
export function routeDynamicImports(code: string, callee: string): string {
  const program = parse(code, { ecmaVersion: "latest", sourceType: "script", allowHashBang: true });
  const starts: number[] = [];
  visit(program, (node) => {
    if (node.type === "ImportExpression") starts.push(node.start);
  });
  let result = code;
  for (const start of starts.sort((a, b) => b - a)) {
    result = `${result.slice(0, start)}${callee}${result.slice(start + "import".length)}`;
  }
  return result;
}

function visit(node: AnyNode, onNode: (node: AnyNode) => void): void {
  onNode(node);
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) {
      if (isNode(child)) visit(child, onNode);
    }
  }
}

function isNode(value: unknown): value is AnyNode {
  return typeof value === "object" && value !== null && "type" in value && typeof value.type === "string";
}
