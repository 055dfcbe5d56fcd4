/** `init({ tracing })`: finds the API of OpenTelemetry and the program's setup, as the program would. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { InvalidOptionError } from "../base/errors.ts";
import { needsVersion } from "../base/wire-version.ts";
import { Tracing, type TracingApi } from "../client/mod.ts";
import { importedModule, importFrom, mainModuleUrl, resolveImport, workingFolderUrl } from "../closure/mod.ts";

export interface TracingSettings {
  readonly setup?: string;
}

const API = "@opentelemetry/api";

/** Loads the program's setup here too: a module that was given to `--import` is there already, and does not run twice. */
export async function openTracing({ setup: given }: TracingSettings): Promise<Tracing> {
  needsVersion(2, "tracing");
  const setup = given === undefined ? undefined : setupAt(given);
  const url = apiAt([...(setup === undefined ? [] : [setup]), ...[mainModuleUrl() ?? []].flat(), workingFolderUrl()]);
  if (setup !== undefined) {
    try {
      await importFrom(workingFolderUrl())(setup);
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new InvalidOptionError(`init() option "tracing.setup": the module ${given} failed: ${why}`, { cause });
    }
  }
  const api = (await importFrom(workingFolderUrl())(url)) as TracingApi;
  return new Tracing(api, [url, ...(setup === undefined ? [] : [setup])].map(importedModule));
}

function setupAt(given: string): string {
  const isPath = /^(?:\.{0,2}\/|file:)/.test(given);
  try {
    const url = given.startsWith("file:") ? given : pathToFileURL(resolve(given)).href;
    if (!isPath) return resolveImport(given, workingFolderUrl());
    if (existsSync(fileURLToPath(url))) return url;
  } catch {
    // A package that is not installed is told like a file that is not there.
  }
  throw new InvalidOptionError(
    `init() option "tracing.setup" is ${JSON.stringify(given)}, which is not there; it must be the path of a module of this program, such as "./instrumentation.mjs"`,
  );
}

/** @param parents who may have it, in this order. */
function apiAt(parents: readonly string[]): string {
  for (const parent of parents) {
    try {
      return resolveImport(API, parent);
    } catch {
      // The next one may.
    }
  }
  throw new InvalidOptionError(
    `init() option "tracing" needs ${API}, which this program does not have: npm install ${API}`,
  );
}
