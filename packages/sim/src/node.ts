/** The node's process: the lease engine and control as in production, their commands carried out in virtual time. */
import {
  type JobId,
  objectKey,
  type ProcessId,
  type ResourceUnits,
  storedNameKey,
  type WorkerId,
} from "../../core/src/base/mod.ts";
import { CONTROL_MESSAGES, type Control, type ControlMessage, createControl } from "../../core/src/control/mod.ts";
import { adopt, Copies, cancelUnheld, saysWhoDelivers } from "../../core/src/owner/mod.ts";
import { LeaseEngine, type SchedulerCommand, type SchedulerEvent } from "../../core/src/scheduler/mod.ts";
import type { FromNode, TaskHandover, ToNode, WorkerDeath } from "../../core/src/wire/mod.ts";
import { SimProcess } from "./process.ts";
import { NODE_ID } from "./store.ts";
import { SimWorker } from "./worker.ts";
import type { World } from "./world.ts";

const TOTAL: ResourceUnits = { cpu: 40_000, slot: 20_000 };
const TICK_MS = 50;

interface Granted {
  readonly workerId: WorkerId;
  readonly resources: ResourceUnits;
  isBlocked: boolean;
}

export class SimNode {
  readonly world: World;
  readonly control: Control;
  private readonly leases: LeaseEngine;
  private readonly deputies = new Map<ProcessId, SimProcess>();
  /** Of each process, that say who delivers what. */
  private readonly messages = new Map<ProcessId, number>();
  private readonly copies = new Map<ProcessId, Copies>();
  /** Tasks of owners that died, in the whole run. */
  inherited = 0;
  /** Tasks, in the whole run; those that were taken among them. */
  handedOver = 0;
  taken = 0;
  private readonly deaths = new Map<ProcessId, WorkerDeath>();
  /** Everything in use, kept apart from the engine that decides about it. */
  private readonly granted = new Map<string, Granted>();

  constructor(world: World) {
    this.world = world;
    const { clock, prng, store } = world;
    this.leases = new LeaseEngine({
      total: TOTAL,
      gpuIds: [],
      infeasibleTimeoutMs: 2_000,
      newWorkerId: () => prng.hex(8) as WorkerId,
      nodeName: "n1",
    });
    this.control = createControl(
      {
        nowMs: () => clock.nowMs,
        send: (to, message) => this.send(to, message),
        requestActorWorker: ({ requestId, jobId, demand, worker }) =>
          this.step({ kind: "worker-requested", requestId, jobId, demand, worker }),
        releaseActorWorker: (requestId) => {
          this.granted.delete(`request ${requestId}`);
          this.step({ kind: "request-released", requestId });
        },
        killWorker: (workerId, intended) => this.kill(workerId, intended),
        freeStored: (names) => {
          for (const name of names) store.free(storedNameKey(name));
        },
        persist: (_changes, done) => clock.schedule(world.delayMs(), () => done(undefined)),
      },
      { nodeId: NODE_ID, epoch: 1 },
    );
    this.tick();
  }

  private tick(): void {
    this.control.tick();
    for (const { process } of this.world.workers.values())
      if (process.isAlive && this.world.prng.chance(this.world.chances.taken)) this.takeLog(process);
    this.step({ kind: "tick" });
    this.world.clock.schedule(TICK_MS, () => this.tick());
  }

  hasCopies({ id }: SimProcess): boolean {
    return this.copies.get(id)?.isEmpty === false;
  }

  get isAllBack(): boolean {
    return this.granted.size === 0;
  }

  describeGranted(): string {
    return [...this.granted.keys()].join(", ");
  }

  private send(to: ProcessId, message: FromNode): void {
    if (message.t === "object-cancel") this.copies.get(to)?.cancelling(message);
    this.world.processes.get(to)?.fromNode(message);
  }

  // ── processes ──────────────────────────────────────────────────────────────────────────────────────────────────

  driverJoined(driver: SimProcess): void {
    const job = { jobId: driver.jobId, namespace: driver.jobId, name: "sim", metadata: {} };
    this.control.processJoined({ processId: driver.id, role: "driver", job });
    this.step({ kind: "client-joined", clientId: driver.id, jobId: driver.jobId });
  }

  private startWorker(workerId: WorkerId): void {
    const { world } = this;
    world.clock.schedule(20 + world.delayMs(), () => {
      const worker = new SimWorker(world, workerId);
      this.control.processJoined({ processId: worker.process.id, role: "worker" });
      this.step({ kind: "worker-ready", workerId, clientId: worker.process.id });
    });
  }

  /** SIGKILL; what it sent before is still read. */
  kill(workerId: WorkerId, intended: string): void {
    this.end(workerId, { intended });
  }

