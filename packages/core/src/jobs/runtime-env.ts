/** What a job's runtime environment says, in our names or in those of Ray's tools. */
import { checkJobEnvironment } from "../api/mod.ts";
import { InvalidOptionError } from "../base/errors.ts";
import type { JobSpec } from "../entrypoint/mod.ts";

export interface ReadRuntimeEnv
  extends Pick<JobSpec, "env" | "workingDir" | "npm" | "nodeOptions" | "setup" | "environmentTimeoutMs"> {
  /** As it was given, without what may be secret. */
  readonly shown: Readonly<Record<string, unknown>>;
}

/** Ray's own bookkeeping, which changes nothing here. */
const IGNORED = new Set(["config", "eager_install", "excludes", "_ray_commit", "_ray_release", "_inject_current_ray"]);
const PYTHON = new Set(["pip", "uv", "conda", "py_modules", "py_executable", "container", "image_uri", "java_jars"]);
const RAYS: Readonly<Record<string, string>> = { env_vars: "env", working_dir: "workingDir" };
const FIELDS = ["env", "workingDir", "npm", "nodeOptions", "setup", "timeoutMs"];
const HIDDEN = "(hidden)";
const CALL = "a job";

/** @throws InvalidOptionError naming the field that cannot be had. */
export function readRuntimeEnv(given: Readonly<Record<string, unknown>>): ReadRuntimeEnv {
  const said: Record<string, unknown> = {};
  const shown: Record<string, unknown> = {};
  for (const [field, value] of Object.entries(given)) {
    if (value === null || value === undefined || IGNORED.has(field)) continue;
    const ours = RAYS[field] ?? field;
    if (!FIELDS.includes(ours)) {
      throw new InvalidOptionError(
        PYTHON.has(field)
          ? `runtime environment: "${field}" installs Python packages, which Mobula does not; have them in the image of the nodes, or let the entrypoint install them`
          : `runtime environment: unknown field "${field}"; there are env (env_vars), workingDir (working_dir), npm, nodeOptions, setup and timeoutMs`,
      );
    }
    said[ours] = value;
    shown[field] = value;
    // Tokens are passed so: nobody is shown them.
    if (ours === "env") shown[field] = hidden(value);
  }
  const { workingDir: folder, ...rest } = said;
  const workingDir = folder === undefined ? null : checkedFolder(folder);
  const { env = {}, npm, nodeOptions = [], setup, timeoutMs } = checkJobEnvironment(CALL, rest);
  const isUploaded = workingDir?.includes("://") === true;
  if (npm && !npm.dependencies && !isUploaded) {
    throw new InvalidOptionError(
      'runtime environment: "npm" installs what package.json in the working directory says, so "workingDir" must be uploaded',
    );
  }
  if (npm && npm.path !== undefined && !isInside(npm.path)) {
    throw new InvalidOptionError(
      `runtime environment: "npm.path" is ${JSON.stringify(npm.path)}; it must be a folder in the working directory, such as "./tools"`,
    );
  }
  if (setup && /^\.{0,2}\//.test(setup.module) && !(isUploaded && isInside(setup.module))) {
    throw new InvalidOptionError(
      `runtime environment: "setup" is ${JSON.stringify(setup.module)}, a file; it must lie in the working directory, which must be uploaded`,
    );
  }
  return {
    ...{ env, workingDir, nodeOptions, npm: npm || null, setup: setup ?? null },
    environmentTimeoutMs: timeoutMs ?? null,
    shown,
  };
}

const hidden = (env: unknown): unknown =>
  typeof env === "object" && env !== null ? Object.fromEntries(Object.keys(env).map((name) => [name, HIDDEN])) : HIDDEN;

const isInside = (path: string): boolean => !path.startsWith("/") && !path.split("/").includes("..");

function checkedFolder(value: unknown): string {
  if (typeof value !== "string" || value === "" || value.includes("\0")) {
    throw new InvalidOptionError('runtime environment: "workingDir" must be a package (gcs://….zip) or a folder');
  }
  if (value.includes("://") && !value.startsWith("gcs://")) {
    throw new InvalidOptionError(
      `runtime environment: "workingDir" is ${value}; only uploaded packages (gcs://….zip) and folders of the nodes can be used`,
    );
  }
  if (!value.includes("://") && !value.startsWith("/")) {
    throw new InvalidOptionError(
      `runtime environment: "workingDir" is ${value}, which is no absolute path; \`mobula submit --working-dir\` uploads a folder`,
    );
  }
  return value;
}
