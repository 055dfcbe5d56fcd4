/**
 * The room's door to the value codec: decides how each function, class, layer or module of a graph travels, and makes
 * it again.
 */
import { promisify, types } from "node:util";
import { InternalError } from "../base/errors.ts";
import { type Begun, type Customizer, type CustomNode, type EncodeSession, refusal } from "../codec/custom.ts";
import { beginBound } from "./bound.ts";
import { type CodeUnit, parseUnit, readUnit, writeUnit } from "./code-unit.ts";
import { encodeFunction, encodeImport, encodeIntrinsic, encodeLayer, encodePrototype } from "./encode-function.ts";
import type { AnyFunction } from "./inspector.ts";
import { type IntrinsicPath, intrinsicAt, intrinsicObjectPath } from "./intrinsics.ts";
import { Layer, type LiveLayer, linkLayers, openLayer } from "./layer.ts";
import { ImportedBinding, type ImportHow, incoming, ModuleReader } from "./modules.ts";
import {
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
import { namespaceOrigin, originOf } from "./origins.ts";
import { reviveUnit } from "./revive.ts";
import { captureSession, collectSessions } from "./session.ts";

export interface FunctionCustomizerOptions {
  /**
   * Leave the text of code units out of what is encoded: the sender ships what `collectCode` tells, once to each
   * receiver, which calls `addUnit`. Default false: a unit's text is written where its first function is.
   */
  readonly unitsApart?: boolean;
  /**
   * Modules that this process has without importing them, by address: its own runtime, which a worker started from a
   * bundle must not load a second time.
   */
  readonly knownModules?: ReadonlyMap<string, unknown>;
}

/** Code and modules that an encoded submission needs at its receiver. */
export interface CodeNeeds {
  /** Text of each unit by hash; a receiver needs each once (`addUnit`). */
  readonly units: ReadonlyMap<string, string>;
  /** Addresses, in this process, of modules that will be imported there (`importModules`). */
  readonly modules: readonly string[];
  /** Files whose functions may import more there, as they could from the file. */
  readonly origins: readonly string[];
  readonly captured: Captured;
}

/** What functions and classes took from around them that others can see changes of: those of the same submission. */
export interface Captured {
  /** Names of the variables that may be assigned to, each as often as there are variables of that name. */
  readonly variables: readonly string[];
  /** Objects in variables that nothing assigns to, with such a variable's name. */
  readonly objects: ReadonlyMap<object, string>;
}

export const NOTHING_CAPTURED: Captured = { variables: [], objects: new Map() };
const NO_NEEDS: CodeNeeds = { units: new Map(), modules: [], origins: [], captured: NOTHING_CAPTURED };

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
  const origins = new Set<string>();
  const variables: string[] = [];
  const objects = new Map<object, string>();
  for (const one of captured) {
    for (const [hash, unit] of one.units) units.set(hash, unit.text);
    for (const url of one.modules) modules.add(url);
    for (const url of one.origins) origins.add(url);
    variables.push(...one.variables);
    for (const [object, name] of one.objects) objects.set(object, name);
  }
  return { result, needs: { units, modules: [...modules], origins: [...origins], captured: { variables, objects } } };
}

export class FunctionCustomizer implements Customizer {
  readonly #units = new Map<string, CodeUnit>();
  readonly #reader: ModuleReader;
  readonly #unitsApart: boolean;

  constructor(options: FunctionCustomizerOptions = {}) {
    this.#unitsApart = options.unitsApart ?? false;
    this.#reader = new ModuleReader(options.knownModules);
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
    await this.#reader.importModules([...urls].map(incoming));
  }

  /** @param written its hash, or all of it. */
  #unit(written: string): CodeUnit {
    let unit = this.#units.get(written);
    if (unit) return unit;
    unit = readUnit(written);
    if (unit) {
      this.#units.set(written, unit);
      this.#units.set(unit.hash, unit);
      return unit;
    }
    throw new InternalError(`code unit ${written} has not arrived; its sender must add it before the value`);
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
    if (value instanceof Layer) return encodeLayer(value, session);
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
        const [address, how, name] = head as [string, ImportHow, string];
        const url = incoming(address);
        const value = this.#reader.read(url, how, name);
        if (value === undefined && tag === TAG_EXPORT) {
          throw new InternalError(
            `${address} has no export ${name} in this process (there it is ${url}); every process needs the same files`,
          );
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
  head[0] = writeUnit(unit);
}
