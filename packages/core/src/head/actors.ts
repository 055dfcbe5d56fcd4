/** Control of all actors of the cluster, with the way to it and from it: connections ↔ engines. */

import { type ActorId, type JobId, type NodeId, nodeTag, nodeTagOf, type ProcessId } from "../base/ids.ts";
import {
  ACTOR_PREFIXES,
  CONTROL_HOME,
  type Control,
  createControl,
  createRouter,
  type Home,
  JOB_PREFIX,
  persistThrough,
  type Router,
  type StateStore,
} from "../control/mod.ts";
import type { ClusterView, GroupHost } from "../placement/mod.ts";
import type {
  ActorWorkerDied,
  ActorWorkerReady,
  ActorWorkerRefused,
  AskControl,
  BetweenHomes,
  FromControl,
  JobBegan,
  NodeStatement,
} from "../wire/cluster-messages.ts";
import type { Explanation } from "../wire/explanation.ts";
import type { ActorInfo, Queries } from "../wire/queries.ts";
import { ActorPlaces, type ActorPlacesEffects } from "./actor-places.ts";
import type { Waiter } from "./quota-turns.ts";
import type { Quotas } from "./quotas.ts";
import type { Waiting } from "./waiting-demands.ts";

export interface HeadActorsOptions {
  readonly state: Pick<StateStore, "epoch" | "list" | "commit">;
  readonly view: ClusterView;
  readonly groups: GroupHost;
  readonly quotas: Quotas;
  jobBegan(job: JobBegan["job"]): void;
  /** The quota of its job allows it; if not, it waits. */
  isAllowed(waiter: Waiter): boolean;
  leftQuota(job: JobId, id: string): void;
  mayPreempt: ActorPlacesEffects["mayPreempt"];
  planPreemption: ActorPlacesEffects["planPreemption"];
  preemptAfterMs(job: JobId): number;
  nowMs(): number;
  /** Left out: by the clock of the machine. */
  later?(ms: number, run: () => void): void;
  jobEnded(jobId: JobId): void;
  /** All nodes have spoken that a control before this one knew: no other jobs go on. Said again each second. */
  jobsKnown(jobs: ReadonlySet<JobId>): void;
  send(to: NodeId, message: FromControl): void;
}

export type ActorMessage =
  | BetweenHomes
  | JobBegan
  | AskControl
  | NodeStatement
  | ActorWorkerReady
  | ActorWorkerRefused
  | ActorWorkerDied;

const JOBS_TOLD_EVERY_MS = 1_000;

export class HeadActors {
  private readonly control: Control;
  private readonly router: Router;
  private readonly places: ActorPlaces;
  private readonly options: HeadActorsOptions;
  /** Those that live, by the tag of their processes. */
  private readonly nodes = new Map<Home, NodeId>();
  /** Where the drivers of jobs are, and whose they are. */
  private readonly driverAt = new Map<JobId, NodeId>();
  private readonly jobs = new Map<ProcessId, JobId>();
  /** Nodes that lived when the control before this one was killed, and what is for them until they are back. */
  private readonly awaited = new Map<Home, FromControl[]>();
  private haveDied = false;
  private jobsToldMs = 0;
  /** Of dead nodes, who has inherited their objects. */
  private readonly heirs = new Map<Home, Home>();

