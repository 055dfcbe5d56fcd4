/**
 * What the node process is elsewhere, in this thread: the lease engine, control and the executors, without sockets,
 * object store and processes. The engines are the same ones, so placing, queueing, refusing, restarting and naming are
 * what they are with processes.
 *
 * To control each executor is a process of its own, as hosts of actors must be, but everything it holds and owns is the
 * driver's: holds granted to an executor are passed on to the driver at once.
 */

import { unreachable } from "../base/assert.ts";
import { wallMs } from "../base/clock.ts";
import { isError, type MobulaError } from "../base/errors.ts";
import { type NodeId, newProcessId, newWorkerId, type ProcessId, type WorkerId } from "../base/ids.ts";
import { fromUnits, toUnits } from "../base/resources.ts";
import { WIRE_VERSION } from "../base/wire-version.ts";
import {
  CONTROL_MESSAGES,
  CONTROL_QUERIES,
  type Control,
  type ControlMessage,
  createControl,
  createMemoryState,
  type JobInfo,
  persistThrough,
} from "../control/mod.ts";
import {
  EventRing,
  isAboutBundles,
  LeaseLoop,
  type Machine,
  misplacedOn,
  OwnGroups,
  ownGroupsClock,
} from "../node/mod.ts";
import { isAboutGroups } from "../placement/mod.ts";
import { LeaseEngine, type SchedulerCommand, type SchedulerEvent, type StopReason } from "../scheduler/mod.ts";
import {
  type ActorStart,
  type Demand,
  type Explanation,
  type FromNode,
  type NodeInfo,
  pack,
  type Queries,
  type Query,
  type ToNode,
  unpack,
  type WorkerAddress,
  type WorkerDeath,
} from "../wire/mod.ts";
import type { InlineExecutor } from "./inline-executor.ts";

export interface InlineNodeOptions {
  readonly nodeId: NodeId;
  readonly driver: ProcessId;
  readonly job: JobInfo;
  readonly machine: Pick<Machine, "total" | "gpuIds">;
  readonly infeasibleTimeoutMs: number;
  readonly makeExecutor: (
    workerId: WorkerId,
    processId: ProcessId,
    toNode: (message: ToNode) => void,
  ) => InlineExecutor;
  readonly toDriver: (message: FromNode) => void;
  /** The driver waits for something, so the process must not end. */
  readonly isBusy: () => boolean;
}

const NAME = "inline";
const CONTROL_TICK_MS = 250;
const ENDED_FOR: Readonly<Record<StopReason, string>> = {
  idle: "idle",
  retired: "max-calls",
  "job-ended": "idle",
  "owner-gone": "idle",
  "group-removed": "group-removed",
};

export class InlineNode {
  private readonly options: InlineNodeOptions;
  private readonly engine: LeaseEngine;
  private readonly control: Control;
  private readonly groups: OwnGroups;
  /** What asks for room in groups, and has none yet. */
  private readonly shapes = new Map<number, Demand>();
  private readonly requests = new Map<number, Demand>();
  private readonly executors = new Map<WorkerId, InlineExecutor>();
  private readonly byProcess = new Map<ProcessId, InlineExecutor>();
  private readonly deaths = new Map<WorkerId, WorkerDeath>();
  private readonly loop: LeaseLoop;
  private readonly events = new EventRing();
  private readonly controlTimer: NodeJS.Timeout;

