/** Finding, making and dropping the records of `state.ts`. */
import type { JobId, LeaseId, ProcessId, WorkerId } from "../base/ids.ts";
import type { Demand } from "../wire/messages.ts";
import { needsPreparation } from "./environments.ts";
import { demandCost, type Flow, level } from "./fairness.ts";
import { runtimeEnvKey } from "./protocol.ts";
import type { ResourcePool } from "./resource-pool.ts";
import type { Ask, Client, Holding, Job, Request, Worker } from "./state.ts";

export class Tables {
  readonly jobs = new Map<JobId, Job>();
  readonly clients = new Map<ProcessId, Client>();
  readonly workers = new Map<WorkerId, Worker>();
  readonly workersByClient = new Map<ProcessId, Worker>();
  readonly leases = new Map<LeaseId, Holding>();
  readonly requests = new Map<number, Request>();
  /** Asks that wait or hold something. */
  readonly active = new Set<Ask>();
  private readonly controlClients = new Map<JobId, Client>();
  private readonly pool: ResourcePool;
  private nextOrder = 1;
  private hasLevels = false;

  constructor(pool: ResourcePool) {
    this.pool = pool;
  }

  job(id: JobId): Job {
    let job = this.jobs.get(id);
    if (!job) {
      job = { id, clients: new Set(), requests: 0, inGroups: new Map(), ...this.flow() };
      this.jobs.set(id, job);
    }
    return job;
  }

  addClient(id: ProcessId, job: Job, isDeputy = false): Client {
    const client: Client = { id, job, isDeputy, asks: new Map(), inGroups: new Map(), ...this.flow() };
    this.clients.set(id, client);
    job.clients.add(client);
    return client;
  }

  /** The submitter that stands for control's requests of a job. */
  controlClient(job: Job): Client {
    let client = this.controlClients.get(job.id);
    if (!client) {
      client = { id: undefined, job, isDeputy: false, asks: new Map(), inGroups: new Map(), ...this.flow() };
      this.controlClients.set(job.id, client);
    }
    return client;
  }

  ask(client: Client, shape: number | string, demand: Demand, target: Ask["target"]): Ask {
    let ask = client.asks.get(shape);
    if (!ask) {
      ask = {
        client,
        ...this.flowsOf(client, demand.placement?.bundle?.groupId),
        bundle: demand.placement?.bundle,
        shape,
        name: demand.name,
        resources: demand.resources,
        cost: demandCost(demand.resources, this.pool.total),
        priority: demand.priority,
        envKey: runtimeEnvKey(demand.runtimeEnv),
        runtimeEnv: demand.runtimeEnv,
        needsPreparation: needsPreparation(demand.runtimeEnv),
        held: new Set(),
        wanted: 0,
        queue: new Set(),
        target,
        waitingSinceMs: undefined,
        preemptAfterMs: undefined,
        isUrgent: false,
        roomComing: 0,
        level: Number.NEGATIVE_INFINITY,
        infeasibleSinceMs: undefined,
        isRefused: false,
        // Requests of control are asked for one by one.
        isOver: target !== undefined,
        promised: 0,
        ...this.flow(),
      };
      client.asks.set(shape, ask);
    }
    return ask;
  }

  /** What leases of this client count for, in the placement group or outside of all. */
  flowsOf(client: Client, groupId: string | undefined): Pick<Ask, "jobFlow" | "clientFlow"> {
    if (groupId === undefined) return { jobFlow: client.job, clientFlow: client };
    const of = ({ inGroups }: Job | Client): Flow => {
      let flow = inGroups.get(groupId);
      if (!flow) {
        flow = this.flow();
        inGroups.set(groupId, flow);
      }
      return flow;
    };
    return { jobFlow: of(client.job), clientFlow: of(client) };
  }

  private flow(): Flow {
    return { usage: 0, rate: 0, order: this.nextOrder++ };
  }

