/**
 * Bound functions: what they are bound to travels, and may lead back to them.
 */
import type { Begun, CustomNode } from "../codec/custom.ts";
import type { AnyFunction } from "./inspector.ts";
import { TAG_BOUND } from "./nodes.ts";

export interface Bound {
  target: AnyFunction;
  self: unknown;
  args: readonly unknown[];
}

/** What arrived bound functions are bound to. */
export const boundOf = new WeakMap<AnyFunction, Bound>();

export function encodeBound({ target, self, args }: Bound): CustomNode {
  return {
    tag: TAG_BOUND,
    head: null,
    children: [target, self, ...args],
    childNames: [".[[target]]", ".[[this]]", ...args.map((_, index) => `.[[arguments]][${index}]`)],
  };
}

/** What it is bound to comes later, and may lead back to it: a bound function that looks that up when called. */
export function beginBound(): Begun {
  const bound: Bound = { target: beginBound, self: undefined, args: [] };
  const trampoline = function (this: unknown, ...args: unknown[]): unknown {
    const all = [...bound.args, ...args];
    if (new.target) return Reflect.construct(bound.target, all);
    return Reflect.apply(bound.target, bound.self, all);
  };
  const value = trampoline.bind(undefined);
  boundOf.set(value, bound);
  return {
    value,
    finish([target, self, ...args]) {
      bound.target = target as AnyFunction;
      bound.self = self;
      bound.args = args;
      Object.defineProperty(value, "name", { value: `bound ${bound.target.name}`, configurable: true });
      const length = Math.max(0, bound.target.length - args.length);
      Object.defineProperty(value, "length", { value: length, configurable: true });
    },
  };
}
