/**
 * Modules by address: which one is the main module, what a specifier means in a file, and reading a module's exports
 * without waiting. Captured imports travel as an address and are imported again where they arrive.
 */
import { existsSync, realpathSync, statSync } from "node:fs";
import { createRequire, isBuiltin, registerHooks } from "node:module";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { types } from "node:util";
import { InternalError, SerializationError } from "../base/errors.ts";

/**
 * How a value is taken from a module: `namespace` for `import * as`, `export` for one export, `require` for
 * `module.exports` or a member of it, `meta` for `import.meta`, `import` for `import()` and `createRequire` for
 * `require` as the file at the address sees them.
 */
export type ImportHow = "namespace" | "export" | "require" | "meta" | "import" | "createRequire";

/** Stands in the graph of captured values for something that is imported again. */
export class ImportedBinding {
  readonly url: string;
  readonly how: ImportHow;
  readonly name: string;

  private constructor(url: string, how: ImportHow, name: string) {
    this.url = url;
    this.how = how;
    this.name = name;
  }

  static readonly #all = new Map<string, ImportedBinding>();

  /** The same object for the same binding, so that it is written once. */
  static of(url: string, how: ImportHow, name = ""): ImportedBinding {
    const key = `${how}\0${name}\0${url}`;
    let binding = ImportedBinding.#all.get(key);
    if (!binding) {
      binding = new ImportedBinding(url, how, name);
      ImportedBinding.#all.set(key, binding);
    }
    return binding;
  }
}

/** What stands for a module in a value, for whoever knows only its address: it arrives as the module itself. */
export const importedModule = (url: string): object => ImportedBinding.of(url, "namespace");

let mainModule: { readonly path: string | undefined; readonly url: string | undefined } | undefined;

/** The address of the program's main module; undefined where there is none (the REPL, `node -e`). */
export function mainModuleUrl(): string | undefined {
  const [, path] = process.argv;
  if (!mainModule || mainModule.path !== path) mainModule = { path, url: path === undefined ? path : fileAt(path) };
  return mainModule.url;
}

/** The file that Node.js runs for an argument, which may lack its extension or be a folder. */
function fileAt(path: string): string | undefined {
  for (const candidate of [path, `${path}.js`, `${path}.cjs`, `${path}.mjs`]) {
    if (statSync(candidate, { throwIfNoEntry: false })?.isFile()) return pathToFileURL(realpathSync(candidate)).href;
  }
  try {
    return pathToFileURL(realpathSync(createRequire(`${path}/`).resolve(path))).href;
  } catch {
    // No file at all: `node -e` with arguments, or a program started by other means.
    return undefined;
  }
}

/** What code without a file (the REPL, `node -e`) resolves specifiers from. */
export function workingFolderUrl(): string {
  return pathToFileURL(join(process.cwd(), "repl")).href;
}

/** A script's name as a URL: CommonJS scripts are known by path. */
export function asUrl(name: string): string {
  return name.startsWith("/") ? pathToFileURL(name).href : name;
}

/** Without loader queries such as tsx's; two addresses of one file compare equal. */
export function fileAddress(url: string): string {
  const query = url.indexOf("?");
  return query < 0 ? url : url.slice(0, query);
}

/** Between machines a module may have one address where a value is packed, and another where it arrives. */
export interface Addresses {
  /** As values name a module of this process. */
  outgoing(url: string): string;
  /** Where this process has a module that the value which is being unpacked names. */
  incoming(url: string): string;
}

let addresses: Addresses | undefined;

/** Undefined: all processes see the same files. */
export function useAddresses(given: Addresses | undefined): void {
  addresses = given;
}

export const outgoing = (url: string): string => (addresses ? addresses.outgoing(url) : url);
export const incoming = (url: string): string => (addresses ? addresses.incoming(url) : url);

const PROBE = "mobula-resolve:";
const importResolutions = new Map<string, string>();

/** What `import "specifier"` means in the file at `parent`; loader hooks of the program have their say. */
export function resolveImport(specifier: string, parent: string): string {
  if (isBuiltin(specifier)) return specifier.startsWith("node:") ? specifier : `node:${specifier}`;
  const key = `${parent}\0${specifier}`;
  const known = importResolutions.get(key);
  if (known !== undefined) return known;
  const resolved = viteAddress(specifier) ?? withParent(specifier, parent);
  importResolutions.set(key, resolved);
  return resolved;
}

/** `import.meta.resolve` resolves from this file only; a hook for the moment puts the right parent in its place. */
function withParent(specifier: string, parent: string): string {
  const resolve = importMetaResolve();
  let found: string | undefined;
  const hooks = registerHooks({
    resolve(wanted, context, next) {
      if (!wanted.startsWith(PROBE)) return next(wanted, context);
      if (resolve !== undefined) return next(specifier, { ...context, parentURL: parent });
      const conditions = context.conditions.map((condition) => (condition === "require" ? "import" : condition));
      found = next(specifier, { ...context, conditions, parentURL: parent }).url;
      throw new InternalError("known now: there is nothing to load");
    },
  });
  try {
    const probe = `${PROBE}${encodeURIComponent(specifier)}`;
    return String(resolve === undefined ? here()(probe) : resolve(probe));
  } catch (cause) {
    if (found !== undefined) return found;
    if (/^(?:\.{0,2}\/|file:)/.test(specifier)) return new URL(specifier, parent).href;
    throw new SerializationError(
      `cannot find what "${specifier}", imported by ${parent}, means (${cause instanceof Error ? cause.message : cause})`,
      { cause },
    );
  } finally {
    hooks.deregister();
  }
}

/**
 * A bundle has it in a file of its own. tsx and vite take it out of the modules that they transform, this one or that
 * file: then `require` is asked, under the conditions of `import`.
 */
