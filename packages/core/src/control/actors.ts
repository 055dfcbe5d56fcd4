/**
 * The life of actors, one state machine for all (phases in actor-record.ts).
 *
 * 1. Created: its name is claimed, what must be durable is saved, a worker is asked for, and the host makes it.
 * 2. Its host dies: it is made again in a new incarnation while `maxRestarts` lasts; else it is dead, with the cause.
 * 3. It ends in order (exitActor, last handle gone, owner died, shutdown): its host runs the hook and says so, and is
 *    killed when it takes too long. It is killed: its process is, or a shared host drops it at once.
 *    That nobody holds it is what is seen here: a handle that the actor itself has passed on may be under way, so its host
 *    may refuse to end it (`ActorHeld`). It lives on then; if still nobody holds it, its host is asked again.
 * 4. Whoever subscribed hears of every change; a dead actor's name is free.
 */

import { addTo, removeFrom } from "../base/index-of-sets.ts";
import { ACTOR_SHUTDOWN_MS, type ActorId, type MobulaError, type ProcessId, type WorkerId } from "../base/mod.ts";
import { NO_ROOM_THERE, type StatedActor, type StatedWorker } from "../wire/cluster-messages.ts";
import type {
  ActorAnnounce,
  ActorCreate,
  ActorCreated,
  ActorExited,
  ActorHeld,
  ActorSpec,
  ActorStopping,
  FromNode,
  WorkerAddress,
  WorkerDeath,
} from "../wire/messages.ts";
import { pack, RESTARTS } from "../wire/mod.ts";
import { ActorChanges } from "./actor-changes.ts";
import { type ActorCodes, CODE_PREFIX, createActorCodes } from "./actor-codes.ts";
import { ActorNames } from "./actor-names.ts";
import {
  type ActorRecord,
  causeOfCrash,
  type DeathCause,
  describeActor,
  describeEnd,
  emptySpec,
  isEnding,
  isMoving,
  isRefusing,
  killedCause,
  NO_OPTIONS,
  newRecord,
  outOfScopeCause,
  type Phase,
  specKeys,
  withoutNulls,
} from "./actor-record.ts";
import { ActorRequests } from "./actor-requests.ts";
import {
  ALIAS_PREFIX,
  forgettingChanges,
  isSaved,
  type SavedActor,
  SURPLUS_PREFIX,
  savingChanges,
} from "./actor-state.ts";
import { ActorSubscribers } from "./actor-subscribers.ts";
import type { HoldTable } from "./holds.ts";
import type { ActorWorkerRequest } from "./interface.ts";
import type { HeldKey } from "./keys.ts";
import type { StateChange } from "./kv.ts";
import { createSharedHosts } from "./shared-hosts.ts";

/** Beyond its hook's own time, a host has this long to say that an actor has ended, before it is killed. */
export const STOP_GRACE_MS = 5_000;
/** A shared host drops an actor at once when told to; one that does not answer for so long is stuck, and is killed. */
const KILL_GRACE_MS = 5_000;
/** A host that has not read its order by then is stuck in synchronous code, and could not run the hook either. */
export const STOP_READ_MS = 2_000;
/** An actor that lived shorter than this died young; from the second time in a row on it is made again with a delay. */
export const YOUNG_DEATH_MS = 10_000;
export const RESTART_DELAY_MIN_MS = 100;
const RESTART_DELAY_MAX_MS = 5_000;
/** Dead actors that are remembered, for those who still ask. */
const DEAD_ACTORS_MAX = 10_000;
/** So many ends of earlier incarnations are remembered of an actor. */
const PAST_MAX = 5;

export interface ActorsOut {
  nowMs(): number;
  send(to: ProcessId, message: FromNode): void;
  isAlive(process: ProcessId): boolean;
  /** Undefined for a job that nobody remembers. */
  namespaceOf(actorId: ActorId): string | undefined;
  requestWorker(request: ActorWorkerRequest): void;
  releaseWorker(requestId: number): void;
  killWorker(workerId: WorkerId, intended: string): void;
  persist(changes: readonly StateChange[], done: (error: MobulaError | undefined) => void): void;
  /** That it was created is written down, or that nothing comes of it. @param codeKey of its class, if that is written down too. */
  recorded(creator: ProcessId, actorId: ActorId, codeKey?: string): void;
  /** What its host has said of this incarnation, or its death, is written down. */
  settled(worker: WorkerAddress, actorId: ActorId, incarnation: number): void;
}

