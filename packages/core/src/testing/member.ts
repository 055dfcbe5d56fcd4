/** One machine of a cluster: a node with a folder, an address and processes of its own; the head's has control beside it. */
import { mkdirSync } from "node:fs";
import { basename, join } from "node:path";
import { type NodeId, newNodeId } from "../base/ids.ts";
import { inheritedExecArgv } from "../bin/entries.ts";
import { type LaunchedHead, launchHead } from "../head/mod.ts";
import {
  baseFolder,
  isRunning,
  type LaunchedNode,
  launchNode,
  nodeOf,
  processStart,
  type RunningProcess,
  type StandingNode,
  workersOf,
} from "../node/mod.ts";
import { NETWORK_VARIABLE } from "../transport/mod.ts";
import type { Network } from "./network.ts";
import { awaited, isStopped, marked, processesOf, signalAll } from "./processes.ts";
import type { ClusterNode, NodeSpec, WorkerProcess } from "./types.ts";

const STORE_BYTES = 512 * 2 ** 20;
/** Actors have so long for their shutdown hooks. */
const STOP_MS = 5_000;

export interface MemberOptions {
  readonly name: string;
  /** Short: sockets lie below it. */
  readonly folder: string;
  readonly host: string;
  readonly network?: Network | undefined;
  /** Its control has a state service. */
  readonly hasDashboard?: boolean;
}

/** Of replicated state. */
export interface ControlPlace {
  readonly replicated?: string;
  readonly tokenFile?: string;
}

export interface Joining {
  readonly address: string;
  readonly token: string;
}

export class Member implements ClusterNode {
  private readonly firstId: NodeId = newNodeId();
  readonly name: string;
  readonly host: string;
  private readonly folder: string;
  private readonly mark: string;
  readonly hasDashboard: boolean;
  /** By which it reaches other members, as transport/network.ts knows it. */
  readonly network: string | undefined;
  private node: { readonly launched: LaunchedNode; readonly running: RunningProcess } | undefined;
  private control: LaunchedHead | undefined;

  constructor({ name, folder, host, network, hasDashboard = false }: MemberOptions) {
    this.hasDashboard = hasDashboard;
    this.name = name;
    this.folder = folder;
    this.host = host;
    this.mark = folder;
    this.network = network?.addressOf(this.link);
    network?.say({ t: "member", host, name: this.link });
    mkdirSync(folder, { mode: 0o700 });
  }

  /** Another one when its cluster has given it up and it has begun anew. */
  get id(): NodeId {
    return (this.node && nodeOf(this.node.launched.sessionDir)) ?? this.firstId;
  }

  /** Everything that a machine of its own would have of its own. */
  get env(): Readonly<Record<string, string>> {
    const at = (name: string): string => join(this.folder, name);
    return {
      TMPDIR: this.folder,
      XDG_STATE_HOME: at("state"),
      XDG_CONFIG_HOME: at("config"),
      XDG_DATA_HOME: at("data"),
      ...marked(this.mark),
      ...(this.network !== undefined && { [NETWORK_VARIABLE]: this.network }),
    };
  }

  /** What its end of a link is called. */
  get link(): string {
    return basename(this.folder);
  }

  get base(): string {
    return baseFolder([this.folder]);
  }

  async joinAsNode(cluster: Joining, spec: NodeSpec): Promise<void> {
    const { resources = {}, labels = {}, objectStoreBytes = STORE_BYTES, spillDirectory, spillBytesMax } = spec;
    const launched = await launchNode({
      nodeId: this.firstId,
      name: this.name,
      base: this.base,
      env: this.env,
      // Several drivers may join it, and it ends with this process all the same.
      standing: true,
      driverPid: process.pid,
      workerExecArgv: inheritedExecArgv(),
      resources: { cpu: 0, gpu: 0, memory: 0, ...resources },
      objectStoreBytes,
      ...(spillDirectory !== undefined && { spillDirectory }),
      ...(spillBytesMax !== undefined && { spillBytesMax }),
      cluster: { ...cluster, labels, host: this.host, ports: 0 },
    });
    this.node = { launched, running: runningOf(launched.pid) };
  }

  /** Of control that was begun here: where its state service answers over HTTP. */
  get dashboardUrl(): string | undefined {
    return this.control?.dashboard;
  }

  /** Of control that was begun here: where others reach it. */
  get controlAddress(): string | undefined {
    return this.control?.address;
  }

  /** The first time on any port, then where it was. */
  async beginControl(place: ControlPlace = {}): Promise<LaunchedHead> {
    const isFirst = this.control === undefined;
    this.control = await launchHead({
      stateDir: join(this.folder, "control"),
      base: this.base,
      env: this.env,
      host: this.host,
      dashboard: this.hasDashboard ? { ports: "0" } : null,
      ...place,
      ...(isFirst && { port: 0 }),
    });
    return this.control;
  }

  async killControl(): Promise<void> {
    if (!this.control) return;
    process.kill(this.control.pid, "SIGKILL");
    await awaited(this.control.exited);
  }

  pids(): number[] {
    const found = processesOf(this.mark);
    return found.length > 0 ? found : this.known().filter((pid) => isRunning(runningOf(pid)));
  }

  private known(): number[] {
    const own = [this.control?.pid, this.node?.launched.pid].filter((pid) => pid !== undefined);
    return [...own, ...this.workers().map(({ pid }) => pid)];
  }

  workers(): WorkerProcess[] {
    return this.node ? workersOf(this.node.launched.sessionDir).map((pid) => ({ pid })) : [];
  }

  alive(): boolean {
    return this.node !== undefined && isRunning(this.node.running);
  }

  /** As a driver of the same machine finds it. */
  get standing(): StandingNode | undefined {
    if (!this.node) return undefined;
    const { nodeSocket, token, sessionDir } = this.node.launched;
    return { ...this.node.running, nodeId: this.id, nodeSocket, token, sessionDir, startedAtMs: 0 };
  }

  async signal(signal: NodeJS.Signals): Promise<void> {
    await signalAll(() => this.pids(), signal);
    // What it has left behind is removed then.
    if (signal === "SIGKILL") await awaited(Promise.all([this.node?.launched.exited, this.control?.exited]));
  }

  /** It stands still, and would hear of nothing. */
  get isStopped(): boolean {
    return [this.node?.launched, this.control].some((process) => process !== undefined && isStopped(process.pid));
  }

  /** Resolves when it has ended and nothing is left of it; false when it has not within the time. */
  async ended(timeoutMs: number): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => resolve(false), timeoutMs);
    void this.node?.launched.exited.then(() => resolve(true));
    const hasEnded = await promise;
    clearTimeout(timer);
    // What its workers had started and left behind.
    if (hasEnded) await this.signal("SIGKILL");
    return hasEnded;
  }

  async stopNode(): Promise<void> {
    await this.node?.launched.stop(STOP_MS);
  }

  async stopControl(): Promise<void> {
    await this.control?.stop(STOP_MS);
  }
}

const runningOf = (pid: number): RunningProcess => ({ pid, started: processStart(pid) ?? null });
