/**
 * The room's door to the value codec: decides how each function, class, layer or module of a graph travels, and makes
 * it again.
 */
import { promisify, types } from "node:util";
import { InternalError } from "../base/errors.ts";
import { type Begun, type Customizer, type CustomNode, type EncodeSession, refusal } from "../codec/custom.ts";
import { attachedTo } from "./attached.ts";
import { captureFunction } from "./capture.ts";
import { type CodeUnit, isUnitText, parseUnit, unitOfText } from "./code-unit.ts";
import { type AnyFunction, inspectBound, inspectFunction, loadedModuleUrls } from "./inspector.ts";
import { type IntrinsicPath, intrinsicAt, intrinsicObjectPath, intrinsicPath } from "./intrinsics.ts";
import { Layer, type LiveLayer, linkLayers, openLayer } from "./layer.ts";
import {
  asUrl,
  fileAddress,
  ImportedBinding,
  type ImportHow,
  type ImportModule,
  loadedCommonJs,
  ModuleReader,
  mainModuleUrl,
  resolveImport,
  useImporter,
} from "./modules.ts";
import {
  packHead,
  TAG_BOUND,
  TAG_EXPORT,
  TAG_IMPORT,
  TAG_INTRINSIC,
  TAG_LAYER,
  TAG_MEMBER,
  TAG_PROMISIFIED,
  TAG_PROTOTYPE,
  TAG_UNIT,
  unpackHead,
} from "./nodes.ts";
import { type Arrival, arrivalOf, reviveUnit } from "./revive.ts";
import { captureSession, collectSessions } from "./session.ts";
import { isScriptKnown, type KnownSite, knownPrograms, siteOf } from "./site-cache.ts";

export interface FunctionCustomizerOptions {
  /**
   * Leave the text of code units out of what is encoded: the sender ships what `collectCode` tells, once to each
   * receiver, which calls `addUnit`. Default false: a unit's text is written where its first function is.
   */
  readonly unitsApart?: boolean;
  /**
   * Modules that this process has without importing them, by address: its own runtime, which a worker started from a
   * bundle or snapshot must not load a second time.
   */
  readonly knownModules?: ReadonlyMap<string, unknown>;
  /** How to import a module by address, where `import()` itself does not work (code loaded from a snapshot). */
  readonly importModule?: ImportModule;
}

/** Code and modules that an encoded submission needs at its receiver. */
export interface CodeNeeds {
  /** Text of each unit by hash; a receiver needs each once (`addUnit`). */
  readonly units: ReadonlyMap<string, string>;
  /** Addresses of modules that will be imported there (`importModules`). */
  readonly modules: readonly string[];
}

const NO_NEEDS: CodeNeeds = { units: new Map(), modules: [] };

/**
 * Runs `work`, which encodes values, and tells which code they need.
 *
 * @example const { result, needs } = collectCode(() => encode([fn, args], { customizer }));
 */
export function collectCode<T>(work: () => T): { result: T; needs: CodeNeeds } {
  const { result, captured } = collectSessions(work);
  if (captured.size === 0) return { result, needs: NO_NEEDS };
  const units = new Map<string, string>();
  const modules = new Set<string>();
  for (const one of captured) {
    for (const [hash, unit] of one.units) units.set(hash, unit.text);
    for (const url of one.modules) modules.add(url);
  }
  return { result, needs: { units, modules: [...modules] } };
}

export class FunctionCustomizer implements Customizer {
  readonly #units = new Map<string, CodeUnit>();
  readonly #reader: ModuleReader;
  readonly #unitsApart: boolean;

  constructor(options: FunctionCustomizerOptions = {}) {
    this.#unitsApart = options.unitsApart ?? false;
    this.#reader = new ModuleReader(options.knownModules);
    if (options.importModule) useImporter(options.importModule);
  }

  /** Makes a unit known, so that values whose code it is can arrive. */
  addUnit(hash: string, text: string): void {
    if (!this.#units.has(hash)) this.#units.set(hash, parseUnit(hash, text));
  }

  hasUnit(hash: string): boolean {
    return this.#units.has(hash);
  }

  /** Text of a unit that this process has, for passing it on. */
  unitText(hash: string): string | undefined {
    return this.#units.get(hash)?.text;
  }

  /**
   * Imports modules ahead of the values that need them. Only those that wait at their top level need it: all others
   * are imported when a value names them.
   */
  async importModules(urls: Iterable<string>): Promise<void> {
    await this.#reader.importModules(urls);
  }

  #unit(hashOrText: string): CodeUnit {
    let unit = this.#units.get(hashOrText);
    if (!unit && isUnitText(hashOrText)) {
      unit = unitOfText(hashOrText);
      this.#units.set(hashOrText, unit);
      this.#units.set(unit.hash, unit);
    }
    if (unit) return unit;
    throw new InternalError(`code unit ${hashOrText} has not arrived; its sender must add it before the value`);
  }

