/** A worker process: says hello to its node, listens for owners, runs what they send. */
import { clockOffsetMs, setClockOffset } from "../base/clock.ts";
import { AuthenticationError, ConnectionLostError } from "../base/errors.ts";
import { HeapShrinker } from "../base/heap-shrinker.ts";
import type { JobId, NodeId, ProcessId } from "../base/ids.ts";
import { OWN_NAMESPACES } from "../base/limits.ts";
import { SPOKEN_VERSIONS } from "../base/wire-version.ts";
import { answerInspection, Client, endInspection, flushTraces } from "../client/mod.ts";
import { OwnerRuntime, SubmissionLog, WorkerClaims } from "../owner/mod.ts";
import { createGcPressure, createViewCharge, type GcPressure, mapClaims, openStoreClient } from "../store/mod.ts";
import {
  Access,
  connectUnix,
  listenPeers,
  listenUnix,
  type Peer,
  type PeerHandlers,
  type ResumablePeer,
} from "../transport/mod.ts";
import {
  type ClaimsInfo,
  type FromNode,
  LANGUAGE,
  type RunningTask,
  type StoreInfo,
  type ToNode,
  type WorkerConfig,
  type WorkerListens,
} from "../wire/mod.ts";
import { ActorHost } from "./actor-host.ts";
import { Attention, WorkerPort } from "./attention.ts";
import { OwnerConnection } from "./connection.ts";
import { shielded } from "./guard.ts";
import { LeaseWatch } from "./lease-watch.ts";
import { whenPrinted } from "./output.ts";
import { NO_SEQ, type Running, type Surroundings } from "./running.ts";
import { Setup } from "./setup.ts";
import { TaskRunner } from "./task-runner.ts";
import { Waits } from "./waits.ts";

export interface WorkerProcessOptions {
  /** The client of this process exists: the api serves it from now on. */
  readonly onClient: (client: Client) => void;
  /** Tags what the process prints from now on. */
  readonly tagOutput: (name: string) => void;
  /** The node has asked it to end in order. */
  readonly onEnding: () => void;
}