  constructor(options: HeadActorsOptions) {
    this.options = options;
    const { state, view, send } = options;
    const home = { here: CONTROL_HOME, actors: CONTROL_HOME };
    this.router = createRouter(home, {
      handle: (from, message) => this.control.handle(from, message),
      joined: (processId) => this.control.processJoined({ processId, role: "worker" }),
      gone: (process, retired) => {
        const job = this.jobs.get(process);
        this.jobs.delete(process);
        if (job !== undefined) {
          this.driverAt.delete(job);
          options.jobEnded(job);
        }
        this.control.processGone(process, retired);
      },
      // None lives here: what is sent to one that a home holds for is for nobody.
      send() {},
      toHome: (home, said) => {
        const to = this.resolve(home);
        const message: FromControl = to === home ? said : { t: "for-heir", of: home, message: said };
        const node = this.nodes.get(to);
        if (node) send(node, message);
        else this.awaited.get(to)?.push(message);
      },
      isDead: (to) => !this.nodes.has(to) && !this.awaited.has(to),
      resolve: (home) => this.resolve(home),
    });
    this.places = new ActorPlaces(view, {
      nowMs: options.nowMs,
      nodeOf: (process) => this.nodes.get(nodeTagOf(process)),
      nodeTagged: (tag) => this.nodes.get(tag),
      ask: (node, request) => {
        const driverAt = this.driverAt.get(request.jobId);
        send(node, { t: "actor-worker-wanted", request, ...(driverAt && { driverAt }) });
      },
      withdraw: (node, requestId) => send(node, { t: "actor-worker-released", requestId }),
      kill: (node, workerId, kill) => send(node, { t: "worker-order", workerId, kill }),
      ready: (requestId, worker, gpus) => this.control.actorWorkerReady(requestId, worker, gpus),
      refused: (requestId, reason) => this.control.actorWorkerRefused(requestId, reason),
      died: (death) => this.control.workerDied(death),
      isAllowed: options.isAllowed,
      leftQuota: options.leftQuota,
      mayPreempt: options.mayPreempt,
      planPreemption: options.planPreemption,
      preemptAfterMs: options.preemptAfterMs,
      charge: (job, units, count) => options.quotas.charge(job, units, count),
      whyNotAllowed: (job) => options.quotas.describe(job),
      unitsOf: (actorId) => this.control.resourcesOf(actorId),
    });
    this.places.groups = options.groups;
    this.control = createControl(
      {
        nowMs: options.nowMs,
        send: (to, message) => this.router.send(to, message),
        requestActorWorker: (request) => this.places.request(request),
        releaseActorWorker: (requestId) => this.places.release(requestId),
        killWorker: (workerId, intended) => this.places.kill(workerId, intended),
        // Objects have their homes at nodes.
        freeStored() {},
        persist: persistThrough(state, options.later),
        explainRequest: (requestId) => this.places.explain(requestId),
        actorRecorded: (creator, actorId, codeKey) => {
          const node = this.nodes.get(nodeTagOf(creator));
          if (node) send(node, { t: "actor-recorded", actorId, ...(codeKey !== undefined && { codeKey }) });
        },
        actorSettled: ({ nodeId }, actorId, incarnation) => send(nodeId, { t: "actor-settled", actorId, incarnation }),
      },
      {
        nodeId: CONTROL_HOME as NodeId,
        epoch: state.epoch,
        cluster: { ...home, elsewhere: this.router.holdsElsewhere, resolve: (tag) => this.resolve(tag) },
      },
    );
  }

  private resolve(home: Home): Home {
    return this.heirs.get(home) ?? home;
  }

  /**
   * @param living nodes that had joined and were not dead, as far as is written down.
   * @param heirs of those that were.
   */
  async recover(living: readonly NodeId[], heirs: Iterable<readonly [NodeId, NodeId]>): Promise<void> {
    const { state } = this.options;
    for (const [node, heir] of heirs) this.heirs.set(nodeTag(node), nodeTag(heir));
    this.restore(living, [...(await state.list(ACTOR_PREFIXES)), ...(await state.list(JOB_PREFIX))]);
  }

  /** @param entries all that is written down of actors and jobs. */
  restore(living: readonly NodeId[], entries: Parameters<Control["recover"]>[0]): void {
    for (const node of living) this.awaited.set(nodeTag(node), []);
    this.control.recover(entries);
    this.allStated();
  }

  stats(): ReturnType<Control["stats"]> {
    return this.control.stats();
  }

  nodeJoined(node: NodeId): void {
    this.nodes.set(nodeTag(node), node);
  }

  nodeDied(node: NodeId, name: string, heir: NodeId | undefined): void {
    const tag = nodeTag(node);
    const homes = this.inherit(tag, heir);
    const isAwaited = this.awaited.delete(tag);
    if (!this.nodes.delete(tag) && !isAwaited) return;
    if (isAwaited) this.haveDied = true;
    // What its processes had said is heard, so their end comes before that of the workers.
    this.router.homeDied(tag, homes, this.control.objectsMentioned);
    this.places.nodeDied(node, name);
    if (isAwaited) this.allStated();
  }

