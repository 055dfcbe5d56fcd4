/**
 * What only classes need: values that must exist before a class can be made, and methods found through their class.
 */
import { types } from "node:util";
import { type CustomNode, type EncodeSession, refusal } from "../codec/custom.ts";
import { findValues } from "./captured-values.ts";
import type { UnitDraft } from "./code-unit.ts";
import { isClass } from "./free-names.ts";
import { type AnyFunction, type Inspected, inspectFunction, readVariable } from "./inspector.ts";
import { isStandardGlobal } from "./intrinsics.ts";
import { TAG_MEMBER } from "./nodes.ts";
import type { KnownSite } from "./site-cache.ts";

/** Values that must exist before the class can be made: its base, and computed names of its members. */
export function classBindings(
  fn: AnyFunction,
  known: KnownSite,
  inspected: Inspected,
  draft: UnitDraft,
  session: EncodeSession,
): { name: string; value: unknown }[] {
  const bindings: { name: string; value: unknown }[] = [];
  const { node } = known.site;
  if (!isClass(node)) return bindings;
  if (draft.baseName !== undefined) bindings.push({ name: draft.baseName, value: Object.getPrototypeOf(fn) });
  for (const { name, memberIndex } of draft.keys) {
    const member = node.body.body[memberIndex];
    if (member?.type !== "MethodDefinition") continue;
    if (bindings.some((binding) => binding.name === name)) continue;
    const key = keyOfMember(fn, known, member.start, member.end, member.static);
    if (key === undefined) {
      throw refusal(session.path(), `class ${fn.name}, whose computed member name ${name} cannot be found`, "name it");
    }
    bindings.push({ name, value: key });
  }
  const early = new Set(bindings.map(({ name }) => name));
  for (const member of node.body.body) {
    if (member.type !== "PropertyDefinition" || !member.computed) continue;
    const parts = member.static && member.value ? [member.key, member.value] : [member.key];
    const names = parts.flatMap((part) => [...known.program.ties(part).names]).filter((name) => !early.has(name));
    for (const one of findValues(names, known, inspected, session, fn)) {
      early.add(one.name);
      bindings.push({ name: one.name, value: one.value });
    }
    for (const name of known.program.ties(member.key).names) {
      if (early.has(name) || isStandardGlobal(name)) continue;
      throw refusal(
        session.path(),
        `class ${fn.name}, whose field [${name}] has a computed name that V8 does not keep`,
        "write the field's name out, or use the name inside one of the class's methods too",
      );
    }
  }
  return bindings;
}

/** The key under which the class has the member whose text lies between `start` and `end`. */
function keyOfMember(
  fn: AnyFunction,
  known: KnownSite,
  start: number,
  end: number,
  isStatic: boolean,
): string | symbol | undefined {
  const holder: object = isStatic ? fn : fn.prototype;
  for (const key of Reflect.ownKeys(holder)) {
    const property = Reflect.getOwnPropertyDescriptor(holder, key);
    for (const member of [property?.value, property?.get, property?.set]) {
      if (typeof member !== "function" || types.isProxy(member) || member === fn) continue;
      const { scriptId, line, column } = inspectFunction(member);
      if (scriptId !== known.program.script.id) continue;
      const site = known.program.find(Function.prototype.toString.call(member), line, column);
      if (site && site.start >= start && site.end <= end) return key;
    }
  }
  return undefined;
}

/** A method as a member of its class, if the class can be found: `super` and private names go on working. */
export function memberOfClass(fn: AnyFunction, known: KnownSite, inspected: Inspected): CustomNode | undefined {
  const { member, ancestors } = known.site;
  if (member?.type !== "MethodDefinition") return undefined;
  const around = ancestors.at(-3);
  if (!around || !isClass(around)) return undefined;
  const declarator = ancestors.at(-4);
  const name =
    around.id?.name ??
    (declarator?.type === "VariableDeclarator" && declarator.id.type === "Identifier" ? declarator.id.name : undefined);
  if (name === undefined) return undefined;
  for (const scope of inspected.scopes) {
    const type = readVariable(scope, name)?.value;
    if (typeof type !== "function" || types.isProxy(type)) continue;
    const holder: object = member.static ? type : type.prototype;
    for (const key of Reflect.ownKeys(holder)) {
      const property = Reflect.getOwnPropertyDescriptor(holder, key);
      const part = (["value", "get", "set"] as const).find((one) => property?.[one] === fn);
      if (!part) continue;
      return {
        tag: TAG_MEMBER,
        head: [member.static, part],
        early: [type, key],
        earlyNames: [`captured ${name}`, "[key]"],
      };
    }
  }
  return undefined;
}
