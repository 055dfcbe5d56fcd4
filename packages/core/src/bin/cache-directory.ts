/** The folder of what Mobula computes once a machine and user: compiled code. */
import { lstatSync, mkdirSync } from "node:fs";
import { constants, enableCompileCache, flushCompileCache } from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";

/**
 * A folder that only this user can write, or undefined where there is none. What lies there is run as code: a folder
 * that others can write, or one that they prepared, is not used. `MOBULA_CACHE_DIR` names another place than
 * `$XDG_CACHE_HOME/mobula` or `~/.cache/mobula`.
 */
export function cacheDirectory(): string | undefined {
  try {
    const directory =
      process.env.MOBULA_CACHE_DIR ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "mobula");
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const status = lstatSync(directory);
    const isPrivate = status.isDirectory() && status.uid === process.getuid?.() && (status.mode & 0o022) === 0;
    return isPrivate ? directory : undefined;
  } catch {
    // No home, a read-only or a full disk: everything works without a cache, only slower.
    return undefined;
  }
}

/** By then a process has loaded what it starts with. */
const FLUSH_AFTER_MS = 1_000;
/** Names the cache that a process was started with by this package, not by the user. */
const OWN_CACHE_VARIABLE = "MOBULA_COMPILE_CACHE";

const ownCache = (): string | undefined => {
  const directory = cacheDirectory();
  return directory === undefined ? undefined : join(directory, "compile");
};
let environment: Readonly<Record<string, string>> | undefined;

/** What gives a process the compile cache from its first module on. An explicit `NODE_COMPILE_CACHE` wins. */
export function compileCacheEnvironment(): Readonly<Record<string, string>> {
  if (process.env.NODE_COMPILE_CACHE !== undefined) return {};
  if (!environment) {
    const own = ownCache();
    environment = own === undefined ? {} : { NODE_COMPILE_CACHE: own, [OWN_CACHE_VARIABLE]: own };
  }
  return environment;
}

/**
 * Keeps the compiled form of the modules this process loads for the next one, TypeScript with its types already
 * stripped included. An explicit `NODE_COMPILE_CACHE` wins. Node.js writes the cache when a process exits; ours end by
 * signal, so it is written once they have started.
 */
export function useCompileCache(): void {
  const { NODE_COMPILE_CACHE: given, [OWN_CACHE_VARIABLE]: own } = process.env;
  if (own === undefined) {
    const directory = given ?? ownCache();
    if (directory === undefined) return;
    const { status } = enableCompileCache(directory);
    const { ENABLED, ALREADY_ENABLED } = constants.compileCacheStatus;
    if (status !== ENABLED && status !== ALREADY_ENABLED) return;
  } else {
    // Programs that this one starts are not ours.
    if (given === own) delete process.env.NODE_COMPILE_CACHE;
    delete process.env[OWN_CACHE_VARIABLE];
  }
  setTimeout(flushCompileCache, FLUSH_AFTER_MS).unref();
}
