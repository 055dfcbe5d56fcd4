/**
 * A function or class as a node of the graph, taken apart by value: its code as a unit, the variables it uses, what
 * was attached to it.
 *
 * 1. Its free names are looked up in the copies of its scopes, innermost first.
 * 2. Imports become bindings that are imported again.
 * 3. Variables that something assigns to live in layers which functions of one submission share; all others are copied
 *    into a layer of the function's own, where nobody can tell the difference.
 */
import { types } from "node:util";
import { type CustomNode, type EncodeSession, refusal } from "../codec/custom.ts";
import { attachedTo } from "./attached.ts";
import { classIdOf } from "./class-identity.ts";
import type { UnitDraft } from "./code-unit.ts";
import { isClass } from "./free-names.ts";
import {
  type AnyFunction,
  evaluateInside,
  type Inspected,
  inspectFunction,
  readVariable,
  type ScopeCopy,
} from "./inspector.ts";
import { esbuildName, isStandardGlobal } from "./intrinsics.ts";
import { Layer } from "./layer.ts";
import { ImportedBinding, mainModuleUrl, resolveImport, resolveRequire, workingFolderUrl } from "./modules.ts";
import { packHead, TAG_MEMBER, TAG_UNIT, type UnitHead } from "./nodes.ts";
import { type CaptureSession, captureSession, type Insider } from "./session.ts";
import { draftFor, type KnownSite, siteOf } from "./site-cache.ts";

/** A free name that has a value: a variable that may be shared, or a value of the function's own. */
interface Found {
  readonly name: string;
  readonly value: unknown;
  /** Index into the scopes if the variable may be assigned to. */
  readonly sharedIn: number | undefined;
}

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
    if (hasThis) add(outer, "captured this");
  }
  for (const { name, value } of own) add(value, `captured ${name}`);
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

