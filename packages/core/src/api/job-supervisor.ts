/** The actor beside the command of a submitted job (the room `entrypoint`). */
import { join } from "node:path";
import { InvalidOptionError } from "../base/errors.ts";
import type { CommandEnvironment, JobSpec, LogPiece, Supervision, WorkingDir } from "../entrypoint/mod.ts";
import type { JoinInfo } from "../wire/queries.ts";
import { exitActor, runtimeContext } from "./actors.ts";
import { client } from "./current.ts";
import { onShutdown, onStart } from "./hooks.ts";
import { get, kill } from "./objects.ts";
import { checkRuntimeEnv } from "./options.ts";
import { remote } from "./remote.ts";
import type { RuntimeEnvSettings } from "./runtime-env-settings.ts";

/** @hidden Made by the service that takes jobs: detached, and made again for as long as the job goes on. */
export class JobSupervisor {
  readonly #supervision: Promise<Supervision>;

  constructor(submissionId: string) {
    this.#supervision = supervisionOf(submissionId);
  }

  // What it begins is not awaited: the actor takes calls from now on.
  async [onStart](): Promise<void> {
    const supervision = await this.#supervision;
    supervision.run().catch((error: Error) => {
      // With the death of its worker it is made anew, and goes on from what is written down.
      console.error(`mobula: a job is not looked after any more: ${error.stack}`);
      process.exit(1);
    });
  }

  /** Its node ends or is drained: the command cannot stay. */
  async [onShutdown](): Promise<void> {
    await (await this.#supervision).leave();
  }

  async stop(): Promise<void> {
    await (await this.#supervision).stop();
  }

  async missing(): Promise<string | null> {
    return (await this.#supervision).missing();
  }

  async offer(hash: string): Promise<boolean> {
    return (await this.#supervision).offer(hash);
  }

  async bring(hash: string, offset: number, total: number, bytes: Uint8Array): Promise<void> {
    await (await this.#supervision).bring(hash, offset, total, bytes);
  }

  async notToBeHad(why: string): Promise<void> {
    (await this.#supervision).notToBeHad(why);
  }

  async *follow(offset: number): AsyncGenerator<LogPiece, void> {
    yield* (await this.#supervision).follow(offset);
  }
}

/** @hidden The environment that a job is to have. @throws InvalidOptionError naming the first thing that is wrong. */
export function checkJobEnvironment(call: string, given: unknown): RuntimeEnvSettings {
  return checkRuntimeEnv(call, given);
}

/** @hidden A task on the node where the command ran: what it printed there. */
export async function readJobOutput(submissionId: string, offset: number, bytesMax: number): Promise<LogPiece> {
  const { readJobLog } = await import("../entrypoint/mod.ts");
  return readJobLog(await logFolder(), submissionId, offset, bytesMax);
}

/** @hidden The same, to remove it. */
export async function removeJobOutput(submissionId: string): Promise<void> {
  const { removeJobLog } = await import("../entrypoint/mod.ts");
  removeJobLog(await logFolder(), submissionId);
}

async function logFolder(): Promise<string> {
  const info = (await client().port.query("join-info", null)) as JoinInfo | null;
  if (!info) throw new InvalidOptionError("this node runs no submitted jobs");
  return info.logFolder;
}

/** Loaded by the few workers that need it. */
async function supervisionOf(submissionId: string): Promise<Supervision> {
  const { nodeId } = runtimeContext();
  const { Supervision } = await import("../entrypoint/mod.ts");
  return new Supervision(submissionId, {
    ask: (method, params) => client().port.query(method, params) as never, // Of the method that was asked for.
    nodeId,
    prepare: (spec, dir, signal) => environmentOf(spec, dir, nodeId, signal),
    joinInfo: () => client().port.query("join-info", null) as never,
    exit: () => void exitActor(),
  });
}

/** @hidden Lives in the environment of a job on the node of its command, which is there for as long. */
export class JobEnvironment {
  folder(): string {
    return process.cwd();
  }
}

async function environmentOf(
  { submissionId, npm, environmentTimeoutMs }: JobSpec,
  { folder, zip }: WorkingDir,
  nodeId: string,
  signal: AbortSignal,
): Promise<CommandEnvironment> {
  const { path, ...how } = npm ?? {};
  const held = remote(JobEnvironment, {
    // As the service that takes jobs looks for it.
    name: `job-${submissionId}/environment`,
    numCpus: 0,
    schedulingStrategy: { nodeId, soft: false },
    runtimeEnv: {
      workingDir: { path: zip, bytesMax: Number.MAX_SAFE_INTEGER },
      npm: path === undefined ? how : { ...how, path: join(folder, path) },
      ...(typeof environmentTimeoutMs === "number" && { timeoutMs: environmentTimeoutMs }),
    },
  }).remote();
  const end = (): void => {
    void kill(held, { noRestart: true });
    held[Symbol.dispose]();
  };
  try {
    return { folder: await get(held.folder.remote(), { signal }), [Symbol.dispose]: end };
  } catch (error) {
    end();
    throw (error as Error).cause instanceof Error ? (error as { readonly cause: Error }).cause : error;
  }
}
