/**
 * One script, parsed once: where its functions are, what they take from outside, which names are imports, exports,
 * and which are ever assigned to. Everything that depends on a function's position only is kept here.
 */
import { type AnyNode, type Program as Ast, parse } from "acorn";
import { SerializationError } from "../base/errors.ts";
import { assignedNames, childrenOf, declarePattern, isClass, isFunction, type TextTies, tiesOf } from "./free-names.ts";
import type { Script } from "./inspector.ts";

/** A function or class in the text of a script, with what stands around it. */
export interface Site {
  readonly node: AnyNode;
  /** The method, accessor or field that the function is the value of, if its own text includes the key. */
  readonly member: AnyNode | undefined;
  /** From the outermost to the nearest enclosing node. */
  readonly ancestors: readonly AnyNode[];
  readonly start: number;
  readonly end: number;
}

/** How a name of the module came to it from another module. */
export interface ModuleSource {
  readonly specifier: string;
  /** `namespace` for `import * as`, `export` for one name, `require` for what `require` returned or a member of it. */
  readonly how: "namespace" | "export" | "require";
  /** The export's or the member's name; empty for the whole. */
  readonly name: string;
}

export class ProgramIndex {
  readonly script: Script;
  readonly ast: Ast;
  /** Local names that are imports or results of `require` at the top level. */
  readonly sources = new Map<string, ModuleSource>();
  /** Names declared at the top level. */
  readonly topLevel = new Set<string>();
  /** Top-level declarations that are exported under a name, by the local name. */
  readonly exported = new Map<string, string>();
  readonly assigned: ReadonlySet<string>;
  /** The script is a module that vite or vitest wrapped in a function. */
  readonly isVite: boolean;
  readonly #sites = new Map<string, Site>();
  readonly #lines: number[] = [0];
  readonly #ties = new Map<AnyNode, TextTies>();

  constructor(script: Script) {
    this.script = script;
    try {
      this.ast = parse(script.source, {
        ecmaVersion: "latest",
        sourceType: script.isModule ? "module" : "commonjs",
        allowSuperOutsideMethod: true,
        allowHashBang: true,
        checkPrivateFields: false,
      });
    } catch (cause) {
      throw new SerializationError(
        `functions of ${script.url || "an evaluated script"} cannot be captured: its text cannot be parsed ` +
          `(${cause instanceof Error ? cause.message : String(cause)}); export them from a module of their own`,
        { cause },
      );
    }
    for (let at = script.source.indexOf("\n"); at >= 0; at = script.source.indexOf("\n", at + 1)) {
      this.#lines.push(at + 1);
    }
    this.isVite = !script.isModule && script.source.includes("__vite_ssr_import_meta__");
    this.assigned = assignedNames(this.ast);
    this.#index(this.ast, []);
    for (const statement of this.ast.body) this.#topLevelStatement(statement);
  }

  /** The function or class whose text is `text` and that V8 locates at the given position, counted from 0. */
  find(text: string, line: number, column: number): Site | undefined {
    const location = (this.#lines[line] ?? 0) + column;
    const start = this.script.source.lastIndexOf(text, location);
    return start < 0 ? undefined : this.#sites.get(`${start}:${start + text.length}`);
  }

  position(offset: number): { line: number; column: number } {
    let low = 0;
    let high = this.#lines.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#lines[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low, column: offset - (this.#lines[low] ?? 0) };
  }

  ties(node: AnyNode): TextTies {
    let ties = this.#ties.get(node);
    if (!ties) {
      ties = tiesOf(node);
      this.#ties.set(node, ties);
    }
    return ties;
  }

  #index(node: AnyNode, ancestors: readonly AnyNode[]): void {
    if (isFunction(node) || isClass(node)) {
      const parent = ancestors.at(-1);
      const isMember =
        (parent?.type === "MethodDefinition" && parent.value === node) ||
        (parent?.type === "Property" && parent.value === node && (parent.method || parent.kind !== "init"));
      if (isMember && parent) {
        // V8 prints a static method without the word `static`.
        const start = memberTextStart(parent, this.script.source);
        this.#sites.set(`${start}:${node.end}`, { node, member: parent, ancestors, start, end: node.end });
      } else {
        const { start, end } = node;
        this.#sites.set(`${start}:${end}`, { node, member: undefined, ancestors, start, end });
      }
    }
    const inner = [...ancestors, node];
    for (const child of childrenOf(node)) this.#index(child, inner);
  }

