/**
 * What a program attached to a function besides its text: properties, methods on an old-style constructor's
 * prototype, a prototype of its own. What a class's text defines is left out: it is defined again.
 */
import { types } from "node:util";
import type { AnyNode } from "acorn";
import { isClass } from "./free-names.ts";
import type { AnyFunction } from "./inspector.ts";
import type { AttachedKind } from "./nodes.ts";

export interface Attached {
  /** What follows in `children`: key and value, key, getter and setter, or one object. */
  readonly shape: readonly AttachedKind[];
  readonly children: readonly unknown[];
  readonly childNames: readonly string[];
  /** An old-style constructor: something was attached to its prototype. */
  readonly isConstructor: boolean;
}

const NOTHING: Attached = { shape: [], children: [], childNames: [], isConstructor: false };
const STANDARD = new Set<string | symbol>(["length", "name", "prototype", "arguments", "caller"]);
const STANDARD_PROTOTYPE = new Set<string | symbol>(["constructor"]);

export function attachedTo(fn: AnyFunction, node: AnyNode | undefined): Attached {
  const keys = Reflect.ownKeys(fn).filter((key) => !STANDARD.has(key));
  const prototype: unknown = Reflect.getOwnPropertyDescriptor(fn, "prototype")?.value;
  const hasPrototype = typeof prototype === "object" && prototype !== null;
  if (keys.length === 0 && !hasPrototype) return NOTHING;

  const shape: AttachedKind[] = [];
  const children: unknown[] = [];
  const childNames: string[] = [];
  const add = (holder: object, key: string | symbol, prefix: "" | "prototype-"): void => {
    const property = Reflect.getOwnPropertyDescriptor(holder, key);
    if (!property) return;
    const path = `.${prefix === "" ? "" : "prototype."}${String(key)}`;
    if ("value" in property) {
      shape.push(`${prefix}${property.enumerable ? "value" : "hidden"}`);
      children.push(key, property.value);
      childNames.push(`${path} (key)`, path);
    } else {
      shape.push(`${prefix}accessor`);
      children.push(key, property.get, property.set);
      childNames.push(`${path} (key)`, `${path} (get)`, `${path} (set)`);
    }
  };

  const written = node && isClass(node) ? membersOf(node) : undefined;
  for (const key of keys) {
    if (!written?.statics.has(key)) add(fn, key, "");
  }
  let isConstructor = false;
  if (hasPrototype) {
    const own: unknown = Reflect.getOwnPropertyDescriptor(prototype, "constructor")?.value;
    // Of functions that arrived from another process the text is not at hand.
    const isGenerator = types.isGeneratorFunction(fn);
    if (own === fn || isGenerator) {
      for (const key of Reflect.ownKeys(prototype)) {
        if (STANDARD_PROTOTYPE.has(key) || written?.methods.has(key)) continue;
        isConstructor = true;
        add(prototype, key, "prototype-");
      }
      const parent: unknown = Object.getPrototypeOf(prototype);
      if (!written && !isGenerator && parent !== Object.prototype) {
        isConstructor = true;
        shape.push("prototype-parent");
        children.push(parent);
        childNames.push(".prototype.__proto__");
      }
    } else {
      isConstructor = true;
      shape.push("prototype");
      children.push(prototype);
      childNames.push(".prototype");
    }
  }
  return { shape, children, childNames, isConstructor };
}

/** Keys that a class's own text defines; symbols count as defined by it when it has computed members. */
function membersOf(node: AnyNode & { body: { body: readonly AnyNode[] } }): {
  statics: { has(key: string | symbol): boolean };
  methods: { has(key: string | symbol): boolean };
} {
  const statics = new Set<string | symbol>();
  const methods = new Set<string | symbol>();
  let hasComputedStatic = false;
  let hasComputedMethod = false;
  for (const member of node.body.body) {
    if (member.type !== "MethodDefinition" && member.type !== "PropertyDefinition") continue;
    if (member.computed) {
      if (member.static) hasComputedStatic = true;
      else hasComputedMethod = true;
      continue;
    }
    const { key } = member;
    const name = key.type === "Identifier" ? key.name : key.type === "Literal" ? String(key.value) : undefined;
    if (name !== undefined) (member.static ? statics : methods).add(name);
  }
  const isSymbol = (key: string | symbol): boolean => typeof key === "symbol";
  return {
    statics: { has: (key) => statics.has(key) || (hasComputedStatic && isSymbol(key)) },
    methods: { has: (key) => methods.has(key) || (hasComputedMethod && isSymbol(key)) },
  };
}

/** The inverse, on the arrived function. Members that its text has defined already stay. */
export function attach(fn: AnyFunction, shape: readonly AttachedKind[], children: readonly unknown[]): void {
  let at = 0;
  const define = (holder: object, kind: "value" | "hidden" | "accessor"): void => {
    const key = children[at++] as string | symbol;
    const property: PropertyDescriptor = { configurable: true, enumerable: kind === "value" };
    if (kind === "accessor") {
      const [get, set] = [children[at++], children[at++]];
      Object.assign(property, { get, set });
    } else {
      Object.assign(property, { value: children[at++], writable: true });
    }
    if (!Object.hasOwn(holder, key)) Object.defineProperty(holder, key, property);
  };
  for (const kind of shape) {
    switch (kind) {
      case "value":
      case "hidden":
      case "accessor":
        define(fn, kind);
        break;
      case "prototype":
        fn.prototype = children[at++];
        break;
      case "prototype-value":
        define(fn.prototype, "value");
        break;
      case "prototype-hidden":
        define(fn.prototype, "hidden");
        break;
      case "prototype-accessor":
        define(fn.prototype, "accessor");
        break;
      case "prototype-parent":
        Object.setPrototypeOf(fn.prototype, children[at++] as object | null);
        break;
    }
  }
}
