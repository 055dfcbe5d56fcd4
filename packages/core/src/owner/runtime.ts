/**
 * Runs an owner engine on real sockets and a real clock: in a driver's I/O thread, or in a worker.
 */

import { unreachable } from "../base/assert.ts";
import { monotonicMs, wallMs } from "../base/clock.ts";
import { type ErrorKind, errorFromCode, type MobulaError, VersionMismatchError } from "../base/errors.ts";
import type { JobId, NodeId, ObjectKey, ProcessId, Seq, StoredName, WorkerId } from "../base/ids.ts";
import { SPOKEN_VERSIONS } from "../base/wire-version.ts";
import { type AttemptOutcome, EventRecorder, type PutTally, RunHistory } from "../events/mod.ts";
import { Access, connectUnix, type Peer, type PeerHandlers } from "../transport/mod.ts";
import {
  type AccessFiles,
  type Explanation,
  type FailureRecord,
  FrameReader,
  FrameWriter,
  type FromNode,
  type ListTasks,
  packFailure,
  type Queries,
  type RunningTask,
  type StoredValue,
  type StoreOrphans,
  type ToNode,
  unpackFailure,
  type ValueRecord,
  type Welcome,
  type WorkerAddress,
} from "../wire/mod.ts";
import type { Awaited } from "./awaited.ts";
import { guardKey, type MapClaims, OwnerClaims } from "./claims.ts";
import type { OwnerEffects, ProgramEffects } from "./effects.ts";
import { OwnerEngine, type OwnerEngineOptions } from "./engine.ts";
import {
  describeLoss,
  explainActor,
  explainObject,
  NODE_NAMED,
  type OwnerExplanation,
  type Question,
  withoutNodes,
} from "./explain.ts";
import { liveTasks, type OwnedTasks } from "./live-tasks.ts";
import type { ExpectedValue } from "./objects.ts";
import { describeProcess } from "./process-state.ts";
import type { ClaimTable, ObjectRecord, TaskRecord, WorkerLink } from "./records.ts";
import { WorkerSession } from "./worker-session.ts";

const TICK_MS = 10;
const NODE_QUERY = "query";
/** Nodes of this wire version make copies that are asked for, and say when nobody holds what was lent. */
const SINCE_COPIES = 2;
/** Events of a process that goes on working are at the node so much later. */
const EVENTS_SENT_EVERY_MS = 250;

/** The list of what has not ended serves so many times as long as it took to make. */
const LISTED_KEPT_TIMES = 20;

/** Its node; with what it gives access by, workers of other nodes are reached. */
type Place = Pick<Welcome, "nodeId" | "access">;

export interface OwnerRuntimeOptions {
  /** By which its objects are named. */
  readonly self: ProcessId;
  /** By which it holds and leases; default `self`. */
  readonly processId?: ProcessId;
  readonly engine?: OwnerEngineOptions;
  /** Of the process that submits, for the timeline; default this one's. */
  readonly pid?: number;
  readonly jobId: () => JobId | undefined;
  /** Of a worker: what runs in it. */
  readonly running?: () => readonly RunningTask[];
  readonly node: Pick<Peer, "send" | "flush">;
  /** Where it lives, for an owner that no node welcomes. */
  readonly place?: Place;
  readonly mapClaims?: MapClaims;
  /** Run around the engine's turn: what waits to be handed in, and what is to be passed on. */
  readonly beforeFlush?: () => void;
  readonly afterFlush?: () => void;
  /** Opens a connection to a worker; default: its Unix socket. */
  readonly connect?: (address: WorkerAddress, handlers: PeerHandlers) => Promise<Peer>;
}

class Link implements WorkerLink {
  readonly address: WorkerAddress;
  readonly knownTemplates = new Set<number>();
  readonly knownMethods: WorkerLink["knownMethods"] = new Map();
  readonly knownActors = new Map<number, number>();
  namedLease = 0;
  readonly claims: ClaimTable | undefined;
  isBroken = false;
  /** With a worker of another node. */
  session: WorkerSession | undefined;
  readonly whenClosed: (() => void)[] = [];
  /** Frames written before the connection is open wait here. */
  private readonly early = new FrameWriter();
  private peer: Peer | undefined;

  private readonly wake: (link: Link) => void;

  constructor(address: WorkerAddress, claims: ClaimTable | undefined, wake: (link: Link) => void) {
    this.address = address;
    this.claims = claims;
    this.wake = wake;
  }

