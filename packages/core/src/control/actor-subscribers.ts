/** Who hears of changes of actors: also of those that control has not heard of yet. */

import { addTo, removeFrom } from "../base/index-of-sets.ts";
import type { ActorId, ProcessId } from "../base/mod.ts";
import type { ActorState, FromNode } from "../wire/messages.ts";
import { type ActorRecord, publicState } from "./actor-record.ts";

/** Whoever asks for an actor before its creator has told of it waits so long. */
export const UNKNOWN_ACTOR_MS = 10_000;

export interface SubscribersOut {
  nowMs(): number;
  send(to: ProcessId, message: FromNode): void;
}

export class ActorSubscribers {
  private readonly out: SubscribersOut;
  private readonly byProcess = new Map<ProcessId, Set<ActorRecord>>();
  private readonly early = new Map<ActorId, { readonly processes: ProcessId[]; readonly deadlineMs: number }>();
  /** Those that their creators will tell of when the arguments of their constructors are there. */
  private readonly announced = new Map<ActorId, ProcessId>();

  constructor(out: SubscribersOut) {
    this.out = out;
  }

  add(actor: ActorRecord, process: ProcessId, as: ActorId): void {
    if (actor.subscribers.some((one) => one.process === process && one.as === as)) return;
    actor.subscribers.push({ process, as });
    addTo(this.byProcess, process, actor);
  }

  remove(actor: ActorRecord, process: ProcessId, as: ActorId): void {
    actor.subscribers = actor.subscribers.filter((one) => one.process !== process || one.as !== as);
    if (!actor.subscribers.some((one) => one.process === process)) removeFrom(this.byProcess, process, actor);
  }

  /** They are told what the holder of its name is, whose id it was only another one of. */
  moveAll(from: ActorRecord, to: ActorRecord): void {
    for (const { process, as } of from.subscribers) {
      removeFrom(this.byProcess, process, from);
      this.add(to, process, as);
      this.tell(to, process, as);
    }
  }

  removeAll(actor: ActorRecord): void {
    for (const { process } of actor.subscribers) removeFrom(this.byProcess, process, actor);
    actor.subscribers = [];
  }

  tell(actor: ActorRecord, process: ProcessId, as: ActorId): void {
    // Its calls may be under way: nothing is said before it is known.
    if (actor.phase === "recovering") return;
    const message: ActorState = {
      t: "actor-state",
      actorId: as,
      state: publicState(actor.phase, actor.incarnation),
      incarnation: actor.incarnation,
      className: actor.spec.className,
      ...(actor.phase === "running" && actor.worker !== undefined ? { worker: actor.worker } : {}),
      ...(actor.cause === undefined ? {} : { cause: actor.cause }),
      ...(as === actor.actorId ? {} : { sameAs: actor.actorId }),
    };
    this.out.send(process, message);
  }

  tellAll(actor: ActorRecord): void {
    for (const { process, as } of actor.subscribers) this.tell(actor, process, as);
  }

  // ── before it is known ─────────────────────────────────────────────────────────────────────────────────────────────

  announce(actorId: ActorId, creator: ProcessId): void {
    this.announced.set(actorId, creator);
  }

  wait(actorId: ActorId, process: ProcessId): void {
    const early = this.early.get(actorId);
    if (early) early.processes.push(process);
    else this.early.set(actorId, { processes: [process], deadlineMs: this.out.nowMs() + UNKNOWN_ACTOR_MS });
  }

  waitNoMore(actorId: ActorId, process: ProcessId): void {
    const early = this.early.get(actorId);
    if (early) early.processes.splice(0, Infinity, ...early.processes.filter((one) => one !== process));
  }

  /** Its creator has told of it. @returns who waited for that. */
  takeWaiting(actorId: ActorId): readonly ProcessId[] {
    this.announced.delete(actorId);
    const early = this.early.get(actorId);
    this.early.delete(actorId);
    return early?.processes ?? [];
  }

  tick(): void {
    const nowMs = this.out.nowMs();
    for (const [actorId, { processes, deadlineMs }] of this.early) {
      if (deadlineMs > nowMs || this.announced.has(actorId)) continue;
      this.early.delete(actorId);
      for (const process of processes) this.out.send(process, unknownActor(actorId));
    }
  }

  processGone(process: ProcessId): void {
    for (const actor of this.byProcess.get(process) ?? []) {
      actor.subscribers = actor.subscribers.filter((one) => one.process !== process);
    }
    this.byProcess.delete(process);
    for (const actorId of this.early.keys()) this.waitNoMore(actorId, process);
    for (const [actorId, creator] of this.announced) {
      if (creator !== process) continue;
      for (const one of this.takeWaiting(actorId)) this.out.send(one, ownerDied(actorId));
    }
  }
}

const ownerDied = (actorId: ActorId): ActorState => ({
  t: "actor-state",
  actorId,
  state: "dead",
  incarnation: 0,
  className: "",
  cause: { code: "OWNER_DIED", message: `the process that was to create actor ${actorId} has ended` },
});

const unknownActor = (actorId: ActorId): ActorState => ({
  t: "actor-state",
  actorId,
  state: "dead",
  incarnation: 0,
  className: "",
  cause: {
    code: "ACTOR_NOT_FOUND",
    message: `no actor ${actorId} is known: it has ended long ago, or its creator ended before it could tell of it`,
  },
});
