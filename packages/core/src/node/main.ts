/** The node process: from its first act to its last. `bin/node.ts` runs it. */
import { rmSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { MobulaError } from "../base/errors.ts";
import { newWorkerId } from "../base/ids.ts";
import type { StateStore } from "../control/mod.ts";
import { ClaimPages } from "./claims.ts";
import { cpuCount, type NodeConfig, readNodeConfig } from "./config.ts";
import { openEarlySocket } from "./early-socket.ts";
import { NodeLog } from "./node-log.ts";
import { startReaper } from "./reaper.ts";
import type { NodeRuntime } from "./runtime.ts";
import { claimSession, sweepSessions } from "./session-folder.ts";
import { type SpawnOptions, type StartedWorker, spawnWorker } from "./spawn.ts";

/** The launcher holds the other end: a line on it says that the node is ready, its end that the launcher is gone. */
const LIFELINE_FD = 3;
/** An end by SIGKILL follows if the orderly one hangs. */
const HURRIED_STOP_MS = 1_500;
const DRIVER_CHECK_MS = 500;
/** An orderly stop gives actors 30 s for their shutdown hooks; what takes longer is cut short. */
const ORDERLY_STOP_MS = 38_000;

/** What the node says on its lifeline, a JSON line each. */
export type NodeNews =
  | { readonly kind: "ready" }
  | {
      readonly kind: "failed";
      readonly code: string;
      readonly errorKind: MobulaError["kind"];
      readonly message: string;
    }
  | { readonly kind: "ended" };

export async function runNode(options: { readonly command?: SpawnOptions["command"] } = {}): Promise<void> {
  const config = readNodeConfig();
  process.stderr.on("error", () => {}); // The launcher may be gone; the log file is not.
  const { command } = options;
  const lifeline = new Lifeline();
  try {
    claimSession(config.sessionDir);
    const { socket, listening } = openEarlySocket(config.nodeSocket);
    const claims = new ClaimPages(config.sessionDir);
    const firstWorkers = startFirstWorkers(config, claims, command);
    const log = new NodeLog(config.sessionDir, config.logLevel);
    // Loaded only now: the workers are on their way, and they need longer than this.
    const { NodeRuntime } = await import("./runtime.ts");
    await listening;
    const ending = new Ending(config, lifeline);
    const state = await openState(config);
    const runtime = await NodeRuntime.open({
      config,
      claims,
      socket,
      log,
      firstWorkers,
      command,
      ...(state ? { state } : {}),
      // Its process may live (the lifeline tells when not): actors still run their shutdown hooks.
      onDriverGone: () => ending.begin(false),
    });
    ending.watch(runtime);
    lifeline.say({ kind: "ready" });
    ending.atEnd(startReaper(config.sessionDir, (message) => log.write("warn", message)));
    void sweepSessions(join(config.sessionDir, "..")).then(
      (removed) => removed.length > 0 && log.write("info", `removed what dead runs left: ${removed.join(", ")}`),
      (error: Error) => log.write("warn", `leftovers of dead runs could not be removed: ${error.message}`),
    );
  } catch (error) {
    const { message } = error as Error;
    const known = error instanceof MobulaError ? error : undefined;
    lifeline.say({ kind: "failed", code: known?.code ?? "INTERNAL", errorKind: known?.kind ?? "internal", message });
    endProcess(config);
  }
}

function startFirstWorkers(config: NodeConfig, claims: ClaimPages, command: SpawnOptions["command"]): StartedWorker[] {
  // One, for the first task; more at once would hold it up, and the engine orders the others in a moment.
  return Array.from({ length: config.firstWorkers ?? Math.min(1, cpuCount(config)) }, () =>
    spawnWorker({ config, workerId: newWorkerId(), claims: claims.take(), command }),
  );
}

/** A standing node writes what it acknowledges to disk; an embedded one ends with its driver. */
async function openState(config: NodeConfig): Promise<StateStore | undefined> {
  if (!config.standing) return undefined;
  const { openSqliteState } = await import("../control/mod.ts");
  return openSqliteState({ path: join(config.sessionDir, "control.sqlite") });
}

class Lifeline {
  private readonly socket: Socket | undefined;
  onGone: (() => void) | undefined;
  private isGone = false;

  constructor() {
    try {
      this.socket = new Socket({ fd: LIFELINE_FD, readable: true, writable: true });
    } catch {
      this.socket = undefined; // Started by hand, without a launcher.
      return;
    }
    const gone = (): void => {
      if (this.isGone) return;
      this.isGone = true;
      this.onGone?.();
    };
    this.socket.on("end", gone);
    this.socket.on("close", gone);
    this.socket.on("error", gone);
    this.socket.resume();
  }

  /** Written at once: the process may end right after. */
  say(news: NodeNews): void {
    if (!this.socket || this.isGone) return;
    try {
      writeSync(LIFELINE_FD, `${JSON.stringify(news)}\n`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
    }
  }

  get hasEnded(): boolean {
    return this.isGone;
  }
}

/** Signals, a driver's death, and the end. */
class Ending {
  private readonly config: NodeConfig;
  private readonly lifeline: Lifeline;
  private runtime: NodeRuntime | undefined;
  private isEnding = false;
  private isHurried = false;
  private endReaper: () => void = () => {};

  constructor(config: NodeConfig, lifeline: Lifeline) {
    this.config = config;
    this.lifeline = lifeline;
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
      // In order first; a second one, at once.
      process.on(signal, () => this.begin(this.isEnding));
    }
  }

  watch(runtime: NodeRuntime): void {
    this.runtime = runtime;
    if (this.config.standing) return;
    this.lifeline.onGone = () => this.begin(true);
    if (this.lifeline.hasEnded) this.begin(true);
    // A child that inherited the launcher's end of the lifeline keeps it open; its own death does not hide.
    const { driverPid } = this.config;
    if (driverPid === undefined) return;
    setInterval(() => {
      if (process.ppid !== driverPid) this.begin(true);
    }, DRIVER_CHECK_MS).unref();
  }

  /** The last thing but one: nothing is left to tidy up. */
  atEnd(end: () => void): void {
    this.endReaper = end;
  }

  begin(atOnce: boolean): void {
    if (this.isEnding && (!atOnce || this.isHurried)) return;
    const wasEnding = this.isEnding;
    this.isEnding = true;
    if (atOnce) {
      this.isHurried = true;
      setTimeout(() => this.finish(), HURRIED_STOP_MS);
    } else setTimeout(() => this.begin(true), ORDERLY_STOP_MS);
    const { runtime } = this;
    if (!runtime) {
      this.finish();
      return;
    }
    if (wasEnding && atOnce) runtime.killWorkers();
    else void runtime.stop(atOnce).finally(() => this.finish());
  }

  private finish(): void {
    this.lifeline.say({ kind: "ended" });
    this.endReaper();
    endProcess(this.config);
  }
}

/** `process.exit` was seen to hang in native code: the last act is a signal that cannot. */
function endProcess(config: NodeConfig): void {
  try {
    rmSync(config.sessionDir, { recursive: true, force: true, maxRetries: 3 });
  } finally {
    process.kill(process.pid, "SIGKILL");
  }
}
