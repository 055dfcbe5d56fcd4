/**
 * What becomes of the tasks of an owner that is dead: the engine that has their copies sees them through.
 *
 * 1. It takes the copies on, held back, and the leases that the owner had. None of those workers begins anything of the
 *    owner's any more once it has answered; what one is at goes on.
 * 2. Each of the workers is asked what it is at. What it names is this engine's as if it had sent it: its answer comes here.
 *    A connection that ends is an answer too: the worker is dead, and nothing that it was at comes from it.
 * 3. When all have answered, the rest may have run and have lost its answer with the owner: it is run again if that is
 *    allowed, else it fails.
 */
import type { LeaseId, Seq } from "../base/ids.ts";
import { type FrameReader, TO_WORKER, type WorkerAddress, type WorkerDeath } from "../wire/mod.ts";
import type { OwnerEffects } from "./effects.ts";
import { TASK_STATE, type TaskRecord, type WorkerLink } from "./records.ts";
import type { TaskTable } from "./tasks.ts";

export interface InheritedLease {
  readonly leaseId: LeaseId;
  readonly worker: WorkerAddress;
}

/** A worker that has not answered. */
interface Asked {
  readonly leaseId: LeaseId;
  /** It is dead, says the node. What it had said before may not be here yet. */
  death: WorkerDeath | undefined;
}

export class Inheritance {
  private readonly effects: OwnerEffects;
  private readonly tasks: TaskTable;
  private readonly heldBack = new Map<Seq, TaskRecord>();
  private readonly asked = new Map<WorkerLink, Asked>();

  constructor(effects: OwnerEffects, tasks: TaskTable) {
    this.effects = effects;
    this.tasks = tasks;
  }

  begin(tasks: readonly TaskRecord[], leases: readonly InheritedLease[]): void {
    for (const task of tasks) this.heldBack.set(task.seq, task);
    for (const { leaseId, worker } of leases) {
      const link = this.effects.link(worker);
      this.asked.set(link, { leaseId, death: undefined });
      link.out.begin();
      link.out.array(1);
      link.out.uint(TO_WORKER.inherit);
      link.out.end();
      link.schedule();
    }
    this.endIfAllAnswered();
  }

  /** The worker says what it is at. */
  answered(link: WorkerLink, reader: FrameReader, fields: number): void {
    const asked = this.asked.get(link);
    if (!asked) return;
    const { leases } = this.tasks;
    const { leaseId, death } = asked;
    for (let field = 1; field < fields; field += 2) {
      const seq = reader.uint() as Seq;
      const attempt = reader.uint();
      const task = this.heldBack.get(seq);
      const shape = task?.registered?.shape;
      if (!task || !shape || task.state !== TASK_STATE.waiting) {
        cancelOn(link, seq);
        continue;
      }
      this.heldBack.delete(seq);
      this.tasks.takeOver(task, attempt, leases.find(leaseId) ?? leases.inherited(leaseId, link, shape));
    }
    const lease = leases.find(leaseId);
    if (lease && death) leases.died(lease, death);
    this.ended(link, leaseId);
  }

  died(leaseId: LeaseId, death: WorkerDeath): void {
    for (const asked of this.asked.values()) if (asked.leaseId === leaseId) asked.death = death;
  }

  onLinkClosed(link: WorkerLink): void {
    const asked = this.asked.get(link);
    if (asked) this.ended(link, asked.leaseId);
  }

  private ended(link: WorkerLink, leaseId: LeaseId): void {
    this.asked.delete(link);
    // It runs nothing, or what is for nobody: it is ended, as the workers are whose owner dies.
    if (!this.tasks.leases.find(leaseId)) this.effects.toNode({ t: "lease-return", leaseId, retire: true });
    this.endIfAllAnswered();
  }

  private endIfAllAnswered(): void {
    if (this.asked.size > 0) return;
    for (const task of this.heldBack.values()) this.tasks.lostTrack(task);
    this.heldBack.clear();
  }
}

/** It is for nobody: its signal says so, before its worker ends. */
function cancelOn(link: WorkerLink, seq: Seq): void {
  const { out } = link;
  out.begin();
  out.array(4);
  out.uint(TO_WORKER.cancel);
  out.uint(seq);
  out.string("TASK_CANCELLED");
  out.bool(true);
  out.end();
  link.schedule();
}