  get out(): FrameWriter {
    return this.peer ? this.peer.out : this.early;
  }

  opened(peer: Peer): void {
    const { early } = this;
    peer.out.raw(early.buffer, 0, early.position);
    early.position = 0;
    this.peer = peer;
    peer.schedule();
  }

  /** What was written leaves when the engine has had its turn. */
  schedule(): void {
    this.wake(this);
  }

  flush(): void {
    this.peer?.flush();
  }

  close(): void {
    if (this.session) this.session.close();
    else this.peer?.close();
  }
}

export class OwnerRuntime {
  readonly engine: OwnerEngine;
  /** The program's side; set before anything is asked. */
  program: ProgramEffects | undefined;
  private readonly options: OwnerRuntimeOptions;
  private readonly links = new Map<WorkerId, Link>();
  private readonly reader = new FrameReader();
  private readonly queries = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  private readonly pinWaiters = new Map<StoredName, ((pinned: Extract<FromNode, { t: "store-pinned" }>) => void)[]>();
  /** Who waits for values that are made again, by their keys. */
  private readonly remaking = new Map<ObjectKey, ((value: ValueRecord) => void)[]>();
  /** Links with frames that have not left. */
  private readonly unsent = new Set<Link>();
  private readonly wakeLink = (link: Link): void => {
    this.unsent.add(link);
    this.schedule();
  };
  /** For the timeline: what became of each attempt. */
  private readonly events: EventRecorder;
  private readonly history = new RunHistory();
  private eventTimer: NodeJS.Timeout | undefined;
  private hasMadeActors = false;
  private nextQuery = 1;
  /** What was said last of what has not ended. */
  private listed: { readonly made: OwnedTasks; readonly limit: number; readonly untilMs: number } | undefined;
  /** Objects that have their value when the node says so. */
  private readonly expected = new Map<ObjectRecord, ExpectedValue>();
  private nodeLostBy: Error | undefined;
  /** What the node has said of itself. */
  private place: Place | undefined;
  private access: Promise<Access> | undefined;
  private timer: NodeJS.Timeout | undefined;
  private isFlushScheduled = false;

  constructor(options: OwnerRuntimeOptions) {
    this.options = options;
    this.place = options.place;
    const effects: OwnerEffects = {
      value: (seq, value) => this.program?.value(seq, value),
      pinned: (seq, pinned, nested) => this.program?.pinned(seq, pinned, nested),
      ready: (seq) => this.program?.ready(seq),
      streamItem: (stream, item) => this.program?.streamItem(stream, item),
      streamValue: (stream, bytes) => this.program?.streamValue(stream, bytes),
      streamEnd: (stream, count) => this.program?.streamEnd(stream, count),
      unreadFailure: (name, bytes) => this.program?.unreadFailure(name, bytes),
      escapedFailure: (key, name) => this.program?.escapedFailure?.(key, name),
      kept: (bytes) => this.program?.kept(bytes),
      warn: (code, message) => this.program?.warn(code, message),
      toNode: (message) => this.toNode(message),
      link: (address) => this.link(address),
      unlink() {
        // Links stay open for the next lease; they end with their worker.
      },
      pin: ({ name, size, home }) => this.toNode({ t: "store-pin", values: [{ name, size, home }] }),
      killWorker: ({ link, idThere: lease }, reason) =>
        this.killWorker({ workerId: link.address.workerId, lease, reason }),
      interrupt: ({ workerId }, seq) => {
        const params: Queries["interrupt-worker"]["params"] = { workerId, key: guardKey(options.self, seq) };
        this.query("interrupt-worker", params).catch(() => {
          // The worker is gone, and the task with it.
        });
      },
      codePacked: (name, bytes) => this.events.codePacked(name, bytes),
      taskEvent: (task, worker, runMicros, at, outcome, failure) => {
        const shape = task.lease?.shape.id;
        if (outcome === "ok") {
          if (worker) this.history.add(task, worker, shape, runMicros, at);
          this.events.record(task, worker, runMicros, at, outcome);
        } else {
          const words = describeEnd(task, outcome);
          if (worker) this.history.add(task, worker, shape, runMicros, at, words);
          const error = (): string => (failure ? unpackFailure(failure).message : `it ${words}`);
          this.events.record(task, worker, runMicros, at, outcome, error);
        }
        this.sendEventsSoon();
      },
    };
    this.engine = new OwnerEngine(options.self, effects, { pid: options.pid ?? process.pid, ...options.engine });
    const { handover } = this.engine;
    if (handover) handover.jobId = () => options.jobId() ?? ("" as JobId);
    this.events = new EventRecorder({
      owner: options.self,
      pid: options.pid ?? process.pid,
      job: options.jobId,
      send: (batch) => this.toNode({ t: "events", batch }),
    });
  }