  #topLevelStatement(statement: AnyNode): void {
    switch (statement.type) {
      case "ImportDeclaration": {
        // A module with attributes (JSON and the like) is data: its value travels.
        if (statement.attributes?.length) return;
        const specifier = String(statement.source.value);
        for (const one of statement.specifiers) {
          const how = one.type === "ImportNamespaceSpecifier" ? "namespace" : "export";
          const name =
            one.type === "ImportSpecifier" ? moduleExportName(one.imported) : how === "export" ? "default" : "";
          this.sources.set(one.local.name, { specifier, how, name });
        }
        return;
      }
      case "ExportNamedDeclaration":
        if (statement.declaration) {
          this.#topLevelStatement(statement.declaration);
          for (const name of declaredBy(statement.declaration)) this.exported.set(name, name);
        } else if (!statement.source) {
          for (const one of statement.specifiers) {
            this.exported.set(moduleExportName(one.local), moduleExportName(one.exported));
          }
        }
        return;
      case "ExportDefaultDeclaration": {
        const { declaration } = statement;
        if (declaration.type === "Identifier") this.exported.set(declaration.name, "default");
        if ((isFunction(declaration) || isClass(declaration)) && declaration.id) {
          this.topLevel.add(declaration.id.name);
          this.exported.set(declaration.id.name, "default");
        }
        return;
      }
      case "VariableDeclaration":
        for (const declarator of statement.declarations) {
          declarePattern(declarator.id, this.topLevel);
          if (declarator.init) this.#required(declarator.id, declarator.init);
        }
        return;
      case "FunctionDeclaration":
      case "ClassDeclaration":
        if (statement.id) this.topLevel.add(statement.id.name);
        return;
      case "ExpressionStatement":
        this.#wrapped(statement.expression);
        this.#viteExport(statement.expression);
        return;
      default:
        return;
    }
  }

  /** vitest and vite run a module as one async function; what is declared at its top is the module's top level. */
  #wrapped(expression: AnyNode): void {
    const inner = expression.type === "CallExpression" ? expression.callee : expression;
    if (!isFunction(inner) || inner.body.type !== "BlockStatement") return;
    if (!this.isVite) return;
    const visit = (statements: readonly AnyNode[]): void => {
      for (const statement of statements) {
        if (statement.type === "BlockStatement") visit(statement.body);
        else this.#topLevelStatement(statement);
      }
    };
    visit(inner.body.body);
  }

  /** `__vite_ssr_exportName__("name", () => { … return local … })`. */
  #viteExport(expression: AnyNode): void {
    if (expression.type !== "CallExpression" || expression.callee.type !== "Identifier") return;
    if (expression.callee.name !== "__vite_ssr_exportName__") return;
    const [name, getter] = expression.arguments;
    if (name?.type !== "Literal" || !getter) return;
    const returned = findReturned(getter);
    if (returned?.type === "Identifier") this.exported.set(returned.name, String(name.value));
  }

  /** `const x = require("y")`, `const { a, b: c } = require("y")`, `require("y").a`, esbuild's `__toESM(require("y"))`. */
  #required(pattern: AnyNode, init: AnyNode): void {
    const viteSpecifier = viteImport(init);
    if (viteSpecifier !== undefined && pattern.type === "Identifier") {
      this.sources.set(pattern.name, { specifier: viteSpecifier, how: "namespace", name: "" });
      return;
    }
    const member = init.type === "MemberExpression" && !init.computed ? init : undefined;
    const call = member ? member.object : init;
    const wrapped = esmWrapped(call);
    const specifier = requireSpecifier(wrapped ?? call);
    if (specifier === undefined) return;
    const name = member && member.property.type === "Identifier" ? member.property.name : "";
    if (pattern.type === "Identifier") {
      this.sources.set(pattern.name, { specifier, how: wrapped ? "namespace" : "require", name });
    } else if (pattern.type === "ObjectPattern" && name === "" && !wrapped) {
      for (const property of pattern.properties) {
        if (property.type === "RestElement" || property.computed) continue;
        if (property.value.type !== "Identifier" || property.key.type !== "Identifier") continue;
        this.sources.set(property.value.name, { specifier, how: "require", name: property.key.name });
      }
    }
  }
}

function memberTextStart(member: AnyNode, source: string): number {
  if (member.type !== "MethodDefinition" || !member.static) return member.start;
  const after = /^static(?:\s|\/\*[\s\S]*?\*\/|\/\/[^\n]*\n)*/.exec(source.slice(member.start, member.end));
  return member.start + (after?.[0].length ?? 0);
}

function moduleExportName(node: AnyNode): string {
  return node.type === "Identifier" ? node.name : node.type === "Literal" ? String(node.value) : "";
}

function declaredBy(declaration: AnyNode): Set<string> {
  const names = new Set<string>();
  if (declaration.type === "VariableDeclaration") {
    for (const declarator of declaration.declarations) declarePattern(declarator.id, names);
  } else if ((isFunction(declaration) || isClass(declaration)) && declaration.id) {
    names.add(declaration.id.name);
  }
  return names;
}

function requireSpecifier(node: AnyNode): string | undefined {
  if (node.type !== "CallExpression" || node.callee.type !== "Identifier") return undefined;
  if (node.callee.name !== "require" && node.callee.name !== "__require") return undefined;
  const [argument] = node.arguments;
  return argument?.type === "Literal" && typeof argument.value === "string" ? argument.value : undefined;
}

function esmWrapped(node: AnyNode): AnyNode | undefined {
  if (node.type !== "CallExpression" || node.callee.type !== "Identifier") return undefined;
  return node.callee.name === "__toESM" ? node.arguments[0] : undefined;
}

function viteImport(node: AnyNode): string | undefined {
  if (node.type !== "AwaitExpression" || node.argument.type !== "CallExpression") return undefined;
  const { callee, arguments: args } = node.argument;
  const [specifier] = args;
  if (callee.type !== "Identifier" || callee.name !== "__vite_ssr_import__") return undefined;
  return specifier?.type === "Literal" && typeof specifier.value === "string" ? specifier.value : undefined;
}

function findReturned(node: AnyNode): AnyNode | null | undefined {
  if (node.type === "ReturnStatement") return node.argument;
  if (node.type === "ArrowFunctionExpression" && node.body.type !== "BlockStatement") return node.body;
  for (const child of childrenOf(node)) {
    const found = findReturned(child);
    if (found) return found;
  }
  return undefined;
}