function importMetaResolve(): ImportMeta["resolve"] | undefined {
  const own = import.meta.resolve as ImportMeta["resolve"] | undefined;
  if (own !== undefined || import.meta.url.endsWith(".ts")) return own;
  return (here()("./resolve.mjs") as Partial<ImportMeta>).resolve;
}

/** vite writes specifiers relative to its root, which is the working folder. */
function viteAddress(specifier: string): string | undefined {
  if (!specifier.startsWith("/")) return undefined;
  const path = fileAddress(specifier.startsWith("/@fs/") ? specifier.slice("/@fs".length) : specifier);
  for (const candidate of [join(process.cwd(), path), path]) {
    if (existsSync(candidate)) return pathToFileURL(candidate).href;
  }
  return undefined;
}

export function resolveRequire(specifier: string, parent: string): string {
  if (isBuiltin(specifier)) return specifier.startsWith("node:") ? specifier : `node:${specifier}`;
  return asUrl(createRequire(parent).resolve(specifier));
}

let required: NodeJS.Require | undefined;

function here(): NodeJS.Require {
  required ??= createRequire(import.meta.url);
  return required;
}

type ImportModule = (url: string, options?: ImportCallOptions) => Promise<unknown>;

/** In a bundle `import()` needs a file of its own, see bin/code-cache.ts. */
const importModule: ImportModule = import.meta.url.endsWith(".ts")
  ? (url, options) => (options === undefined ? import(url) : import(url, { ...options }))
  : (url, options) => (here()("./import.cjs") as ImportModule)(url, options && { ...options });

/** `module.exports` of a CommonJS module that has been loaded; undefined if it is not one. */
export function loadedCommonJs(url: string): { exports: unknown } | undefined {
  return url.startsWith("file:") ? here().cache[fileURLToPath(fileAddress(url))] : undefined;
}

/** A module that waits at its top level can only be imported asynchronously, ahead of what needs it. */
class ModuleNotReady extends InternalError {
  readonly url: string;

  constructor(url: string, cause: unknown) {
    super(`${url} waits at its top level; import it before the value that needs it (importModules)`, { cause });
    this.url = url;
  }
}

/**
 * The module that has to be imported (`importModules`) before decoding is tried again; undefined for errors with
 * another reason.
 */
export function moduleToImport(error: unknown): string | undefined {
  return error instanceof ModuleNotReady ? error.url : undefined;
}

/** Reads modules for what arrives; `await importModules` first for modules that may wait at their top level. */
export class ModuleReader {
  readonly #loaded = new Map<string, unknown>();
  readonly #namespaces = new Map<unknown, unknown>();

  /** `known` are modules that this process has under another address (its own runtime). */
  constructor(known: ReadonlyMap<string, unknown> = new Map()) {
    for (const [url, namespace] of known) this.#loaded.set(url, namespace);
  }

  /** Imports every module in the list, so that `read` can give them at once. */
  async importModules(urls: Iterable<string>): Promise<void> {
    for (const url of urls) {
      if (!this.#loaded.has(url) && !url.startsWith("node:")) this.#loaded.set(url, await importModule(url));
    }
  }

  read(url: string, how: ImportHow, name: string): unknown {
    switch (how) {
      case "namespace":
        return this.#namespace(url);
      case "export":
        return Reflect.get(this.#namespace(url) as object, name);
      case "require": {
        const exports = this.#require(url);
        return name === "" ? exports : Reflect.get(Object(exports), name);
      }
      case "createRequire":
        return createRequire(url);
      case "import":
        return importFrom(url);
      case "meta":
        return importFrom(url).meta;
    }
  }

  #require(url: string): unknown {
    if (url.startsWith("node:")) return process.getBuiltinModule(url);
    const loaded = loadedCommonJs(url);
    if (loaded) return loaded.exports;
    try {
      return here()(fileURLToPath(url));
    } catch (error) {
      // Only `import()` takes modules that wait at their top level; `importModules` has done so if it was asked to.
      if ((error as { code?: unknown } | null)?.code === "ERR_REQUIRE_ASYNC_MODULE" && this.#loaded.has(url)) {
        return this.#loaded.get(url);
      }
      if ((error as { code?: unknown } | null)?.code === "ERR_REQUIRE_ASYNC_MODULE")
        throw new ModuleNotReady(url, error);
      throw error;
    }
  }

  #namespace(url: string): unknown {
    const loaded = this.#loaded.get(url);
    if (loaded !== undefined) return loaded;
    const value = this.#require(url);
    if (types.isModuleNamespaceObject(value)) return value;
    // A CommonJS or built-in module: `import` would give its members and the whole as `default`.
    let namespace = this.#namespaces.get(value);
    if (namespace === undefined) {
      namespace = Object.assign(Object.create(null), value, { default: value });
      this.#namespaces.set(value, namespace);
    }
    return namespace;
  }
}

interface Importer {
  (specifier: string, options?: ImportCallOptions): Promise<unknown>;
  meta: ImportMeta;
}

const importers = new Map<string, Importer>();

/** `import()` and `import.meta` as they are in the file at `url`. */
export function importFrom(url: string): Importer {
  let importer = importers.get(url);
  if (!importer) {
    const isFile = url.startsWith("file:");
    const path = isFile ? fileURLToPath(fileAddress(url)) : undefined;
    importer = Object.assign(
      async (specifier: string, options?: ImportCallOptions) =>
        importModule(resolveImport(String(specifier), url), options),
      {
        meta: Object.assign(Object.create(null), {
          url,
          ...(path === undefined ? {} : { filename: path, dirname: join(path, "..") }),
          main: false,
          resolve: (specifier: string) => resolveImport(String(specifier), url),
        }) as ImportMeta,
      },
    );
    importers.set(url, importer);
  }
  return importer;
}
