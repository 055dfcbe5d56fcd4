/** What a job's runtime environment says, in our names or in those of Ray's tools. */
import { InvalidOptionError } from "../base/errors.ts";

export interface ReadRuntimeEnv {
  readonly env: Readonly<Record<string, string>>;
  readonly workingDir: string | null;
  readonly npm: { readonly dev: boolean; readonly allowScripts: boolean } | null;
  /** As it was given, without what may be secret. */
  readonly shown: Readonly<Record<string, unknown>>;
}

/** Ray's own bookkeeping, which changes nothing here. */
const IGNORED = new Set(["config", "eager_install", "excludes", "_ray_commit", "_ray_release", "_inject_current_ray"]);
const PYTHON = new Set(["pip", "uv", "conda", "py_modules", "py_executable", "container", "image_uri", "java_jars"]);
const HIDDEN = "(hidden)";

/** @throws InvalidOptionError naming the field that cannot be had. */
export function readRuntimeEnv(given: Readonly<Record<string, unknown>>): ReadRuntimeEnv {
  let env: Record<string, string> = {};
  let workingDir: string | null = null;
  let npm: ReadRuntimeEnv["npm"] = null;
  const shown: Record<string, unknown> = {};
  for (const [field, value] of Object.entries(given)) {
    if (value === null || value === undefined || IGNORED.has(field)) continue;
    switch (field) {
      case "env":
      case "env_vars":
        env = variables(field, value);
        // Tokens are passed so: nobody is shown them.
        shown[field] = Object.fromEntries(Object.keys(env).map((name) => [name, HIDDEN]));
        break;
      case "workingDir":
      case "working_dir":
        workingDir = folder(field, value);
        shown[field] = workingDir;
        break;
      case "npm":
        npm = installation(value);
        if (npm !== null) shown[field] = npm;
        break;
      default:
        throw new InvalidOptionError(
          PYTHON.has(field)
            ? `runtime environment: "${field}" installs Python packages, which Mobula does not; have them in the image of the nodes, or let the entrypoint install them`
            : `runtime environment: unknown field "${field}"; there are env (env_vars), workingDir (working_dir) and npm`,
        );
    }
  }
  if (npm !== null && !workingDir?.includes("://")) {
    throw new InvalidOptionError(
      'runtime environment: "npm" installs what package.json in the working directory says, so "workingDir" must be uploaded',
    );
  }
  return { env, workingDir, npm, shown };
}

function installation(value: unknown): ReadRuntimeEnv["npm"] {
  if (value === false) return null;
  if (value === true) return { dev: false, allowScripts: false };
  const {
    dev = false,
    allowScripts = false,
    ...others
  } = (typeof value === "object" ? value : { value }) as {
    readonly [field: string]: unknown;
  };
  if (typeof dev !== "boolean" || typeof allowScripts !== "boolean" || Object.keys(others).length > 0) {
    throw new InvalidOptionError('runtime environment: "npm" must be true, or an object with dev and allowScripts');
  }
  return { dev, allowScripts };
}

function variables(field: string, value: unknown): Record<string, string> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InvalidOptionError(`runtime environment: "${field}" must be an object from variable to string`);
  }
  for (const [name, text] of Object.entries(value)) {
    if (typeof text !== "string" || text.includes("\0") || name === "" || /[=\0]/.test(name)) {
      throw new InvalidOptionError(`runtime environment: "${field}.${name}" must be a string`);
    }
  }
  return value as Record<string, string>;
}

function folder(field: string, value: unknown): string {
  if (typeof value !== "string" || value === "" || value.includes("\0")) {
    throw new InvalidOptionError(`runtime environment: "${field}" must be a package (gcs://….zip) or a folder`);
  }
  if (value.includes("://") && !value.startsWith("gcs://")) {
    throw new InvalidOptionError(
      `runtime environment: "${field}" is ${value}; only uploaded packages (gcs://….zip) and folders of the nodes can be used`,
    );
  }
  if (!value.includes("://") && !value.startsWith("/")) {
    throw new InvalidOptionError(
      `runtime environment: "${field}" is ${value}, which is no absolute path; \`mobula submit --working-dir\` uploads a folder`,
    );
  }
  return value;
}