export async function runWorker(config: WorkerConfig, options: WorkerProcessOptions): Promise<void> {
  const { processId } = config;
  const claimWords = config.claims ? mapClaims(config.claims) : undefined;
  const claims = claimWords ? new WorkerClaims(claimWords) : undefined;
  let lease: Pick<Surroundings, "resources" | "gpus" | "bundle"> = { resources: {}, gpus: [], bundle: undefined };
  let store: StoreInfo | undefined;
  let log: ClaimsInfo | undefined;
  let gc: GcPressure | undefined;

  let handle: (message: FromNode) => void = () => {};
  const node = await connectUnix(config.nodeSocket, {
    onMessage: (message) => handle(message as FromNode),
    onClose: () => endNow(),
  });
  // What is handed over has left when the call that submits it returns, whatever the program does next.
  node.waitForRoom();
  const toNode = (message: ToNode): void => node.send(message);
  const waits = new Waits(() => runtime, toNode);
  const attention = new Attention(() => runtime);
  const runtime: OwnerRuntime = new OwnerRuntime({
    self: processId,
    engine: { handsOver: true },
    jobId: () => client.jobId,
    running: () => runningTasks([...(tasks.running ? [tasks.running] : []), ...actors.running()]),
    node,
    mapClaims,
    beforeFlush: () => attention.decide(),
  });
  const { handover } = runtime.engine;
  if (handover) {
    handover.openLog = () => {
      const words = log && mapClaims(log);
      return (
        words &&
        new SubmissionLog(words, () => {
          toNode({ t: "log-opened" });
          node.flush();
        })
      );
    };
  }
  const viewCharge = createViewCharge();
  const warn = (message: string): void => console.error(`mobula: ${message}`);
  const onWarning = (_code: string, message: string): void => warn(message);
  const client: Client = new Client(
    {
      processId,
      port: new WorkerPort(runtime, attention),
      shield: shielded,
      openStore: () => {
        if (!store) throw new ConnectionLostError("the node has not said where its object store is");
        return openStoreClient({
          info: store,
          processId,
          onUnpinned: (keys) => toNode({ t: "store-unpin", keys }),
          // A view is in the hands of the get that made it.
          onHeldBytes: (change) => {
            viewCharge.changed(change);
            gc?.changed(change, true);
          },
          onWarning,
        });
      },
      onUnreadFailure: (name, error) => console.error(`task ${name} failed and nobody read its result:`, error),
      onWarning,
      onHeldBytes: (change) => gc?.changed(change),
    },
    { jobId: "00000000" as JobId, nodeId: "" as NodeId, namespace: "" },
  );
  client.workerId = config.workerId;
  client.runtimeEnv = config.runtimeEnv;
  if (config.environment) client.code.live(config.environment);
  const setup = new Setup(config.runtimeEnv?.setup);
  options.onClient(client);

  const waiting: Surroundings["waiting"] = (change, running, seqs) => {
    waits.change(change, running, seqs);
    if (running.waits === 0) attention.goesOn(running);
  };
  const around: Surroundings = {
    client,
    get resources() {
      return lease.resources;
    },
    get gpus() {
      return lease.gpus;
    },
    get bundle() {
      return lease.bundle;
    },
    wasRestarted: false,
    slots: 1,
    waiting,
  };
  const ended = (running: Running): void => {
    waits.ended(running);
    attention.ended();
    // What runs next may keep this thread for long: others are to have what this one leased and left idle.
    if (runtime.engine.tasks.leases.isActive && runtime.enter().tasks.leases.giveBackIdle()) runtime.flushNow();
  };
  const tasks = new TaskRunner(client, runtime, claims, () => around, setup);
  tasks.breaks = config.breaks === true;
  tasks.onStart = options.tagOutput;
  const shrinker = new HeapShrinker();
  const active = (): void => {
    gc?.active();
    shrinker.active();
  };
  const actors = new ActorHost({
    client,
    runtime,
    claims,
    toNode,
    waiting,
    setup,
    breaks: config.breaks === true,
    onStart: options.tagOutput,
    onEnded: (running) => {
      ended(running);
      active();
    },
  });
  answerInspection({
    waits: () => client.openWaits,
    running: () => [...(tasks.running ? [tasks.running] : []), ...actors.running()],
  });
  const leaseWatch = new LeaseWatch(
    toNode,
    () => node.flush(),
    () => tasks.isIdle,
  );
  tasks.onBusy = () => leaseWatch.becameBusy();
  tasks.onIdle = () => {
    leaseWatch.becameIdle();
    active();
  };
  tasks.isRefused = ({ lease }) => leaseWatch.hasEnded(lease);
  waits.isQueued = (key) => actors.isQueued(key);
  waits.task = () => tasks.running;
  waits.onBlocked = (isBlocked) => tasks.blocked(isBlocked);
  tasks.onEnd = ended;

  handle = (message) => {
    if (message.t === "state-holds") waits.state();
    if (runtime.onNodeMessage(message)) return;
    switch (message.t) {
      case "welcome":
        setClockOffset(message.clockOffsetMs);
        client.nodeId = message.nodeId;
        client.code.welcome(message.code, message.nodeId);
        client.packagesFolder = message.packages;
        store = message.store;
        log = message.log;
        gc = createGcPressure({
          capacityBytes: message.store.arenaBytes,
          onCollected: (cause) => {
            if (cause === "idle") client.openedStore?.trim();
          },
        });
        return;
      case "lease-begin":
        client.jobId = message.jobId;
        client.namespace = message.namespace;
        lease = { resources: message.resources, gpus: message.gpus, bundle: message.bundle };
        tasks.forgetOrphans();
        showDevices(message.gpus);
        leaseWatch.begin(message.leaseId);
        return;
      case "lease-end":
        leaseWatch.end(message.leaseId);
        return;
      case "actor-start":
        client.jobId = message.jobId;
        client.namespace = message.namespace;
        showDevices(message.gpus);
        void actors.start(message);
        return;
      case "actor-stop":
        actors.stop(message);
        return;
      case "deadlock":
        waits.deadlocked(message);
        return;
      case "wait-check":
        waits.check(message);
        return;
      case "object-makers":
        waits.madeBy(message);
        return;
      case "process-gone":
        for (const { processId, peer } of sessions.values()) {
          if (processId !== message.processId) continue;
          if (message.isLost) peer.destroy();
          else peer.otherIsGone();
        }
        return;
      case "collect":
        gc?.asked();
        client.openedStore?.trim();
        return;
      case "goodbye":
        options.onEnding();
        tasks.cancelOrphan();
        whenPrinted(() => {
          const flushed = flushTraces();
          if (flushed) void flushed.then(endNow);
          else endNow();
        });
        return;
      default:
        return;
    }
  };

  const owners = new Set<OwnerConnection>();
  /** Of those on other nodes. */
  const sessions = new Map<OwnerConnection, { readonly peer: ResumablePeer; readonly processId: ProcessId }>();
  const ownerGone = (owner: OwnerConnection): void => {
    owners.delete(owner);
    sessions.delete(owner);
    tasks.ownerGone(owner);
    actors.ownerGone(owner);
  };
  /** Whatever the dead owner has sent and was not read is not to begin any more. */
  const deadOwners = new Set<ProcessId>();
  const inherit = (heir: OwnerConnection): void => {
    deadOwners.add(heir.ownerId);
    for (const owner of [...owners]) {
      if (owner.ownerId !== heir.ownerId || owner.processId !== heir.ownerId) continue;
      ownerGone(owner);
      owner.peer.destroy();
    }
    tasks.inherit(heir);
  };
  const welcome = (peer: Peer): OwnerConnection => {
    const owner = new OwnerConnection(peer, client, runtime, tasks, actors, ownerGone);
    owner.onInherit = inherit;
    owner.deadOwners = deadOwners;
    owners.add(owner);
    return owner;
  };
  await listenUnix(config.address, welcome);
  const tcp =
    config.listen &&
    (await listenForOthers(config.listen, warn, (peer, processId) => {
      const owner = welcome(peer);
      sessions.set(owner, { peer, processId });
      toNode({ t: "process-watch", processId });
      return owner;
    }));
  // What finished before a task called process.exit() has finished: its results leave first.
  process.on("exit", () => {
    node.flush();
    for (const { peer } of owners) peer.flush();
    endInspection();
  });
  node.send({
    t: "hello",
    ...SPOKEN_VERSIONS,
    token: config.token,
    language: LANGUAGE,
    role: "worker",
    processId,
    pid: process.pid,
    workerId: config.workerId,
    address: config.address,
    ...(tcp !== undefined && { tcp }),
  });
  node.flush();
}