  crash(worker: SimWorker): void {
    this.world.crashed.add(worker.process.id);
    this.end(worker.workerId, {});
  }

  private end(workerId: WorkerId, why: { readonly intended?: string }): void {
    const worker = this.world.workers.get(workerId);
    if (worker === undefined || !worker.process.isAlive) return;
    const { pid, id } = worker.process;
    this.deaths.set(id, { workerId, pid, exitCode: null, signal: "SIGKILL", stderrTail: "", ...why });
    // To be killed on purpose is a crash too, for what it still owed, unless it was idle.
    if (why.intended !== "idle" && why.intended !== "retired") this.world.crashed.add(id);
    worker.die();
  }

  /** Everything it sent has been read. */
  disconnected(process: SimProcess): void {
    const death = this.deaths.get(process.id);
    const isRetired = death?.intended === "idle" || death?.intended === "retired";
    this.succeed(process);
    this.control.processGone(process.id, isRetired);
    const deputy = this.deputies.get(process.id);
    this.deputies.delete(process.id);
    if (!isRetired) deputy?.turn((engine) => cancelUnheld(engine, (key) => this.control.isHeldBeside(key, deputy.id)));
    if (death === undefined) {
      this.step({ kind: "client-left", clientId: process.id });
      return;
    }
    for (const [key, { workerId }] of this.granted) if (workerId === death.workerId) this.granted.delete(key);
    this.step({ kind: "worker-died", workerId: death.workerId, detail: "it was killed" });
    this.control.workerDied(death);
  }

  // ── messages and commands ──────────────────────────────────────────────────────────────────────────────────────

  receive(from: SimProcess, message: ToNode): void {
    const { store } = this.world;
    if (saysWhoDelivers(message)) this.messages.set(from.id, (this.messages.get(from.id) ?? 0) + 1);
    if (message.t === "actor-create" && !this.world.isBorn(message.actorId)) this.world.born(message.actorId);
    if (message.t === "object-publish") this.copies.get(from.id)?.published(message.objects);
    if (CONTROL_MESSAGES.has(message.t)) {
      this.control.handle(from.id, message as ControlMessage);
      return;
    }
    switch (message.t) {
      case "task-handover":
        this.adopt(from, message);
        break;
      case "template-drop":
        this.deputies.get(from.id)?.turn(() => this.copies.get(from.id)?.dropTemplates(message.ids));
        break;
      case "task-copy":
        this.deputyOf(from, message.jobId).turn(() => this.copies.get(from.id)?.add(message));
        for (const seq of message.escaped) this.world.copied.add(objectKey(from.id, seq));
        break;
      case "lease-demand": {
        const { shape, wanted, demand } = message;
        this.step({ kind: "demand-changed", clientId: from.id, shape, wanted, demand });
        break;
      }
      case "lease-return":
        this.granted.delete(`lease ${message.leaseId}`);
        this.step({
          kind: "lease-returned",
          clientId: from.id,
          leaseId: message.leaseId,
          retire: message.retire ?? false,
        });
        break;
      case "lease-idle":
      case "lease-ended":
        for (const { process, workerId } of this.world.workers.values()) {
          if (process !== from) continue;
          const { leaseId } = message;
          if (message.t === "lease-ended") this.step({ kind: "lease-ended", workerId, leaseId });
          else this.step({ kind: "lease-idle", workerId, leaseId, idle: message.idle });
        }
        break;
      case "blocked":
        this.blocked(from, message.blocked);
        break;
      case "store-free":
        for (const name of message.names) store.free(storedNameKey(name));
        break;
      case "store-pin":
        for (const { name } of message.values) {
          const key = storedNameKey(name);
          if (!store.isLive(key))
            this.world.fail("a held object is never freed", `store key ${key}, pinned by ${from.id}`);
          this.send(from.id, { t: "store-pinned", name, key, offset: 0, size: 100 });
        }
        break;
      default:
        break;
    }
  }

  // ── what was handed over ───────────────────────────────────────────────────────────────────────────────────────

  private deputyOf(giver: SimProcess, jobId: JobId): SimProcess {
    let deputy = this.deputies.get(giver.id);
    if (!deputy) {
      deputy = new SimProcess(this.world, { deputyOf: giver });
      this.deputies.set(giver.id, deputy);
      this.copies.set(giver.id, new Copies(deputy.engine, deputy, { self: deputy.id, giver: giver.id }));
      this.control.processJoined({ processId: deputy.id, role: "worker" });
      this.step({ kind: "client-joined", clientId: deputy.id, jobId, isDeputy: true });
    }
    return deputy;
  }

