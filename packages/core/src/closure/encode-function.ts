/**
 * How one function, or one of the other objects that this room knows, is written.
 */
import { types } from "node:util";
import { type CustomNode, type EncodeSession, refusal } from "../codec/custom.ts";
import { attachedTo } from "./attached.ts";
import { boundOf, encodeBound } from "./bound.ts";
import { captureFunction } from "./capture.ts";
import { type AnyFunction, inspectBound, inspectFunction } from "./inspector.ts";
import { type IntrinsicPath, intrinsicObjectPath, intrinsicPath } from "./intrinsics.ts";
import type { Layer } from "./layer.ts";
import { asUrl, ImportedBinding, outgoing } from "./modules.ts";
import {
  packHead,
  TAG_EXPORT,
  TAG_IMPORT,
  TAG_INTRINSIC,
  TAG_LAYER,
  TAG_PROMISIFIED,
  TAG_PROTOTYPE,
  TAG_UNIT,
} from "./nodes.ts";
import { exportBinding, exportOfImported, originOf } from "./origins.ts";
import { type Arrival, arrivalOf } from "./revive.ts";
import { captureSession } from "./session.ts";
import { isScriptKnown, type KnownSite, siteOf } from "./site-cache.ts";

export function encodeIntrinsic(value: object, path: IntrinsicPath, session: EncodeSession): CustomNode {
  if (value === process.env) {
    throw refusal(session.path(), "process.env", "write process.env inside the function: it is then the worker's own");
  }
  return { tag: TAG_INTRINSIC, head: path };
}

export function encodeImport(binding: ImportedBinding, tag: number, session: EncodeSession): CustomNode {
  const isRead = binding.how === "namespace" || binding.how === "export" || binding.how === "require";
  if (!binding.url.startsWith("node:")) {
    const { modules, origins } = captureSession(session);
    if (isRead) modules.add(binding.url);
    else origins.add(outgoing(binding.url));
  }
  return { tag, head: [outgoing(binding.url), binding.how, binding.name] };
}

export function encodeLayer(layer: Layer, session: EncodeSession): CustomNode {
  const values = layer.isLinked ? [] : layer.values();
  if (!layer.isLinked) captureSession(session).variables.push(...layer.names);
  return {
    tag: TAG_LAYER,
    head: [layer.names, outgoing(layer.url), layer.isLinked],
    early: layer.parents,
    children: values,
    childNames: layer.isLinked ? [] : layer.names.map((name) => `captured ${name}`),
  };
}

/** The prototype object of a class or constructor, met as a value. */
export function encodePrototype(value: object): CustomNode | undefined {
  const type: unknown = Reflect.getOwnPropertyDescriptor(value, "constructor")?.value;
  if (typeof type !== "function" || types.isProxy(type) || type.prototype !== value) {
    return undefined;
  }
  return { tag: TAG_PROTOTYPE, head: null, early: [type], earlyNames: [".constructor"] };
}

export function encodeFunction(fn: AnyFunction, session: EncodeSession): CustomNode {
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

/** A function that arrived from elsewhere and travels on. */
function encodeArrival(fn: AnyFunction, arrival: Arrival, session: EncodeSession): CustomNode {
  const { head, unit, shared, own, earlyValues, self } = arrival;
  const capture = captureSession(session);
  capture.useUnit(unit, fn.name);
  // The class's own text is not parsed again here: what it defines is found already there on arrival.
  const attached = head.id === undefined || head.attached.length > 0 ? attachedTo(fn, undefined) : undefined;
  const ownNames = own ? own.names : [];
  const ownValues = own ? own.values() : [];
  capture.noteValues(ownNames, ownValues);
  if (self) capture.noteValues(["this"], [self.value]);
  return {
    tag: TAG_UNIT,
    head: packHead({ ...head, attached: attached?.shape ?? [] }),
    early: [...(shared ? [shared] : []), ...earlyValues],
    children: [...(self ? [self.value] : []), ...ownValues, ...(attached?.children ?? [])],
    childNames: [
      ...(self ? ["captured this"] : []),
      ...ownNames.map((name) => `captured ${name}`),
      ...(attached?.childNames ?? []),
    ],
  };
}
