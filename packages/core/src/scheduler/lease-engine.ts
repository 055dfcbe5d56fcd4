/**
 * The lease engine of one node, pure: events and the time in, commands out.
 *
 * 1. An event changes the tables (`tables.ts`).
 * 2. Usage is brought up to date and one pass grants what fits, fairly (`grant-pass.ts`, `fairness.ts`).
 * 3. For what has no room, leases are called back from whoever is above its share (`revoke-pass.ts`).
 * 4. Processes are started for what needs one and for the warm pool, and ended when too many idle (`workers.ts`).
 */
import { assert, unreachable } from "../base/assert.ts";
import type { JobId, LeaseId, ProcessId, WorkerId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import type { Preemptable } from "../wire/cluster-messages.ts";
import type { WaitingDemand } from "../wire/queries.ts";
import { Bundles, callBack } from "./bundles.ts";
import { earmarkPass } from "./earmark-pass.ts";
import { Environments } from "./environments.ts";
import { explainAsk, infeasibleMessage, waitingAsks } from "./explain.ts";
import { boundCredit, count, type Flow } from "./fairness.ts";
import { grantPass } from "./grant-pass.ts";
import { Comings, mayBePreempted, type Preempted, preemptPass } from "./preempt-pass.ts";
import type { SchedulerCommand, SchedulerEvent } from "./protocol.ts";
import { type Allocation, ResourcePool } from "./resource-pool.ts";
import { revokePass } from "./revoke-pass.ts";
import type { Ask, Client, Holding, Request, Worker } from "./state.ts";
import { Tables } from "./tables.ts";
import { stop, WorkerPlan } from "./workers.ts";

export interface LeaseEngineOptions {
  readonly total: ResourceUnits;
  readonly gpuIds: readonly string[];
  readonly infeasibleTimeoutMs: number;
  readonly newWorkerId: () => WorkerId;
  /** For people: "n1" in "the node with the most, n1". */
  readonly nodeName: string;
  /** A standing node that several drivers share keeps unused workers ready for the next one. */
  readonly isShared?: boolean;
}
/** An owner that does not end what runs for others is not asked again for so long. */
const REFUSED_MS = 5_000;

const RUNTIME_ENV = "RUNTIME_ENV";

/** While something waits, shares are looked at this often. */
const REVIEW_MS = 50;

/** A worker with a GPU, or a part of it. */
export interface GpuHolding {
  readonly device: string;
  readonly units: number;
  readonly workerId: WorkerId;
  readonly jobId: JobId;
  /** What it was asked for. */
  readonly name: string;
}

export class LeaseEngine {
  readonly tables: Tables;
  /** What no placement group has reserved. */
  readonly pool: ResourcePool;
  readonly bundles: Bundles;
  private readonly plan: WorkerPlan;
  private readonly environments = new Environments();
  private readonly options: LeaseEngineOptions;
  private lastMs: number | undefined;
  private nextLeaseId = 1;
  private isShuttingDown = false;
  /** Nothing new begins here. */
  isDraining = false;
  /** Something waits for room that no group has, or has some promised until its worker is ready. */
  isContended = false;
  private hasWaiting = false;
  /** What leases and actors have of the CPUs, in bundles or outside. */
  heldCpuUnits = 0;

  constructor(options: LeaseEngineOptions) {
    this.options = options;
    this.pool = new ResourcePool(options.total, options.gpuIds);
    this.tables = new Tables(this.pool);
    this.bundles = new Bundles(this.pool, this.tables);
    this.plan = new WorkerPlan({
      workers: this.tables.workers,
      newWorkerId: options.newWorkerId,
      cpuUnits: options.total.cpu ?? 0,
      isShared: options.isShared ?? false,
    });
  }

  step(event: SchedulerEvent, nowMs: number): SchedulerCommand[] {
    const out: SchedulerCommand[] = [];
    this.advance(nowMs);
    this.apply(event, nowMs, out);
    if (!this.isShuttingDown) this.schedule(nowMs, out);
    return out;
  }

  /** When a `tick` is due though nothing happens, or undefined. */
  nextTickMs(nowMs: number): number | undefined {
    if (this.isShuttingDown) return undefined;
    const next = Math.min(
      this.plan.nextDeadlineMs(nowMs) ?? Number.POSITIVE_INFINITY,
      this.bundles.nextDeadlineMs() ?? Number.POSITIVE_INFINITY,
      this.environments.nextDeadlineMs() ?? Number.POSITIVE_INFINITY,
      this.hasWaiting ? nowMs + REVIEW_MS : Number.POSITIVE_INFINITY,
    );
    return next === Number.POSITIVE_INFINITY ? undefined : next;
  }

  /** Why leases of this shape are not granted, in sentences; undefined when none of them waits. */
  explain(clientId: ProcessId, shape: number, nowMs: number): { sentences: string[]; sinceMs: number } | undefined {
    const ask = this.tables.clients.get(clientId)?.asks.get(shape);
    return ask && this.explainOne(ask, nowMs);
  }

  /** What tasks of these jobs have leased and given back for as long as they wait for others. */
  blockedOf(jobs: ReadonlySet<JobId>): (readonly [JobId, ResourceUnits])[] {
    const cpus = new Map<JobId, number>();
    for (const { ask, isBlocked } of this.tables.leases.values()) {
      const { id } = ask.client.job;
      if (isBlocked && !ask.bundle && jobs.has(id)) cpus.set(id, (cpus.get(id) ?? 0) + (ask.resources.cpu ?? 0));
    }
    return [...cpus].map(([id, cpu]) => [id, { cpu }]);
  }

  /** What actors and placement groups have of this node: it may never come free. */
  lasting(): ResourceUnits {
    const lasting = this.bundles.reservedUnits();
    for (const { holding } of this.tables.requests.values()) {
      if (holding?.pool !== this.pool) continue;
      for (const [name, units] of Object.entries(holding.allocation.units))
        lasting[name] = (lasting[name] ?? 0) + units;
    }
    return lasting;
  }

  /** What urgent demands of higher priority may end here, alike ones together. */
  preemptable(nowMs: number): Preemptable[] {
    const kinds = new Map<string, { job: JobId; priority: number; units: ResourceUnits; count: number }>();
    for (const lease of this.tables.leases.values()) {
      const { ask, pool } = lease;
      if (pool !== this.pool || !mayBePreempted(lease, nowMs)) continue;
      const kind = `${ask.client.job.id} ${ask.priority} ${JSON.stringify(ask.resources)}`;
      const known = kinds.get(kind);
      if (known) known.count++;
      else kinds.set(kind, { job: ask.client.job.id, priority: ask.priority, units: ask.resources, count: 1 });
    }
    return [...kinds.values()].map(({ job, priority, units, count }) => [job, priority, units, count]);
  }

  /** What is asked for and not granted, by what it is; the most first. */
  waiting(): WaitingDemand[] {
    const { tables, bundles, environments } = this;
    return waitingAsks({ tables, bundles, environments, nodeName: this.options.nodeName });
  }

  /** Jobs of which something waits for this environment. */
  jobsWaitingFor(envKey: string): ReadonlySet<JobId> {
    const jobs = new Set<JobId>();
    for (const ask of this.tables.active) {
      if (ask.envKey === envKey && this.tables.missing(ask) > 0) jobs.add(ask.client.job.id);
    }
    return jobs;
  }

  /** Nothing runs: no worker is leased, and none hosts actors. */
  get isQuiet(): boolean {
    if (this.tables.leases.size > 0) return false;
    for (const { state } of this.tables.workers.values()) if (state === "hosting") return false;
    return true;
  }

  /** False once nobody submits for the job and nothing of it is left. */
  hasJob(jobId: JobId): boolean {
    return this.tables.jobs.has(jobId);
  }

  /** Who has which GPU, or a part of it: leases, and actors. */
  *gpuHolders(): Generator<GpuHolding> {
    const { leases, requests } = this.tables;
    for (const lease of leases.values()) yield* gpusOf(lease);
    for (const { holding } of requests.values()) if (holding) yield* gpusOf(holding);
  }

  *leasesOf(clientId: ProcessId): Generator<{ readonly leaseId: LeaseId; readonly workerId: WorkerId }> {
    for (const { held } of this.tables.clients.get(clientId)?.asks.values() ?? []) {
      for (const { leaseId, worker } of held) if (leaseId !== undefined) yield { leaseId, workerId: worker.id };
    }
  }

  workerOf(leaseId: LeaseId): WorkerId | undefined {
    return this.tables.leases.get(leaseId)?.worker.id;
  }

  explainRequest(requestId: number, nowMs: number): { sentences: string[]; sinceMs: number } | undefined {
    const request = this.tables.requests.get(requestId);
    return request && !request.holding ? this.explainOne(request.ask, nowMs) : undefined;
  }

  private explainOne(ask: Ask, nowMs: number): { sentences: string[]; sinceMs: number } | undefined {
    if (this.tables.missing(ask) === 0) return undefined;
    const sentences = explainAsk({
      ask,
      tables: this.tables,
      environments: this.environments,
      pools: this.bundles.poolsOf(ask),
      nodeName: this.options.nodeName,
      nowMs,
    });
    const problem = this.plan.startProblem(ask.envKey, nowMs);
    if (problem) sentences.push(problem);
    return { sentences, sinceMs: ask.waitingSinceMs ?? nowMs };
  }

  // ── events ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  private apply(event: SchedulerEvent, nowMs: number, out: SchedulerCommand[]): void {
    const { tables } = this;
    switch (event.kind) {
      case "client-joined":
        if (!tables.clients.has(event.clientId)) {
          tables.addClient(event.clientId, tables.job(event.jobId), event.isDeputy);
        }
        return;
      case "client-left": {
        const client = tables.clients.get(event.clientId);
        if (client) this.removeClient(client, nowMs, out);
        return;
      }
      case "leases-inherited": {
        const client = tables.clients.get(event.clientId);
        const heir = tables.clients.get(event.heir);
        if (client && heir) this.passLeases(client, heir, nowMs);
        return;
      }
      case "demand-changed":
        this.changeDemand(event, nowMs);
        return;
      case "demand-over": {
        const ask = tables.clients.get(event.clientId)?.asks.get(event.shape);
        if (ask) tables.endAsk(ask, nowMs);
        return;
      }
      case "lease-returned": {
        const lease = tables.leases.get(event.leaseId);
        if (!lease || lease.ask.client.id !== event.clientId) return;
        this.endLease(lease, nowMs);
        if (event.retire || lease.worker.hasUsedGpu) stop(lease.worker, "retired", out);
        return;
      }
      case "lease-kept": {
        const lease = tables.leases.get(event.leaseId);
        if (!lease?.preemption || lease.ask.client.id !== event.clientId) return;
        // Of a question the lease goes on to other tasks.
        const forMs = event.forMs ?? (lease.preemption.isQuestion ? REFUSED_MS : Number.POSITIVE_INFINITY);
        const keptUntilMs = nowMs + forMs;
        lease.preemption = { ...lease.preemption, keptUntilMs };
        return;
      }
      case "lease-idle": {
        const lease = this.leaseOn(event);
        if (!lease || lease.isIdle === event.idle) return;
        lease.isIdle = event.idle;
        if (lease.isIdle && lease.isRevoked)
          out.push({ kind: "end-lease", workerId: event.workerId, leaseId: event.leaseId });
        return;
      }
      case "lease-ended": {
        const lease = this.leaseOn(event);
        if (!lease) return;
        const { client, shape } = lease.ask;
        if (client.id !== undefined) {
          // Clients of leases name their shapes by numbers.
          out.push({ kind: "reclaim-lease", clientId: client.id, shape: shape as number, leaseId: event.leaseId });
        }
        // It had no use for it, or it would be granted again at once; the owner says its number anew when it hears.
        lease.ask.wanted = Math.max(0, lease.ask.wanted - 1);
        this.endLease(lease, nowMs);
        if (lease.worker.hasUsedGpu) stop(lease.worker, "retired", out);
        return;
      }
      case "workers-started":
        for (const id of event.workerIds) if (!tables.workers.has(id)) this.plan.add(id, "", undefined, nowMs);
        return;
      case "worker-ready": {
        const worker = tables.workers.get(event.workerId);
        if (worker?.state !== "starting") return;
        worker.state = "idle";
        worker.sinceMs = nowMs;
        worker.clientId = event.clientId;
        tables.workersByClient.set(event.clientId, worker);
        this.plan.startSucceeded(worker);
        return;
      }
      case "worker-died": {
        const worker = tables.workers.get(event.workerId);
        if (worker) this.removeWorker(worker, event.detail, nowMs, out);
        return;
      }
      case "worker-blocked": {
        const worker = tables.workers.get(event.workerId);
        if (worker) this.setBlocked(worker, event.blocked);
        return;
      }
      case "environment-ready":
        this.environments.ready(event.envKey, nowMs);
        // From now on they wait for room: others need not end for the time before.
        for (const ask of tables.active) {
          if (ask.envKey === event.envKey && ask.waitingSinceMs !== undefined) ask.waitingSinceMs = nowMs;
        }
        return;
      case "environment-failed":
        this.environments.failed(event.envKey, event.message, nowMs);
        return;
      case "environment-progress":
        this.environments.progress(event.envKey, event.words);
        return;
      case "worker-requested":
        this.addRequest(event, nowMs, out);
        return;
      case "request-released": {
        const request = tables.requests.get(event.requestId);
        if (request) this.removeRequest(request, nowMs);
        return;
      }
      case "prepare-bundles":
        this.bundles.prepare(event, nowMs, this, out);
        return;
      case "commit-bundles":
        this.bundles.commit(event, out);
        return;
      case "return-bundles":
        this.bundles.giveBack(event, out);
        return;
      case "earmark":
        this.bundles.setEarmark(event, nowMs);
        return;
      case "clear-earmark":
        this.bundles.clearEarmark(event.groupId);
        return;
      case "drain-began":
        this.isDraining = true;
        return;
      case "shutdown-began":
        this.isShuttingDown = true;
        return;
      case "tick":
        return;
      default:
        unreachable(event);
    }
  }

  private leaseOn({
    workerId,
    leaseId,
  }: {
    readonly workerId: WorkerId;
    readonly leaseId: LeaseId;
  }): Holding | undefined {
    const lease = this.tables.leases.get(leaseId);
    return lease?.worker.id === workerId ? lease : undefined;
  }

  private changeDemand(event: SchedulerEvent & { kind: "demand-changed" }, nowMs: number): void {
    const client = this.tables.clients.get(event.clientId);
    if (!client) return;
    let ask = client.asks.get(event.shape);
    if (!ask) {
      if (!event.demand) return;
      ask = this.tables.ask(client, event.shape, event.demand, undefined);
    }
    ask.preemptAfterMs = event.preemptAfterMs;
    ask.isOver = false;
    if (event.preemptAfterMs === undefined) ask.isUrgent = false;
    if (ask.wanted === event.wanted) return;
    ask.wanted = event.wanted;
    ask.isRefused = false;
    this.tables.refresh(ask, nowMs);
  }

  private addRequest(
    event: SchedulerEvent & { kind: "worker-requested" },
    nowMs: number,
    out: SchedulerCommand[],
  ): void {
    const { tables } = this;
    if (tables.requests.has(event.requestId)) return;
    let target: Ask["target"] = "fresh";
    if (event.worker !== "fresh") {
      const worker = tables.workers.get(event.worker);
      if (worker?.state !== "hosting" || worker.job?.id !== event.jobId) {
        const message = `worker ${event.worker} is gone, or hosts actors of another job`;
        out.push({ kind: "refuse-request", requestId: event.requestId, code: "WORKER_DIED", message });
        return;
      }
      target = worker;
    }
    const job = tables.job(event.jobId);
    // What is urgent is not so for others that are alike.
    const shape = `${event.worker} ${event.preemptAfterMs ?? ""} ${event.refusal ?? ""} ${event.demand.key}`;
    const ask = tables.ask(tables.controlClient(job), shape, event.demand, target);
    ask.preemptAfterMs = event.preemptAfterMs;
    const request: Request = { id: event.requestId, ask, refusal: event.refusal, holding: undefined };
    tables.requests.set(request.id, request);
    job.requests++;
    ask.queue.add(request);
    tables.refresh(ask, nowMs);
  }

  private removeRequest(request: Request, nowMs: number): void {
    const { tables } = this;
    const { ask, holding } = request;
    tables.requests.delete(request.id);
    ask.client.job.requests--;
    ask.queue.delete(request);
    if (holding) {
      this.dropHolding(holding);
      holding.worker.requests.delete(request);
    }
    tables.refresh(ask, nowMs);
  }

  private passLeases(client: Client, heir: Client, nowMs: number): void {
    const { tables } = this;
    for (const ask of [...client.asks.values()]) {
      if (ask.held.size === 0) continue;
      for (const lease of ask.held) count(lease, -1);
      tables.active.delete(ask);
      client.asks.delete(ask.shape);
      ask.client = heir;
      Object.assign(ask, tables.flowsOf(heir, ask.bundle?.groupId));
      ask.shape = `${ask.shape} of ${client.id}`;
      heir.asks.set(ask.shape, ask);
      for (const lease of ask.held) count(lease, 1);
      tables.endAsk(ask, nowMs);
    }
  }

  private removeClient(client: Client, nowMs: number, out: SchedulerCommand[]): void {
    const { tables } = this;
    if (client.id === undefined) return;
    tables.clients.delete(client.id);
    client.job.clients.delete(client);
    for (const ask of client.asks.values()) {
      // What its tasks do is for nobody now; the resources are free when the processes are gone.
      for (const lease of ask.held) stop(lease.worker, "owner-gone", out);
      tables.endAsk(ask, nowMs);
    }
    tables.dropJobIfOver(client.job);
  }

  private endLease(lease: Holding, nowMs: number): void {
    assert(lease.leaseId !== undefined, "only leases are returned");
    this.tables.leases.delete(lease.leaseId);
    this.dropHolding(lease);
    const { worker } = lease;
    worker.lease = undefined;
    if (worker.state === "leased") {
      worker.state = "idle";
      worker.sinceMs = nowMs;
    }
    this.tables.refresh(lease.ask, nowMs);
  }

  private dropHolding(holding: Holding): void {
    holding.pool.release(holding.allocation);
    this.heldCpuUnits -= holding.allocation.units.cpu ?? 0;
    count(holding, -1);
    holding.ask.held.delete(holding);
  }

  private removeWorker(worker: Worker, detail: string, nowMs: number, out: SchedulerCommand[]): void {
    const { tables } = this;
    if (worker.state === "starting") this.plan.startFailed(worker, detail, nowMs);
    tables.workers.delete(worker.id);
    const { lease } = worker;
    if (lease?.leaseId !== undefined) {
      const { client } = lease.ask;
      if (client.id !== undefined && tables.clients.has(client.id)) {
        out.push({ kind: "lose-lease", clientId: client.id, leaseId: lease.leaseId, workerId: worker.id });
      }
      this.endLease(lease, nowMs);
    }
    for (const request of worker.requests) this.removeRequest(request, nowMs);
    // What still waits for room in this worker will never get it.
    for (const request of [...tables.requests.values()]) {
      if (request.ask.target !== worker) continue;
      const message = `worker ${worker.id} is gone`;
      out.push({ kind: "refuse-request", requestId: request.id, code: "WORKER_DIED", message });
      this.removeRequest(request, nowMs);
    }
    if (worker.clientId !== undefined) {
      tables.workersByClient.delete(worker.clientId);
      const client = tables.clients.get(worker.clientId);
      if (client) this.removeClient(client, nowMs, out);
    }
    if (worker.job) tables.dropJobIfOver(worker.job);
  }

  private setBlocked(worker: Worker, blocked: boolean): void {
    // An actor that shares its worker waits alone; the worker goes on.
    const [first] = worker.requests;
    const holding = worker.lease ?? (worker.requests.size === 1 ? first?.holding : undefined);
    if (!holding || holding.isBlocked === blocked) return;
    count(holding, -1);
    holding.isBlocked = blocked;
    count(holding, 1);
    this.heldCpuUnits -= holding.allocation.units.cpu ?? 0;
    if (blocked) holding.allocation = holding.pool.releaseCpu(holding.allocation);
    else {
      holding.pool.retakeCpu(holding.ask.resources.cpu ?? 0);
      holding.allocation = { units: holding.ask.resources, gpus: holding.allocation.gpus };
      this.heldCpuUnits += holding.ask.resources.cpu ?? 0;
    }
  }

  /** CPU units that are neither held nor promised, in bundles or outside. */
  private freeCpuUnits(promised: ReadonlyMap<Ask, number>): number {
    let units = (this.pool.total.cpu ?? 0) - this.heldCpuUnits;
    for (const [{ resources }, count] of promised) units -= (resources.cpu ?? 0) * count;
    return units;
  }

  // ── decisions ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Adds what every flow held since the last event to its usage. */
  private advance(nowMs: number): void {
    const elapsed = Math.max(0, nowMs - (this.lastMs ?? nowMs));
    this.lastMs = Math.max(nowMs, this.lastMs ?? nowMs);
    if (elapsed === 0) return;
    const seen = new Set<object>();
    for (const ask of this.tables.active) {
      ask.usage += ask.rate * elapsed;
      for (const flow of [ask.clientFlow, ask.jobFlow]) {
        if (seen.has(flow)) continue;
        seen.add(flow);
        flow.usage += flow.rate * elapsed;
      }
    }
    if (this.hasWaiting) this.boundCredits();
  }

  private boundCredits(): void {
    /** Those that compete, in each group and outside. */
    const jobs = new Map<string | undefined, Set<Flow>>();
    for (const { bundle, jobFlow } of this.tables.active) {
      const of = jobs.get(bundle?.groupId);
      if (of) of.add(jobFlow);
      else jobs.set(bundle?.groupId, new Set([jobFlow]));
    }
    for (const ask of this.tables.active) {
      if (this.tables.missing(ask) > 0) boundCredit(ask.jobFlow, jobs.get(ask.bundle?.groupId) ?? [], ask.cost);
    }
  }

  private schedule(nowMs: number, out: SchedulerCommand[]): void {
    const { tables, bundles, plan } = this;
    bundles.pass(nowMs, this.isDraining, out);
    if (this.isDraining) {
      for (const lease of tables.leases.values()) if (!lease.isRevoked) callBack(lease, out);
      this.hasWaiting = false;
      this.isContended = false;
      return;
    }
    this.refuseUnstartable(nowMs, out);
    tables.setLevels();
    const { starved, infeasible, unprepared, promised, needs } = grantPass({
      tables,
      bundles,
      plan,
      environments: this.environments,
      nowMs,
      grant: (ask, worker, pool, allocation) => this.grant(ask, worker, pool, allocation, nowMs, out),
    });
    for (const ask of infeasible) {
      ask.infeasibleSinceMs ??= nowMs;
      if (nowMs - ask.infeasibleSinceMs < this.options.infeasibleTimeoutMs) continue;
      const message = infeasibleMessage(ask, bundles.poolsOf(ask), this.options.nodeName);
      this.refuse(ask, "INFEASIBLE", message, nowMs, out);
    }
    this.environments.prepare(unprepared, nowMs, out);
    this.environments.release(tables.active, tables.workers.values(), nowMs, out);
    for (const ask of starved) this.refuseImpatient(ask, promised.get(ask) ?? 0, nowMs, out);
    for (const lease of revokePass(tables, bundles, starved)) callBack(lease, out);
    const comings = new Comings(tables, nowMs);
    const preempted = earmarkPass(tables, bundles, comings, nowMs, out);
    preempted.push(...preemptPass(tables, bundles, starved, comings, nowMs));
    for (const one of preempted) this.preempt(one, out);
    let blocked = 0;
    for (const worker of tables.workers.values()) if (worker.lease?.isBlocked) blocked++;
    const freeCpuUnits = this.freeCpuUnits(promised);
    plan.start(needs, freeCpuUnits, blocked, nowMs, out);
    plan.end((job) => tables.isOver(job), freeCpuUnits, blocked, nowMs, out);
    this.isContended = starved.some(({ bundle }) => !bundle) || needs.size > 0;
    this.hasWaiting = starved.length > 0 || infeasible.some((ask) => !ask.isRefused) || needs.size > 0;
  }

  private grant(
    ask: Ask,
    worker: Worker,
    pool: ResourcePool,
    allocation: Allocation,
    nowMs: number,
    out: SchedulerCommand[],
  ): void {
    const { tables } = this;
    const { client } = ask;
    const [request] = ask.queue;
    const leaseId = request ? undefined : (this.nextLeaseId++ as LeaseId);
    const holding: Holding = {
      ask,
      worker,
      pool,
      allocation,
      isBlocked: false,
      isRevoked: false,
      preemption: undefined,
      isIdle: false,
      grantedAtMs: nowMs,
      leaseId,
      request,
    };
    ask.held.add(holding);
    this.heldCpuUnits += allocation.units.cpu ?? 0;
    count(holding, 1);
    ask.waitingSinceMs = nowMs;
    worker.sinceMs = nowMs;
    if (allocation.gpus.length > 0) worker.hasUsedGpu = true;
    this.bind(worker, client);
    const gpus = allocation.gpus.map(({ device }) => device);
    if (request) {
      ask.queue.delete(request);
      request.holding = holding;
      worker.requests.add(request);
      worker.state = "hosting";
      out.push({
        kind: "grant-request",
        requestId: request.id,
        workerId: worker.id,
        resources: ask.resources,
        gpus,
      });
    } else {
      assert(leaseId !== undefined && client.id !== undefined, "a lease has a client");
      tables.leases.set(leaseId, holding);
      worker.lease = holding;
      worker.state = "leased";
      out.push({
        kind: "grant-lease",
        clientId: client.id,
        shape: ask.shape as number, // Clients of leases name their shapes by numbers.
        leaseId,
        workerId: worker.id,
        jobId: client.job.id,
        resources: ask.resources,
        gpus,
        ...(ask.bundle && { bundle: ask.bundle }),
      });
    }
    tables.refresh(ask, nowMs);
  }

  private preempt({ lease, by }: Preempted, out: SchedulerCommand[]): void {
    const { leaseId, ask } = lease;
    const { id } = ask.client;
    assert(leaseId !== undefined, "only leases are preempted");
    if (id === undefined) return;
    if (!lease.isRevoked) callBack(lease, out);
    out.push({ kind: "preempt-lease", clientId: id, leaseId, by });
  }

  /** From its first work on, a worker belongs to a job, and may submit for it. */
  private bind(worker: Worker, client: Client): void {
    if (worker.job) return;
    worker.job = client.job;
    if (worker.clientId !== undefined && !this.tables.clients.has(worker.clientId)) {
      this.tables.addClient(worker.clientId, client.job);
    }
  }

  private refuseUnstartable(nowMs: number, out: SchedulerCommand[]): void {
    for (const ask of [...this.tables.active]) {
      if (this.tables.missing(ask) === 0 || typeof ask.target === "object") continue;
      const failed = this.environments.problem(ask, nowMs);
      const problem = this.plan.startProblem(ask.envKey, nowMs);
      if (failed !== undefined) this.refuse(ask, RUNTIME_ENV, `${ask.name} cannot run: ${failed}`, nowMs, out);
      else if (problem) this.refuse(ask, "WORKER_DIED", `${ask.name} cannot run: ${problem}`, nowMs, out);
    }
  }

  /** What does not wait is looked for elsewhere. */
  private refuseImpatient(ask: Ask, promised: number, nowMs: number, out: SchedulerCommand[]): void {
    // All that are alike in this are in one queue.
    const [{ refusal: code } = { refusal: undefined }] = ask.queue;
    if (code === undefined) return;
    for (const request of [...ask.queue].slice(promised)) {
      const { id: requestId } = request;
      const message = `${this.options.nodeName} has no room for it now`;
      out.push({ kind: "refuse-request", requestId, code, message });
      this.removeRequest(request, nowMs);
    }
  }

  private refuse(
    ask: Ask,
    code: "INFEASIBLE" | "WORKER_DIED" | typeof RUNTIME_ENV,
    message: string,
    nowMs: number,
    out: SchedulerCommand[],
  ): void {
    if (ask.target === undefined) {
      ask.isRefused = true;
      const { id } = ask.client;
      if (id !== undefined) {
        const about = { clientId: id, shape: ask.shape as number, ...(code === RUNTIME_ENV && { code }), message };
        out.push({ kind: "refuse-demand", ...about });
      }
    } else {
      for (const request of [...ask.queue]) {
        out.push({ kind: "refuse-request", requestId: request.id, code, message });
        this.removeRequest(request, nowMs);
      }
    }
    this.tables.refresh(ask, nowMs);
  }
}

function* gpusOf({ allocation, worker, ask }: Holding): Generator<GpuHolding> {
  for (const { device, units } of allocation.gpus)
    yield { device, units, workerId: worker.id, jobId: ask.client.job.id, name: ask.name };
}