  /** Call before handing anything to the engine. */
  enter(): OwnerEngine {
    this.engine.at(wallMs());
    this.engine.handover?.enter();
    return this.engine;
  }

  /** Sends what the engine has decided; at the latest at the end of this turn. */
  schedule(): void {
    // Whoever called the engine may go on for long.
    this.engine.handover?.leave();
    if (this.isFlushScheduled) return;
    this.isFlushScheduled = true;
    setImmediate(this.flushNow);
  }

  readonly flushNow = (): void => {
    // What the turn itself schedules is part of the turn.
    this.isFlushScheduled = true;
    this.enter();
    this.options.beforeFlush?.();
    this.engine.flush();
    this.finishTurn();
    this.isFlushScheduled = false;
    this.watch();
  };

  private finishTurn(): void {
    // First the node: this process may be killed at any time, and the refs that leave for workers are to be known then.
    this.options.node.flush();
    for (const link of this.unsent) link.flush();
    this.unsent.clear();
    this.options.afterFlush?.();
  }

  private watch(): void {
    if (this.timer || !this.engine.isActive) return;
    this.timer = setInterval(() => {
      this.enter().tick();
      this.finishTurn();
      if (!this.engine.isActive) {
        clearInterval(this.timer);
        this.timer = undefined;
      }
    }, TICK_MS);
    this.timer.unref();
  }

  toNode(message: ToNode): void {
    this.options.node.send(message);
  }

  /** What was said to the node leaves now. */
  readonly flushNode = (): void => {
    this.options.node.flush();
  };

  /** Of values that the program keeps to itself the engine knows nothing. */
  putsSeen(tallies: readonly PutTally[]): void {
    for (const tally of tallies) this.events.putsSeen(tally);
    this.sendEventsSoon();
  }

  /** It is hosted here: its making is told of by this process, whoever asked for it. */
  actorMade(...made: Parameters<EventRecorder["record"]>): void {
    this.events.record(...made);
    // A worker of its own may be killed before the turn of the clock.
    if (this.hasMadeActors) this.sendEventsSoon();
    else this.reportEvents();
    this.hasMadeActors = true;
  }

  private sendEventsSoon(): void {
    this.eventTimer ??= setTimeout(this.reportEvents, EVENTS_SENT_EVERY_MS).unref();
  }

  /** What has ended is reported to the node now, and not at the next turn of the clock. */
  readonly reportEvents = (): void => {
    clearTimeout(this.eventTimer);
    this.eventTimer = undefined;
    this.events.flush();
  };

  /** @throws the error that the node answers with. */
  query(method: string, params: unknown): Promise<unknown> {
    // What ended here before the question belongs to its answer.
    if (method === "timeline") this.reportEvents();
    if (method === "unread-failures") return Promise.resolve([...this.engine.objects.unreadFailures()]);
    const id = this.nextQuery++;
    return new Promise((resolve, reject) => {
      this.queries.set(id, { resolve, reject });
      this.toNode({ t: NODE_QUERY, id, method, params });
    });
  }

  /** An object of the program that has its value when the node says so; while control is away it is waited for. */
  expect(seq: Seq, value: ExpectedValue): void {
    const record = this.enter().objects.create(seq);
    this.expected.set(record, value);
    void this.whenExpected(record, value).then((outcome) => {
      if (!this.expected.delete(record) || this.engine.objects.find(seq) !== record) return;
      this.enter().objects.setValue(record, outcome);
      this.schedule();
    });
  }

  /** What it waits for, as waits name it, when nobody makes it. */
  expectedFrom(record: ObjectRecord): Awaited | undefined {
    const { groupId } = (this.expected.get(record)?.params ?? {}) as { readonly groupId?: string };
    return groupId === undefined ? undefined : [`group:${groupId}`, ""];
  }