  constructor(options: InlineNodeOptions) {
    this.options = options;
    const { driver, job, machine, nodeId } = options;
    this.engine = new LeaseEngine({
      total: machine.total,
      gpuIds: machine.gpuIds,
      infeasibleTimeoutMs: options.infeasibleTimeoutMs,
      newWorkerId,
      nodeName: NAME,
    });
    this.groups = new OwnGroups({
      nodeId,
      name: NAME,
      total: this.engine.pool.total,
      lasting: () => this.engine.lasting(),
      // There is one job only.
      preemptable: () => [],
      preemptAfterMs: () => Number.POSITIVE_INFINITY,
      available: () => toUnits(this.available()),
      feed: (event) => this.feed(event),
      changed: () => this.groupsChanged(),
      ...ownGroupsClock,
    });
    this.loop = new LeaseLoop(this.engine, (command) => this.obey(command));
    const state = createMemoryState();
    this.control = createControl(
      {
        nowMs: wallMs,
        send: (to, message) => this.send(to, message),
        requestActorWorker: ({ requestId, jobId, demand, worker }) => {
          const misplaced = this.misplaced(demand);
          if (demand.placement?.bundle) this.requests.set(requestId, demand);
          if (misplaced) this.control.actorWorkerRefused(requestId, misplaced);
          else this.feed({ kind: "worker-requested", requestId, jobId, demand, worker });
        },
        releaseActorWorker: (requestId) => {
          this.requests.delete(requestId);
          this.feed({ kind: "request-released", requestId });
        },
        // As elsewhere a death is told after what led to it has been handled.
        killWorker: (workerId, intended) => setImmediate(() => this.end(workerId, intended)),
        freeStored() {
          // Without a store there are none.
        },
        persist: persistThrough(state),
        explainRequest: (requestId) => this.engine.explainRequest(requestId, wallMs()) ?? { sentences: [] },
      },
      { nodeId, epoch: state.epoch },
    );
    this.control.processJoined({ processId: driver, role: "driver", job });
    this.feed({ kind: "client-joined", clientId: driver, jobId: job.jobId });
    // While nothing waits, this must not keep the process alive.
    this.controlTimer = setInterval(() => {
      this.control.tick();
      if (!options.isBusy()) this.controlTimer.unref();
    }, CONTROL_TICK_MS);
    this.controlTimer.unref();
  }

  address(workerId: WorkerId): WorkerAddress | undefined {
    const executor = this.executors.get(workerId);
    if (!executor) return undefined;
    const { processId } = executor;
    return { workerId, processId, nodeId: this.options.nodeId, pid: process.pid, address: NAME };
  }

  find(workerId: WorkerId): InlineExecutor | undefined {
    return this.executors.get(workerId);
  }

  /** Runs the actors' shutdown hooks, then ends everything. */
  async stop(): Promise<void> {
    this.feed({ kind: "shutdown-began" });
    this.controlTimer.ref();
    await new Promise<void>((resolve) => this.control.shutdown(resolve));
    this.close();
  }

  close(): void {
    clearInterval(this.controlTimer);
    this.groups.close();
    this.loop.close();
    for (const executor of this.executors.values()) executor.end();
    this.executors.clear();
  }

  // ── messages ───────────────────────────────────────────────────────────────────────────────────────────────────────

  handle(message: ToNode): void {
    this.controlTimer.ref();
    const { driver } = this.options;
    switch (message.t) {
      case "lease-demand": {
        const { shape, demand, wanted, isOver } = message;
        if (isOver) {
          this.shapes.delete(shape);
          this.feed({ kind: "demand-over", clientId: driver, shape });
          return;
        }
        if (demand?.placement?.bundle) this.shapes.set(shape, demand);
        const of = demand ?? this.shapes.get(shape);
        const misplaced = of && this.misplaced(of);
        if (misplaced) this.options.toDriver({ t: "lease-refused", shape, ...misplaced });
        else this.feed({ kind: "demand-changed", clientId: driver, shape, demand, wanted });
        return;
      }
      case "lease-return": {
        const { leaseId, retire = false } = message;
        this.feed({ kind: "lease-returned", clientId: driver, leaseId, retire });
        return;
      }
      case "hold-grant":
        this.control.handle(driver, { ...message, to: driver });
        return;
      case "events":
        this.events.push(message.batch);
        return;
      case "query":
        this.answer(message);
        return;
      default:
        if (CONTROL_MESSAGES.has(message.t)) this.control.handle(driver, message as ControlMessage); // Its `t` is in the set.
    }
  }

  private fromExecutor(executor: InlineExecutor, message: ToNode): void {
    if (message.t === "blocked") {
      this.feed({ kind: "worker-blocked", workerId: executor.workerId, blocked: message.blocked });
    } else this.control.handle(executor.processId, message as ControlMessage); // Hosts say nothing else.
  }

