/**
 * The node's worker processes: starts them, knows how each ended and why, and lets none outlive a deadline.
 *
 * A worker is dead when its process has ended, its connection is closed (so everything it sent was handled) and its
 * output has been read; the last two are waited for only a moment, since a process that it started may hold them.
 */
import { ConnectionLostError } from "../base/errors.ts";
import type { ProcessId, WorkerId } from "../base/ids.ts";
import type { ReadyEnvironment } from "../environments/mod.ts";
import { interruptTask } from "../owner/mod.ts";
import { mapClaims, nativePath } from "../store/mod.ts";
import type { Peer } from "../transport/mod.ts";
import type { RuntimeEnv, WorkerAddress, WorkerDeath } from "../wire/messages.ts";
import type { ClaimPages } from "./claims.ts";
import type { NodeConfig } from "./config.ts";
import { describeDeath } from "./death.ts";
import { attachWords } from "./debug-options.ts";
import type { Logs } from "./logs.ts";
import type { MemoryMonitor } from "./memory-monitor.ts";
import { type SpawnOptions, type StartedWorker, spawnWorker, workerSocketOf } from "./spawn.ts";
import { type OpenInspector, WorkerInspector } from "./worker-inspector.ts";
import type { WorkerLimits } from "./worker-limits.ts";

/** A process that has not said hello by then hangs. */
const START_TIMEOUT_MS = 30_000;
const SETTLE_MS = 150;

export interface WorkerRecord {
  readonly workerId: WorkerId;
  readonly pid: number;
  readonly startedAtMs: number;
  /** Set from hello on. */
  readonly processId: ProcessId | undefined;
  readonly peer: Peer | undefined;
}

export interface WorkerPoolOptions {
  readonly config: NodeConfig;
  readonly claims: ClaimPages;
  readonly logs: Logs;
  readonly command?: SpawnOptions["command"];
  readonly monitor: () => MemoryMonitor | undefined;
  readonly limits?: WorkerLimits | undefined;
  onDied(death: WorkerDeath, processId: ProcessId | undefined): void;
}

interface Supervised {
  readonly started: StartedWorker;
  readonly pid: number;
  readonly inspector: WorkerInspector;
  processId: ProcessId | undefined;
  peer: Peer | undefined;
  tcp: string | undefined;
  /** Its claim words, once they were needed here. */
  words: Int32Array | undefined;
  intended: string | undefined;
  monitorWords: string | undefined;
  exit: { readonly code: number | null; readonly signal: NodeJS.Signals | null } | undefined;
  isOutputOpen: boolean;
  /** The process could not even be started. */
  problem: string | undefined;
  deadline: NodeJS.Timeout | undefined;
  readonly waiters: (() => void)[];
}

export class WorkerPool {
  private readonly options: WorkerPoolOptions;
  private readonly workers = new Map<WorkerId, Supervised>();

  constructor(options: WorkerPoolOptions) {
    this.options = options;
  }

  start(workerId: WorkerId, runtimeEnv: RuntimeEnv | undefined, environment: ReadyEnvironment | undefined): void {
    const { config, claims, command } = this.options;
    const about = { config, workerId, runtimeEnv, environment, command };
    this.adopt(spawnWorker({ ...about, claims: claims.take(), nativePath: nativePath() }));
  }

