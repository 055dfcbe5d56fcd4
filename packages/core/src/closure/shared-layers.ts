/**
 * The layers that hold variables which several functions of a submission share.
 */
import { types } from "node:util";
import { type Found, isTopScope } from "./captured-values.ts";
import { isClass } from "./free-names.ts";
import { type AnyFunction, type Inspected, inspectFunction } from "./inspector.ts";
import { Layer } from "./layer.ts";
import type { CaptureSession, Insider } from "./session.ts";
import { type KnownSite, siteOf } from "./site-cache.ts";

/** The layer in which the function's code runs so that it sees every variable that it shares. */
export function sharedLayer(
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