  private async whenExpected(record: ObjectRecord, value: ExpectedValue): Promise<ValueRecord> {
    const { objects } = this.engine;
    const { method, params, bytes, isOrder } = value;
    for (;;) {
      try {
        const answer = await this.query(method, params);
        if (answer === true) return { at: "inline", bytes, nested: [] };
        // As a control of wire version 1 answers, which cannot tell.
        if (answer !== false)
          throw new VersionMismatchError(`the head is too old for "${method}": upgrade mobula there`);
      } catch (error) {
        const { code, kind, message } = error as MobulaError; // As `query` throws.
        if (code !== "CONNECTION_LOST" || this.nodeLostBy) {
          return { at: "error", bytes: packFailure({ code, kind, message }), nested: [] };
        }
      }
      // Nobody needs it any more.
      if (!isOrder && objects.find(record.seq) !== record) this.expected.delete(record);
      if (!this.expected.has(record)) return { at: "inline", bytes, nested: [] };
    }
  }

  /** As the engine's; what is expected is waited for no more. */
  cancel(seq: Seq, force: boolean, isRecursive: boolean): void {
    const engine = this.enter();
    const record = engine.objects.find(seq);
    if (record && this.expected.delete(record)) {
      const failure: FailureRecord = { code: "TASK_CANCELLED", kind: "cancelled", message: "the wait was cancelled" };
      engine.objects.setValue(record, { at: "error", bytes: packFailure(failure), nested: [] });
    } else engine.cancel(seq, force, isRecursive);
  }

  /**
   * What this owner knows of a wait, completed by what the node and the system know.
   *
   * @param isPassedOn somebody else wants to know, and asks others himself.
   */
  async explain(target: { readonly seq: Seq } | { readonly actor: number }, isPassedOn = false): Promise<Explanation> {
    const nowMs = wallMs();
    const engine = this.enter();
    // The node is asked after it was told of everything that waits.
    engine.flush();
    let own: OwnerExplanation;
    if ("seq" in target) own = explainObject(engine, this.history, target.seq, nowMs);
    else {
      const actor = engine.actors.find(target.actor);
      if (!actor) return { state: "released", since: nowMs, sentences: ["The handle was released."], waitsFor: [] };
      own = explainActor(actor, nowMs);
    }
    const record = "seq" in target ? engine.objects.find(target.seq) : undefined;
    const expected = record && this.expected.get(record);
    if (expected) return (await this.query(expected.explain, expected.params)) as Explanation;
    const { ask = [], ...explanation } = own;
    const asked = isPassedOn ? ask.filter(({ kind }) => kind !== "elsewhere") : ask;
    const answers = await Promise.all(asked.map((question) => this.ask(question)));
    const sentences = [...explanation.sentences, ...answers.flatMap((answer) => answer?.sentences ?? [])].map(sentence);
    const { considered, verdicts } = answers.find((answer) => answer?.considered) ?? {};
    return {
      ...explanation,
      sentences: await this.withNames([...new Set(sentences)]),
      waitsFor: [...explanation.waitsFor, ...answers.flatMap((answer) => answer?.waitsFor ?? [])],
      ...(considered && { considered }),
      ...(verdicts && { verdicts }),
    };
  }

  /** The nodes in the sentences by their names. By itself a node goes without saying. */
  private async withNames(sentences: readonly string[]): Promise<readonly string[]> {
    if (!this.place?.access) return sentences.map(withoutNodes);
    const ids = new Set(sentences.flatMap((text) => [...text.matchAll(NODE_NAMED)].map(([, id]) => id as NodeId)));
    if (ids.size === 0) return sentences;
    const names = (await this.query("node-names", { ids: [...ids] })) as Queries["node-names"]["result"];
    const byId = new Map(names);
    return sentences.map((text) => text.replaceAll(NODE_NAMED, (words, id: NodeId) => byId.get(id) ?? words));
  }

  private async ask(question: Question): Promise<Omit<Explanation, "state" | "since"> | undefined> {
    switch (question.kind) {
      case "shape":
        return (await this.query("explain-shape", omitKind(question))) as Explanation;
      case "object":
        // Inline, all there is lies in this process.
        if (!this.place) return undefined;
        return (await this.query("explain-object", omitKind(question))) as Explanation;
      case "elsewhere":
        return (await this.query("explain-id", { id: question.key })) as Explanation;
      case "actor":
        return (await this.query("explain-actor", { actorId: question.actorId })) as Explanation;
      case "wait":
        return (await this.query("explain-wait", { by: question.by })) as Explanation;
      case "process": {
        // Inline the worker is this process, which runs this line.
        if (question.pid === process.pid) return undefined;
        const isHere = !this.place?.access || question.nodeId === this.place.nodeId;
        const state = isHere
          ? describeProcess(question.pid)
          : ((await this.query("explain-process", omitKind(question))) as string | null);
        return state ? { sentences: [state], waitsFor: [] } : undefined;
      }
      default:
        return unreachable(question);
    }
  }