  private send(to: ProcessId, message: FromNode): void {
    if (to === this.options.driver) {
      this.options.toDriver(message);
      return;
    }
    const executor = this.byProcess.get(to);
    if (!executor) return;
    // As over a socket: what arrives is a copy, and arrives later.
    const copy = unpack(pack(message)) as FromNode;
    setImmediate(() => this.deliver(executor, copy));
  }

  private deliver(executor: InlineExecutor, message: FromNode): void {
    if (executor.isEnded) return;
    switch (message.t) {
      case "actor-start":
        this.passHolds(executor, message);
        executor.lease = { resources: message.resources, gpus: message.gpus, bundle: message.bundle };
        void executor.actors.start(message);
        return;
      case "actor-stop":
        executor.actors.stop(message);
        return;
      case "deadlock":
        executor.waits.deadlocked(message);
        return;
      case "wait-check":
        executor.waits.check(message);
        return;
      case "object-makers":
        executor.waits.madeBy(message);
        return;
      default:
    }
  }

  /** Refs in the constructor's arguments were granted to the host; here the driver's engine counts them. */
  private passHolds(executor: InlineExecutor, { spec }: ActorStart): void {
    const { nested } = spec;
    if (!nested || nested.length === 0) return;
    const { processId } = executor;
    this.control.handle(processId, { t: "hold-grant", to: this.options.driver, keys: nested });
    this.control.handle(processId, { t: "hold-release", holds: nested.map((key) => [key, 1] as const) });
  }

  // ── questions ──────────────────────────────────────────────────────────────────────────────────────────────────────

  private answer(query: Query): void {
    if (CONTROL_QUERIES.has(query.method)) {
      this.control.query(this.options.driver, query);
      return;
    }
    void this.answerSoon(query);
  }

  private async answerSoon(query: Query): Promise<void> {
    try {
      const result = isAboutGroups(query) ? await this.groups.query(query.method, query.params) : this.result(query);
      this.options.toDriver({ t: "answer", id: query.id, result });
    } catch (error) {
      const { message } = error as Error;
      const known = isError(error, (error as MobulaError).code) ? (error as MobulaError) : undefined;
      const code = known?.code ?? "INTERNAL";
      this.options.toDriver({ t: "answer", id: query.id, error: { code, kind: known?.kind ?? "internal", message } });
    }
  }

  private result(query: Query): Queries[keyof Queries]["result"] {
    const { engine } = this;
    switch (query.method as keyof Queries) {
      case "nodes":
        return [this.info()];
      case "available-resources":
        return this.available();
      case "cluster-resources":
        return fromUnits(engine.pool.total);
      case "explain-shape":
        return this.explainShape((query.params as Queries["explain-shape"]["params"]).shape);
      case "kill-worker": {
        const { workerId, reason, lease } = query.params as Queries["kill-worker"]["params"];
        if (lease !== undefined && this.engine.workerOf(lease) !== workerId) return null;
        this.end(workerId as WorkerId, reason);
        return null;
      }
      case "timeline":
        return { batches: this.events.all(), droppedBatches: this.events.droppedBatches };
      default:
        throw new Error(`"${query.method}" is not answered inline`);
    }
  }

  private available(): Readonly<Record<string, number>> {
    const units = Object.entries(this.engine.pool.available()).map(([name, amount]) => [name, Math.max(0, amount)]);
    return fromUnits(Object.fromEntries(units));
  }

  private info(): NodeInfo {
    return {
      nodeId: this.options.nodeId,
      name: NAME,
      state: "alive",
      address: null,
      resources: fromUnits(this.engine.pool.total),
      available: this.available(),
      labels: {},
      objectStore: { usedBytes: 0, spilledBytes: 0, capacityBytes: 0 },
      wireVersion: WIRE_VERSION,
      events: this.events.kept,
    };
  }

  private explainShape(shape: number): Explanation {
    const now = wallMs();
    const explanation = this.engine.explain(this.options.driver, shape, now);
    if (!explanation) {
      return { state: "granted", since: now, sentences: ["No lease of this shape is missing."], waitsFor: [] };
    }
    return { state: "waiting", since: explanation.sinceMs, sentences: explanation.sentences, waitsFor: [] };
  }