/** As nodes are told of it, without what is nobody's call, and what the runtime itself has called. */
function runningTasks(all: readonly Running[]): RunningTask[] {
  return all.flatMap(({ creation, origin: { owner, seq }, attempt, name, actorId, startedAt, namespace }) =>
    seq === NO_SEQ || namespace.startsWith(OWN_NAMESPACES)
      ? []
      : [
          {
            ...{ owner, seq, attempt: creation?.attempt ?? attempt, name },
            kind: creation ? "actor-creation" : actorId === undefined ? "task" : "actor-call",
            ...(actorId !== undefined && { actorId }),
            // While its arguments are fetched it does not run yet.
            startedAtMs: startedAt === 0 ? null : clockOffsetMs() + startedAt,
          } satisfies RunningTask,
        ],
  );
}

/** Owners on other machines, which prove that they know the cluster's token. @returns where they reach this process. */
async function listenForOthers(
  { host, ports, advertise, access: files }: WorkerListens,
  onProblem: (message: string) => void,
  welcome: (peer: ResumablePeer, processId: ProcessId) => PeerHandlers,
): Promise<string> {
  const access = await Access.open(files, onProblem);
  const { address } = await listenPeers({
    host,
    port: ports,
    advertise,
    tokens: access.tokens,
    tls: access.tls,
    accept: (peer, { who }) => {
      const { processId } = (who ?? {}) as { readonly processId?: unknown };
      if (typeof processId !== "string") throw new AuthenticationError("the hello of an owner lacks its processId");
      return { handlers: welcome(peer, processId as ProcessId) };
    },
  });
  return address;
}

/** GPUs that a lease gives are the ones that CUDA shows, hardware or not. */
function showDevices(gpus: readonly string[]): void {
  process.env.CUDA_VISIBLE_DEVICES = gpus.join(",");
}

/** `process.exit` can deadlock while views of the store are collected; a signal cannot. */
function endNow(): never {
  process.kill(process.pid, "SIGKILL");
  throw new ConnectionLostError("the node is gone");
}
