/**
 * Which names a function's text takes from outside, and what else ties the text to the place where it stands:
 * an outer `this` or `arguments`, private names, `super`, direct `eval`.
 */
import type {
  AnyNode,
  ArrowFunctionExpression,
  ClassDeclaration,
  ClassExpression,
  FunctionDeclaration,
  FunctionExpression,
  Pattern,
  Program,
} from "acorn";

export type FunctionNode = FunctionDeclaration | FunctionExpression | ArrowFunctionExpression;
export type ClassNode = ClassDeclaration | ClassExpression;

export interface TextTies {
  /** Names that are read or written but not declared inside. */
  readonly names: ReadonlySet<string>;
  /** Outer `this`: of an arrow function, or in a class's heritage and computed member names. */
  readonly usesOuterThis: boolean;
  readonly usesOuterArguments: boolean;
  readonly usesOuterNewTarget: boolean;
  /** `super` that belongs to the method itself or to something outside. */
  readonly usesSuper: boolean;
  /** Names like `#q` used inside but declared outside. */
  readonly privateNames: ReadonlySet<string>;
  readonly hasDirectEval: boolean;
  readonly hasWith: boolean;
  /** Starts of the word `import` in `import(…)` and `import.meta`. */
  readonly imports: readonly number[];
}

function isNode(value: unknown): value is AnyNode {
  return typeof value === "object" && value !== null && typeof (value as { type?: unknown }).type === "string";
}

/** The nodes directly inside `node`, in the order of the text as far as acorn keeps it. */
export function childrenOf(node: AnyNode): AnyNode[] {
  const found: AnyNode[] = [];
  for (const value of Object.values(node)) {
    if (Array.isArray(value)) {
      for (const item of value) if (isNode(item)) found.push(item);
    } else if (isNode(value)) {
      found.push(value);
    }
  }
  return found;
}

/** Adds the names that a pattern declares. */
export function declarePattern(pattern: Pattern | AnyNode, names: Set<string>): void {
  switch (pattern.type) {
    case "Identifier":
      names.add(pattern.name);
      break;
    case "ObjectPattern":
      for (const property of pattern.properties) {
        declarePattern(property.type === "RestElement" ? property.argument : property.value, names);
      }
      break;
    case "ArrayPattern":
      for (const element of pattern.elements) if (element) declarePattern(element, names);
      break;
    case "RestElement":
      declarePattern(pattern.argument, names);
      break;
    case "AssignmentPattern":
      declarePattern(pattern.left, names);
      break;
    default:
      break;
  }
}

/** `var` declarations reach the function's top from any depth except from nested functions and classes. */
function declareVars(node: AnyNode, names: Set<string>): void {
  if (node.type === "VariableDeclaration" && node.kind === "var") {
    for (const declarator of node.declarations) declarePattern(declarator.id, names);
  }
  for (const child of childrenOf(node)) {
    if (!isFunction(child) && !isClass(child) && child.type !== "StaticBlock") declareVars(child, names);
  }
}

function declareLexical(statements: readonly AnyNode[], names: Set<string>): void {
  for (const statement of statements) {
    if (statement.type === "VariableDeclaration" && statement.kind !== "var") {
      for (const declarator of statement.declarations) declarePattern(declarator.id, names);
    } else if ((isFunction(statement) || isClass(statement)) && statement.id) {
      if (statement.type.endsWith("Declaration")) names.add(statement.id.name);
    }
  }
}

export function isFunction(node: AnyNode): node is FunctionNode {
  return (
    node.type === "FunctionDeclaration" || node.type === "FunctionExpression" || node.type === "ArrowFunctionExpression"
  );
}

export function isClass(node: AnyNode): node is ClassNode {
  return node.type === "ClassDeclaration" || node.type === "ClassExpression";
}

