/**
 * Functions and classes out of units, and what has to be remembered of them so that they can travel on.
 */
import { InternalError } from "../base/errors.ts";
import type { Begun } from "../codec/custom.ts";
import { attach } from "./attached.ts";
import { classWithId, registerClass } from "./class-identity.ts";
import { type CodeUnit, renderUnit } from "./code-unit.ts";
import type { AnyFunction } from "./inspector.ts";
import { beginArrival, finishArrival, LiveLayer, openLayer, rootOf } from "./layer.ts";
import type { UnitHead } from "./nodes.ts";

/** What a revived function was made of. */
export interface Arrival {
  readonly unit: CodeUnit;
  readonly head: UnitHead;
  /** The layer that it shares with others. */
  readonly shared: LiveLayer | undefined;
  /** The layer of its own copies. */
  readonly own: LiveLayer | undefined;
  readonly earlyValues: readonly unknown[];
  readonly self: { value: unknown } | undefined;
}

const arrivals = new WeakMap<AnyFunction, Arrival>();

export function arrivalOf(fn: AnyFunction): Arrival | undefined {
  return arrivals.get(fn);
}

/** Makes an arrow function whose `this` comes later: it is created in a constructor that has not called `super` yet. */
const makeWithThis =
  "(function () { return new (class extends arguments[0] { constructor() { " +
  "arguments[0].fn = eval(arguments[1]); arguments[0].bind = () => { super(); }; return {}; } })" +
  "(arguments[1], arguments[2]); })";

const rendered = new WeakMap<CodeUnit, string>();

export function reviveUnit(unit: CodeUnit, head: UnitHead, early: readonly unknown[]): Begun {
  const existing = head.id === undefined ? undefined : classWithId(head.id);
  if (existing) return { value: existing };
  const shared = head.hasLayer ? early[0] : undefined;
  if (head.hasLayer && !(shared instanceof LiveLayer))
    throw new InternalError(`unit ${unit.hash} came without its layer`);
  const outer = shared instanceof LiveLayer ? shared : undefined;
  const earlyValues = head.hasLayer ? early.slice(1) : early;
  const own = head.names.length > 0 ? openLayer(head.names, outer, unit.url) : undefined;
  let inner = own ?? outer;
  if (head.early.length > 0) {
    inner = openLayer(head.early, inner, unit.url);
    inner.fill(earlyValues);
  }
  const evaluate = inner?.evaluate ?? rootOf(unit.url);
  let script = rendered.get(unit);
  if (script === undefined) {
    script = renderUnit(unit);
    rendered.set(unit, script);
  }
  beginArrival();
  const holder: { fn?: unknown; bind?: () => void; value?: unknown } = {};
  let made: unknown;
  if (head.hasThis) {
    const make = evaluate(makeWithThis) as (base: unknown, holder: object, script: string) => void;
    make(
      function Outer() {
        return holder.value;
      },
      holder,
      script,
    );
    made = holder.fn;
  } else {
    made = evaluate(script);
  }
  const fn = unit.form === "method" ? methodOf(made) : made;
  if (typeof fn !== "function") throw new InternalError(`unit ${unit.hash} of ${unit.url} gave no function`);
  if (head.name !== null) Object.defineProperty(fn, "name", { value: head.name, configurable: true });
  if (head.id !== undefined) registerClass(head.id, fn);
  arrivals.set(fn, {
    unit,
    head,
    shared: outer,
    own,
    earlyValues,
    self: head.hasThis ? (holder as { value: unknown }) : undefined,
  });
  return {
    value: fn,
    finish(children) {
      let at = 0;
      if (head.hasThis) {
        holder.value = children[at++];
        holder.bind?.();
      }
      own?.fill(children.slice(at, at + head.names.length));
      at += head.names.length;
      if (head.attached.length > 0) attach(fn, head.attached, children.slice(at));
      finishArrival();
    },
  };
}

function methodOf(holder: unknown): unknown {
  const property = Reflect.getOwnPropertyDescriptor(Object(holder), "m");
  return property?.value ?? property?.get ?? property?.set;
}