  /** Takes a process that was just started under supervision. */
  adopt(started: StartedWorker): void {
    const { logs, limits } = this.options;
    const { workerId, process: child } = started;
    if (child.pid !== undefined) limits?.started(workerId, child.pid);
    const worker: Supervised = {
      started,
      pid: child.pid ?? 0,
      inspector: this.inspectorOf(started),
      processId: undefined,
      peer: undefined,
      tcp: undefined,
      words: undefined,
      intended: undefined,
      monitorWords: undefined,
      exit: undefined,
      isOutputOpen: true,
      problem: undefined,
      deadline: undefined,
      waiters: [],
    };
    this.workers.set(workerId, worker);
    logs.add(workerId, worker.pid);
    for (const stream of ["stdout", "stderr"] as const) {
      const { inspector } = worker;
      const push =
        stream === "stdout"
          ? (chunk: Buffer) => logs.push(workerId, stream, chunk)
          : (chunk: Buffer) => logs.push(workerId, stream, inspector.filter(chunk));
      child[stream].on("data", push);
      if (stream === "stderr") child.stderr.once("end", () => logs.push(workerId, stream, inspector.finish()));
      // A pipe that breaks has been read as far as it can be; the process's end is seen elsewhere.
      child[stream].on("error", () => child[stream].destroy());
    }
    const failed = (error: Error): void => {
      // Also sent when a signal cannot be delivered; then the process is there, or its exit follows.
      if (child.pid !== undefined) return;
      worker.problem = error.message;
      this.ended(worker, null, null);
    };
    child.once("error", failed);
    child.once("exit", (code, signal) => this.ended(worker, code, signal));
    child.once("close", () => {
      worker.isOutputOpen = false;
      this.settle(worker);
    });
    worker.deadline = this.killAfter(worker, START_TIMEOUT_MS, undefined);
    // The first ones were started before there was a pool, and may have ended before it too.
    const failure = started.failure();
    if (failure) setImmediate(failed, failure);
    else if (child.exitCode !== null || child.signalCode !== null) {
      setImmediate(() => this.ended(worker, child.exitCode, child.signalCode));
    }
  }

  private inspectorOf({ workerId, process: child, debugging }: StartedWorker): WorkerInspector {
    const options = { pid: child.pid ?? 0, signal: () => child.kill("SIGUSR1") };
    const inspector = new WorkerInspector(options, debugging !== undefined);
    if (debugging) inspector.onListening = (url) => this.options.logs.tell(workerId, attachWords(url, debugging));
    return inspector;
  }

  get(workerId: WorkerId): WorkerRecord | undefined {
    const worker = this.workers.get(workerId);
    return worker && recordOf(worker);
  }

  all(): WorkerRecord[] {
    return [...this.workers.values()].filter(({ pid }) => pid > 0).map(recordOf);
  }

  /** Its hello was accepted. False when there is no such worker, or its process is ending. */
  connected(workerId: WorkerId, processId: ProcessId, peer: Peer, tcp: string | undefined): boolean {
    const worker = this.workers.get(workerId);
    if (!worker || worker.exit || worker.peer || worker.processId) return false;
    clearTimeout(worker.deadline);
    worker.deadline = undefined;
    worker.processId = processId;
    worker.peer = peer;
    worker.tcp = tcp;
    return true;
  }

  /** Its connection is closed. One that still runs is of no use to anyone and is ended. */
  disconnected(workerId: WorkerId): void {
    const worker = this.workers.get(workerId);
    if (!worker) return;
    worker.peer = undefined;
    if (!worker.exit) worker.deadline ??= this.killAfter(worker, SETTLE_MS, undefined);
    this.settle(worker);
  }

  /** Where owners reach it; only after hello. */
  address(workerId: WorkerId): WorkerAddress | undefined {
    const worker = this.workers.get(workerId);
    if (!worker?.processId) return undefined;
    const { config } = this.options;
    const { claims } = worker.started;
    return {
      workerId,
      processId: worker.processId,
      nodeId: config.nodeId,
      pid: worker.pid,
      address: workerSocketOf(config.sessionDir, workerId),
      ...(worker.tcp !== undefined ? { tcp: worker.tcp } : {}),
      ...(claims ? { claims } : {}),
    };
  }

  /** Asks it to end, and ends it after `graceMs`. */
  stop(workerId: WorkerId, intended: string, graceMs: number): void {
    const worker = this.workers.get(workerId);
    if (!worker || worker.exit) return;
    worker.intended ??= intended;
    if (!worker.peer) {
      this.signal(worker, "SIGKILL");
      return;
    }
    worker.peer.send({ t: "goodbye", reason: intended });
    worker.peer.flush();
    clearTimeout(worker.deadline);
    worker.deadline = this.killAfter(worker, graceMs, intended);
  }

  /** SIGKILL, now, to it and what it started. */
  kill(workerId: WorkerId, intended: string | undefined, monitorWords?: string): void {
    const worker = this.workers.get(workerId);
    if (!worker || worker.exit) return;
    worker.intended ??= intended;
    worker.monitorWords ??= monitorWords;
    this.signal(worker, "SIGKILL");
  }