export interface Actors {
  create(from: ProcessId, message: Pick<ActorCreate, "actorId" | "options" | "spec">): void;
  /** Its creator will tell of it later, or never if there is a cause. */
  announce(from: ProcessId, message: Pick<ActorAnnounce, "actorId" | "className" | "cause">): void;
  subscribe(from: ProcessId, actorId: ActorId): void;
  unsubscribe(from: ProcessId, actorId: ActorId): void;
  /** `onKilled` is called when it has taken effect; at once for an actor that is not known. */
  kill(actorId: ActorId, noRestart: boolean, onKilled?: () => void): void;
  created(from: ProcessId, message: ActorCreated): void;
  stopping(from: ProcessId, message: Pick<ActorStopping, "actorId" | "incarnation">): void;
  /** Its host does not end it, although nobody is seen to hold it. */
  held(from: ProcessId, message: Pick<ActorHeld, "actorId" | "incarnation" | "isUnderWay">): void;
  exited(from: ProcessId, message: ActorExited): void;
  /** The last handle is gone. */
  unheld(actorId: ActorId): void;
  workerReady(requestId: number, worker: WorkerAddress, gpus: readonly string[]): void;
  workerRefused(requestId: number, reason: { readonly code: string; readonly message: string }): void;
  workerDied(death: WorkerDeath): void;
  processGone(process: ProcessId, retired: boolean): void;
  tick(): void;
  shutdown(done: () => void): void;
  restore(saved: SavedActor): void;
  /** The node of these workers is drained: actors that may be made again are, elsewhere, when what they run has ended. */
  moveFrom(workers: readonly WorkerId[], deadlineMs: number): void;
  holdsUnknown(): void;
  /** As {@link restore}, but it may live on: it is not made again before {@link lost}, unless a node {@link adopt}s it. */
  recover(saved: SavedActor): void;
  recoverAlias(alias: ActorId, actorId: ActorId): void;
  /** So much more is held of what recovered actors were made with. */
  recoverSurplus(key: HeldKey, count: number): void;
  /** It lives in this worker. False when it is none that counts. */
  adopt(from: Pick<StatedWorker, "worker" | "requestId">, actor: StatedActor): boolean;
  /** What the worker was told to make and does not have: the word may have been lost with a connection. */
  startAgain(stated: Pick<StatedWorker, "worker" | "actors">): void;
  /** Those that no node has are made: again, and if they may, when they may have lived on a node that is dead. */
  lost(mayHaveLived: boolean): void;
  /** Those whose actors end with them. */
  creators(): Iterable<ProcessId>;
  /** It is known again who holds what: what nobody holds may end. */
  holdsKnown(): void;
  /** The id that counts, for one that getIfExists made. */
  canonical(key: HeldKey): HeldKey;
  get(actorId: ActorId): ActorRecord | undefined;
  /** A living actor by its name, not one that is ending; told later if it is not known yet whether it ends. */
  find(namespace: string, name: string, found: (actor: ActorRecord | undefined) => void): void;
  /** Who has the name that this actor waits for. */
  holderOf(actor: ActorRecord): ActorRecord | undefined;
  all(): Iterable<ActorRecord>;
  readonly changes: ActorChanges;
  readonly codes: ActorCodes;
}

export interface ActorsOptions {
  readonly shutdownMs?: number | undefined;
  /** Workers may be on several nodes, and outlive control. */
  readonly overNodes?: boolean;
  readonly firstRequestId?: number;
  /** Of control. */
  readonly epoch?: number;
}