  /** Makes a stored argument resident and pins it for this process. */
  pin({ name, size, home }: StoredValue): Promise<Extract<FromNode, { t: "store-pinned" }>> {
    return new Promise((resolve) => {
      const waiters = this.pinWaiters.get(name);
      if (waiters) waiters.push(resolve);
      else this.pinWaiters.set(name, [resolve]);
      this.toNode({ t: "store-pin", values: [{ name, size, home }], isArgument: true });
    });
  }

  /**
   * Has a stored value that is not to be had any more made again by its owner, and gives what comes of that: an error, if
   * nothing does. The refs in it are this process's to drop.
   */
  remake(key: ObjectKey, name: StoredName): Promise<ValueRecord> {
    return new Promise((resolve) => {
      const waiters = this.remaking.get(key);
      if (waiters) waiters.push(resolve);
      else this.remaking.set(key, [resolve]);
      this.toNode({ t: "object-lost", key, name });
      this.toNode({ t: "object-subscribe", keys: [key] });
    });
  }

  private remade(key: ObjectKey, value: ValueRecord): boolean {
    const waiters = this.remaking.get(key);
    const first = waiters?.shift();
    if (!first) return false;
    if (waiters?.length === 0) this.remaking.delete(key);
    this.engine.objects.holds.receive(value.nested);
    first(value);
    return true;
  }

  /** True when the message was for the owner. */
  onNodeMessage(message: FromNode): boolean {
    if (message.t === "answer") {
      const query = this.queries.get(message.id);
      if (!query) return true;
      this.queries.delete(message.id);
      const { error } = message;
      if (error) query.reject(errorFromCode(error.code, error.kind as ErrorKind, error.message));
      else query.resolve(message.result);
      return true;
    }
    if (message.t === "welcome") {
      this.place = message;
      this.engine.objects.hasOlderNode = message.version < SINCE_COPIES;
    }
    if (message.t === "store-pinned") {
      const waiters = this.pinWaiters.get(message.name);
      const first = waiters?.shift();
      if (waiters?.length === 0) this.pinWaiters.delete(message.name);
      if (first) {
        first(message);
        return true;
      }
    }
    if (message.t === "object-state" && this.remade(message.key, message.value)) return true;
    if (message.t === "report-events") {
      this.reportEvents();
      this.toNode({ t: "events-reported", id: message.id });
      return true;
    }
    if (message.t === "list-tasks") {
      this.listTasks(message);
      return true;
    }
    if (message.t === "explain") {
      const { id } = message;
      const said = (explanation: Explanation): void => {
        this.toNode({ t: "explained", id, explanation });
        this.flushNode();
      };
      this.explain({ seq: message.seq }, true).then(said, (error: Error) =>
        said({ state: "unknown", since: wallMs(), sentences: [error.message], waitsFor: [] }),
      );
      return true;
    }
    if (message.t === "store-orphans") {
      this.claim(message);
      return true;
    }
    if (message.t === "process-gone") {
      for (const { address, session } of this.links.values()) {
        if (address.processId === message.processId) session?.workerGone(message);
      }
      // It may have been an owner too.
      return false;
    }
    this.enter();
    if (!this.engine.onNodeMessage(message)) return false;
    this.schedule();
    return true;
  }

  /** Looking at a million tasks takes tens of milliseconds, so those who ask often are told the same for some time. */
  private listTasks({ id, limit }: ListTasks): void {
    const { self, pid = process.pid, jobId, running } = this.options;
    const nowMs = monotonicMs();
    if (!this.listed || nowMs >= this.listed.untilMs || limit > this.listed.limit) {
      const made = liveTasks(this.engine, limit);
      const tookMs = monotonicMs() - nowMs;
      this.listed = { made, limit, untilMs: nowMs + tookMs * LISTED_KEPT_TIMES };
    }
    const { tasks, counts, backlogs } = this.listed.made;
    const job = jobId() ?? ("" as JobId);
    const some = tasks.slice(0, limit);
    this.toNode({
      ...{ t: "tasks-listed", id, owner: self, pid, jobId: job, tasks: some, counts, backlogs },
      ...(running && { running: running().slice(0, limit) }),
    });
    this.flushNode();
  }

