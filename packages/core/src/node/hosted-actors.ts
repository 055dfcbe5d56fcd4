/**
 * The workers of this node that were given for actors of its cluster, and the actors in them, as what is said to their hosts and
 * by them passes through. What ended is kept until control has written that down, for one that begins anew must hear of it.
 */
import { monotonicMs } from "../base/clock.ts";
import type { ActorId, ProcessId, WorkerId } from "../base/ids.ts";
import { ACTOR_SHUTDOWN_MS } from "../base/limits.ts";
import type { StatedWorker } from "../wire/cluster-messages.ts";
import type {
  ActorCreated,
  ActorExited,
  ActorStart,
  FromNode,
  HomeMessage,
  WorkerAddress,
  WorkerDeath,
} from "../wire/messages.ts";

/** A host that has not read its order by then is stuck in synchronous code. */
const STOP_READ_MS = 2_000;
/** Beyond the time of its hook, a host has so long to say that an actor has ended. */
const STOP_GRACE_MS = 5_000;

interface HostedActor {
  readonly worker: HostWorker;
  readonly incarnation: number;
  readonly gpus: readonly string[];
  /** Of what it has reserved in a shared worker. */
  readonly requestId: number | undefined;
  isStopping: boolean;
  /** What its host has said of it last. */
  said: ActorCreated | ActorExited | undefined;
}

interface HostWorker {
  readonly address: WorkerAddress;
  readonly requestId: number;
  readonly actors: Map<ActorId, HostedActor>;
  death: WorkerDeath | undefined;
}

const isOver = ({ said, worker }: HostedActor): boolean =>
  worker.death !== undefined || said?.t === "actor-exited" || (said?.error ?? undefined) !== undefined;

export class HostedActors {
  private readonly workers = new Map<WorkerId, HostWorker>();
  private readonly byProcess = new Map<ProcessId, HostWorker>();
  /** Room that was granted to actors that have yet to come into their worker. */
  private readonly rooms = new Map<ActorId, number>();
  private onChange: (() => void) | undefined;

  given(requestId: number, address: WorkerAddress): void {
    if (this.workers.has(address.workerId)) return;
    const worker = { address, requestId, actors: new Map(), death: undefined };
    this.workers.set(address.workerId, worker);
    this.byProcess.set(address.processId, worker);
  }

  roomGiven(requestId: number, actorId: ActorId): void {
    this.rooms.set(actorId, requestId);
  }

  /** True when it was given and is not in use. */
  roomReleased(requestId: number): boolean {
    for (const [actorId, id] of this.rooms) if (id === requestId) return this.rooms.delete(actorId);
    return false;
  }

  /** What was given for the request. */
  givenFor(requestId: number): WorkerAddress | undefined {
    for (const worker of this.workers.values()) if (worker.requestId === requestId) return worker.address;
    return undefined;
  }

  /** False when it was told so before: control may not know that the word has come. */
  started(host: ProcessId, { actorId, incarnation, gpus }: ActorStart): boolean {
    const worker = this.byProcess.get(host);
    if (!worker) return true;
    if (worker.actors.get(actorId)?.incarnation === incarnation) return false;
    const requestId = this.rooms.get(actorId);
    this.rooms.delete(actorId);
    worker.actors.set(actorId, { worker, incarnation, gpus, requestId, isStopping: false, said: undefined });
    return true;
  }

  said(from: ProcessId, message: HomeMessage): void {
    if (message.t !== "actor-exited" && message.t !== "actor-created" && message.t !== "actor-stopping") return;
    const actor = this.byProcess.get(from)?.actors.get(message.actorId);
    if (actor?.incarnation !== message.incarnation) return;
    if (message.t === "actor-stopping") actor.isStopping = true;
    else actor.said = message;
    this.onChange?.();
  }

  /** True when control was given the worker. */
  died(death: WorkerDeath): boolean {
    const worker = this.workers.get(death.workerId);
    if (!worker) return false;
    worker.death = death;
    this.byProcess.delete(worker.address.processId);
    this.forgetIfOver(worker);
    this.onChange?.();
    return true;
  }

  settled(actorId: ActorId, incarnation: number): void {
    for (const worker of this.workers.values()) {
      if (worker.actors.get(actorId)?.incarnation !== incarnation) continue;
      worker.actors.delete(actorId);
      this.forgetIfOver(worker);
    }
  }

  private forgetIfOver(worker: HostWorker): void {
    if (worker.death && worker.actors.size === 0) this.workers.delete(worker.address.workerId);
  }

  /** Living workers without actors: what control wanted them for, another one does not know. */
  *unused(): Generator<WorkerId> {
    for (const { address, actors, death } of this.workers.values())
      if (actors.size === 0 && !death) yield address.workerId;
  }

  state(): StatedWorker[] {
    return [...this.workers.values()].map(({ address, requestId, actors, death }) => ({
      worker: address,
      requestId,
      actors: [...actors].map(([actorId, { incarnation, gpus, requestId: room, said }]) => ({
        actorId,
        incarnation,
        gpus,
        ...(room !== undefined && { requestId: room }),
        ...(said && { said }),
      })),
      ...(death && { death }),
    }));
  }

  /** The node ends: their hooks run. Resolves when they have ended, or have had their time. */
  async stopAll(send: (to: ProcessId, message: FromNode) => void): Promise<void> {
    for (const { address, actors } of this.workers.values()) {
      for (const actorId of actors.keys()) {
        send(address.processId, { t: "actor-stop", actorId, reason: "shutdown", timeoutMs: ACTOR_SHUTDOWN_MS });
      }
    }
    const startedAt = monotonicMs();
    const isWaitedFor = (actor: HostedActor): boolean =>
      !isOver(actor) &&
      monotonicMs() - startedAt < (actor.isStopping ? ACTOR_SHUTDOWN_MS + STOP_GRACE_MS : STOP_READ_MS);
    await new Promise<void>((resolve) => {
      const look = (): void => {
        if ([...this.workers.values()].some(({ actors }) => [...actors.values()].some(isWaitedFor))) return;
        clearInterval(timer);
        this.onChange = undefined;
        resolve();
      };
      const timer = setInterval(look, STOP_READ_MS / 10);
      this.onChange = look;
      look();
    });
  }
}