  // ── the lease engine ───────────────────────────────────────────────────────────────────────────────────────────────

  private misplaced(demand: Demand): ReturnType<typeof misplacedOn> {
    return misplacedOn({ nodeId: this.options.nodeId, name: NAME }, demand) ?? this.groups.misplaced(demand);
  }

  private groupsChanged(): void {
    for (const [shape, demand] of this.shapes) {
      const misplaced = this.groups.misplaced(demand);
      if (!misplaced) continue;
      this.feed({ kind: "demand-changed", clientId: this.options.driver, shape, wanted: 0 });
      this.options.toDriver({ t: "lease-refused", shape, ...misplaced });
    }
    for (const [requestId, demand] of this.requests) {
      const misplaced = this.groups.misplaced(demand);
      if (!misplaced) continue;
      this.requests.delete(requestId);
      this.feed({ kind: "request-released", requestId });
      this.control.actorWorkerRefused(requestId, misplaced);
    }
  }

  private feed(event: SchedulerEvent): void {
    this.loop.feed(event);
  }

  private obey(command: SchedulerCommand): void {
    if (isAboutBundles(command)) {
      this.groups.take(command);
      return;
    }
    switch (command.kind) {
      case "prepare-environment":
      case "release-environment":
        // Inline there is one environment: others are refused at the call.
        return;
      case "start-worker":
        this.startExecutor(command.workerId);
        return;
      case "stop-worker":
        setImmediate(() => this.end(command.workerId, ENDED_FOR[command.reason]));
        return;
      case "grant-lease": {
        const { workerId, leaseId, resources, gpus, shape, bundle } = command;
        const executor = this.executors.get(workerId);
        const worker = this.address(workerId);
        if (!executor || !worker) return;
        executor.lease = { resources, gpus, bundle };
        this.options.toDriver({ t: "lease-granted", shape, leaseId, worker, gpus });
        return;
      }
      case "revoke-lease":
        this.options.toDriver({ t: "lease-revoked", leaseId: command.leaseId });
        return;
      case "preempt-lease":
      case "question-lease":
        // There is one job only.
        return;
      case "end-lease":
      case "reclaim-lease":
        // Executors share the owner's thread, and say nothing of being idle.
        return;
      case "lose-lease": {
        const death = this.deaths.get(command.workerId);
        if (death) this.options.toDriver({ t: "lease-lost", leaseId: command.leaseId, death });
        return;
      }
      case "refuse-demand": {
        const { shape, message } = command;
        this.options.toDriver({ t: "lease-refused", shape, code: "INFEASIBLE", message });
        return;
      }
      case "grant-request": {
        const { requestId, workerId, gpus } = command;
        const worker = this.address(workerId);
        this.requests.delete(requestId);
        if (worker) this.control.actorWorkerReady(requestId, worker, gpus);
        return;
      }
      case "refuse-request":
        this.control.actorWorkerRefused(command.requestId, { code: command.code, message: command.message });
        return;
      default:
        unreachable(command);
    }
  }

  private startExecutor(workerId: WorkerId): void {
    const processId = newProcessId(this.options.nodeId);
    const executor: InlineExecutor = this.options.makeExecutor(workerId, processId, (message) =>
      this.fromExecutor(executor, message),
    );
    this.executors.set(workerId, executor);
    this.byProcess.set(processId, executor);
    this.control.processJoined({ processId, role: "worker" });
    this.feed({ kind: "worker-ready", workerId, clientId: processId });
  }

  private end(workerId: WorkerId, intended: string): void {
    const executor = this.executors.get(workerId);
    if (!executor) return;
    executor.end();
    this.executors.delete(workerId);
    this.byProcess.delete(executor.processId);
    const death: WorkerDeath = {
      workerId,
      pid: process.pid,
      exitCode: null,
      signal: "SIGKILL",
      stderrTail: "",
      intended,
    };
    this.deaths.set(workerId, death);
    this.control.processGone(executor.processId, intended === "idle" || intended === "max-calls");
    this.feed({ kind: "worker-died", workerId, detail: intended });
    this.control.workerDied(death);
    this.deaths.delete(workerId);
  }
}
