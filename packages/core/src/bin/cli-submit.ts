/** `mobula submit`: a command that runs on the cluster, with what it prints here. */
import { createReadStream, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { Readable } from "node:stream";
import { type Command, InvalidArgumentError } from "commander";
import { parse } from "yaml";
import type { Row } from "../state/mod.ts";
import { type ApiPlace, askApi, findApi } from "./api-client.ts";
import { exitCodeOf, followJob, jobPath, lastWords } from "./cli-follow.ts";
import { amount, bytes, duration, label, resource } from "./cli-options.ts";
import { print } from "./cli-print.ts";
import { packFolder } from "./work-folder.ts";

interface SubmitOptions {
  readonly workingDir?: string;
  readonly runtimeEnv?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly submissionId?: string;
  readonly metadata?: Readonly<Record<string, string>>;
  readonly cpus?: number;
  readonly gpus?: number;
  readonly memory?: number;
  readonly resource?: Readonly<Record<string, number>>;
  readonly label?: Readonly<Record<string, string>>;
  readonly retries: number;
  readonly retryDelay: number;
  readonly startTimeout?: number;
  readonly wait: boolean;
  readonly address?: string;
}

/** In which a second Ctrl-C is one for the job. */
const SECOND_MS = 1_500;
const UPLOAD_MS = 30 * 60_000;

export function addSubmit(program: Command): void {
  program
    .command("submit <command...>")
    .description("run a command on the cluster; print what it prints, and exit with its code")
    .option("--working-dir <folder>", "is brought along, and the command runs in a copy of it (default: nothing is)")
    .option("--runtime-env <file>", "env, workingDir, npm, nodeOptions, setup and timeoutMs from a YAML or JSON file")
    .option("--env <name=value>", "a variable of its environment; may be repeated", label)
    .option("--cpus <n>", "CPUs to hold while it runs, beside those of its tasks (default: 0)", amount)
    .option("--gpus <n>", "GPUs to hold while it runs", amount)
    .option("--memory <bytes>", "memory to hold while it runs, such as 4GiB", bytes)
    .option("--resource <name=n>", "another resource to hold; may be repeated", resource)
    .option("--label <key=value>", "of the node that it is to run on; may be repeated", label)
    .option("--retries <n>", "how often it is tried again when it fails or its node dies; -1: for ever", retries, 0)
    .option("--retry-delay <time>", "before the first retry; each further one waits twice as long", duration, 0)
    .option(
      "--start-timeout <time>",
      "it fails if it was not started by then (default: 15m, while no node could ever take it)",
      duration,
    )
    .option("--submission-id <id>", "how it is called (default: a random id)")
    .option("--metadata <key=value>", "kept with it; may be repeated", label)
    .option("--no-wait", "print its id, and do not wait for it")
    .option("--address <address>", "of the cluster: host:port, or the http address (default: of this machine)")
    .addHelpText(
      "after",
      `
Ctrl-C leaves it running; a second one within a second ends it. MOBULA_ADDRESS and MOBULA_JOB_ID are set for the command, so
that init() in it joins the cluster. Several words are arguments, as they are; a single one is a line for the shell.

Exits with the command's code, 128 + n if signal n ended it, and 1 if it could not be run to its end.

Examples:
  $ mobula submit -- node app.ts
  $ mobula submit --working-dir . --runtime-env env.yaml -- node app.ts --epochs 3
  $ mobula submit --cpus 4 --retries 2 --no-wait -- ./train.sh
  $ mobula submit 'echo $HOSTNAME; date'`,
    )
    .action(submit);
}

async function submit(command: readonly string[], options: SubmitOptions): Promise<void> {
  const place = await findApi(options.address);
  const runtimeEnv = await environment(place, options);
  const { cpus, gpus, memory, resource: others, submissionId, metadata, label: labels } = options;
  const body = {
    entrypoint: command.length === 1 ? command[0] : command.map(quoted).join(" "),
    runtimeEnv,
    ...(submissionId !== undefined && { submissionId }),
    ...(metadata && { metadata }),
    ...(labels && { labels }),
    resources: {
      ...others,
      ...(cpus !== undefined && { cpu: cpus }),
      ...(gpus !== undefined && { gpu: gpus }),
      ...(memory !== undefined && { memory }),
    },
    ...(options.startTimeout !== undefined && { startTimeoutMs: options.startTimeout }),
    retry: { maxRetries: options.retries, delayMs: options.retryDelay },
  };
  const response = await askApi(place, "/api/v1/jobs", { method: "POST", body });
  const { submissionId: id } = (await response.json()) as Row<"jobs">;
  if (id === null) throw new Error("the state service has given the job no id");
  if (!options.wait) {
    print(id);
    return;
  }
  process.stderr.write(`mobula: job ${id}\n`);
  const unhook = hookInterrupts(place, id);
  const job = await followJob(place, id, () => findApi(options.address));
  unhook();
  const words = lastWords(job);
  if (words !== undefined) process.stderr.write(`${words}\n`);
  process.exitCode = exitCodeOf(job);
}

/** What the file says and the options, and the folder as a package that was uploaded. */
async function environment(
  place: ApiPlace,
  { runtimeEnv: file, workingDir: folder, env }: SubmitOptions,
): Promise<Readonly<Record<string, unknown>>> {
  const said: unknown = file === undefined ? {} : parse(readFileSync(file, "utf8"));
  if (typeof said !== "object" || said === null || Array.isArray(said)) {
    throw new Error(
      `${file} is no runtime environment: it must be an object with env, workingDir, npm, nodeOptions, setup or timeoutMs`,
    );
  }
  const { working_dir, env_vars, ...rest } = said as Readonly<Record<string, unknown>>;
  const given = folder ?? rest.workingDir ?? working_dir;
  const variables = { ...(env_vars as object | undefined), ...(rest.env as object | undefined), ...env };
  return {
    ...rest,
    ...(Object.keys(variables).length > 0 && { env: variables }),
    ...(given !== undefined && { workingDir: await uploaded(place, given) }),
  };
}

async function uploaded(place: ApiPlace, given: unknown): Promise<string> {
  const { path, excludes = [] } = typeof given === "string" ? { path: given } : (given as WorkingDir);
  if (typeof path !== "string") throw new Error("workingDir must be a folder, or an object with its path");
  if (path.includes("://")) return path;
  const folder = resolve(path);
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) throw new Error(`${folder} is no folder`);
  const scratch = mkdtempSync(join(tmpdir(), "mobula-submit-"));
  try {
    const zip = join(scratch, "package.zip");
    const packed = packFolder(folder, excludes, zip);
    const at = `/api/packages/${packed.uri.replace("://", "/")}`;
    if (await isThere(place, at)) return packed.uri;
    const content = Readable.toWeb(createReadStream(zip)) as ReadableStream<Uint8Array>;
    const { url, token } = place;
    const response = await fetch(url + at, {
      method: "PUT",
      headers: { authorization: `Bearer ${token}`, "content-length": String(packed.bytes) },
      body: content,
      duplex: "half",
      signal: AbortSignal.timeout(UPLOAD_MS),
    });
    if (!response.ok) throw new Error(`the folder could not be uploaded: ${await response.text()}`);
    const { note } = (await response.json()) as { readonly note?: string };
    if (note !== undefined) process.stderr.write(`mobula: ${note}\n`);
    return packed.uri;
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

interface WorkingDir {
  readonly path: unknown;
  readonly excludes?: readonly string[];
}

async function isThere(place: ApiPlace, path: string): Promise<boolean> {
  try {
    await askApi(place, path);
    return true;
  } catch (error) {
    if ((error as { readonly status?: number }).status === 404) return false;
    throw error;
  }
}

/** The first Ctrl-C leaves the job alone, unless a second one follows. */
function hookInterrupts(place: ApiPlace, id: string): () => void {
  let leaving: NodeJS.Timeout | undefined;
  const onInterrupt = (): void => {
    if (leaving === undefined) {
      process.stderr.write(
        `\nmobula: job ${id} goes on (Ctrl-C again ends it)\n  mobula job logs -f ${id}\n  mobula job stop ${id}\n`,
      );
      leaving = setTimeout(() => process.exit(130), SECOND_MS);
      return;
    }
    clearTimeout(leaving);
    process.stderr.write(`mobula: job ${id} is to end\n`);
    askApi(place, `${jobPath(id)}/stop`, { method: "POST" }).catch((error: Error) => {
      process.stderr.write(`mobula: it cannot be told: ${error.message}\n`);
      process.exit(1);
    });
  };
  process.on("SIGINT", onInterrupt);
  return () => process.removeListener("SIGINT", onInterrupt);
}

/** For the shell, so that an argument is what it is here. */
const quoted = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

function retries(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < -1) throw new InvalidArgumentError("It is a whole number, or -1.");
  return value;
}