  /** Its thread does not come back. */
  takeLog(from: SimProcess): void {
    const taken = from.takeLog(this.messages.get(from.id) ?? 0);
    if (!taken) return;
    this.taken += taken.handover.tasks.length;
    const objects = taken.unpublished.map((key) => ({ key }));
    if (objects.length > 0) this.control.handle(from.id, { t: "object-publish", objects });
    this.adopt(from, taken.handover);
  }

  private adopt(from: SimProcess, message: TaskHandover): void {
    const deputy = this.deputyOf(from, message.jobId);
    this.copies.get(from.id)?.handedOver(message.tasks);
    deputy.turn((engine) => {
      adopt(engine, deputy, { self: deputy.id, giver: from.id }, message);
      this.handedOver += message.tasks.length;
    });
  }

  /** It is dead: what it had not handed over is seen through by the copies. */
  private succeed(process: SimProcess): void {
    const deputy = this.deputies.get(process.id);
    const copies = this.copies.get(process.id);
    if (!deputy || !copies) return;
    deputy.turn(() => {
      this.inherited += copies.succeed(() => {
        const leases = [...this.leases.leasesOf(process.id)].flatMap(({ leaseId, workerId }) => {
          const worker = this.world.workers.get(workerId)?.address;
          return worker ? [{ leaseId, worker }] : [];
        });
        this.step({ kind: "leases-inherited", clientId: process.id, heir: deputy.id });
        return leases;
      });
    });
  }

  private blocked(from: SimProcess, isBlocked: boolean): void {
    for (const worker of this.world.workers.values()) {
      if (worker.process !== from) continue;
      for (const granted of this.granted.values()) {
        if (granted.workerId === worker.workerId) granted.isBlocked = isBlocked;
      }
      this.step({ kind: "worker-blocked", workerId: worker.workerId, blocked: isBlocked });
    }
  }

  private step(event: SchedulerEvent): void {
    for (const command of this.leases.step(event, this.world.clock.nowMs)) this.carryOut(command);
  }

  private carryOut(command: SchedulerCommand): void {
    const { world } = this;
    switch (command.kind) {
      case "grant-lease": {
        const worker = world.workers.get(command.workerId);
        if (worker === undefined) throw new RangeError(`worker ${command.workerId} was granted before it started`);
        this.take(`lease ${command.leaseId}`, command.workerId, command.resources);
        const { leaseId, shape, jobId, resources, gpus } = command;
        this.send(worker.process.id, { t: "lease-begin", leaseId, jobId, namespace: jobId, resources, gpus });
        this.send(command.clientId, { t: "lease-granted", shape, leaseId, worker: worker.address, gpus });
        break;
      }
      case "grant-request": {
        const worker = world.workers.get(command.workerId);
        if (worker === undefined) throw new RangeError(`worker ${command.workerId} was granted before it started`);
        this.take(`request ${command.requestId}`, command.workerId, command.resources);
        this.control.actorWorkerReady(command.requestId, worker.address, command.gpus);
        break;
      }
      case "revoke-lease":
        this.send(command.clientId, { t: "lease-revoked", leaseId: command.leaseId });
        break;
      case "end-lease": {
        const worker = world.workers.get(command.workerId);
        if (worker) this.send(worker.process.id, { t: "lease-end", leaseId: command.leaseId });
        break;
      }
      case "reclaim-lease":
        this.granted.delete(`lease ${command.leaseId}`);
        this.send(command.clientId, { t: "lease-reclaimed", shape: command.shape, leaseId: command.leaseId });
        break;
      case "lose-lease": {
        const worker = world.workers.get(command.workerId);
        const death = worker && this.deaths.get(worker.process.id);
        if (death) this.send(command.clientId, { t: "lease-lost", leaseId: command.leaseId, death });
        break;
      }
      case "refuse-demand":
        this.send(command.clientId, {
          t: "lease-refused",
          shape: command.shape,
          code: "INFEASIBLE",
          message: command.message,
        });
        break;
      case "refuse-request":
        this.control.actorWorkerRefused(command.requestId, command);
        break;
      case "start-worker":
        this.startWorker(command.workerId);
        break;
      case "stop-worker":
        this.kill(command.workerId, command.reason);
        break;
    }
  }

  /** Blocked work lends its CPUs, and may take them back when there are none: then nothing may be granted. */
  private take(key: string, workerId: WorkerId, resources: ResourceUnits): void {
    this.granted.set(key, { workerId, resources, isBlocked: false });
    for (const [name, total] of Object.entries(TOTAL)) {
      if ((resources[name] ?? 0) === 0) continue;
      let used = 0;
      for (const one of this.granted.values()) {
        if (!(one.isBlocked && name === "cpu")) used += one.resources[name] ?? 0;
      }
      if (used > total) {
        this.world.fail("resources are never granted twice", `${used} of ${total} ${name} after ${key}`);
      }
    }
  }
}
