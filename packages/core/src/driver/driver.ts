/**
 * A driver: the user's process. Starts (or joins) a node, and gives the program its client.
 */
import { ConnectionLostError, errorFromCode, type MobulaError } from "../base/errors.ts";
import { type JobId, newJobId, newProcessId } from "../base/ids.ts";
import { WIRE_VERSION } from "../base/limits.ts";
import { Client, DirectPort, nodeLostError } from "../client/mod.ts";
import { type LaunchedNode, type LaunchOptions, launchNode, requireStandingNode } from "../node/mod.ts";
import { OwnerRuntime } from "../owner/mod.ts";
import { createGcPressure, type GcPressure, openStoreClient } from "../store/mod.ts";
import { connectUnix, type SocketPeer } from "../transport/mod.ts";
import type { FromNode, Hello, LogLines, ToNode, Welcome } from "../wire/mod.ts";
import { mapClaims } from "../worker/mod.ts";

export interface DriverOptions {
  /** "local": a node of its own that ends with this process; "auto": the standing node of this machine. */
  readonly address: "local" | "auto";
  readonly node: LaunchOptions;
  readonly token?: string;
  readonly namespace?: string;
  readonly jobName: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly maxPendingTasks: number;
  readonly onUnreadFailure: (name: string, error: Error) => void;
  readonly onWarning: (code: string, message: string) => void;
  readonly onLog: (lines: LogLines["lines"]) => void;
}

export interface Driver {
  readonly client: Client;
  readonly address: string;
  /** Writes what ran when, in Chrome's trace format. */
  timeline(file: string): Promise<void>;
  /** Rejects everything that waits, ends an embedded node, resolves when nothing is left. */
  stop(): Promise<void>;
  /** The same within two seconds: the user is impatient. */
  stopNow(): Promise<void>;
}

const STOPPED = "shutdown() was called";

export async function startDriver(options: DriverOptions): Promise<Driver> {
  const launched = options.address === "local" ? await launchNode(options.node) : undefined;
  const at = launched ?? requireStandingNode();
  try {
    return await join(options, launched, { socket: at.nodeSocket, token: options.token ?? at.token });
  } catch (error) {
    await launched?.stopNow();
    throw error;
  }
}

async function join(
  options: DriverOptions,
  launched: LaunchedNode | undefined,
  at: { readonly socket: string; readonly token: string },
): Promise<Driver> {
  const processId = newProcessId();
  const jobId: JobId = newJobId();
  const namespace = options.namespace ?? `anonymous-${jobId}`;
  let isStopping = false;
  let gc: GcPressure | undefined;
  let client: Client | undefined;
  let runtime: OwnerRuntime | undefined;

  const lost = (why: string): void => {
    if (isStopping) return;
    const error = nodeLostError(why);
    client?.close(error);
    runtime?.nodeLost(error);
    runtime?.close();
  };
  const { promise: welcomed, resolve: welcome, reject: refuse } = Promise.withResolvers<Welcome>();
  const node: SocketPeer = await connectUnix(at.socket, {
    onMessage(message) {
      const from = message as FromNode;
      if (runtime?.onNodeMessage(from)) return;
      switch (from.t) {
        case "welcome":
          welcome(from);
          return;
        case "refused":
          refuse(errorFromCode(from.code, from.kind, from.message));
          return;
        case "log":
          options.onLog(from.lines);
          return;
        case "collect":
          gc?.asked();
          client?.openedStore?.trim();
          return;
        default:
          return;
      }
    },
    onClose(error) {
      refuse(new ConnectionLostError(`the node closed the connection: ${error?.message ?? "it ended"}`));
      lost("its connection closed");
    },
  });
  const toNode = (message: ToNode): void => node.send(message);
  runtime = new OwnerRuntime({ self: processId, jobId: () => jobId, node, mapClaims });
  const hello: Hello = {
    t: "hello",
    version: WIRE_VERSION,
    token: at.token,
    language: "js",
    role: "driver",
    processId,
    pid: process.pid,
    job: { jobId, namespace, name: options.jobName, metadata: options.metadata },
  };
  node.send(hello);
  node.flush();
  const info = await welcomed;
  gc = createGcPressure({ capacityBytes: info.store.arenaBytes });
  client = new Client(
    {
      processId,
      port: new DirectPort(runtime),
      maxPendingTasks: options.maxPendingTasks,
      openStore: () =>
        openStoreClient({
          info: info.store,
          processId,
          onUnpinned: (keys) => toNode({ t: "store-unpin", keys }),
          onHeldBytes: (change) => gc?.changed(change),
        }),
      onUnreadFailure: options.onUnreadFailure,
      onWarning: options.onWarning,
      onHeldBytes: (change) => gc?.changed(change),
    },
    { jobId, nodeId: info.nodeId, namespace },
  );
  const started = client;
  void launched?.exited.then((exit) => lost(exit.signal ? `signal ${exit.signal}` : `exit code ${exit.code}`));

  const leave = (error: MobulaError): void => {
    isStopping = true;
    started.close(error);
    gc?.close();
    runtime?.close();
    node.close();
  };
  return {
    client: started,
    address: at.socket,
    timeline: () => Promise.reject(new ConnectionLostError("the timeline is not recorded")),
    async stop() {
      leave(new ConnectionLostError(STOPPED));
      await launched?.stop();
      started.openedStore?.close({ storeLivesOn: launched === undefined });
    },
    async stopNow() {
      leave(new ConnectionLostError(STOPPED));
      await launched?.stopNow();
    },
  };
}
