/** The runtime environments of a node: where they are kept, and what the room `environments` needs of the node. */
import { join } from "node:path";
import { wallMs } from "../base/clock.ts";
import { ConnectionLostError, InvalidOptionError } from "../base/errors.ts";
import { type JobId, nodeTag } from "../base/ids.ts";
import { cacheDirectory } from "../bin/cache-directory.ts";
import { CodeCache } from "../code/mod.ts";
import { Environments, Packages, type ReadyEnvironment } from "../environments/mod.ts";
import { runtimeEnvKey, type SchedulerCommand, type SchedulerEvent } from "../scheduler/mod.ts";
import type { LogLines, RuntimeEnv } from "../wire/messages.ts";
import type { NodeConfig } from "./config.ts";
import { CACHE_BYTES_MAX, type ForeignPrograms, programsFolder } from "./foreign-programs.ts";
import { processStart, recordWorker } from "./session-folder.ts";

export interface NodeEnvironmentsOptions {
  readonly config: NodeConfig;
  /** In a cluster. */
  readonly code: ForeignPrograms | undefined;
  feed(event: SchedulerEvent): void;
  /** Of which something waits for an environment. */
  jobsWaitingFor(envKey: string): Iterable<JobId>;
  sendLines(jobId: JobId, message: LogLines): void;
  log(message: string): void;
}

type AboutEnvironments = SchedulerCommand & { readonly kind: "prepare-environment" | "release-environment" };

const CACHE_BYTES = 10 * 2 ** 30;
const BYTES_VARIABLE = "MOBULA_ENV_CACHE_BYTES";
const FOLDER = "environments";

export class NodeEnvironments {
  /** Where processes put the files of packages. */
  readonly packagesFolder: string;
  private readonly options: NodeEnvironmentsOptions;
  private opened: Environments | undefined;

  constructor(options: NodeEnvironmentsOptions) {
    this.options = options;
    this.packagesFolder = programsFolder(options.config.sessionDir);
  }

  obey(command: AboutEnvironments): void {
    if (command.kind === "release-environment") {
      this.opened?.release(command.envKey);
      return;
    }
    const { envKey } = command;
    try {
      this.environments().prepare(envKey, command.runtimeEnv);
    } catch (error) {
      this.options.feed({ kind: "environment-failed", envKey, message: (error as Error).message });
    }
  }

  /** What a worker of the environment is started with; undefined when there is nothing that had to be made ready. */
  find(runtimeEnv: RuntimeEnv | undefined): ReadyEnvironment | undefined {
    return this.opened?.find(runtimeEnvKey(runtimeEnv));
  }

  private environments(): Environments {
    if (this.opened) return this.opened;
    const { config, code, feed, log } = this.options;
    const cache = code?.cache ?? new CodeCache(this.packagesFolder, CACHE_BYTES_MAX);
    this.opened = new Environments({
      packages: new Packages(cache),
      folder: join(cacheDirectory() ?? config.sessionDir, FOLDER),
      bytesMax: cacheBytesMax(config),
      ...{ node: nodeTag(config.nodeId), started: processStart(process.pid) ?? "", isRunning, nowMs: wallMs, log },
      fetchPackage: async (ref) => {
        if (code) await code.programs.obtainPackage(ref);
        else
          throw new ConnectionLostError(
            `package ${ref.hash.slice(0, 8)} is not on this machine, and there is no other`,
          );
      },
      onStarted: (pid) => recordWorker(config.sessionDir, pid),
      onReady: (envKey) => feed({ kind: "environment-ready", envKey }),
      onFailed: (envKey, message) => {
        log(`an environment could not be made ready: ${message}`);
        feed({ kind: "environment-failed", envKey, message });
      },
      onProgress: (envKey, words) => feed({ kind: "environment-progress", envKey, words }),
      say: (envKey, line) => this.say(envKey, line),
    });
    return this.opened;
  }

  private say(envKey: string, text: string): void {
    const lines = [{ stream: "stderr" as const, name: "environment", pid: process.pid, text, repeated: 0 }];
    for (const jobId of this.options.jobsWaitingFor(envKey)) this.options.sendLines(jobId, { t: "log", lines });
  }

  async close(): Promise<void> {
    await this.opened?.close();
  }
}

/** Without /proc there is no telling one process of this id from another. */
function isRunning(pid: number, started: string): boolean {
  if (started !== "") return processStart(pid) === started;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** @throws InvalidOptionError. */
function cacheBytesMax({ envCacheBytes }: NodeConfig): number {
  const text = process.env[BYTES_VARIABLE];
  if (envCacheBytes !== undefined || !text) return envCacheBytes ?? CACHE_BYTES;
  const bytes = Number(text);
  if (Number.isSafeInteger(bytes) && bytes >= 0) return bytes;
  throw new InvalidOptionError(`${BYTES_VARIABLE} is "${text}"; it must be a number of bytes, such as 10737418240`);
}
