/** Puts the engines together and gives each event to those it concerns. */
import {
  type ActorId,
  type JobId,
  type MobulaError,
  type ObjectKey,
  type ProcessId,
  type StoredName,
  unreachable,
} from "../base/mod.ts";
import type { Answer, Query } from "../wire/messages.ts";
import { pack } from "../wire/mod.ts";
import type { Queries } from "../wire/queries.ts";
import { actorDetails, explainActor, listActors } from "./actor-queries.ts";
import { ACTOR_PREFIX, JOB_PREFIX, NAME_PREFIX, readSavedActor, savedNameKey } from "./actor-state.ts";
import { createActors } from "./actors.ts";
import { createDeadlockFinder } from "./deadlock.ts";
import { createDirectory } from "./directory.ts";
import { createHolds } from "./holds.ts";
import { holdsAtHome, homeOf } from "./homes.ts";
import type { Control, ControlEffects, ControlMessage, ControlOptions, JobInfo, JoinedProcess } from "./interface.ts";
import { createKeptValues } from "./kept-values.ts";
import { type HeldKey, isActorId } from "./keys.ts";
import type { StateChange } from "./kv.ts";
import { createRecovery } from "./recovery.ts";

export function createControl(effects: ControlEffects, options: ControlOptions): Control {
  const processes = new Map<ProcessId, JoinedProcess>();
  const jobs = new Set<JobId>();
  /** Also of jobs that are over: actors that outlive them may create others. */
  const namespaces = new Map<JobId, string>();
  // Effects that may lead the host to call back are kept until the event has been handled in full.
  const later: (() => void)[] = [];
  let freed: StoredName[] = [];
  let isHandling = false;

  const isAlive = (process: ProcessId): boolean => processes.has(process);

  const allHolds = createHolds((key) => {
    if (isActorId(key)) actors.unheld(key);
    else directory.unheld(key);
  });
  const { cluster } = options;
  const atHome = cluster && holdsAtHome(cluster, allHolds, (key) => directory.heldAbroad(key));
  const holds = atHome ?? allHolds;
  const actors = createActors(
    holds,
    {
      nowMs: effects.nowMs,
      send: effects.send,
      isAlive,
      namespaceOf: (actorId) => namespaces.get(jobOf(actorId)),
      requestWorker: (request) => void later.push(() => effects.requestActorWorker(request)),
      releaseWorker: (requestId) => void later.push(() => effects.releaseActorWorker(requestId)),
      killWorker: (workerId, intended) => void later.push(() => effects.killWorker(workerId, intended)),
      persist: (changes, done) => void later.push(() => persist(changes, done)),
      recorded: (creator, actorId, codeKey) => effects.actorRecorded?.(creator, actorId, codeKey),
      settled: (worker, actorId, incarnation) => effects.actorSettled?.(worker, actorId, incarnation),
    },
    {
      shutdownMs: options.shutdownMs,
      overNodes: cluster !== undefined,
      // A node may still have requests of an earlier control.
      firstRequestId: cluster === undefined ? 1 : options.epoch * REQUESTS_OF_EPOCH + 1,
      epoch: options.epoch,
    },
  );
  const directory = createDirectory(holds, {
    send: effects.send,
    free: (name) => void freed.push(name),
    isAlive,
    canonical: actors.canonical,
    backUp: (key, value) => effects.backUp?.(key, value),
    keepUp: (value) => effects.keepUp?.(value),
  });
  const kept = createKeptValues(holds, actors.canonical);
  const waits = createDeadlockFinder({
    send: effects.send,
    canonical: (party) =>
      party.startsWith(ACTOR_PARTY)
        ? ACTOR_PARTY + actors.canonical(party.slice(ACTOR_PARTY.length) as ObjectKey)
        : party,
  });
  const recovery = createRecovery(holds, actors, { isAlive });

  /** A call that is queued in its actor waits for nothing itself: who waits for its result waits for the actor. */
  const tellMakers = (to: ProcessId, keys: readonly ObjectKey[]): void => {
    const makers: (readonly [ObjectKey, ActorId])[] = [];
    const others: ObjectKey[] = [];
    for (const key of keys) {
      const maker = directory.makerOf(key);
      if (maker === undefined) others.push(key);
      else makers.push([key, maker]);
    }
    if (makers.length > 0) effects.send(to, { t: "object-makers", makers });
    // They may wait for arguments that come by way of who waits for them.
    for (const [publisher, awaited] of Map.groupBy(others, directory.awaitedFrom))
      if (publisher !== undefined && isAlive(publisher))
        effects.send(publisher, { t: "object-needs", asker: to, keys: awaited });
  };

  const persist = (changes: readonly StateChange[], done: (error: MobulaError | undefined) => void): void =>
    effects.persist(changes, (error) => handle(() => done(error)));

  /** Every event goes through here: what follows from it (drops, frees, requests) is done before the next one. */
  function handle(event: () => void): void {
    if (isHandling) {
      later.push(event);
      return;
    }
    isHandling = true;
    try {
      event();
      holds.settle();
    } finally {
      isHandling = false;
      if (freed.length > 0) {
        const names = freed;
        freed = [];
        effects.freeStored(names);
      }
    }
    for (let next = later.shift(); next !== undefined; next = later.shift()) next();
  }

  function stateHolds(from: ProcessId, stated: readonly (readonly [HeldKey, number])[]): void {
    for (const [name, count] of stated) {
      const key = actors.canonical(name);
      const more = count - holds.countOf(key, from);
      // What is counted already was granted since, or said before: the greater number is the safe one.
      if (more > 0) holds.add(key, from, more);
    }
  }

  function handleMessage(from: ProcessId, message: ControlMessage): void {
    switch (message.t) {
      case "object-publish":
        directory.publish(from, message.objects);
        break;
      case "object-unpublish":
        directory.unpublish(from, message.keys, message.isLent ?? false);
        break;
      case "object-subscribe":
        directory.subscribe(from, message.keys);
        if (message.makersOf) tellMakers(from, message.makersOf);
        break;
      case "object-cancel": {
        // Of an owner that is gone nothing is left to cancel: its refs have failed.
        const to = directory.publisherOf(message.key);
        if (isAlive(to)) effects.send(to, message);
        break;
      }
      case "object-lost":
        directory.lose(message.key, message.name);
        break;
      case "object-needs-told":
        effects.send(message.asker, { t: "object-makers", makers: [], needs: message.needs });
        break;
      case "hold-grant":
        // One who is gone needs nothing any more.
        if (isAlive(message.to)) for (const key of message.keys) holds.add(actors.canonical(key), message.to, 1);
        break;
      case "hold-release":
        for (const [name, count] of message.holds) {
          const key = actors.canonical(name);
          holds.add(key, from, -recovery.returned(key, from, count));
        }
        break;
      case "actor-create":
        actors.create(from, message);
        break;
      case "actor-announce":
        actors.announce(from, message);
        break;
      case "actor-subscribe":
        actors.subscribe(from, message.actorId);
        break;
      case "actor-unsubscribe":
        actors.unsubscribe(from, message.actorId);
        break;
      case "actor-kill":
        actors.kill(message.actorId, message.noRestart);
        break;
      case "actor-created":
        actors.created(from, message);
        break;
      case "actor-stopping":
        actors.stopping(from, message);
        break;
      case "actor-held":
        actors.held(from, message);
        break;
      case "actor-exited":
        actors.exited(from, message);
        break;
      case "object-holds":
        stateHolds(from, message.holds);
        break;
      case "actor-holds":
        stateHolds(from, message.holds);
        for (const actorId of message.subscribed) actors.subscribe(from, actorId);
        recovery.heard(from);
        break;
      case "wait-report":
        waits.report(from, message);
        break;
      case "wait-checked":
        waits.checked(from, message);
        break;
      default:
        unreachable(message);
    }
  }

  const explain = (actorId: ActorId) =>
    explainActor(actors, waits, actorId, effects.nowMs(), effects.explainRequest, cluster !== undefined);

  function answer(to: ProcessId, query: Query): void {
    const reply = (result: unknown): void => effects.send(to, { t: "answer", id: query.id, result } satisfies Answer);
    const refuse = (code: string, message: string): void =>
      effects.send(to, { t: "answer", id: query.id, error: { code, kind: "invalid", message } } satisfies Answer);
    const method = query.method as keyof Queries;
    switch (method) {
      case "get-actor": {
        const { name, namespace } = query.params as Queries["get-actor"]["params"];
        actors.find(namespace, name, (actor) => {
          if (!isAlive(to)) return;
          if (actor === undefined) {
            refuse("ACTOR_NOT_FOUND", `no actor "${name}" lives in namespace "${namespace}"`);
            return;
          }
          // As with values: what is sent is granted in the same step.
          holds.add(actor.actorId, to, 1);
          reply({
            actorId: actor.actorId,
            className: actor.spec.className,
            host: actors.codes.hostOf(actor.spec.codeKey),
          });
        });
        return;
      }
      case "list-actors":
        reply(listActors(actors, (query.params as Queries["list-actors"]["params"]).namespace));
        return;
      case "actor-details":
        reply(actorDetails(actors, (query.params as Queries["actor-details"]["params"]).since));
        return;
      case "explain-actor": {
        const { actorId } = query.params as Queries["explain-actor"]["params"];
        const explanation = explain(actorId);
        if (explanation) reply(explanation);
        else refuse("ACTOR_NOT_FOUND", `no actor ${actorId} is known`);
        return;
      }
      case "explain-wait": {
        const waiting = waits.waitsOf((query.params as Queries["explain-wait"]["params"]).by);
        reply({
          state: waiting.length > 0 ? "waiting" : "granted",
          since: effects.nowMs(),
          sentences: waiting.map(({ name, on }) => `${name} itself waits for ${on.join(", ")}.`),
          waitsFor: waiting.flatMap(({ on }) => on),
        });
        return;
      }
      case "kill-actor": {
        const { actorId, noRestart } = query.params as Queries["kill-actor"]["params"];
        actors.kill(actorId, noRestart, () => reply(null));
        return;
      }
      default:
        refuse("INVALID_OPTION", `control does not answer "${query.method}"`);
    }
  }

  function rememberNamespace({ jobId, namespace }: JobInfo): void {
    namespaces.set(jobId, namespace);
    if (namespaces.size <= NAMESPACES_MAX) return;
    for (const oldest of namespaces.keys()) {
      if (jobs.has(oldest)) continue;
      namespaces.delete(oldest);
      break;
    }
  }

  function endJob(jobId: JobId): void {
    if (!jobs.delete(jobId)) return;
    actors.codes.jobGone(jobId);
    later.push(() => persist([{ key: JOB_PREFIX + jobId, value: null }], () => {}));
  }

  return {
    epoch: options.epoch,

    processJoined(process, ready) {
      handle(() => {
        processes.set(process.processId, process);
        const { job } = process;
        if (job === undefined) {
          ready?.(undefined);
          return;
        }
        jobs.add(job.jobId);
        rememberNamespace(job);
        later.push(() => persist([{ key: JOB_PREFIX + job.jobId, value: pack(job) }], (error) => ready?.(error)));
      });
    },

    processGone(processId, retired = false) {
      handle(() => {
        const process = processes.get(processId);
        if (process === undefined) return;
        processes.delete(processId);
        waits.processGone(processId);
        actors.processGone(processId, retired);
        directory.processGone(processId);
        recovery.processGone(processId);
        holds.processGone(processId);
        if (process.job) endJob(process.job.jobId);
      });
    },

    handle(from, message) {
      handle(() => {
        // Frames that were read after the connection had been given up.
        if (isAlive(from)) handleMessage(from, message);
      });
    },

    query: (from, query) => handle(() => answer(from, query)),
    actorWorkerReady: (requestId, worker, gpus) => handle(() => actors.workerReady(requestId, worker, gpus)),
    actorWorkerRefused: (requestId, reason) => handle(() => actors.workerRefused(requestId, reason)),
    workerDied: (death) => handle(() => actors.workerDied(death)),
    moveActors: (workers, deadlineMs) => handle(() => actors.moveFrom(workers, deadlineMs)),
    tick: () =>
      handle(() => {
        recovery.tick();
        actors.tick();
        waits.tick();
      }),
    shutdown: (done) => handle(() => actors.shutdown(() => void later.push(done))),

    restore(entries) {
      handle(() => {
        const stale: StateChange[] = [];
        const names = new Set<string>();
        for (const { key, value } of entries) {
          if (!key.startsWith(ACTOR_PREFIX)) continue;
          const saved = readSavedActor(value);
          if (saved.options.name !== undefined) names.add(savedNameKey(saved.namespace, saved.options.name));
          actors.restore(saved);
        }
        for (const { key } of entries) {
          // Drivers, and the actors that lived as long as their creators, ended with the node that they were on.
          if (key.startsWith(JOB_PREFIX) || (key.startsWith(NAME_PREFIX) && !names.has(key)))
            stale.push({ key, value: null });
        }
        if (stale.length > 0) later.push(() => persist(stale, () => {}));
      });
    },

    recover(entries) {
      handle(() => {
        for (const job of recovery.recover(entries)) rememberNamespace(job);
      });
    },

    stated(statement) {
      let unknown: readonly ActorId[] = [];
      handle(() => {
        unknown = recovery.stated(statement);
      });
      return unknown;
    },

    allStated(haveDied) {
      handle(() => {
        for (const jobId of recovery.allStated(haveDied)) {
          if (jobs.has(jobId)) continue;
          jobs.add(jobId);
          endJob(jobId);
        }
      });
    },

    heldAbroad: () => directory.abroad(),
    keepFor: (home, objects) => handle(() => kept.keep(home, objects)),
    dropFor: (home, keys) => handle(() => kept.drop(home, keys)),
    keptFor: (homes) => homes.flatMap((home) => [...kept.of(home)]),
    handedOn: (objects) => handle(() => directory.inherit([], objects)),
    homesDied(homes, isHeir, heir) {
      handle(() => {
        if (!isHeir) {
          for (const home of homes) {
            if (heir === undefined) kept.take(home, () => {});
            else kept.move(home, heir);
          }
          return;
        }
        atHome?.inherited(new Set(homes));
        directory.inherit(homes, []);
        for (const home of homes) kept.take(home, (values) => directory.inherit([], values));
      });
    },
    valuesInherited: (homes) => handle(() => directory.valuesInherited(homes)),
    holdsInherited(homes) {
      const of = new Set(homes);
      handle(() => {
        // What was given back and not granted: those grants were lost with the home.
        holds.settleDebts((key) => cluster !== undefined && !isActorId(key) && of.has(homeOf(key, cluster.actors)));
        directory.holdsInherited(homes);
      });
    },
    inheritedHomes: () => directory.inheritedHomes(),
    objectsMentioned: (homes) => atHome?.objectsMentioned(homes) ?? [],
    actorsMentioned: () => atHome?.actorsMentioned() ?? [],
    isHeldBeside: directory.isHeldBeside,
    holdsOf: (key) => ({ isPublished: directory.isPublished(key), ...holds.holdersOf(key) }),
    objects: directory.all,
    explainActor: explain,
    resourcesOf: (actorId) => actors.get(actorId)?.options.resources,
    listActors: (namespace) => listActors(actors, namespace),
    actorDetails: (since) => actorDetails(actors, since),
    storedAmong: (names) => directory.storedAmong(names),

    stats() {
      const counts = { pending: 0, alive: 0, restarting: 0, dead: 0 };
      for (const info of listActors(actors, null)) counts[info.state]++;
      return { ...directory.stats(), actors: counts, waits: waits.size() };
    },
  };
}

/** Jobs whose namespace is remembered, those that run not counted. */
const NAMESPACES_MAX = 10_000;
/** More than one control asks for. */
const REQUESTS_OF_EPOCH = 2 ** 32;
const ACTOR_PARTY = "actor:";
const JOB_ID_START = 24;
const jobOf = (actorId: ActorId): JobId => actorId.slice(JOB_ID_START) as JobId;
