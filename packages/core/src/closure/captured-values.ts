/**
 * The free names of a function looked up in the copies of its scopes; names from other modules become bindings.
 */
import { type EncodeSession, refusal } from "../codec/custom.ts";
import { type AnyFunction, type Inspected, readVariable, type ScopeCopy } from "./inspector.ts";
import { esbuildName, isStandardGlobal } from "./intrinsics.ts";
import { ImportedBinding, mainModuleUrl, resolveImport, resolveRequire, workingFolderUrl } from "./modules.ts";
import type { KnownSite } from "./site-cache.ts";

/** A free name that has a value: a variable that may be shared, or a value of the function's own. */
export interface Found {
  readonly name: string;
  readonly value: unknown;
  /** Index into the scopes if the variable may be assigned to. */
  readonly sharedIn: number | undefined;
}

export function describe(fn: AnyFunction): string {
  return fn.name ? `${fn.name}` : "an anonymous function";
}

function isGlobalScope(scope: ScopeCopy): boolean {
  return scope.description === "Global" || scope.object === globalThis;
}

/** Whether the scope at `index` is the module's top level. */
export function isTopScope(index: number, known: KnownSite, scopes: readonly ScopeCopy[]): boolean {
  const { program } = known;
  const scope = scopes[index] as ScopeCopy;
  if (program.script.isModule) return scope.description === "Module";
  const last = scopes.findLastIndex((one) => !isGlobalScope(one) && one.description !== "Script");
  if (index === last) return known.url.startsWith("file:");
  // vite's wrapper has parameters outside and a block inside.
  return program.isVite && index === last - 1;
}

export function findValues(
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