function describe(fn: AnyFunction): string {
  return fn.name ? `${fn.name}` : "an anonymous function";
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

// ── values of names ────────────────────────────────────────────────────────────────────────────────────────────────

function isGlobalScope(scope: ScopeCopy): boolean {
  return scope.description === "Global" || scope.object === globalThis;
}

/** Whether the scope at `index` is the module's top level. */
function isTopScope(index: number, known: KnownSite, scopes: readonly ScopeCopy[]): boolean {
  const { program } = known;
  const scope = scopes[index] as ScopeCopy;
  if (program.script.isModule) return scope.description === "Module";
  const last = scopes.findLastIndex((one) => !isGlobalScope(one) && one.description !== "Script");
  if (index === last) return known.url.startsWith("file:");
  // vite's wrapper has parameters outside and a block inside.
  return program.isVite && index === last - 1;
}

function findValues(
  names: readonly string[],
  known: KnownSite,
  inspected: Inspected,
  session: EncodeSession,
  fn: AnyFunction,
): Found[] {
  const { program } = known;
  const { scopes } = inspected;
  // A revived unit's text does not show what other functions do to the variables around it.
  const isRevived = program.script.url !== "" && program.script.source.startsWith("(");
  const found: Found[] = [];
  for (const name of names) {
    const index = scopes.findIndex((scope) => !isGlobalScope(scope) && Object.hasOwn(scope.object, name));
    if (index < 0) {
      const imported = program.sources.has(name) ? importedBinding(name, known) : undefined;
      if (imported) found.push({ name, value: imported, sharedIn: undefined });
      else if (!isStandardGlobal(name) && Object.hasOwn(globalThis, name)) {
        found.push({ name, value: Reflect.get(globalThis, name), sharedIn: undefined });
      } else if (name === "__name") {
        found.push({ name, value: esbuildName, sharedIn: undefined });
      }
      continue;
    }
    const isTop = isTopScope(index, known, scopes);
    const read = readVariable(scopes[index], name);
    // Its declaration has not run yet: it is as missing there as it is here.
    if (!read && !(isTop && program.sources.has(name))) continue;
    const value = read?.value;
    const imported = isTop ? importedBinding(name, known, value) : undefined;
    if (imported) {
      found.push({ name, value: imported, sharedIn: undefined });
      continue;
    }
    refuseValue(name, value, session, fn);
    const isAssigned = isRevived || program.assigned.has(name);
    found.push({ name, value, sharedIn: isAssigned ? index : undefined });
  }
  return found;
}

/** The binding for a top-level name that comes from another module. */
function importedBinding(name: string, known: KnownSite, value?: unknown): ImportedBinding | undefined {
  const { program, url } = known;
  const source = program.sources.get(name);
  if (source) {
    // What cannot be addressed travels by value.
    if (!url.startsWith("file:") && !/^(?:node:|[^./])/.test(source.specifier)) return undefined;
    const parent = url.startsWith("file:") ? url : workingFolderUrl();
    const address =
      source.how === "require" ? resolveRequire(source.specifier, parent) : resolveImport(source.specifier, parent);
    return address === mainModuleUrl() ? undefined : ImportedBinding.of(address, source.how, source.name);
  }
  if (program.topLevel.has(name)) return undefined;
  if (name === "require" && typeof value === "function" && url.startsWith("file:")) {
    return ImportedBinding.of(url, "createRequire");
  }
  if (name === "__vite_ssr_import_meta__") return ImportedBinding.of(url, "meta");
  if (name === "__vite_ssr_dynamic_import__") return ImportedBinding.of(url, "import");
  return undefined;
}

function refuseValue(name: string, value: unknown, session: EncodeSession, fn: AnyFunction): void {
  const refuse = (type: string, advice: string): never => {
    throw refusal(`captured ${name}`, `${type} (used by ${describe(fn)} at ${session.path()})`, advice);
  };
  if (value === process.env) {
    refuse("process.env", "write process.env inside the function: it is then the worker's own");
  }
  if (typeof value !== "object" || value === null || name !== "module") return;
  if (value.constructor?.name === "Module" && "paths" in value && "exports" in value) {
    refuse("a CommonJS module object", "require the module inside the function instead");
  }
}

// ── sharing ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The layer in which the function's code runs so that it sees every variable that it shares. */
function sharedLayer(
  fn: AnyFunction,
  found: readonly Found[],
  known: KnownSite,
  inspected: Inspected,
  capture: CaptureSession,
): Layer | undefined {
  const shared = found.filter(({ sharedIn }) => sharedIn !== undefined);
  if (shared.length === 0) return undefined;
  const layers = new Map<string, Layer>();
  const missing: { found: Found; layers: Map<string, Layer> }[] = [];
  for (const index of new Set(shared.map(({ sharedIn }) => sharedIn as number))) {
    const here = shared.filter(({ sharedIn }) => sharedIn === index);
    const instance = isTopScope(index, known, inspected.scopes)
      ? capture.topLevel(known.program.script.id)
      : capture.instance({
          fn,
          url: known.url,
          scopes: inspected.scopes,
          index,
          names: here.map(({ name }) => name),
          insider: (name) => insiderOf(fn, known, name),
        });
    for (const one of here) {
      const layer = instance.layers.get(one.name);
      if (layer) layers.set(one.name, layer);
      else missing.push({ found: one, layers: instance.layers });
    }
  }
  const existing = innermost(layers, found, known);
  const isPath = existing !== "apart";
  if (missing.length > 0) {
    const values = missing.map((one) => one.found.value);
    const names = missing.map((one) => one.found.name);
    const layer = new Layer(names, known.url, isPath && existing ? [existing] : [], false, () => values);
    for (const one of missing) {
      one.layers.set(one.found.name, layer);
      layers.set(one.found.name, layer);
    }
    if (isPath) return layer;
  }
  if (isPath) return existing;
  const names = [...layers.keys()];
  return new Layer(names, known.url, [...layers.values()], true, () => []);
}

/** Only methods of classes are called: constructing runs the fields' initialisers. */
function insiderOf(fn: AnyFunction, known: KnownSite, name: string): Insider | undefined {
  if (!isClass(known.site.node)) return { fn, how: isGenerator(known) ? "next" : "call" };
  for (const holder of [fn.prototype, fn] as object[]) {
    for (const key of Reflect.ownKeys(holder)) {
      const property = Reflect.getOwnPropertyDescriptor(holder, key);
      for (const method of [property?.value, property?.get, property?.set]) {
        if (typeof method !== "function" || method === fn || types.isProxy(method)) continue;
        const site = siteOf(method, inspectFunction(method));
        const isInside = site?.program === known.program && site.site.start > known.site.start;
        if (isInside && site.site.end < known.site.end && site.ties.names.has(name)) {
          return { fn: method, how: isGenerator(site) ? "next" : "call" };
        }
      }
    }
  }
  return undefined;
}

function isGenerator(known: KnownSite): boolean {
  const { node } = known.site;
  return "generator" in node && node.generator === true;
}

/**
 * The layer that lies inside all others, if each name means the right variable there and no other name is hidden;
 * "apart" if there is none.
 */
function innermost(
  layers: ReadonlyMap<string, Layer>,
  found: readonly Found[],
  known: KnownSite,
): Layer | undefined | "apart" {
  let deepest: Layer | undefined;
  for (const layer of layers.values()) {
    if (!deepest || layer.contains(deepest)) deepest = layer;
    else if (!deepest.contains(layer)) return "apart";
  }
  if (!deepest) return undefined;
  const own = new Set(found.filter(({ sharedIn }) => sharedIn === undefined).map(({ name }) => name));
  for (const name of known.ties.names) {
    if (own.has(name)) continue;
    for (let at: Layer | undefined = deepest; at; at = at.parents[0]) {
      if (!at.names.includes(name)) continue;
      if (layers.get(name) !== at) return "apart";
      break;
    }
  }
  return deepest;
}

// ── classes ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Values that must exist before the class can be made: its base, and computed names of its members. */
function classBindings(
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
function memberOfClass(fn: AnyFunction, known: KnownSite, inspected: Inspected): CustomNode | undefined {
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