/** What the text of one function or class (of a method: its function) takes from outside. */
export function tiesOf(root: AnyNode): TextTies {
  const names = new Set<string>();
  const privateNames = new Set<string>();
  const imports: number[] = [];
  const found = {
    usesOuterThis: false,
    usesOuterArguments: false,
    usesOuterNewTarget: false,
    usesSuper: false,
    hasDirectEval: false,
    hasWith: false,
  };
  const scopes: Set<string>[] = [];
  const privates: Set<string>[] = [];
  /** 0 while `this` still means the one outside the root. */
  let thisDepth = 0;
  /** 0 while `super` still means the root method's own. */
  let superDepth = 0;

  const inScope = (scope: Set<string>, work: () => void): void => {
    scopes.push(scope);
    work();
    scopes.pop();
  };

  const reference = (name: string): void => {
    if (scopes.some((scope) => scope.has(name))) return;
    if (name === "arguments") {
      found.usesOuterArguments = true;
    } else if (name !== "undefined") {
      names.add(name);
    }
  };

  const visitFunction = (node: FunctionNode): void => {
    const own = new Set<string>();
    const isArrow = node.type === "ArrowFunctionExpression";
    if (!isArrow) {
      own.add("arguments");
      thisDepth++;
    }
    if (node.type === "FunctionExpression" && node.id) own.add(node.id.name);
    for (const parameter of node.params) declarePattern(parameter, own);
    inScope(own, () => {
      for (const parameter of node.params) visit(parameter);
      const body = new Set<string>();
      if (node.body.type === "BlockStatement") {
        declareVars(node.body, body);
        declareLexical(node.body.body, body);
        inScope(body, () => visitAll((node.body as { body: AnyNode[] }).body));
      } else {
        visit(node.body);
      }
    });
    if (!isArrow) thisDepth--;
  };

  const visitClass = (node: ClassNode): void => {
    const scope = new Set<string>();
    if (node.id) scope.add(node.id.name);
    const declared = new Set<string>();
    for (const member of node.body.body) {
      if ("key" in member && member.key.type === "PrivateIdentifier") declared.add(member.key.name);
    }
    inScope(scope, () => {
      if (node.superClass) visit(node.superClass);
      privates.push(declared);
      for (const member of node.body.body) {
        if (member.type === "StaticBlock") {
          const block = new Set<string>(["arguments"]);
          for (const statement of member.body) declareVars(statement, block);
          declareLexical(member.body, block);
          thisDepth++;
          superDepth++;
          inScope(block, () => visitAll(member.body));
        } else {
          if (member.computed) visit(member.key);
          thisDepth++;
          superDepth++;
          if (member.value) inScope(new Set(), () => visit(member.value as AnyNode));
        }
        thisDepth--;
        superDepth--;
      }
      privates.pop();
    });
  };

  const visitAll = (nodes: readonly (AnyNode | null | undefined)[]): void => {
    for (const node of nodes) if (node) visit(node);
  };

  const visitBlock = (statements: readonly AnyNode[], extra?: Set<string>): void => {
    const scope = extra ?? new Set<string>();
    declareLexical(statements, scope);
    inScope(scope, () => visitAll(statements));
  };

  const visit = (node: AnyNode): void => {
    if (isFunction(node)) {
      visitFunction(node);
      return;
    }
    if (isClass(node)) {
      visitClass(node);
      return;
    }
    switch (node.type) {
      case "Identifier":
        reference(node.name);
        return;
      case "PrivateIdentifier":
        if (!privates.some((declared) => declared.has(node.name))) privateNames.add(`#${node.name}`);
        return;
      case "MemberExpression":
        visit(node.object);
        if (node.computed || node.property.type === "PrivateIdentifier") visit(node.property);
        return;
      case "Property":
        if (node.computed) visit(node.key);
        if (node.method || node.kind !== "init") {
          superDepth++;
          visit(node.value);
          superDepth--;
        } else {
          visit(node.value);
        }
        return;
      case "ThisExpression":
        if (thisDepth === 0) found.usesOuterThis = true;
        return;
      case "Super":
        if (superDepth === 0) found.usesSuper = true;
        return;
      case "MetaProperty":
        if (node.meta.name === "import") imports.push(node.start);
        else if (thisDepth === 0) found.usesOuterNewTarget = true;
        return;
      case "ImportExpression":
        imports.push(node.start);
        break;
      case "WithStatement":
        found.hasWith = true;
        break;
      case "CallExpression":
        if (node.callee.type === "Identifier" && node.callee.name === "eval") found.hasDirectEval = true;
        break;
      case "BlockStatement":
        visitBlock(node.body);
        return;
      case "SwitchStatement":
        visit(node.discriminant);
        inScope(new Set(), () => {
          const scope = scopes.at(-1);
          if (scope) for (const one of node.cases) declareLexical(one.consequent, scope);
          visitAll(node.cases);
        });
        return;
      case "ForStatement":
      case "ForInStatement":
      case "ForOfStatement": {
        const head = node.type === "ForStatement" ? node.init : node.left;
        const scope = new Set<string>();
        if (head) declareLexical([head], scope);
        inScope(scope, () => visitAll(childrenOf(node)));
        return;
      }
      case "CatchClause": {
        const scope = new Set<string>();
        if (node.param) declarePattern(node.param, scope);
        inScope(scope, () => visitAll([node.param, node.body]));
        return;
      }
      case "LabeledStatement":
        visit(node.body);
        return;
      case "BreakStatement":
      case "ContinueStatement":
        return;
      default:
        break;
    }
    visitAll(childrenOf(node));
  };

  visit(root);
  return { ...found, names, privateNames, imports };
}

/**
 * Names that something in the program assigns to after their declaration; a superset, because it goes by name alone.
 * Variables that nothing assigns to need not be shared: a copy of their value cannot be told from them.
 */
export function assignedNames(program: Program): Set<string> {
  const names = new Set<string>();
  const visit = (node: AnyNode): void => {
    if (node.type === "AssignmentExpression") declarePattern(node.left, names);
    else if (node.type === "UpdateExpression") declarePattern(node.argument, names);
    else if (node.type === "ForInStatement" || node.type === "ForOfStatement") {
      if (node.left.type !== "VariableDeclaration") declarePattern(node.left, names);
    }
    for (const child of childrenOf(node)) visit(child);
  };
  visit(program);
  return names;
}
