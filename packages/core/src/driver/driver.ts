/**
 * A driver: the user's process. Starts (or joins) a node, runs the owner engine in an I/O thread, and gives the program
 * its client.
 */

import { setTimeout as delay } from "node:timers/promises";
import { MessageChannel } from "node:worker_threads";
import { AuthenticationError, ConnectionLostError, InternalError } from "../base/errors.ts";
import { type NodeId, newJobId, newNodeId, newProcessId, type ProcessId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import { SPOKEN_VERSIONS } from "../base/wire-version.ts";
import { entryPath } from "../bin/entries.ts";
import { answerInspection, Client, nodeLostError } from "../client/mod.ts";
import {
  findStandingNode,
  type LaunchedNode,
  type LaunchOptions,
  launchNode,
  requireStandingNode,
  type StandingNode,
  tlsFilesFrom,
} from "../node/mod.ts";
import { makeCode } from "../state/mod.ts";
import {
  createGcPressure,
  type GcPressure,
  type NativeThread,
  openStoreClient,
  startNativeThread,
} from "../store/mod.ts";
import { LANGUAGE, type LogLines, type TlsFiles } from "../wire/mod.ts";
import type { Place } from "./place.ts";
import { newRing } from "./ring.ts";
import { RingPort } from "./ring-port.ts";
import type { ThreadData } from "./thread-messages.ts";
import { writeTimeline } from "./timeline.ts";

export interface DriverOptions {
  /**
   * "local": a node of its own that ends with this process; "auto": the standing node of this machine; `host:port`: the
   * cluster whose head listens there, by its standing node of this machine or else by a node of its own that offers nothing.
   */
  readonly address: "local" | "auto" | `${string}:${number}`;
  readonly place?: Place | undefined;
  readonly node: LaunchOptions;
  readonly token?: string;
  readonly tls?: TlsFiles;
  readonly namespace?: string;
  readonly jobName: string;
  /** How long what no node can take waits for one that can; default, what its node was started with. */
  readonly infeasibleTimeoutMs?: number;
  /** What waits so long without room may end work of lower priority of other jobs; Infinity: never. Default, as the node says. */
  readonly preemptAfterMs?: number;
  /** What the job may use at once in the whole cluster. */
  readonly quota?: ResourceUnits;
  readonly metadata: Readonly<Record<string, string>>;
  readonly maxPendingTasks: number;
  readonly onUnreadFailure: (name: string, error: Error) => void;
  readonly onWarning: (code: string, message: string) => void;
  readonly onLog: (lines: LogLines["lines"]) => void;
}

export interface Driver {
  readonly client: Client;
  readonly address: string;
  /** Where the state service answers over HTTP, with a code that lets a browser in once. */
  readonly dashboardUrl: string | undefined;
  /** Writes what ran when, in Chrome's trace format. */
  timeline(file: string): Promise<void>;
  /** Rejects everything that waits, ends an embedded node, resolves when nothing is left. */
  stop(): Promise<void>;
  /** The same within two seconds: the user is impatient. */
  stopNow(): Promise<void>;
}

/** How long the last lines of a node that has ended may take through the I/O thread. */
const LAST_LINES_MS = 1_000;
/** The I/O thread answers within a millisecond, unless it is gone or stuck. */
const LAST_WORDS_MS = 200;
/** What everything is rejected with that still waits when a driver stops. */
export const STOPPED = "shutdown() was called";

export async function startDriver(options: DriverOptions): Promise<Driver> {
  // The node's process first, which takes longest, and beside it the thread.
  const standing = findNode(options);
  const nodeId = standing?.nodeId ?? newNodeId();
  const launching = standing ? undefined : launchNode({ ...(await nodeOptions(options)), nodeId });
  let io: IoThread | undefined;
  let launched: LaunchedNode | undefined;
  try {
    io = new IoThread(nodeId, options.place?.network);
    launched = await launching;
    return await join(options, io, standing, launched);
  } catch (error) {
    const stopNode = launching?.then(
      (node) => node.stopNow(),
      () => {},
    );
    await Promise.all([io?.stop(new ConnectionLostError("init() failed")), stopNode]);
    throw error;
  }
}

/** A node that runs already. */
function findNode({ address, place }: DriverOptions): StandingNode | undefined {
  if (address === "local") return undefined;
  if (address === "auto") return requireStandingNode();
  if (place) return place.node;
  const node = findStandingNode();
  // Each may have been told of other heads of it.
  const heads = node?.cluster?.split(",") ?? [];
  return address.split(",").some((head) => heads.includes(head)) ? node : undefined;
}

/** Of a node that this program starts. @throws AuthenticationError without a token of the cluster that it joins. */
async function nodeOptions({ address, node, place, token, tls: given = {} }: DriverOptions): Promise<LaunchOptions> {
  if (address === "local" || address === "auto") return node;
  const tls = tlsFilesFrom(given, process.env);
  const tokenFile = process.env.MOBULA_TOKEN_FILE || undefined;
  if (token === undefined && tokenFile === undefined) {
    throw new AuthenticationError(
      `the cluster at ${address} demands its token: set MOBULA_TOKEN to what \`mobula start --head\` printed, or pass init({ token })`,
    );
  }
  return {
    ...node,
    name: `driver-${process.pid}`,
    resources: { cpu: 0, gpu: 0, memory: 0 },
    cluster: {
      // It only dials out: a program may run where nobody can reach it.
      ...{ address, labels: {}, ports: 0, tls },
      // What the program says goes before what its environment does.
      ...(token !== undefined ? { token } : { tokenFile: tokenFile ?? "" }),
    },
    ...(place?.base !== undefined && { base: place.base }),
    env: place?.env,
  };
}

/** The I/O thread as the program's thread holds it. */
class IoThread {
  readonly processId: ProcessId;
  readonly jobId = newJobId();
  readonly port: RingPort;
  /** The thread ended by a fault of ours. */
  onFailure: ((error: Error) => void) | undefined;
  private readonly thread: NativeThread;
  private readonly left = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  /** A program that ends without a shutdown has run what it has run. */
  private readonly leave = (): void => {
    this.port.leave();
    Atomics.wait(this.left, 0, 0, LAST_WORDS_MS);
  };

  constructor(nodeId: NodeId, network: string | undefined) {
    this.processId = newProcessId(nodeId);
    const bells = new MessageChannel();
    const apart = new MessageChannel();
    const data: ThreadData = {
      toThread: newRing(),
      fromThread: newRing(),
      bell: bells.port2,
      apart: apart.port2,
      left: this.left.buffer as SharedArrayBuffer,
      processId: this.processId,
      jobId: this.jobId,
      ...(network !== undefined && { network }),
    };
    const transferList = [bells.port2, apart.port2];
    this.thread = startNativeThread(entryPath("io-thread"), { name: "mobula", data, transferList });
    this.thread.worker.once("error", (error) => {
      this.port.fail(error);
      this.onFailure?.(error);
    });
    this.port = new RingPort(data.toThread, data.fromThread, bells.port1, apart.port1);
    // Before the thread ends, which another listener sees to.
    process.prependListener("exit", this.leave);
  }

  /** What this program has run is known to the node: call before that ends. */
  sayLast(): void {
    process.removeListener("exit", this.leave);
    this.leave();
  }

  async stop(error: Error): Promise<void> {
    process.removeListener("exit", this.leave);
    this.port.close(error);
    await this.thread.terminate();
  }
}

async function join(
  options: DriverOptions,
  io: IoThread,
  standing: StandingNode | undefined,
  launched: LaunchedNode | undefined,
): Promise<Driver> {
  const at = launched ?? standing;
  if (!at) throw new InternalError("there is no node to join");
  const { port, processId, jobId } = io;
  const namespace = options.namespace ?? `anonymous-${jobId}`;
  const info = await port.join({
    socket: at.nodeSocket,
    hello: {
      t: "hello",
      ...SPOKEN_VERSIONS,
      // A node of this program's own has a token that nobody else knows; the program's is for nodes that it joins.
      token: launched?.token ?? options.token ?? at.token,
      language: LANGUAGE,
      role: "driver",
      processId,
      pid: process.pid,
      job: {
        jobId,
        namespace,
        name: options.jobName,
        metadata: options.metadata,
        ...(options.quota && { quota: options.quota }),
        ...(options.preemptAfterMs !== undefined && {
          preemptAfterMs: Number.isFinite(options.preemptAfterMs) ? options.preemptAfterMs : -1,
        }),
        ...(options.infeasibleTimeoutMs !== undefined && { infeasibleTimeoutMs: options.infeasibleTimeoutMs }),
      },
    },
  });
  const gc: GcPressure = createGcPressure({ capacityBytes: info.store.arenaBytes });
  const client = new Client(
    {
      processId,
      port,
      maxPendingTasks: options.maxPendingTasks,
      openStore: () =>
        openStoreClient({
          info: info.store,
          processId,
          onUnpinned: (keys) => port.unpin(keys),
          // A view is in the hands of the get that made it.
          onHeldBytes: (change) => gc.changed(change, true),
          onWarning: options.onWarning,
        }),
      onUnreadFailure: options.onUnreadFailure,
      onWarning: options.onWarning,
      onHeldBytes: (change) => gc.changed(change),
    },
    { jobId, nodeId: info.nodeId, namespace },
  );
  client.code.welcome(info.code, info.nodeId);
  client.packagesFolder = info.packages;
  client.wireVersion = Math.min(SPOKEN_VERSIONS.newest, info.version);
  answerInspection({ waits: () => client.openWaits, running: () => [] });

  let isStopping = false;
  const { promise: disconnected, resolve: onDisconnected } = Promise.withResolvers<void>();
  const lost = (why: string): void => {
    if (isStopping) return;
    const error = nodeLostError(why);
    client.close(error);
    port.fail(error);
  };
  port.onTold = (told) => {
    if (told.t === "log") options.onLog(told.lines);
    else if (told.t === "collect") {
      gc.asked();
      client.openedStore?.trim();
    } else if (told.t === "node-lost") {
      onDisconnected();
      lost(told.why);
    }
  };
  io.onFailure = (error) => {
    if (isStopping) return;
    client.close(new InternalError(`the I/O thread failed: ${error.message}`, { cause: error }));
  };
  void launched?.exited.then((exit) => lost(exit.signal ? `signal ${exit.signal}` : `exit code ${exit.code}`));

  const end = async (stopNode: () => Promise<void> | undefined): Promise<void> => {
    isStopping = true;
    io.sayLast();
    const error = new ConnectionLostError(STOPPED);
    client.close(error);
    // A standing node's store lives on: views must be made independent of it before the node hears that we left.
    client.openedStore?.close({ storeLivesOn: launched === undefined });
    gc.close();
    // The node ends while we are still connected, so that actors have their shutdown hooks and last lines arrive.
    await stopNode();
    // Everything that the node sent is told before the end of its connection.
    if (launched) {
      // Nothing else may keep the process alive by now, and it must not end before this has.
      const late = new AbortController();
      await Promise.race([disconnected, delay(LAST_LINES_MS, undefined, { signal: late.signal })]);
      late.abort();
    }
    await io.stop(error);
  };
  return {
    client,
    address: at.nodeSocket,
    get dashboardUrl() {
      const { dashboard, token } = at;
      const lifeMs = launched ? Number.POSITIVE_INFINITY : undefined;
      return dashboard === undefined ? undefined : `${dashboard}/?code=${makeCode(token, Date.now(), lifeMs)}`;
    },
    timeline: (file) => writeTimeline(client.port, processId, file),
    stop: () => end(() => launched?.stop()),
    stopNow: () => end(() => launched?.stopNow()),
  };
}