  /** Gives the homes whose objects were the node's. */
  private inherit(tag: Home, heir: NodeId | undefined): readonly Home[] {
    const homes = [tag, ...[...this.heirs].flatMap(([home, had]) => (had === tag ? [home] : []))];
    for (const home of homes) {
      if (heir) this.heirs.set(home, nodeTag(heir));
      else this.heirs.delete(home);
    }
    return homes;
  }

  /** Nothing is left of it. */
  forget(node: NodeId): void {
    this.heirs.delete(nodeTag(node));
  }

  nodeDrains(node: NodeId, deadlineMs: number): void {
    const workers = this.places.workersOf(node).map(({ workerId }) => workerId);
    this.control.moveActors(workers, deadlineMs);
  }

  private stated(node: NodeId, { processes, retired, jobs, workers }: NodeStatement): void {
    const tag = nodeTag(node);
    this.router.stated(tag, processes);
    for (const { driver, job } of jobs) this.jobBegan(node, driver, job);
    // A worker that was given and is not there (any more) has died in a session that was lost.
    const living = new Set(workers.map(({ worker }) => worker.workerId));
    for (const { workerId, pid } of this.places.workersOf(node)) {
      if (living.has(workerId)) continue;
      this.places.workerDied(node, { workerId, pid, exitCode: null, signal: null, stderrTail: "" });
    }
    this.places.stated(node, workers);
    const unknown = new Set(this.control.stated({ workers, processes, retired }));
    for (const { worker, actors } of workers) {
      for (const { actorId, incarnation } of actors) {
        if (!unknown.has(actorId)) continue;
        if (actors.every((one) => unknown.has(one.actorId)))
          this.places.kill(worker.workerId, "its actors do not count");
        else this.router.send(worker.processId, { t: "actor-stop", actorId, reason: "killed", timeoutMs: 0 });
        this.options.send(node, { t: "actor-settled", actorId, incarnation });
      }
    }
    for (const message of this.awaited.get(tag) ?? []) this.options.send(node, message);
    if (this.awaited.delete(tag)) this.allStated();
  }

  private allStated(): void {
    if (this.awaited.size > 0) return;
    this.control.allStated(this.haveDied);
    this.tellJobs();
  }

  private tellJobs(): void {
    this.jobsToldMs = this.options.nowMs();
    this.options.jobsKnown(new Set(this.jobs.values()));
  }

  private jobBegan(node: NodeId, driver: ProcessId, job: JobBegan["job"]): void {
    this.jobs.set(driver, job.jobId);
    this.driverAt.set(job.jobId, node);
    this.options.jobBegan(job);
    this.router.watch(driver);
    this.control.processJoined({ processId: driver, role: "driver", job });
  }

  hear(node: NodeId, message: ActorMessage): void {
    switch (message.t) {
      case "node-statement":
        this.stated(node, message);
        return;
      case "job-began":
        this.jobBegan(node, message.driver, message.job);
        return;
      case "ask-control":
        this.router.watch(message.from);
        this.control.query(message.from, message.query);
        return;
      case "actor-worker-ready":
        this.places.ready(node, message);
        return;
      case "actor-worker-refused":
        this.places.refused(node, message);
        return;
      case "actor-worker-died":
        this.places.workerDied(node, message.death);
        return;
      default:
        this.router.fromHome(nodeTag(node), message);
    }
  }

  explain(actorId: ActorId): Explanation | undefined {
    return this.control.explainActor(actorId);
  }

  waiting(): Iterable<Waiting> {
    return this.places.waitingDemands();
  }

  list(namespace: string | null): readonly ActorInfo[] {
    return this.control.listActors(namespace);
  }

  details(since: number | null): Queries["actor-details"]["result"] {
    return this.control.actorDetails(since);
  }

  quotasChanged(): void {
    this.places.quotasChanged();
  }

  groupsChanged(): void {
    this.places.groupsChanged();
  }

  /** Several times a second. */
  place(): void {
    this.places.tick();
  }

  tick(): void {
    this.control.tick();
    if (this.awaited.size === 0 && this.options.nowMs() - this.jobsToldMs >= JOBS_TOLD_EVERY_MS) this.tellJobs();
  }
}
