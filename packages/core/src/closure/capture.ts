/**
 * A function or class as a node of the graph, taken apart by value: its code as a unit, the variables it uses, what
 * was attached to it.
 *
 * 1. Its free names are looked up in the copies of its scopes, innermost first.
 * 2. Imports become bindings that are imported again.
 * 3. Variables that something assigns to live in layers which functions of one submission share; all others are copied
 *    into a layer of the function's own, where nobody can tell the difference.
 */
import { type CustomNode, type EncodeSession, refusal } from "../codec/custom.ts";
import { attachedTo } from "./attached.ts";
import { describe, findValues } from "./captured-values.ts";
import { classIdOf } from "./class-identity.ts";
import { classBindings, memberOfClass } from "./class-parts.ts";
import type { UnitDraft } from "./code-unit.ts";
import { isClass } from "./free-names.ts";
import { type AnyFunction, evaluateInside, type Inspected } from "./inspector.ts";
import { packHead, TAG_UNIT, type UnitHead } from "./nodes.ts";
import { captureSession } from "./session.ts";
import { sharedLayer } from "./shared-layers.ts";
import { draftFor, type KnownSite } from "./site-cache.ts";

export function captureFunction(
  fn: AnyFunction,
  known: KnownSite,
  inspected: Inspected,
  session: EncodeSession,
): CustomNode {
  const capture = captureSession(session);
  const { ties, site } = known;
  const member = memberOfClass(fn, known, inspected);
  if (member) return member;
  refuseTies(fn, known, session);
  const draft = draftFor(known, nameFor(fn));
  capture.useUnit(draft.unit, fn.name || "an anonymous function");

  const early = isClass(site.node) ? classBindings(fn, known, inspected, draft, session) : [];
  const earlyNames = new Set(early.map(({ name }) => name));
  const names = [...ties.names].filter((name) => !earlyNames.has(name));
  const found = findValues(names, known, inspected, session, fn);

  const shared = sharedLayer(fn, found, known, inspected, capture);
  const own = found.filter(({ sharedIn }) => sharedIn === undefined);
  const children: unknown[] = [];
  const childNames: string[] = [];
  const add = (child: unknown, name: string): void => {
    children.push(child);
    childNames.push(name);
  };
  let hasThis = false;
  if (site.node.type === "ArrowFunctionExpression" && ties.usesOuterThis && !known.isThisTopLevel) {
    const outer = outerThis(fn, session);
    hasThis = outer !== undefined;
    if (hasThis) {
      add(outer, "captured this");
      capture.noteValues(["this"], [outer]);
    }
  }
  for (const { name, value } of own) add(value, `captured ${name}`);
  capture.noteValues(
    own.map(({ name }) => name),
    own.map(({ value }) => value),
  );
  const attached = attachedTo(fn, site.node);
  for (const [index, child] of attached.children.entries()) add(child, attached.childNames[index] as string);

  const head: UnitHead = {
    hash: draft.unit.hash,
    name: nameMatches(fn, draft, known) ? null : fn.name,
    names: own.map(({ name }) => name),
    early: early.map(({ name }) => name),
    hasThis,
    hasLayer: shared !== undefined,
    id: classIdOf(fn, isClass(site.node) || attached.isConstructor),
    attached: attached.shape,
  };
  return {
    tag: TAG_UNIT,
    head: packHead(head),
    early: [...(shared ? [shared] : []), ...early.map(({ value }) => value)],
    earlyNames: [...(shared ? ["captured variables"] : []), ...early.map(({ name }) => `captured ${name}`)],
    children,
    childNames,
  };
}

function nameFor(fn: AnyFunction): string {
  const name: unknown = Reflect.getOwnPropertyDescriptor(fn, "name")?.value;
  return typeof name === "string" ? name : "";
}

function nameMatches(fn: AnyFunction, draft: UnitDraft, known: KnownSite): boolean {
  const name: unknown = Reflect.getOwnPropertyDescriptor(fn, "name")?.value;
  // A class may have a static member called `name`; what it has is restored with the class.
  if (typeof name !== "string") return true;
  if (draft.unit.form === "method") return false;
  if (draft.unit.form === "named") return name === draft.unit.name;
  const { node } = known.site;
  const written = "id" in node && node.id && "name" in node.id ? node.id.name : "";
  return name === written;
}

function refuseTies(fn: AnyFunction, known: KnownSite, session: EncodeSession): void {
  const { ties, site } = known;
  const refuse = (type: string, advice: string): never => {
    throw refusal(session.path(), `${describe(fn)}, ${type}`, advice);
  };
  const isArrow = site.node.type === "ArrowFunctionExpression";
  if (ties.hasDirectEval) {
    refuse(
      "a function that calls eval",
      "what eval reads cannot be known; pass values as arguments, or use new Function",
    );
  }
  if (ties.hasWith) refuse("a function with a with statement", "tasks run in strict mode; name the object instead");
  if (isArrow && ties.usesOuterArguments) {
    refuse("an arrow function that uses an outer function's arguments", "use a rest parameter there and capture that");
  }
  if (isArrow && ties.usesOuterNewTarget) {
    refuse("an arrow function that uses an outer new.target", "put new.target into a variable and capture that");
  }
  if (ties.usesSuper) {
    refuse("a method that uses super apart from its class", "ship the class or an instance of it instead");
  }
  const [privateName] = ties.privateNames;
  if (privateName !== undefined) {
    refuse(
      `a function that uses the private name ${privateName} of a class around it`,
      "private names work only inside their class: ship the class or an instance, or give the class a method for it",
    );
  }
  if (isClass(site.node) && ties.usesOuterThis) {
    refuse("a class that uses an outer this", "put it into a variable and use that");
  }
}

function outerThis(fn: AnyFunction, session: EncodeSession): unknown {
  const found = evaluateInside(fn, "call", "this");
  if (found) return found.value;
  throw refusal(
    session.path(),
    `${describe(fn)}, an arrow function that uses an outer this, which cannot be read while this process is debugged`,
    "put this into a variable and use that",
  );
}