  /** How many grants an ask still waits for. */
  missing(ask: Ask): number {
    if (ask.isRefused) return 0;
    return ask.target === undefined ? Math.max(0, ask.wanted - ask.held.size) : ask.queue.size;
  }

  /** Before a pass, see `fairness.ts`. */
  setLevels(): void {
    const urgent = new Set<number>();
    for (const { isUrgent, priority } of this.active) if (isUrgent) urgent.add(priority);
    if (urgent.size === 0 && !this.hasLevels) return;
    this.hasLevels = urgent.size > 0;
    for (const ask of this.active) {
      ask.level = Number.NEGATIVE_INFINITY;
      for (const priority of urgent) if (priority <= ask.priority) ask.level = Math.max(ask.level, priority);
    }
  }

  /** Keeps `active` and the time since when it waits right after a change of the ask. */
  refresh(ask: Ask, nowMs: number): void {
    const waits = this.missing(ask) > 0;
    if (!waits) {
      ask.isUrgent = false;
      ask.roomComing = 0;
      ask.waitingSinceMs = undefined;
      ask.infeasibleSinceMs = undefined;
    }
    if (!waits && ask.held.size === 0) {
      this.active.delete(ask);
      if (ask.isOver && !ask.isRefused) this.forget(ask);
      this.dropJobIfOver(ask.client.job);
      return;
    }
    if (!this.active.has(ask)) this.activate(ask);
    if (waits) ask.waitingSinceMs ??= nowMs;
  }

  /** See `demand-over`. */
  endAsk(ask: Ask, nowMs: number): void {
    ask.wanted = 0;
    ask.isRefused = false;
    ask.isOver = true;
    this.refresh(ask, nowMs);
  }

  /** Programs make new placement groups for as long as they run: nothing of one may stay. */
  private forget({ client, shape, bundle }: Ask): void {
    client.asks.delete(shape);
    if (!bundle) return;
    const { groupId } = bundle;
    for (const other of client.asks.values()) if (other.bundle?.groupId === groupId) return;
    client.inGroups.delete(groupId);
    this.forgetFlow(client.job, groupId);
  }

  /** The job's own share of the group, with the last client that has one. */
  private forgetFlow(job: Job, groupId: string): void {
    if (this.controlClients.get(job.id)?.inGroups.has(groupId)) return;
    for (const { inGroups } of job.clients) if (inGroups.has(groupId)) return;
    job.inGroups.delete(groupId);
  }

  /** A job is over when nobody submits for it, nothing is held for it and no actor of it is left. */
  isOver(job: Job): boolean {
    if (job.requests > 0) return false;
    for (const { id, isDeputy } of job.clients) {
      if (isDeputy) continue;
      // A worker without work submits nothing: it does not keep its job.
      const worker = id === undefined ? undefined : this.workersByClient.get(id);
      if (!worker || worker.state === "leased" || worker.state === "hosting") return false;
    }
    for (const ask of this.active) if (ask.client.job === job) return false;
    return true;
  }

  dropJobIfOver(job: Job): void {
    if (!this.isOver(job)) return;
    this.jobs.delete(job.id);
    this.controlClients.delete(job.id);
  }

  private activate(ask: Ask): void {
    const competing = { jobs: new Set<Flow>(), clients: new Set<Flow>(), asks: new Set<Flow>() };
    const { jobFlow, clientFlow } = ask;
    for (const other of this.active) {
      if (other.bundle?.groupId !== ask.bundle?.groupId) continue;
      competing.jobs.add(other.jobFlow);
      if (other.jobFlow === jobFlow) competing.clients.add(other.clientFlow);
      if (other.clientFlow === clientFlow) competing.asks.add(other);
    }
    // A flow that is in competition already keeps its place.
    if (!competing.jobs.has(jobFlow)) level(jobFlow, competing.jobs);
    if (!competing.clients.has(clientFlow)) level(clientFlow, competing.clients);
    level(ask, competing.asks);
    this.active.add(ask);
  }
}