  /** Everything that waits for the node ends with this error. */
  nodeLost(error: Error): void {
    this.nodeLostBy = error;
    for (const query of this.queries.values()) query.reject(error);
    this.queries.clear();
  }

  close(): void {
    clearInterval(this.timer);
    this.reportEvents();
    for (const link of this.links.values()) link.close();
  }

  private link(address: WorkerAddress): Link {
    const known = this.links.get(address.workerId);
    if (known && !known.isBroken) return known;
    const words = address.claims ? this.options.mapClaims?.(address.claims) : undefined;
    const claims = words ? new OwnerClaims(words, address.pid, this.options.self, interruptProcess) : undefined;
    const link = new Link(address, claims, this.wakeLink);
    this.links.set(address.workerId, link);
    const handlers: PeerHandlers = {
      onMessage() {},
      onHotFrame: (buffer, start, end) => {
        this.enter().onWorkerFrame(link, this.reader.reset(buffer, start, end));
      },
      onBatchEnd: () => this.schedule(),
      onClose: () => this.closed(link),
    };
    this.connect(link, handlers).then(
      (peer) => {
        peer.send({
          t: "owner-hello",
          ...SPOKEN_VERSIONS,
          processId: this.options.processId ?? this.options.self,
          owner: this.options.self,
          jobId: this.options.jobId(),
        });
        link.opened(peer);
      },
      () => this.closed(link),
    );
    return link;
  }

  private connect(link: Link, handlers: PeerHandlers): Promise<Peer> {
    const { address: worker } = link;
    const { tcp, pid, processId, workerId, nodeId } = worker;
    const { nodeId: here, access } = this.place ?? {};
    if (this.options.connect) return this.options.connect(worker, handlers);
    if (tcp === undefined || !access || nodeId === here) return connectUnix(worker.address, handlers);
    link.session = new WorkerSession({
      worker: { ...worker, tcp },
      access: this.openAccess(access),
      owner: this.options.processId ?? this.options.self,
      handlers,
      onFailure: ({ message }) =>
        this.program?.warn("unreachable-worker", `worker ${pid} of node ${nodeId} cannot be reached: ${message}`),
      onAbandoned: (why) => this.killWorker({ workerId, nodeId, reason: `the session with it ended: ${why}` }),
    });
    this.toNode({ t: "process-watch", processId });
    return link.session.open();
  }

  private openAccess(files: AccessFiles): Promise<Access> {
    this.access ??= Access.open(files, (message) => this.program?.warn("access", message));
    return this.access;
  }

  private killWorker(params: Queries["kill-worker"]["params"]): void {
    this.query("kill-worker", params).catch(() => {
      // The worker was gone before: what was asked for is so.
    });
  }

  /** Says which objects of a dead process are known here, once nothing of it is unread. */
  private claim(message: StoreOrphans): void {
    const { id, names, workerId } = message;
    const link = workerId === undefined ? undefined : this.links.get(workerId);
    if (link) {
      link.whenClosed.push(() => this.claim(message));
      return;
    }
    this.toNode({ t: "store-claims", id, names: this.engine.objects.storedAmong(new Set(names)) });
  }

  private closed(link: Link): void {
    if (this.links.get(link.address.workerId) === link) this.links.delete(link.address.workerId);
    this.enter();
    this.engine.onLinkClosed(link);
    for (const next of link.whenClosed.splice(0)) next();
    this.schedule();
  }
}

/** Of an attempt that did not end well; follows "it". */
function describeEnd({ lease }: TaskRecord, outcome: AttemptOutcome): string {
  if (outcome === "error") return "threw";
  if (outcome === "cancelled") return "was cancelled";
  const by = outcome === "preempted" && lease?.preemption?.by;
  return by ? `was ended for ${by}` : describeLoss(lease?.death);
}

function omitKind<T extends { readonly kind: string }>({ kind: _kind, ...rest }: T): Omit<T, "kind"> {
  return rest;
}

/** Names come first in most of them, so they keep their case. */
const sentence = (text: string): string => (/[.!?]$/.test(text) ? text : `${text}.`);

function interruptProcess(pid: number): boolean {
  try {
    process.kill(pid, "SIGINT");
    return true;
  } catch {
    return false;
  }
}
