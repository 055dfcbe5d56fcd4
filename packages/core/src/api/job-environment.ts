/** What a driver has from the submitted job that its command belongs to: the environment that its tasks and actors have unless they say otherwise. */
import { InvalidOptionError } from "../base/errors.ts";
import type { Client } from "../client/mod.ts";
import type { DriverEnvironment } from "../entrypoint/mod.ts";
import { checkRuntimeEnv } from "./options.ts";
import { environmentFor } from "./runtime-env.ts";

const VARIABLE = "MOBULA_JOB_ENVIRONMENT";
const CALL = "the job's environment:";

/** To be there before the environment that `init` is given. @throws InvalidOptionError; OutOfDiskError. */
export function inheritEnvironment(client: Client, text = process.env[VARIABLE]): void {
  if (!text) return;
  const { runtimeEnv, workingDir } = read(text);
  const { npm, ...settings } = checkRuntimeEnv(CALL, runtimeEnv);
  const { path = "." } = npm || {};
  // What is in the package itself is named by it; a folder in it lies where the command runs.
  const beside = npm && path !== "." && workingDir ? { ...npm, path: `${workingDir.folder}/${path}` } : npm;
  const own = {
    ...settings,
    ...(beside !== undefined && { npm: beside && path === "." ? withoutPath(beside) : beside }),
    ...(workingDir && {
      workingDir: { path: workingDir.zip, bytesMax: Number.MAX_SAFE_INTEGER, root: workingDir.folder },
    }),
  };
  if (Object.keys(own).length > 0) client.runtimeEnv = environmentFor(client, CALL, own);
}

const withoutPath = <T extends object>(npm: T): Omit<T, "path"> => {
  const { path: _path, ...rest } = npm as T & { readonly path?: string };
  return rest as Omit<T, "path">;
};

function read(text: string): DriverEnvironment {
  try {
    return JSON.parse(text) as DriverEnvironment; // Written by `entrypoint/command.ts` of this package.
  } catch (cause) {
    throw new InvalidOptionError(`${VARIABLE} is not what a job's command is given`, { cause });
  }
}