  // ── leaving ──────────────────────────────────────────────────────────────────────────────────────────────────────

  encode(value: object, session: EncodeSession): CustomNode | undefined {
    if (typeof value === "function") {
      const node = encodeFunction(value, session);
      if (node.tag === TAG_UNIT && !this.#unitsApart) embedUnit(node.head as unknown[], session);
      return node;
    }
    const path = intrinsicObjectPath(value);
    if (path) return encodeIntrinsic(value, path, session);
    const origin = originOf.get(value);
    if (origin) return encodeImport(origin, TAG_IMPORT, session);
    // Most values are plain objects, and end here.
    if (Object.hasOwn(value, "constructor")) return encodePrototype(value);
    if (value instanceof Layer) return encodeLayer(value);
    if (value instanceof ImportedBinding) return encodeImport(value, TAG_IMPORT, session);
    if (Object.getPrototypeOf(value) !== null || !types.isModuleNamespaceObject(value)) return undefined;
    const namespace = namespaceOrigin(value);
    if (namespace) return encodeImport(namespace, TAG_IMPORT, session);
    throw refusal(session.path(), "a module whose address is not known", "import it inside the function");
  }

  // ── arriving ─────────────────────────────────────────────────────────────────────────────────────────────────────

  begin(tag: number, head: unknown, early: readonly unknown[]): Begun {
    switch (tag) {
      case TAG_UNIT: {
        const unpacked = unpackHead(head);
        const unit = this.#unit(unpacked.hash);
        return reviveUnit(unit, unpacked, early);
      }
      case TAG_LAYER: {
        const [names, url, isLinked] = head as [string[], string, boolean];
        const parents = early as LiveLayer[];
        const layer = isLinked ? linkLayers(names, parents, url) : openLayer(names, parents[0], url);
        return { value: layer, finish: (children) => layer.fill(children) };
      }
      case TAG_INTRINSIC:
        return { value: intrinsicAt(head as IntrinsicPath) };
      case TAG_EXPORT:
      case TAG_IMPORT: {
        const [url, how, name] = head as [string, ImportHow, string];
        const value = this.#reader.read(url, how, name);
        if (value === undefined && tag === TAG_EXPORT) {
          throw new InternalError(`${url} has no export ${name} in this process; every process needs the same files`);
        }
        if ((typeof value === "object" && value !== null) || typeof value === "function") {
          if (!originOf.has(value)) originOf.set(value, ImportedBinding.of(url, how, name));
        }
        return { value };
      }
      case TAG_BOUND:
        return beginBound();
      case TAG_MEMBER: {
        const [isStatic, part] = head as [boolean, "value" | "get" | "set"];
        const [type, key] = early as [AnyFunction, string | symbol];
        return { value: Reflect.getOwnPropertyDescriptor(isStatic ? type : type.prototype, key)?.[part] };
      }
      case TAG_PROTOTYPE:
        return { value: (early[0] as AnyFunction).prototype };
      case TAG_PROMISIFIED:
        return { value: promisify(early[0] as (...args: unknown[]) => void) };
      default:
        throw new InternalError(`functions have no node with tag ${tag}`);
    }
  }
}

export function createFunctionCustomizer(options: FunctionCustomizerOptions = {}): FunctionCustomizer {
  return new FunctionCustomizer(options);
}

/** Puts the text in place of the hash when the unit is first written. */
function embedUnit(head: unknown[], session: EncodeSession): void {
  const capture = captureSession(session);
  const unit = capture.units.get(String(head[0]));
  if (!unit || capture.embedded.has(unit.hash)) return;
  capture.embedded.add(unit.hash);
  head[0] = unit.text;
}

/** Objects and functions that were imported because a value named them, and namespaces found in this process. */
const originOf = new WeakMap<object, ImportedBinding>();

function namespaceOrigin(value: object): ImportedBinding | undefined {
  // A built-in module's namespace holds the module as `default`.
  const whole: unknown = Reflect.get(value, "default");
  const path = typeof whole === "object" || typeof whole === "function" ? intrinsicPath(Object(whole)) : undefined;
  let origin: ImportedBinding | undefined;
  if (path?.length === 1 && path[0]?.startsWith("node:")) origin = ImportedBinding.of(path[0], "namespace");
  else {
    const reader = new ModuleReader();
    const main = mainModuleUrl();
    const url = loadedModuleUrls().find((candidate) => {
      if (candidate === main) return false;
      try {
        return isSameModule(reader.read(candidate, "namespace", ""), value);
      } catch {
        // Modules that wait at their top level, or that failed to load, cannot be compared; they are not found.
        return false;
      }
    });
    if (url !== undefined) origin = ImportedBinding.of(url, "namespace");
  }
  if (origin) originOf.set(value, origin);
  return origin;
}

/** `require` gives modules with a default export a namespace of its own, so that the members must be compared. */
function isSameModule(namespace: unknown, value: object): boolean {
  if (namespace === value) return true;
  if (!types.isModuleNamespaceObject(namespace)) return false;
  const keys = Reflect.ownKeys(value);
  return (
    keys.length > 1 && keys.every((key) => Object.is(Reflect.get(Object(namespace), key), Reflect.get(value, key)))
  );
}

function encodeIntrinsic(value: object, path: IntrinsicPath, session: EncodeSession): CustomNode {
  if (value === process.env) {
    throw refusal(session.path(), "process.env", "write process.env inside the function: it is then the worker's own");
  }
  return { tag: TAG_INTRINSIC, head: path };
}

function encodeImport(binding: ImportedBinding, tag: number, session: EncodeSession): CustomNode {
  const isRead = binding.how === "namespace" || binding.how === "export" || binding.how === "require";
  if (isRead && !binding.url.startsWith("node:")) {
    captureSession(session).modules.add(binding.url);
  }
  return { tag, head: [binding.url, binding.how, binding.name] };
}

function encodeLayer(layer: Layer): CustomNode {
  const values = layer.isLinked ? [] : layer.values();
  return {
    tag: TAG_LAYER,
    head: [layer.names, layer.url, layer.isLinked],
    early: layer.parents,
    children: values,
    childNames: layer.isLinked ? [] : layer.names.map((name) => `captured ${name}`),
  };
}

/** The prototype object of a class or constructor, met as a value. */
function encodePrototype(value: object): CustomNode | undefined {
  const type: unknown = Reflect.getOwnPropertyDescriptor(value, "constructor")?.value;
  if (typeof type !== "function" || types.isProxy(type) || type.prototype !== value) {
    return undefined;
  }
  return { tag: TAG_PROTOTYPE, head: null, early: [type], earlyNames: [".constructor"] };
}

function encodeFunction(fn: AnyFunction, session: EncodeSession): CustomNode {
  if (types.isProxy(fn)) {
    throw refusal(
      session.path(),
      "a proxied function",
      "ship what the proxy wraps, or make the proxy inside the function",
    );
  }
  // Native functions are looked up once they turn out to be native.
  const path = intrinsicObjectPath(fn);
  if (path) return encodeIntrinsic(fn, path, session);
  const origin = originOf.get(fn);
  if (origin) return encodeImport(origin, TAG_EXPORT, session);
  const arrival = arrivalOf(fn);
  if (arrival) return encodeArrival(fn, arrival, session);
  const bound = boundOf.get(fn);
  if (bound) return encodeBound(bound);

  const inspected = inspectFunction(fn);
  const imported = isScriptKnown(inspected) ? undefined : exportOfImported(fn);
  if (imported) return encodeImport(imported, TAG_EXPORT, session);
  const known = siteOf(fn, inspected);
  if (!known) return encodeNative(fn, inspected.scriptId === undefined, session);
  if (known.program.script.url.startsWith("node:")) return encodeNodeFunction(fn, inspected.scopes, known, session);
  const exported = exportBinding(fn, known);
  if (exported) return encodeImport(exported, TAG_EXPORT, session);
  return captureFunction(fn, known, inspected, session);
}

function encodeNative(fn: AnyFunction, isNative: boolean, session: EncodeSession): CustomNode {
  const bound = isNative ? inspectBound(fn) : undefined;
  if (bound) return encodeBound(bound);
  const path = intrinsicPath(fn);
  if (path) return encodeIntrinsic(fn, path, session);
  throw refusal(
    session.path(),
    isNative ? `a native function${fn.name ? ` (${fn.name})` : ""}` : `a function (${fn.name}) whose text is not known`,
    "import or make it inside the function",
  );
}

/** A function of Node.js's own JavaScript. */
function encodeNodeFunction(
  fn: AnyFunction,
  scopes: readonly { readonly object: Readonly<Record<string, unknown>> }[],
  known: KnownSite,
  session: EncodeSession,
): CustomNode {
  const path = intrinsicPath(fn);
  if (path) return encodeIntrinsic(fn, path, session);
  if (known.program.script.url === "node:internal/util") {
    const original = scopes.find((scope) => typeof scope.object.original === "function")?.object.original;
    if (original) return { tag: TAG_PROMISIFIED, head: null, early: [original], earlyNames: [".original"] };
  }
  if ("resolve" in fn && "cache" in fn && "main" in fn) {
    const [folder] = (fn.resolve as NodeJS.RequireResolve).paths("./file") ?? [];
    if (folder !== undefined) {
      return encodeImport(ImportedBinding.of(asUrl(`${folder}/file.js`), "createRequire"), TAG_IMPORT, session);
    }
  }
  throw refusal(
    session.path(),
    `a function of Node.js (${fn.name || "anonymous"}) that belongs to something in this process`,
    "make what it belongs to inside the function",
  );
}

/** Modules that known programs import and whose exports have been noted in `originOf`. */
const noted = new Set<string>();

/**
 * Looks for `fn` among the exports of modules that programs known so far import: far cheaper than asking V8 for the
 * script that a function came from, and what most task functions are.
 */
function exportOfImported(fn: AnyFunction): ImportedBinding | undefined {
  const reader = new ModuleReader();
  const main = mainModuleUrl();
  for (const { program, url } of knownPrograms()) {
    for (const { specifier, how } of program.sources.values()) {
      if (how !== "export" && how !== "namespace") continue;
      const key = `${url}\0${specifier}`;
      if (noted.has(key) || !url.startsWith("file:")) continue;
      noted.add(key);
      const address = resolveImport(specifier, url);
      if (!address.startsWith("file:") || address === main) continue;
      try {
        noteExports(address, reader.read(address, "namespace", ""));
      } catch {
        // It waits at its top level or is still being loaded: V8 is asked instead.
      }
    }
  }
  return originOf.get(fn);
}

function noteExports(url: string, namespace: unknown): void {
  if (typeof namespace !== "object" || namespace === null || !types.isModuleNamespaceObject(namespace)) return;
  for (const name of Object.keys(namespace)) {
    const value: unknown = Reflect.get(namespace, name);
    // Objects are left alone: only captured imports of them are imported again.
    if (typeof value === "function" && !originOf.has(value) && !types.isProxy(value)) {
      originOf.set(value, ImportedBinding.of(url, "export", name));
    }
  }
}

function exportBinding(fn: AnyFunction, known: KnownSite): ImportedBinding | undefined {
  const url = fileAddress(known.url);
  if (!/^(?:file|data):/.test(url) || url === mainModuleUrl()) return undefined;
  if (known.exportName !== undefined) return ImportedBinding.of(url, "export", known.exportName);
  if (known.program.script.isModule || known.program.isVite || !url.startsWith("file:")) return undefined;
  const loaded = loadedCommonJs(url);
  if (!loaded) return undefined;
  const { exports } = loaded;
  if (exports === fn) return ImportedBinding.of(url, "require");
  if ((typeof exports !== "object" && typeof exports !== "function") || exports === null) return undefined;
  const name = Object.keys(exports).find((key) => Reflect.get(exports, key) === fn);
  return name === undefined ? undefined : ImportedBinding.of(url, "require", name);
}

/** A function that arrived from elsewhere and travels on. */
function encodeArrival(fn: AnyFunction, arrival: Arrival, session: EncodeSession): CustomNode {
  const { head, unit, shared, own, earlyValues, self } = arrival;
  captureSession(session).useUnit(unit, fn.name);
  // The class's own text is not parsed again here: what it defines is found already there on arrival.
  const attached = head.id === undefined || head.attached.length > 0 ? attachedTo(fn, undefined) : undefined;
  const ownNames = own ? own.names : [];
  return {
    tag: TAG_UNIT,
    head: packHead({ ...head, attached: attached?.shape ?? [] }),
    early: [...(shared ? [shared] : []), ...earlyValues],
    children: [...(self ? [self.value] : []), ...(own ? own.values() : []), ...(attached?.children ?? [])],
    childNames: [
      ...(self ? ["captured this"] : []),
      ...ownNames.map((name) => `captured ${name}`),
      ...(attached?.childNames ?? []),
    ],
  };
}

// ── bound functions ────────────────────────────────────────────────────────────────────────────────────────────────

interface Bound {
  target: AnyFunction;
  self: unknown;
  args: readonly unknown[];
}

/** What arrived bound functions are bound to. */
const boundOf = new WeakMap<AnyFunction, Bound>();

function encodeBound({ target, self, args }: Bound): CustomNode {
  return {
    tag: TAG_BOUND,
    head: null,
    children: [target, self, ...args],
    childNames: [".[[target]]", ".[[this]]", ...args.map((_, index) => `.[[arguments]][${index}]`)],
  };
}

/** What it is bound to comes later, and may lead back to it: a bound function that looks that up when called. */
function beginBound(): Begun {
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