  /** SIGINT to the process alone, if it runs what `key` names and can be interrupted; what it started goes on. */
  interrupt(workerId: WorkerId, key: number): void {
    const worker = this.workers.get(workerId);
    if (!worker?.started.claims || worker.exit) return;
    worker.words ??= mapClaims(worker.started.claims);
    if (worker.words) interruptTask(worker.words, key, () => worker.started.process.kill("SIGINT"));
  }

  /** @throws ConnectionLostError that says why it does not answer. */
  async openInspector(workerId: WorkerId, timeoutMs: number): Promise<OpenInspector> {
    const worker = this.workers.get(workerId);
    // Until hello it may not listen to the signal that opens it, and would end by it.
    if (!worker?.processId || worker.exit) throw new ConnectionLostError("the process has ended, or is only starting");
    return worker.inspector.open(timeoutMs);
  }

  /** Resolves when the process is gone and its death was told. */
  gone(workerId: WorkerId): Promise<void> {
    const worker = this.workers.get(workerId);
    return worker ? new Promise((resolve) => worker.waiters.push(resolve)) : Promise.resolve();
  }

  /** Ends all; resolves when the last is gone. */
  async stopAll(intended: string, graceMs: number): Promise<void> {
    const ids = [...this.workers.keys()];
    const gone = ids.map((id) => this.gone(id));
    for (const id of ids) this.stop(id, intended, graceMs);
    await Promise.all(gone);
  }

  killAll(intended: string): void {
    for (const id of [...this.workers.keys()]) this.kill(id, intended);
  }

  private killAfter(worker: Supervised, ms: number, intended: string | undefined): NodeJS.Timeout {
    return setTimeout(() => {
      worker.intended ??= intended;
      this.signal(worker, "SIGKILL");
    }, ms);
  }

  private signal(worker: Supervised, signal: NodeJS.Signals): void {
    if (worker.pid === 0) return;
    try {
      process.kill(-worker.pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  }

  private ended(worker: Supervised, code: number | null, signal: NodeJS.Signals | null): void {
    worker.exit = { code, signal };
    clearTimeout(worker.deadline);
    // What the worker started is in its group and does not outlive it.
    this.signal(worker, "SIGKILL");
    worker.deadline = setTimeout(() => this.settle(worker, true), SETTLE_MS);
    if (worker.problem !== undefined) worker.isOutputOpen = false;
    this.settle(worker);
  }

  private settle(worker: Supervised, isLate = false): void {
    const { workerId } = worker.started;
    if (!worker.exit || this.workers.get(workerId) !== worker) return;
    if (!isLate && (worker.isOutputOpen || worker.peer)) return;
    clearTimeout(worker.deadline);
    const { logs, claims, monitor, limits } = this.options;
    const stderrTail = logs.remove(workerId);
    const kill = limits?.ended(workerId);
    const kernelKills = (): number =>
      limits?.seesKills ? Number(kill !== undefined) : (monitor()?.kernelKills() ?? 0);
    const death = describeDeath({
      workerId,
      pid: worker.pid,
      exitCode: worker.exit.code,
      signal: worker.exit.signal,
      stderrTail: worker.problem ?? stderrTail,
      intended: worker.intended,
      monitorWords: worker.monitorWords,
      lastBytes: monitor()?.lastBytes(workerId),
      limitWords: kill?.words,
      kernelKills: worker.exit.signal === "SIGKILL" ? kernelKills() : 0,
    });
    monitor()?.forget(workerId);
    this.workers.delete(workerId);
    if (worker.started.claims) claims.giveBack(worker.started.claims);
    worker.peer?.destroy();
    this.options.onDied(death, worker.processId);
    for (const resolve of worker.waiters) resolve();
  }
}

const recordOf = (worker: Supervised): WorkerRecord => ({
  workerId: worker.started.workerId,
  pid: worker.pid,
  startedAtMs: worker.started.startedAtMs,
  processId: worker.processId,
  peer: worker.peer,
});
