/**
 * Which module a function, class or namespace comes from, so that it can travel as an address.
 */
import { types } from "node:util";
import { type AnyFunction, loadedModuleUrls } from "./inspector.ts";
import { intrinsicPath } from "./intrinsics.ts";
import { fileAddress, ImportedBinding, loadedCommonJs, ModuleReader, mainModuleUrl, resolveImport } from "./modules.ts";
import { type KnownSite, knownPrograms } from "./site-cache.ts";

/** Objects and functions that were imported because a value named them, and namespaces found in this process. */
export const originOf = new WeakMap<object, ImportedBinding>();

export function namespaceOrigin(value: object): ImportedBinding | undefined {
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

/** Modules that known programs import and whose exports have been noted in `originOf`. */
const noted = new Set<string>();

/**
 * Looks for `fn` among the exports of modules that programs known so far import: far cheaper than asking V8 for the
 * script that a function came from, and what most task functions are.
 */
export function exportOfImported(fn: AnyFunction): ImportedBinding | undefined {
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
  noteFunctions(url, "export", namespace);
}

/**
 * Tells where the functions and classes of an API are imported from. In a bundle V8 knows neither which of its functions
 * a program can import nor under which address, and by value they would bring the state of the whole runtime along.
 *
 * @param url of a CommonJS module with these exports.
 */
export function noteApi(url: string, api: object): void {
  noteFunctions(url, "require", api);
}

function noteFunctions(url: string, how: "export" | "require", exports: object): void {
  for (const name of Object.keys(exports)) {
    const value: unknown = Reflect.get(exports, name);
    // Objects are left alone: only captured imports of them are imported again.
    if (typeof value === "function" && !originOf.has(value) && !types.isProxy(value)) {
      originOf.set(value, ImportedBinding.of(url, how, name));
    }
  }
}

export function exportBinding(fn: AnyFunction, known: KnownSite): ImportedBinding | undefined {
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