export function createActors(
  holds: HoldTable,
  out: ActorsOut,
  { shutdownMs = ACTOR_SHUTDOWN_MS, overNodes = false, firstRequestId = 1, epoch = 0 }: ActorsOptions,
): Actors {
  const records = new Map<ActorId, ActorRecord>();
  const aliases = new Map<ActorId, ActorRecord>();
  const names = new ActorNames();
  const byCreator = new Map<ProcessId, Set<ActorRecord>>();
  const byWorker = new Map<WorkerId, Set<ActorRecord>>();
  const timed = new Set<ActorRecord>();
  /** Nobody is seen to hold them, and their hosts said that handles are under way: asked again at the next tick. */
  const unheldYet = new Set<ActorRecord>();
  /** Of which a surplus is written down, see {@link surplusChanges}. */
  const surpluses = new Set<HeldKey>();
  /** Ends that could not be written down, to be tried again. */
  const unforgotten: (() => void)[] = [];
  /** Killed before their creators told of them. */
  const killedEarly = new Set<ActorId>();
  const dead = new Set<ActorRecord>();
  const subscribers = new ActorSubscribers(out);
  const hosts = createSharedHosts(overNodes);
  const changes = new ActorChanges(epoch);
  const codes = createActorCodes((codeKey) => out.persist([{ key: CODE_PREFIX + codeKey, value: null }], () => {}));
  const requests = new ActorRequests(out, overNodes, firstRequestId);
  /** Control has begun anew, and has not heard yet who holds what. */
  let areHoldsKnown = true;
  let living = 0;
  let isShuttingDown = false;
  let onAllDead: (() => void) | undefined;

  const isHeld = (actor: ActorRecord): boolean => !areHoldsKnown || holds.isHeld(actor.actorId);

  function setPhase(actor: ActorRecord, phase: ActorRecord["phase"]): void {
    actor.phase = phase;
    actor.sinceMs = out.nowMs();
    changes.changed(actor);
  }

  function setDeadline(actor: ActorRecord, deadlineMs: number | undefined): void {
    actor.deadlineMs = deadlineMs;
    if (deadlineMs === undefined) timed.delete(actor);
    else timed.add(actor);
  }

  // ── birth ────────────────────────────────────────────────────────────────────────────────────────────────────────

  function claimName(actor: ActorRecord): void {
    const holder = names.claim(actor);
    if (holder === actor) save(actor);
    else if (holder === undefined) setPhase(actor, "named");
    else if (actor.options.getIfExists) becomeAlias(actor, holder);
    else {
      die(actor, {
        code: "NAME_TAKEN",
        message: `the name "${actor.options.name}" in namespace "${actor.namespace}" belongs to ${describeActor(holder)}; choose another, or set getIfExists to get that actor`,
      });
    }
  }

  function becomeAlias(actor: ActorRecord, holder: ActorRecord): void {
    living--;
    records.delete(actor.actorId);
    changes.forget(actor);
    removeFrom(byCreator, actor.creator, actor);
    const keys = specKeys(actor.spec);
    unpinSpec(actor);
    codes.drop(actor.spec.codeKey);
    if (actor.options.lifetime === "detached") holds.unpin(actor.actorId);
    aliases.set(actor.actorId, holder);
    holder.aliases.push(actor.actorId);
    holds.merge(actor.actorId, holder.actorId);
    if (overNodes) {
      const changes = [{ key: ALIAS_PREFIX + actor.actorId, value: pack(holder.actorId) }, ...surplusChanges(keys)];
      out.persist(changes, () => out.recorded(actor.creator, actor.actorId));
    }
    subscribers.moveAll(actor, holder);
    for (const onKilled of actor.onKilled) onKilled();
  }

  function save(actor: ActorRecord): void {
    if (!isSaved(actor, overNodes)) {
      place(actor);
      return;
    }
    setPhase(actor, "saving");
    const { incarnation } = actor;
    out.persist(savingChanges(actor, codes, overNodes), (error) => {
      if (error) codes.notSaved(actor.spec.codeKey);
      const isCurrent = actor.phase === "saving" && actor.incarnation === incarnation;
      // It was there, and a disk that is full for a while is no reason to lose it.
      if (isCurrent && incarnation > 0 && error?.kind === "exhausted") {
        actor.isUnsaved = true;
        setPhase(actor, "resting");
        setDeadline(actor, out.nowMs() + SAVE_AGAIN_MS);
        return;
      }
      // What was to write its code, with an actor before it, has failed.
      if (isCurrent && !error && overNodes && !codes.isSaved(actor.spec.codeKey)) {
        save(actor);
        return;
      }
      actor.isUnsaved = false;
      // Should it fail, its last incarnation is settled when its end is written down.
      if (!error) settle(actor);
      // Also when it fails: its creator hears that it is dead, so nobody is to say again that it be made.
      if (overNodes && incarnation === 0)
        out.recorded(actor.creator, actor.actorId, error ? undefined : savedCodeOf(actor));
      if (!isCurrent) return;
      if (error) {
        die(actor, { code: error.code, message: `${describeActor(actor)} could not be recorded: ${error.message}` });
        return;
      }
      if (incarnation === 0) subscribers.tellAll(actor);
      if (actor.deadlineMs === undefined) place(actor);
      else setPhase(actor, "resting");
    });
  }

  /** Undefined also of one that has ended. */
  function savedCodeOf({ spec: { codeKey } }: ActorRecord): string | undefined {
    return codeKey !== "" && codes.isSaved(codeKey) ? codeKey : undefined;
  }

  function place(actor: ActorRecord): void {
    setPhase(actor, "placing");
    setDeadline(actor, undefined);
    if (actor.options.isolation === "process") {
      requests.worker(actor, "fresh");
      return;
    }
    const host = hosts.place(actor, () => requests.host(actor));
    actor.host = host;
    if (host.worker) join(actor, host.worker);
  }

  /** Goes into a shared worker that runs: at once, or when there are resources for it. */
  function join(actor: ActorRecord, worker: WorkerAddress): void {
    if (Object.keys(actor.options.resources).length === 0) start(actor, worker, []);
    else requests.worker(actor, worker.workerId);
  }

  function start(actor: ActorRecord, worker: WorkerAddress, gpus: readonly string[]): void {
    setPhase(actor, "starting");
    actor.startedMs = actor.sinceMs;
    actor.worker = worker;
    actor.gpus = gpus;
    addTo(byWorker, worker.workerId, actor);
    order(actor, worker, codes.forWorker(worker.workerId, actor.spec));
  }

  function order(actor: ActorRecord, worker: WorkerAddress, spec: ActorSpec): void {
    for (const key of actor.spec.nested ?? []) holds.add(canonical(key), worker.processId, 1);
    const { name, resources, placement } = actor.options;
    out.send(worker.processId, {
      t: "actor-start",
      actorId: actor.actorId,
      incarnation: actor.incarnation,
      jobId: actor.jobId,
      namespace: requests.namespaceOf(actor),
      ...(name === undefined ? {} : { name }),
      resources,
      gpus: actor.gpus,
      ...(placement?.bundle && { bundle: placement.bundle }),
      spec,
    });
  }

  // ── restart and death ────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes the actor out of its worker. `isWorkerGone`: what was granted there was taken back by the host already. */
  function detach(actor: ActorRecord, isWorkerGone: boolean): void {
    const { requestId, host, worker } = actor;
    if (requestId !== undefined) {
      requests.answered(actor);
      if (!isWorkerGone || worker === undefined) out.releaseWorker(requestId);
    }
    if (worker !== undefined) {
      removeFrom(byWorker, worker.workerId, actor);
      if (overNodes) actor.unsettled = { worker, incarnation: actor.incarnation };
    }
    if (host !== undefined) hosts.leave(host, actor, out.nowMs());
    else if (worker !== undefined && !isWorkerGone) out.killWorker(worker.workerId, "the actor has ended");
    actor.host = undefined;
    actor.worker = undefined;
    actor.gpus = [];
  }

  /** What became of its last incarnation is written down. */
  function settle(actor: ActorRecord): void {
    const { unsettled } = actor;
    actor.unsettled = undefined;
    if (unsettled) out.settled(unsettled.worker, actor.actorId, unsettled.incarnation);
  }

  /** Makes the actor again if it may be; `cause` is for when it may not. */
  function again(actor: ActorRecord, isYoung: boolean, cause: DeathCause): void {
    const { maxRestarts } = actor.options;
    if (maxRestarts !== -1 && actor.incarnation - actor.moves >= maxRestarts) {
      die(actor, cause);
      return;
    }
    actor.past = [...actor.past.slice(1 - PAST_MAX), describeEnd(actor, cause, out.nowMs())];
    actor.incarnation++;
    actor.ending = undefined;
    actor.youngDeaths = isYoung ? actor.youngDeaths + 1 : 0;
    const delay =
      actor.youngDeaths < 2 ? 0 : Math.min(RESTART_DELAY_MAX_MS, RESTART_DELAY_MIN_MS * 2 ** (actor.youngDeaths - 2));
    setDeadline(actor, delay === 0 ? undefined : out.nowMs() + delay);
    const onKilled = actor.onKilled;
    actor.onKilled = [];
    if (overNodes || actor.options.lifetime === "detached") save(actor);
    else if (delay === 0) place(actor);
    else setPhase(actor, "resting");
    subscribers.tellAll(actor);
    for (const killed of onKilled) killed();
  }

  function die(actor: ActorRecord, cause: DeathCause, isWorkerGone = false): void {
    if (actor.phase === "dead") return;
    detach(actor, isWorkerGone);
    setPhase(actor, "dead");
    setDeadline(actor, undefined);
    actor.cause = cause;
    actor.ending = undefined;
    living--;
    removeFrom(byCreator, actor.creator, actor);
    unheldYet.delete(actor);
    const keys = specKeys(actor.spec);
    unpinSpec(actor);
    codes.drop(actor.spec.codeKey);
    if (actor.options.lifetime === "detached") holds.unpin(actor.actorId);
    actor.spec = emptySpec(actor.spec.className);
    const onKilled = actor.onKilled;
    actor.onKilled = [];
    const forgotten = (): void => {
      settle(actor);
      if (overNodes && actor.incarnation === 0) out.recorded(actor.creator, actor.actorId);
      for (const killed of onKilled) killed();
    };
    const isWritten = releaseName(actor, keys, forgotten);
    answerLookups(actor);
    subscribers.tellAll(actor);
    subscribers.removeAll(actor);
    if (!isWritten) {
      const changes = surplusChanges(keys);
      if (changes.length > 0) out.persist(changes, () => {});
      forgotten();
    }
    bury(actor);
    if (living === 0 && isShuttingDown) allDead();
  }

  function allDead(): void {
    const done = onAllDead;
    onAllDead = undefined;
    done?.();
  }

  /** False when nothing of it is written down; else `forgotten` is called when nothing is any more. */
  function releaseName(actor: ActorRecord, keys: readonly HeldKey[], forgotten: () => void): boolean {
    const { name } = actor.options;
    const isWritten = isSaved(actor, overNodes) && (name === undefined || names.holderOf(actor) === actor);
    if (isWritten) forget(actor, keys, forgotten);
    claimQueued(names.release(actor));
    return isWritten;
  }

  /**
   * On a node by itself the next start of control clears away what stays written. That of a cluster would make the actor again, so
   * its end is written as soon as that is possible, and who waits for that waits: a full disk.
   */
  function forget(actor: ActorRecord, keys: readonly HeldKey[], forgotten: () => void): void {
    const holder = names.holderOf(actor);
    const changes = forgettingChanges(actor, overNodes, holder === undefined || holder === actor);
    out.persist([...changes, ...surplusChanges(keys)], (error) => {
      if (error && overNodes) unforgotten.push(() => forget(actor, keys, forgotten));
      else forgotten();
    });
  }

  /** It is known now who has the name. */
  function claimQueued(waiting: readonly ActorRecord[]): void {
    for (const next of waiting) if (next.phase === "named") claimName(next);
  }

  function answerLookups(actor: ActorRecord): void {
    const lookups = actor.lookups ?? [];
    actor.lookups = undefined;
    for (const again of lookups) again();
  }

  function bury(actor: ActorRecord): void {
    dead.add(actor);
    if (dead.size <= DEAD_ACTORS_MAX) return;
    for (const oldest of dead) {
      dead.delete(oldest);
      records.delete(oldest.actorId);
      changes.forget(oldest);
      for (const alias of oldest.aliases) aliases.delete(alias);
      break;
    }
  }

  function unpinSpec(actor: ActorRecord): void {
    for (const key of specKeys(actor.spec)) holds.unpin(canonical(key));
  }

  /**
   * What was granted for actors that have ended is given back with that of the last one that mentions the same. Until then it is
   * written down, in the same step in which such an actor is forgotten: nothing else tells the next control of it.
   */
  function surplusChanges(keys: readonly HeldKey[]): StateChange[] {
    const changes: StateChange[] = [];
    for (const key of overNodes ? new Set(keys) : []) {
      const surplus = holds.surplusOf?.(key) ?? 0;
      if (surplus === 0 && !surpluses.delete(key)) continue;
      if (surplus > 0) surpluses.add(key);
      changes.push({ key: SURPLUS_PREFIX + key, value: surplus > 0 ? pack(surplus) : null });
    }
    return changes;
  }

  // ── ending ───────────────────────────────────────────────────────────────────────────────────────────────────────

  function stop(actor: ActorRecord, reason: "out-of-scope" | "owner-died" | "shutdown", cause: DeathCause): void {
    if (whenRecovered(actor, () => stop(actor, reason, cause))) return;
    const isRefusable = reason === "out-of-scope";
    // For any other reason it ends whatever its host knows.
    if (isEnding(actor) && (isRefusable || !isRefusing(actor))) return;
    if (actor.worker === undefined) {
      die(actor, cause);
      return;
    }
    const isBeingKilled = actor.ending?.kind === "restart" && !isMoving(actor);
    actor.ending = isBeingKilled ? { kind: "kill", cause } : { kind: "stop", cause, isRefusable };
    if (!isRefusable) answerLookups(actor);
    if (isBeingKilled) return;
    // While others live in the same worker, one that is busy is given its time.
    const isAlone = actor.host === undefined ? reason !== "out-of-scope" : reason === "shutdown";
    setDeadline(actor, out.nowMs() + (isAlone ? STOP_READ_MS : shutdownMs + STOP_GRACE_MS));
    out.send(actor.worker.processId, {
      t: "actor-stop",
      actorId: actor.actorId,
      reason,
      timeoutMs: shutdownMs,
    });
  }

  /** True when that is yet to come. */
  function whenRecovered(actor: ActorRecord, then: () => void): boolean {
    if (actor.phase !== "recovering") return false;
    actor.onRecovered ??= [];
    actor.onRecovered.push(then);
    return true;
  }

  function recovered(actor: ActorRecord): void {
    const then = actor.onRecovered ?? [];
    actor.onRecovered = undefined;
    for (const next of then) next();
  }

  function outOfScope(actor: ActorRecord): void {
    if (actor.phase !== "dead" && areHoldsKnown) stop(actor, "out-of-scope", outOfScopeCause(actor));
  }

  function kill(actor: ActorRecord, noRestart: boolean, onKilled: () => void): void {
    if (whenRecovered(actor, () => kill(actor, noRestart, onKilled))) return;
    const cause = killedCause(actor);
    if (actor.phase === "dead") {
      onKilled();
      return;
    }
    if (actor.worker === undefined) {
      if (!noRestart) {
        onKilled();
        return;
      }
      actor.onKilled.push(onKilled);
      die(actor, cause);
      return;
    }
    actor.onKilled.push(onKilled);
    const before = isRefusing(actor) || isMoving(actor) ? undefined : actor.ending;
    // Once it is told to end for good, a milder order changes nothing but the haste.
    if (before?.kind === "kill" || (before?.kind === "restart" && !noRestart)) return;
    if (before?.kind === "stop") actor.ending = { kind: "kill", cause: before.cause };
    else actor.ending = noRestart ? { kind: "kill", cause } : { kind: "restart" };
    answerLookups(actor);
    if (before?.kind === "restart") return;
    if (actor.host === undefined) {
      setDeadline(actor, undefined);
      out.killWorker(actor.worker.workerId, "killed");
      return;
    }
    setDeadline(actor, out.nowMs() + KILL_GRACE_MS);
    out.send(actor.worker.processId, {
      t: "actor-stop",
      actorId: actor.actorId,
      reason: "killed",
      timeoutMs: 0,
      ...(!noRestart && { restarts: true }),
    });
  }

  /** The message is from the incarnation that runs now, and from its host. */
  function isCurrent(actor: ActorRecord | undefined, from: ProcessId, incarnation: number): actor is ActorRecord {
    return actor?.worker !== undefined && actor.worker.processId === from && actor.incarnation === incarnation;
  }

  function canonical(key: HeldKey): HeldKey {
    return aliases.size === 0 ? key : (aliases.get(key as ActorId)?.actorId ?? key);
  }

  const lookUp = (actorId: ActorId): ActorRecord | undefined => records.get(actorId) ?? aliases.get(actorId);

  /** Enters a new actor into the books. False when it cannot be: it is dead then. */
  function enter(actor: ActorRecord, spec: ActorSpec): boolean {
    records.set(actor.actorId, actor);
    living++;
    const kept = codes.keep(actor.jobId, spec);
    for (const key of specKeys(actor.spec)) holds.pin(canonical(key));
    if (actor.options.lifetime === "detached") holds.pin(actor.actorId);
    if (kept) actor.spec = kept;
    else {
      const message = `${describeActor(actor)} cannot be made: its code (${spec.codeKey}) was never sent`;
      die(actor, { code: "INTERNAL", message });
    }
    return kept !== undefined;
  }

  function find(namespace: string, name: string, found: (actor: ActorRecord | undefined) => void): void {
    const actor = names.find(namespace, name);
    if (actor !== undefined && isRefusing(actor)) {
      actor.lookups ??= [];
      actor.lookups.push(() => find(namespace, name, found));
    } else found(actor === undefined || isEnding(actor) ? undefined : actor);
  }

  return {
    codes,
    canonical,
    find,
    get: lookUp,
    changes,
    all: () => records.values(),
    holderOf: (actor) => names.holderOf(actor),

    announce(from, { actorId, className, cause }) {
      if (lookUp(actorId) !== undefined || !out.isAlive(from)) return;
      if (cause === undefined || cause === null) {
        subscribers.announce(actorId, from);
        return;
      }
      const actor = newRecord(out.nowMs(), from, {
        ...{ actorId, namespace: "", options: NO_OPTIONS },
        ...{ spec: emptySpec(className), incarnation: 0 },
      });
      setPhase(actor, "dead");
      actor.cause = cause;
      records.set(actorId, actor);
      bury(actor);
      for (const process of subscribers.takeWaiting(actorId)) subscribers.tell(actor, process, actorId);
    },

    create(from, { actorId, options: given, spec }) {
      const options = withoutNulls(given);
      const known = lookUp(actorId);
      // Said again after a restart of control.
      if (overNodes && known && known.phase !== "named" && known.phase !== "saving")
        out.recorded(from, actorId, savedCodeOf(known));
      if (known !== undefined || !out.isAlive(from)) return;
      const namespace = options.namespace ?? out.namespaceOf(actorId) ?? "";
      const actor = newRecord(out.nowMs(), from, { actorId, namespace, options, spec, incarnation: 0 });
      holds.add(actorId, from, 1);
      addTo(byCreator, from, actor);
      subscribers.add(actor, from, actorId);
      const waiting = subscribers.takeWaiting(actorId);
      for (const process of waiting) subscribers.add(actor, process, actorId);
      if (!enter(actor, spec)) return;
      if (onAllDead)
        die(actor, { code: "ACTOR_DIED", message: `${describeActor(actor)} came while the node shuts down` });
      else if (killedEarly.delete(actorId)) die(actor, killedCause(actor));
      else claimName(actor);
      for (const process of waiting) if (actor.phase !== "dead") subscribers.tell(actor, process, actorId);
    },

    subscribe(from, actorId) {
      const actor = lookUp(actorId);
      if (actor === undefined) {
        subscribers.wait(actorId, from);
        return;
      }
      if (actor.phase !== "dead") subscribers.add(actor, from, actorId);
      subscribers.tell(actor, from, actorId);
    },

    unsubscribe(from, actorId) {
      subscribers.waitNoMore(actorId, from);
      const actor = lookUp(actorId);
      if (actor) subscribers.remove(actor, from, actorId);
    },

    kill(actorId, noRestart, onKilled = () => {}) {
      const actor = lookUp(actorId);
      if (actor) {
        kill(actor, noRestart, onKilled);
        return;
      }
      if (noRestart) {
        killedEarly.add(actorId);
        const [oldest] = killedEarly;
        if (killedEarly.size > DEAD_ACTORS_MAX && oldest !== undefined) killedEarly.delete(oldest);
      }
      onKilled();
    },

    created(from, { actorId, incarnation, error }) {
      const actor = records.get(actorId);
      if (!isCurrent(actor, from, incarnation) || actor.phase !== "starting") return;
      if (error !== undefined && error !== null) {
        const message = `${describeActor(actor)} could not be made: its constructor threw`;
        die(actor, { code: "TASK_FAILED", message, error });
        return;
      }
      setPhase(actor, "running");
      if (actor.ending === undefined) subscribers.tellAll(actor);
    },

    stopping(from, { actorId, incarnation }) {
      const actor = records.get(actorId);
      if (!isCurrent(actor, from, incarnation) || actor.ending?.kind !== "stop") return;
      actor.ending = { ...actor.ending, isRefusable: false };
      setDeadline(actor, out.nowMs() + shutdownMs + STOP_GRACE_MS);
      answerLookups(actor);
    },

    held(from, { actorId, incarnation, isUnderWay }) {
      const actor = records.get(actorId);
      if (!isCurrent(actor, from, incarnation) || !isRefusing(actor)) return;
      actor.ending = undefined;
      setDeadline(actor, undefined);
      // What the host had sent before has been read by now, with all that it grants.
      if (!isHeld(actor) && !isUnderWay) {
        outOfScope(actor);
        return;
      }
      if (isUnderWay) unheldYet.add(actor);
      if (actor.phase === "running") subscribers.tellAll(actor);
      claimQueued(names.takeWaiting(actor));
      answerLookups(actor);
    },

    exited(from, { actorId, incarnation, reason }) {
      const actor = records.get(actorId);
      if (!isCurrent(actor, from, incarnation)) return;
      const message = `${describeActor(actor)} has ended: ${reason}`;
      const { ending } = actor;
      if (ending?.kind === "restart" && isHeld(actor)) {
        detach(actor, false);
        again(actor, false, { code: "ACTOR_DIED", message: `${describeActor(actor)} was killed, and may not restart` });
      } else if (ending === undefined && NOT_THE_LAST.has(reason)) {
        // Not asked for here, so its node did, or the control before this one: it is made again elsewhere, if it may.
        if (reason === DRAINED) actor.moves++;
        if (reason !== RESTARTS && actor.host) hosts.retire(actor.host);
        detach(actor, false);
        const why = reason === NODE_ENDS ? "its node shuts down" : reason;
        again(actor, false, { code: "ACTOR_DIED", message: `${describeActor(actor)} has ended: ${why}` });
      } else if (ending === undefined || ending.kind === "restart") die(actor, { code: "ACTOR_DIED", message });
      else die(actor, ending.cause);
    },

    unheld(actorId) {
      const actor = records.get(actorId);
      if (actor) outOfScope(actor);
    },

    workerReady(requestId, worker, gpus) {
      const host = hosts.started(requestId, worker);
      if (host) {
        for (const actor of [...host.actors]) join(actor, worker);
        return;
      }
      const actor = requests.get(requestId);
      if (actor === undefined || actor.phase !== "placing") return;
      // A fresh worker is given back by its death; only what a shared worker's actor was granted is released by itself.
      if (actor.host === undefined) requests.answered(actor);
      start(actor, worker, gpus);
    },

    workerRefused(requestId, { code, message }) {
      const host = hosts.removeRequest(requestId);
      const single = requests.get(requestId);
      if (single?.host?.worker !== undefined && code === "WORKER_DIED") {
        // It waited for room in a worker that is gone; it looks for another place when that death is told.
        requests.answered(single);
        return;
      }
      if (single?.host && code === NO_ROOM_THERE) {
        requests.answered(single);
        const { host: full } = single;
        single.host = undefined;
        hosts.leave(full, single, out.nowMs());
        hosts.hasNoRoom(full);
        place(single);
        return;
      }
      for (const actor of host ? [...host.actors] : single ? [single] : []) {
        // The request is answered, so there is nothing to withdraw.
        if (actor === single) requests.answered(actor);
        die(actor, { code, message: `${describeActor(actor)} cannot be placed: ${message}` });
      }
    },

    workerDied(death) {
      const residents = byWorker.get(death.workerId);
      const host = hosts.removeWorker(death.workerId);
      codes.workerGone(death.workerId);
      for (const actor of new Set([...(residents ?? []), ...(host?.actors ?? [])])) {
        const { ending, worker } = actor;
        detach(actor, true);
        if (worker === undefined) {
          // It waited for resources in there and has not been started: it looks for another place.
          place(actor);
        } else if (ending?.kind === "kill" || (ending?.kind === "stop" && !ending.isRefusable)) {
          die(actor, ending.cause, true);
        } else if (!isHeld(actor)) {
          // What was under way from there has arrived, or went with it.
          die(actor, outOfScopeCause(actor), true);
        } else {
          const isYoung = ending === undefined && out.nowMs() - actor.startedMs < YOUNG_DEATH_MS;
          again(actor, isYoung, causeOfCrash(actor, death));
        }
      }
    },

    processGone(process, retired) {
      subscribers.processGone(process);
      if (retired) {
        for (const actor of byCreator.get(process) ?? []) {
          actor.creator = NOBODY;
          if (overNodes && actor.phase !== "named") out.persist(savingChanges(actor, codes, overNodes), () => {});
        }
        byCreator.delete(process);
        return;
      }
      for (const actor of [...(byCreator.get(process) ?? [])]) {
        if (actor.options.lifetime === "detached") continue;
        const message = `${describeActor(actor)} has ended: the process that created it has ended; use lifetime "detached" for one that outlives it`;
        stop(actor, "owner-died", { code: "OWNER_DIED", message });
      }
    },

    tick() {
      const nowMs = out.nowMs();
      for (const again of unforgotten.splice(0)) again();
      for (const actor of [...timed]) {
        if (actor.deadlineMs === undefined || actor.deadlineMs > nowMs) continue;
        setDeadline(actor, undefined);
        if (actor.phase === "resting") (actor.isUnsaved ? save : place)(actor);
        else if (actor.worker !== undefined) out.killWorker(actor.worker.workerId, "an actor did not stop in time");
      }
      const toAsk = [...unheldYet];
      unheldYet.clear();
      for (const actor of toAsk) if (!isHeld(actor)) outOfScope(actor);
      subscribers.tick();
      for (const host of hosts.takeIdle(nowMs)) {
        if (host.worker) out.killWorker(host.worker.workerId, "idle");
        else out.releaseWorker(host.requestId);
      }
    },

    shutdown(done) {
      isShuttingDown = true;
      for (const actor of [...records.values()]) {
        if (actor.phase === "dead") continue;
        const message = `${describeActor(actor)} has ended: its node shuts down`;
        stop(actor, "shutdown", { code: "ACTOR_DIED", message });
      }
      onAllDead = done;
      if (living === 0) allDead();
    },

    restore(saved) {
      // Nobody created it in this epoch, so nobody's end is its own.
      const actor = newRecord(out.nowMs(), NOBODY, saved);
      if (!enter(actor, saved.spec)) return;
      names.give(actor);
      const message = `${describeActor(actor)} died with its node, and may not restart`;
      again(actor, false, { code: "WORKER_DIED", message });
    },

    moveFrom(workers, deadlineMs) {
      for (const workerId of workers) hosts.retireWorker(workerId);
      const residents = workers.flatMap((workerId) => [...(byWorker.get(workerId) ?? [])]);
      for (const actor of residents) {
        if (actor.options.maxRestarts === 0 || actor.ending !== undefined || actor.worker === undefined) continue;
        actor.ending = { kind: "restart", isMove: true };
        // It uses up none of its restarts.
        actor.moves++;
        setDeadline(actor, out.nowMs() + deadlineMs);
        const { actorId, worker } = actor;
        out.send(worker.processId, { t: "actor-stop", actorId, reason: DRAINED, timeoutMs: deadlineMs });
      }
    },

    holdsUnknown() {
      areHoldsKnown = false;
    },

    recover(saved) {
      const actor = newRecord(out.nowMs(), saved.creator ?? NOBODY, saved);
      if (!enter(actor, saved.spec)) return;
      addTo(byCreator, actor.creator, actor);
      names.give(actor);
      setPhase(actor, "recovering");
    },

    recoverSurplus(key, count) {
      surpluses.add(key);
      holds.addSurplus?.(key, count);
    },

    recoverAlias(alias, actorId) {
      const actor = records.get(actorId);
      if (!actor) return;
      aliases.set(alias, actor);
      actor.aliases.push(alias);
      holds.merge(alias, actorId);
    },

    adopt({ worker, requestId }, { actorId, incarnation, gpus, requestId: ownRequest, said }) {
      const actor = records.get(actorId);
      const { unsettled } = actor ?? {};
      // Its end is known here and not written down: it is settled then, for the next control may have to hear of it again.
      if (unsettled?.incarnation === incarnation && unsettled.worker.workerId === worker.workerId) return true;
      if (actor?.incarnation !== incarnation) return false;
      if (actor.phase !== "recovering") {
        if (actor.worker?.workerId !== worker.workerId) return false;
        // What its host has said may have been under way when the connection broke.
        if (said?.t === "actor-created") this.created(worker.processId, said);
        else if (said) this.exited(worker.processId, said);
        return true;
      }
      setPhase(actor, "starting");
      actor.startedMs = actor.sinceMs;
      actor.worker = worker;
      actor.gpus = gpus;
      addTo(byWorker, worker.workerId, actor);
      if (actor.options.isolation === "shared") actor.host = hosts.adopt(actor, requestId, worker);
      if (ownRequest !== undefined) requests.adopt(ownRequest, actor);
      if (said?.t === "actor-created") this.created(worker.processId, said);
      else if (said) this.exited(worker.processId, said);
      recovered(actor);
      return true;
    },

    startAgain({ worker, actors: stated }) {
      for (const actor of byWorker.get(worker.workerId) ?? []) {
        if (actor.phase !== "starting" || stated.some(({ actorId }) => actorId === actor.actorId)) continue;
        // The code of its class may have been lost as well.
        order(actor, worker, codes.whole(actor.spec));
      }
    },

    lost(mayHaveLived) {
      for (const actor of [...records.values()]) {
        if (actor.phase !== "recovering") continue;
        setPhase(actor, "resting");
        recovered(actor);
        // It is another phase if what was asked of it has ended it.
        if ((actor.phase as Phase) !== "resting") continue;
        if (!mayHaveLived) {
          place(actor);
          continue;
        }
        const message = `${describeActor(actor)} died while control was away, and may not restart`;
        again(actor, false, { code: "WORKER_DIED", message });
      }
    },

    creators: () => [...byCreator.keys()].filter((creator) => creator !== NOBODY),

    holdsKnown() {
      areHoldsKnown = true;
      for (const actor of [...records.values()]) if (!holds.isHeld(actor.actorId)) outOfScope(actor);
    },
  };
}

/** With which a node ends the actors that live on it. */
const NODE_ENDS = "shutdown";
/** With which those move off a node. */
const DRAINED = "drained";
/** Reasons of ends that another incarnation follows, if it may. */
const NOT_THE_LAST: ReadonlySet<string> = new Set([NODE_ENDS, DRAINED, RESTARTS]);

/** An actor that is to restart and could not be written down is tried again so much later. */
const SAVE_AGAIN_MS = 500;

/** The creator of an actor that an earlier run left behind, or that does not end with it: no process has this id. */
const NOBODY = "" as ProcessId;
