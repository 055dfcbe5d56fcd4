/**
 * What can be known of a value's class: whether it is the program's own, and whether it holds state that nobody can
 * see from outside.
 */
import { parse } from "acorn";
import type { AnyClass } from "./serializers.ts";

/** Built-in classes that the codec knows how to take apart; a subclass of one keeps both halves. */
const SUPPORTED_BASES = new Set([
  "Object",
  "Array",
  "Map",
  "Set",
  "Date",
  "RegExp",
  "Error",
  "EvalError",
  "RangeError",
  "ReferenceError",
  "SyntaxError",
  "TypeError",
  "URIError",
  "AggregateError",
  "ArrayBuffer",
  "DataView",
  "TypedArray",
  "Int8Array",
  "Uint8Array",
  "Uint8ClampedArray",
  "Int16Array",
  "Uint16Array",
  "Int32Array",
  "Uint32Array",
  "Float16Array",
  "Float32Array",
  "Float64Array",
  "BigInt64Array",
  "BigUint64Array",
  "Boolean",
  "Number",
  "String",
  "BigInt",
  "Symbol",
]);

const sourceOf = (fn: AnyClass): string => Function.prototype.toString.call(fn);
const natives = new WeakMap<AnyClass, boolean>();

function isNative(fn: AnyClass): boolean {
  let known = natives.get(fn);
  if (known === undefined) {
    known = sourceOf(fn).endsWith("{ [native code] }");
    natives.set(fn, known);
  }
  return known;
}

/** The class that a prototype belongs to, when it is a class's own prototype. */
export function classOf(prototype: object): AnyClass | undefined {
  const owner: unknown = Object.getOwnPropertyDescriptor(prototype, "constructor")?.value;
  if (typeof owner !== "function") return undefined;
  // A function is all that AnyClass asks for beyond the prototype, which is compared here.
  return owner.prototype === prototype ? (owner as unknown as AnyClass) : undefined;
}

/** The built-in class whose prototype this is, in this realm or another; undefined for the program's own classes. */
export function intrinsicName(prototype: object): string | undefined {
  const known = intrinsics.get(prototype);
  if (known !== undefined) return known;
  const type = classOf(prototype);
  if (!type || !isNative(type)) return undefined;
  intrinsics.set(prototype, type.name);
  return type.name;
}

/** Those met so far; a prototype of the engine does not become another's. */
const intrinsics = new WeakMap<object, string>();

/** The name of the built-in class that a value claims as its constructor; undefined when that is the program's own. */
export function builtInConstructorName(value: object): string | undefined {
  const owner: unknown = value.constructor;
  // Being a function is all that reading its source needs.
  return typeof owner === "function" && isNative(owner as unknown as AnyClass) ? owner.name : undefined;
}

/** Whether it is `Object.prototype` of this or another realm. */
export const isObjectPrototype = (prototype: object): boolean =>
  prototype === Object.prototype ||
  (Object.getPrototypeOf(prototype) === null &&
    Object.hasOwn(prototype, "isPrototypeOf") &&
    intrinsicName(prototype) === "Object");

const privateMembers = new WeakMap<AnyClass, string | undefined>();

/** The name of a private instance member (`#secret`) that the class declares, if any. */
function privateMember(type: AnyClass): string | undefined {
  if (privateMembers.has(type)) return privateMembers.get(type);
  const found = findPrivateMember(sourceOf(type));
  privateMembers.set(type, found);
  return found;
}

type ClassMember = {
  readonly type: string;
  readonly static?: boolean;
  readonly key?: { readonly type: string; readonly name?: string } | null;
};

function findPrivateMember(source: string): string | undefined {
  if (!source.startsWith("class") || !source.includes("#")) return undefined;
  let members: readonly ClassMember[];
  try {
    const program = parse(`(${source})`, {
      ecmaVersion: "latest",
      sourceType: "script",
      allowSuperOutsideMethod: true,
    });
    const statement = program.body[0];
    const expression = statement?.type === "ExpressionStatement" ? statement.expression : undefined;
    members = expression?.type === "ClassExpression" ? (expression.body.body as readonly ClassMember[]) : [];
  } catch {
    // Syntax newer than the parser: better to refuse a class without private state than to lose some.
    return /#[\p{ID_Start}$_][\p{ID_Continue}$]*/u.exec(source)?.[0];
  }
  const member = members.find((one) => !one.static && one.key?.type === "PrivateIdentifier");
  return member?.key?.name === undefined ? undefined : `#${member.key.name}`;
}

/** Why instances of a class cannot be taken apart. */
export type Obstacle =
  | { readonly kind: "private"; readonly className: string; readonly member: string }
  | { readonly kind: "native"; readonly className: string }
  | { readonly kind: "iterator" };

/** Looks along the prototypes for state that would be lost. `isBuiltIn` tells that the value has a supported base's slots. */
export function findObstacle(prototype: object, isBuiltIn: boolean): Obstacle | undefined {
  for (let at: object | null = prototype; at !== null; at = Object.getPrototypeOf(at)) {
    const type = classOf(at);
    if (type === undefined) {
      const tag: unknown = Object.getOwnPropertyDescriptor(at, Symbol.toStringTag)?.value;
      if (typeof tag === "string" && /Iterator$|Iterator Helper$|Generator$/.test(tag)) return { kind: "iterator" };
      continue;
    }
    if (isNative(type)) {
      if (type.name === "Iterator") return { kind: "iterator" };
      const isFine = isBuiltIn ? SUPPORTED_BASES.has(type.name) : type.name === "Object";
      if (!isFine) return { kind: "native", className: type.name };
      if (isBuiltIn && type.name !== "Object") return undefined;
      continue;
    }
    const member = privateMember(type);
    if (member !== undefined) return { kind: "private", className: type.name || "anonymous class", member };
  }
  return undefined;
}
