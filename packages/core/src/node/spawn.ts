/**
 * Starting one worker process. Little is imported here: the node starts its first workers before it loads anything
 * else, because they need longer to start than the node does.
 */

import { type ChildProcessByStdio, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { wallMs } from "../base/clock.ts";
import { newProcessId, type WorkerId } from "../base/ids.ts";
import { compileCacheEnvironment } from "../bin/cache-directory.ts";
import { codeCacheEnvironment, codeCachePath, type ProcessCommand, processCommand } from "../bin/entries.ts";
import type { ReadyEnvironment } from "../environments/mod.ts";
import type { ClaimsInfo, RuntimeEnv, WorkerConfig, WorkerListens } from "../wire/messages.ts";
import { type ClusterConfig, NODE_VARIABLE, type NodeConfig, WORKER_VARIABLE } from "./config.ts";
import { type Debugging, debuggingOf } from "./debug-options.ts";
import { recordWorker } from "./session-folder.ts";

/**
 * V8 charges the length of every view of the object store to its heap, although nothing of it lies there. With an
 * ordinary limit a few large views would start one full collection after another; the memory monitor guards instead.
 */
const OLD_SPACE_MIB = 65_536;
/** First in line for the kernel's killer, well before node and driver. */
const OOM_SCORE_ADJUSTMENT = 800;
/** Should somebody look into it, see worker-inspector.ts. Neither opens anything. */
const INSPECTOR_OPTIONS = ["--inspect-port=127.0.0.1:0", "--inspect-publish-uid=stderr"];
/** Debuggers listen on one port: what the driver was started with is not for its workers. */
const NOT_INHERITED = /^--(inspect|cpu-prof|heap-prof|test|watch|experimental-test)/;

export type WorkerProcess = ChildProcessByStdio<null, Readable, Readable>;

export interface StartedWorker {
  readonly workerId: WorkerId;
  readonly process: WorkerProcess;
  readonly claims: ClaimsInfo | undefined;
  readonly startedAtMs: number;
  /** The program wants to debug it. */
  readonly debugging: Debugging | undefined;
  /** Why there is no process, once that is known. */
  failure(): Error | undefined;
}

export interface SpawnOptions {
  readonly config: NodeConfig;
  readonly workerId: WorkerId;
  readonly claims: ClaimsInfo | undefined;
  readonly nativePath?: string | undefined;
  readonly runtimeEnv?: RuntimeEnv | undefined;
  /** What was made ready for it. */
  readonly environment?: ReadyEnvironment | undefined;
  /** Tests start a program of their own. */
  readonly command?: ((nodeOptions: readonly string[]) => ProcessCommand) | undefined;
}

export const workerSocketOf = (sessionDir: string, workerId: WorkerId): string => join(sessionDir, `w-${workerId}`);

/** @throws what spawn throws at once (a folder that does not exist arrives as an `error` event of the process). */
export function spawnWorker({
  config,
  workerId,
  claims,
  nativePath,
  runtimeEnv: given,
  environment,
  command,
}: SpawnOptions): StartedWorker {
  const { debugging, runtimeEnv } = debuggingOf(given);
  const nodeOptions = [
    `--max-old-space-size=${OLD_SPACE_MIB}`,
    ...(debugging ? [`--inspect=${debugging.listens}`] : INSPECTOR_OPTIONS),
    ...config.workerExecArgv,
    ...(runtimeEnv?.nodeOptions ?? []),
  ];
  const { execPath, args } = command?.(nodeOptions) ?? processCommand("worker", nodeOptions);
  const codeCache = command ? undefined : codeCachePath("worker", nodeOptions);
  const workerConfig: WorkerConfig = {
    workerId,
    // Made here: loading the random generator takes a new process milliseconds.
    processId: newProcessId(config.nodeId),
    nodeSocket: config.nodeSocket,
    token: config.token,
    address: workerSocketOf(config.sessionDir, workerId),
    nodePid: process.pid,
    ...(config.cluster?.host !== undefined && { listen: listens(config.cluster, config.cluster.host) }),
    ...(nativePath === undefined ? {} : { nativePath }),
    ...(claims ? { claims } : {}),
    ...(runtimeEnv ? { runtimeEnv } : {}),
    ...(environment ? { environment } : {}),
    ...(debugging?.breaks ? { breaks: true as const } : {}),
  };
  const workingDir = environment?.workingDir ?? runtimeEnv?.workingDir;
  const { [NODE_VARIABLE]: _node, NODE_OPTIONS, ...inherited } = process.env;
  const child = spawn(execPath, args, {
    stdio: ["ignore", "pipe", "pipe"],
    // A group of its own: the terminal's SIGINT is for the driver, and what a task starts can be ended with it.
    detached: true,
    env: {
      ...inherited,
      ...compileCacheEnvironment(),
      ...codeCacheEnvironment(codeCache),
      ...(NODE_OPTIONS ? { NODE_OPTIONS: keepOptions(NODE_OPTIONS) } : {}),
      ...runtimeEnv?.env,
      [WORKER_VARIABLE]: JSON.stringify(workerConfig),
    },
    ...(workingDir !== undefined ? { cwd: workingDir } : {}),
  });
  let failure: Error | undefined;
  child.once("error", (error) => {
    failure = error;
  });
  if (child.pid !== undefined) {
    recordWorker(config.sessionDir, child.pid);
    adjustOomScore(child.pid);
  }
  return { workerId, process: child, claims, startedAtMs: wallMs(), debugging, failure: () => failure };
}

const listens = ({ ports, advertise, access }: ClusterConfig, host: string): WorkerListens => ({
  host,
  ports,
  access,
  ...(advertise !== undefined && { advertise }),
});

function keepOptions(options: string): string {
  return options
    .split(/\s+/)
    .filter((option) => !NOT_INHERITED.test(option))
    .join(" ");
}

function adjustOomScore(pid: number): void {
  try {
    writeFileSync(`/proc/${pid}/oom_score_adj`, String(OOM_SCORE_ADJUSTMENT));
  } catch {
    // No /proc, or the process is gone already: the memory monitor still works, and an exit is seen elsewhere.
  }
}
