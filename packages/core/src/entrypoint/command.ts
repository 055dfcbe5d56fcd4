/** The command of a job as a process: started by the shell, with what it prints in the order in which it prints it. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { delimiter, dirname } from "node:path";
import type { Readable } from "node:stream";
import type { JoinInfo } from "../wire/queries.ts";
import type { Exit } from "./life.ts";
import type { JobSpec } from "./record.ts";

/** What a process that has ended left in its pipe is there by then; children that hold the pipe open are not waited for. */
const LAST_LINES_MS = 500;
/** Of a command that failed, in the message of its job. */
const TAIL_CHARS_MAX = 4_000;

const JOB_VARIABLE = "MOBULA_JOB_ID";
export const markOf = (submissionId: string): string => `${JOB_VARIABLE}=${submissionId}`;

export interface CommandOptions {
  readonly spec: JobSpec;
  /** The package of its working directory. */
  readonly zip: string | undefined;
  readonly cwd: string | undefined;
  readonly join: JoinInfo | null;
  readonly onOutput: (chunk: Buffer) => void;
}

/** What a worker is told by its environment is not for programs that it starts. */
const NOT_INHERITED =
  /^(MOBULA_(NODE|WORKER|HEAD|CODE_CACHE|COMPILE_CACHE|ADDRESS|TOKEN|TOKEN_FILE|TLS_\w+)|NODE_COMPILE_CACHE)$/;

/** What a driver in it, and with it tasks and actors, have from the job: read by `init` (api/job-environment.ts). */
export interface DriverEnvironment {
  readonly submissionId: string;
  readonly runtimeEnv: {
    readonly env?: JobSpec["env"];
    readonly npm?: JobSpec["npm"];
    readonly nodeOptions?: JobSpec["nodeOptions"];
    readonly setup?: JobSpec["setup"];
    readonly timeoutMs?: number;
  };
  /** The package of the working directory, and where the command was started with what is in it. */
  readonly workingDir?: { readonly zip: string; readonly folder: string };
}
const ENVIRONMENT_VARIABLE = "MOBULA_JOB_ENVIRONMENT";

function driverEnvironmentOf({ spec, zip, cwd }: CommandOptions): DriverEnvironment {
  const { submissionId, env, npm, nodeOptions = [], setup, environmentTimeoutMs } = spec;
  return {
    submissionId,
    runtimeEnv: {
      ...(Object.keys(env).length > 0 && { env }),
      ...(npm && { npm }),
      ...(nodeOptions.length > 0 && { nodeOptions }),
      ...(setup && { setup }),
      ...(typeof environmentTimeoutMs === "number" && { timeoutMs: environmentTimeoutMs }),
    },
    ...(zip !== undefined && cwd !== undefined && { workingDir: { zip, folder: cwd } }),
  };
}

/** Those that a process takes from its environment; workers are given all of them as arguments. */
function nodeOptionsOf({ nodeOptions = [], env }: JobSpec, inherited: NodeJS.ProcessEnv): string | undefined {
  const allowed = nodeOptions.filter((option) =>
    process.allowedNodeEnvironmentFlags.has(option.split("=", 1)[0] ?? ""),
  );
  if (allowed.length === 0) return undefined;
  const quoted = allowed.map((option) =>
    /[\s"\\]/.test(option) ? `"${option.replaceAll(/["\\]/g, "\\$&")}"` : option,
  );
  return [env.NODE_OPTIONS ?? inherited.NODE_OPTIONS, ...quoted].filter((part) => part).join(" ");
}

function environmentOf(options: CommandOptions, inherited: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const { spec, join } = options;
  const { submissionId, env } = spec;
  const nodeOptions = nodeOptionsOf(spec, inherited);
  const kept = Object.entries(inherited).filter(([name]) => !NOT_INHERITED.test(name));
  const { cert, key, ca, serverName } = join?.tls ?? {};
  return {
    ...Object.fromEntries(kept),
    // Where there is no other `node`, it is the one that runs this.
    PATH: [inherited.PATH, dirname(process.execPath)]
      .filter((part) => part !== undefined && part !== "")
      .join(delimiter),
    // Python keeps back what it prints into a pipe.
    PYTHONUNBUFFERED: "1",
    ...env,
    ...(nodeOptions !== undefined && { NODE_OPTIONS: nodeOptions }),
    ...(join && { MOBULA_ADDRESS: join.address }),
    ...(join?.tokenFile != null && { MOBULA_TOKEN_FILE: join.tokenFile }),
    ...(cert !== undefined && { MOBULA_TLS_CERT: cert }),
    ...(key !== undefined && { MOBULA_TLS_KEY: key }),
    ...(ca !== undefined && { MOBULA_TLS_CA: ca }),
    ...(serverName !== undefined && { MOBULA_TLS_SERVER_NAME: serverName }),
    [JOB_VARIABLE]: submissionId,
    [ENVIRONMENT_VARIABLE]: JSON.stringify(driverEnvironmentOf(options)),
  };
}

export class Command {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  private tail = "";

  /** @throws what keeps it from starting. */
  static async start(options: CommandOptions): Promise<Command> {
    // One pipe for both streams, so that lines stay in order. In the worker's session, so that nothing of it outlives the worker.
    const args = ["-c", 'exec 2>&1; exec /bin/sh -c "$0"', options.spec.entrypoint];
    const child = spawn("/bin/sh", args, {
      stdio: ["ignore", "pipe", "pipe"],
      env: environmentOf(options, process.env),
      ...(options.cwd !== undefined && { cwd: options.cwd }),
    });
    await once(child, "spawn");
    return new Command(child, options.onOutput);
  }

  private constructor(child: ChildProcessByStdio<null, Readable, Readable>, onOutput: (chunk: Buffer) => void) {
    this.pid = child.pid as number; // It has been spawned.
    for (const stream of [child.stdout, child.stderr]) {
      const decoder = new TextDecoder();
      stream.on("data", (chunk: Buffer) => {
        this.tail = (this.tail + decoder.decode(chunk, { stream: true })).slice(-TAIL_CHARS_MAX);
        onOutput(chunk);
      });
    }
    const { promise, resolve } = Promise.withResolvers<Exit>();
    this.exited = promise;
    child.once("exit", (exitCode, signal) => {
      const settle = (): void => {
        clearTimeout(late);
        for (const stream of [child.stdout, child.stderr]) stream.destroy();
        resolve({ exitCode, signal, tail: this.tail });
      };
      const late = setTimeout(settle, LAST_LINES_MS);
      child.once("close", settle);
    });
  }
}
