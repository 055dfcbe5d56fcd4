/**
 * One process's program side: it numbers objects, submits, waits, and lets go. Everything that must be remembered
 * beyond the life of a ref is the owner's, behind the port.
 */
import { monotonicMs, wallMs } from "../base/clock.ts";
import {
  ConnectionLostError,
  GetTimeoutError,
  InvalidOptionError,
  type MobulaError,
  PendingTasksExceededError,
} from "../base/errors.ts";
import {
  type ActorId,
  type JobId,
  type NodeId,
  type ObjectKey,
  objectKey,
  type ProcessId,
  type Seq,
  type WorkerId,
} from "../base/ids.ts";
import { INLINE_BYTES_MAX, MAX_PENDING_TASKS } from "../base/limits.ts";
import type { ExpectedValue, ProgramEffects } from "../owner/mod.ts";
import type { StoreClient, StoredBytes, WritableAllocation } from "../store/mod.ts";
import type {
  BarState,
  CodeObtained,
  Explanation,
  Queries,
  RuntimeEnv,
  StoreKey,
  StorePinned,
  ValueRecord,
} from "../wire/mod.ts";
import { callSite } from "./call-site.ts";
import { currentExecution } from "./execution.ts";
import { errorFromBytes, prepareArrived } from "./failures.ts";
import { ForeignCode } from "./foreign-code.ts";
import { GetTable, type GetWaiter, PendingGet, RUN_LENGTH_MIN, WaitedGet } from "./gets.ts";
import { type BoundMethod, Handle, type HandleMeta, handleState, type MethodMeta } from "./handles.ts";
import { LoopWatch } from "./loop-watch.ts";
import { bindMethod } from "./method-calls.ts";
import type { Shippable } from "./needed-modules.ts";
import { OpenWaits, type Waited } from "./open-waits.ts";
import type { OwnerPort } from "./port.ts";
import { PutSites } from "./put-sites.ts";
import { isRef, Ref } from "./refs.ts";
import { RefStream, StreamState } from "./streams.ts";
import { isTracingUsed, type Tracing } from "./tracing.ts";
import { Values } from "./values.ts";
import { WaitedItems, WaitTable } from "./waits.ts";

export interface ClientOptions {
  readonly processId: ProcessId;
  readonly port: OwnerPort;
  readonly maxPendingTasks?: number;
  /** Tasks and actors run in this process, with its environment. */
  readonly isInline?: boolean;
  /** Opens the object store when it is first needed; absent inline, where everything stays in messages. */
  readonly openStore?: () => StoreClient;
  /** Runs what user code asks of the runtime so that no cancel breaks it off halfway; in workers. */
  readonly shield?: <T>(fn: () => T) => T;
  readonly onUnreadFailure: (name: string, error: Error) => void;
  readonly onWarning: (code: string, message: string) => void;
  /** Bytes behind refs and views have grown or shrunk. */
  readonly onHeldBytes?: (change: number) => void;
}

export interface GetOptions {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** From this size on the message costs little beside the copy; of smaller objects some may gather. */
const TELL_RELEASES_BYTES = 2 ** 20;
const TELL_RELEASES_COUNT = 32;

export class Client {
  readonly processId: ProcessId;
  readonly port: OwnerPort;
  readonly values: Values;
  nodeId: NodeId;
  /** The job that this process works for; a worker learns it with its first lease. */
  jobId: JobId;
  namespace: string;
  /** What tasks and actors that say nothing else are started with. */
  runtimeEnv: RuntimeEnv | undefined = undefined;
  /** Where this process keeps the files of packages; undefined: its node cannot have any. */
  packagesFolder: string | undefined = undefined;
  /** In which a driver speaks with its node, see base/wire-version.ts; 0: with none. */
  wireVersion = 0;
  /** What the program submits is traced; a worker is told by what it runs. */
  tracing: Tracing | undefined = undefined;
  /** In a worker. */
  workerId: WorkerId | null = null;
  /** Modules of programs on other machines. */
  readonly code: ForeignCode;
  isClosed = false;
  /** What ended it: the answer to everything that is asked later. */
  private closedBy: Error | undefined;
  private readonly options: ClientOptions;
  private readonly maxPending: number;
  private submittedCount = 0;
  private readonly loopWatch = new LoopWatch((rounds) =>
    this.options.onWarning(
      "get-in-a-loop",
      `${rounds} tasks were each waited for before the next was submitted, so they ran one at a time: submit them all, then get() the list of refs, or use map()`,
    ),
  );
  private nextSeq = 1;
  private nextNum = 1;
  private nextRegistration = 1;
  private readonly gets = new GetTable();
  /** What was put with copies on other nodes, and is not known to have them. */
  private readonly copying = new Set<Seq>();
  /** Where values that were read from the store lie. */
  private readonly viewed = new WeakMap<Ref, StoreKey>();
  private readonly waits = new WaitTable((seqs) => this.port.watch(seqs));
  private readonly streams = new Map<Seq, StreamState>();
  readonly openWaits = new OpenWaits();
  private readonly putSites = new PutSites((tallies) => this.port.putsSeen(tallies), monotonicMs);
  private readonly releasedBefore = new Set<Seq>();
  private untoldReleases = 0;
  private storeClient: StoreClient | undefined;
  private readonly refRegistry = new FinalizationRegistry<Seq>((seq) => this.collected(seq));
  private readonly handleRegistry = new FinalizationRegistry<number>((num) => this.letGoOfActor(num));
  private readonly streamRegistry = new FinalizationRegistry<{ seq: Seq; state: StreamState }>(({ seq, state }) => {
    if (!state.isReleased) this.streamLeft(seq, state);
  });
  private keptBytes = 0;

  constructor(options: ClientOptions, where: { jobId: JobId; nodeId: NodeId; namespace: string }) {
    this.options = options;
    this.processId = options.processId;
    this.nodeId = where.nodeId;
    this.port = options.port;
    this.jobId = where.jobId;
    this.namespace = where.namespace;
    this.maxPending = options.maxPendingTasks ?? MAX_PENDING_TASKS;
    this.code = new ForeignCode({
      jobId: () => this.jobId,
      query: (method, params) => this.port.query(method, params) as Promise<CodeObtained>,
    });
    this.values = new Values({
      code: this.code,
      keyOf: (ref) => this.keyOf(ref),
      tellOwner: (ref) => this.tellOwner(ref),
      adoptRef: (owner, ownerSeq) => this.adoptRef(owner, ownerSeq),
      adoptHandle: (actorId, meta) => this.adoptHandle(actorId, meta, false),
      putLarge: (packed) => this.putPacked(packed, callSite()),
    });
    this.port.program = this.programEffects();
  }

  /** Tasks and actors run in this process: nothing of it can be theirs alone. */
  get isInline(): boolean {
    return this.options.isInline === true;
  }

  /** Everything that a program asks of the runtime goes through here: see `ClientOptions.shield`. */
  run<T>(fn: () => T): T {
    const { shield } = this.options;
    return shield ? shield(fn) : fn();
  }

  // ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────────────

  takeSeqs(count: number): Seq {
    const seq = this.nextSeq;
    this.nextSeq += count;
    return seq as Seq;
  }

  takeNum(): number {
    return this.nextNum++;
  }

  /** Numbers templates and methods. */
  takeRegistration(): number {
    return this.nextRegistration++;
  }

  /** By which what is submitted now is traced. */
  get tracingNow(): Tracing | undefined {
    return isTracingUsed() ? (currentExecution()?.tracing ?? this.tracing) : undefined;
  }

  /** Something was submitted that has not ended, or is waited for. */
  get hasPending(): boolean {
    return this.submittedCount > this.port.endedCount;
  }

  /** Counts a task or call that is about to be submitted. @throws PendingTasksExceededError past the limit. */
  countSubmission(seq: Seq): void {
    const pending = this.submittedCount - this.port.endedCount;
    if (pending >= this.maxPending) {
      throw new PendingTasksExceededError(
        `${pending} tasks are pending, which is maxPendingTasks: submit through map(), which waits instead, or raise it in init()`,
      );
    }
    this.submittedCount++;
    this.loopWatch.submitted(seq, pending === 0);
    currentExecution()?.submitted(seq);
  }

  // ── refs ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A ref whose record the owner has. */
  track(seq: Seq): Ref {
    return this.registered(new Ref(this, seq, undefined));
  }

  private registered(ref: Ref): Ref {
    this.refRegistry.register(ref, ref.seq);
    return ref;
  }

  keyOf(ref: Ref): ObjectKey {
    this.tellOwner(ref);
    return ref.foreignKey ?? objectKey(this.processId, ref.seq);
  }

  /** The owner learns of a small value that only the program knew. */
  private tellOwner(ref: Ref): void {
    ref.check(this);
    const { local } = ref;
    if (local === undefined || ref.isReady) return;
    ref.isReady = true;
    this.port.put(ref.seq, { at: "inline", bytes: local, nested: [] });
    this.refRegistry.register(ref, ref.seq);
  }

  private adoptRef(owner: ProcessId, ownerSeq: Seq): Ref {
    if (owner === this.processId) {
      this.port.retain(ownerSeq);
      return this.track(ownerSeq);
    }
    const seq = this.takeSeqs(1);
    this.port.borrow(seq, owner, ownerSeq);
    return this.registered(new Ref(this, seq, undefined, owner, ownerSeq));
  }

  release(ref: Ref): void {
    this.run(() => this.releaseNow(ref));
  }

  private releaseNow(ref: Ref): void {
    if (ref.isReleased || ref.client !== this) return;
    ref.isReleased = true;
    if (ref.local !== undefined && !ref.isReady) return;
    ref.local = undefined;
    this.releasedBefore.add(ref.seq);
    this.untoldReleases++;
    this.letGo(ref.seq);
  }

  private collected(seq: Seq): void {
    // A number is released once for each of its refs; an explicit release leaves a mark for the finaliser.
    if (this.isClosed || (this.releasedBefore.size > 0 && this.releasedBefore.delete(seq))) return;
    this.forgetRef(seq);
    this.port.releaseCollected(seq);
  }

  private letGo(seq: Seq): void {
    if (this.isClosed) return;
    this.forgetRef(seq);
    this.port.release(seq);
  }

  private forgetRef(seq: Seq): void {
    this.waits.released(seq);
    if (this.copying.size > 0) this.copying.delete(seq);
  }

  // ── put ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  get store(): StoreClient | undefined {
    this.storeClient ??= this.options.openStore?.();
    return this.storeClient;
  }

  /** Without opening it: what there is to close or trim. */
  get openedStore(): StoreClient | undefined {
    return this.storeClient;
  }

  /** @param copies how many nodes are to keep it. */
  put(value: unknown, copies = 1): Ref {
    return this.run(() => this.putNow(value, copies));
  }

  private putNow(value: unknown, copies: number): Ref {
    const packed = this.encodePut(value);
    if (copies > 1) return this.putCopied(packed, copies);
    this.putSites.seen(packed.byteLength);
    if (packed.byteLength <= INLINE_BYTES_MAX && packed.nested.length === 0) {
      return new Ref(this, this.takeSeqs(1), packed.toBytes());
    }
    return this.putPacked(packed, callSite());
  }

  private encodePut(value: unknown): Shippable {
    if (isRef(value)) {
      throw new InvalidOptionError("put() takes a value, not a ref: the ref can be passed as it is, or put in a list");
    }
    return this.values.encode(value, "value");
  }

  private putPacked(packed: Shippable, site: string): Ref {
    const { store } = this;
    if (packed.byteLength <= INLINE_BYTES_MAX || !store) return this.putInline(packed);
    return this.putStored(packed, this.storePacked(store, packed, site));
  }

  private storePacked(store: StoreClient, packed: Shippable, site: string): StoreKey {
    this.tellReleases(packed.byteLength);
    return store.put(packed.byteLength, site, (target) => packed.writeInto(target));
  }

  /** Other nodes can have only what is in the store, however small. */
  private putCopied(packed: Shippable, copies: number): Ref {
    const { store } = this;
    if (store) return this.putStored(packed, this.storePacked(store, packed, callSite()), copies);
    this.warnOfCopies(copies);
    return this.putInline(packed);
  }

  private warnOfCopies(copies: number): void {
    const message = `put() was asked for ${copies} copies, and an inline run has one process: the value is lost with it`;
    this.options.onWarning("copies", message);
  }

  /**
   * A loop of puts that releases what it made before has no turn of the event loop between: without this the node would
   * not hear of any release until the loop ends, and the loop would fill the store with its dead.
   */
  private tellReleases(bytesToPut: number): void {
    if (this.untoldReleases === 0) return;
    if (bytesToPut < TELL_RELEASES_BYTES && this.untoldReleases < TELL_RELEASES_COUNT) return;
    this.untoldReleases = 0;
    this.port.flush();
  }

  /** @param copies how many nodes are to keep it, and do when this resolves. */
  putAsync(value: unknown, copies = 1): Promise<Ref> {
    return this.run(() => this.putLater(value, copies));
  }

  private async putLater(value: unknown, copies: number): Promise<Ref> {
    const packed = this.encodePut(value);
    const { store } = this;
    this.putSites.seen(packed.byteLength);
    if (copies > 1 && !store) this.warnOfCopies(copies);
    if (!store || (copies === 1 && packed.byteLength <= INLINE_BYTES_MAX)) return this.putInline(packed);
    const key = await store.putAsync(packed.byteLength, callSite(), (target) => packed.writeInto(target));
    const ref = this.putStored(packed, key, copies);
    if (copies > 1) await this.wait([ref], 1, {});
    return ref;
  }

  private putInline(packed: Shippable): Ref {
    const seq = this.takeSeqs(1);
    this.port.put(seq, { at: "inline", bytes: packed.toBytes(), nested: this.values.nested(packed) });
    return this.track(seq);
  }

  private putStored(packed: Shippable, key: number, copies = 1): Ref {
    const seq = this.takeSeqs(1);
    const stored = { at: "stored", key, size: packed.byteLength, nested: this.values.nested(packed) } as const;
    if (copies > 1) this.copying.add(seq);
    this.port.put(seq, copies > 1 ? { ...stored, copies } : stored);
    return this.track(seq);
  }

  /** A ref of nothing, which is ready when the node answers the question with true. */
  expect(question: Omit<ExpectedValue, "bytes">): Ref {
    return this.run(() => {
      const seq = this.takeSeqs(1);
      this.port.expect(seq, { ...question, bytes: this.values.encode(undefined, "value").toBytes() });
      return this.track(seq);
    });
  }

  /** Another ref of what this process owns. */
  again(ref: Ref): Ref {
    return this.adoptRef(this.processId, ref.seq);
  }

  /** An object that was written in place: its bytes are a packed value already. */
  adoptAllocation(allocation: WritableAllocation, size: number): Ref {
    return this.run(() => {
      const key = allocation.seal();
      const seq = this.takeSeqs(1);
      this.port.put(seq, { at: "stored", key, size, nested: [] });
      return this.track(seq);
    });
  }

  // ── get ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  get(ref: Ref, options?: GetOptions): Promise<unknown> {
    return this.run(() => this.getOne(ref, options));
  }

  private getOne(ref: Ref, options?: GetOptions): Promise<unknown> {
    if (ref.local !== undefined && ref.client === this && !ref.isReleased) {
      try {
        return Promise.resolve(this.values.decode(ref.local));
      } catch (error) {
        return Promise.reject(error);
      }
    }
    if (!ref.isCall) this.loopWatch.waitsFor(ref.seq);
    return this.getMany([ref], options).then((values) => {
      this.loopWatch.settled();
      return values[0];
    });
  }

  getAll(refs: readonly Ref[], options?: GetOptions): Promise<unknown[]> {
    return this.run(() => this.getMany(refs, options));
  }

  private getMany(refs: readonly Ref[], options?: GetOptions): Promise<unknown[]> {
    for (const ref of refs) ref.check(this);
    if (refs.length === 0) return Promise.resolve([]);
    const signal = options?.signal;
    if (signal?.aborted) return Promise.reject(signal.reason);
    if (this.closedBy) return Promise.reject(this.closedBy);
    return new Promise((resolve, reject) => {
      let ended: (() => void) | undefined;
      let timer: NodeJS.Timeout | undefined;
      const abort = (): void => get.fail(signal?.reason);
      const settled = (): void => {
        if (timer) clearTimeout(timer);
        signal?.removeEventListener("abort", abort);
        ended?.();
      };
      const get = new PendingGet(
        refs,
        (values) => {
          settled();
          resolve(values);
        },
        (error) => {
          settled();
          this.forget(get);
          reject(error);
        },
      );
      const mustWait = this.ask(get);
      if (get.isSettled) return;
      if (mustWait) {
        const pending = currentExecution() ? refs.filter((ref) => this.gets.has(ref.seq)).map((ref) => ref.seq) : [];
        ended = this.beginWait(pending, (error) => get.fail(error), new WaitedGet(get, this.gets));
      }
      signal?.addEventListener("abort", abort, { once: true });
      if (options?.timeoutMs !== undefined)
        timer = setTimeout(() => this.timeOut(get, options.timeoutMs ?? 0), options.timeoutMs);
    });
  }

  /**
   * Something of the program begins to wait: the process stays alive, a task that waits lends its CPU, and a cancel of
   * the task ends the wait. Returns what ends all that.
   */
  beginWait(seqs: readonly Seq[], fail: (error: Error) => void, waited: Waited): () => void {
    const execution = currentExecution();
    const open = this.openWaits.begin(waited, execution);
    this.port.awaiting(1);
    execution?.waiting(1, seqs);
    const forget = execution?.onCancel(fail);
    return () => {
      this.openWaits.end(open);
      this.port.awaiting(-1);
      execution?.waiting(-1, seqs);
      forget?.();
    };
  }

  /** False when all is here, if only in the next turn. */
  private ask(get: PendingGet): boolean {
    const { refs } = get;
    const wanted: Seq[] = [];
    let hasRuns = false;
    let mustWait = false;
    for (let index = 0; index < refs.length; index++) {
      const ref = refs[index];
      if (!ref) continue;
      const length = runLength(refs, index);
      if (length >= RUN_LENGTH_MIN) {
        this.gets.addRun(ref.seq, length, get, index);
        this.port.wantRun(ref.seq, length);
        hasRuns = true;
        mustWait = true;
        index += length - 1;
      } else if (ref.local !== undefined) {
        try {
          get.fulfil(index, this.values.decode(ref.local));
        } catch (error) {
          get.fail(error);
        }
      } else if (ref.wasViewed && this.viewAgain(ref, { get, index })) continue;
      else {
        mustWait = true;
        if (this.gets.add(ref.seq, { get, index })) wanted.push(ref.seq);
      }
    }
    if (wanted.length > 0) this.port.want(wanted);
    if (wanted.length > 0 || hasRuns) this.port.flush();
    return mustWait;
  }

  private forget(get: PendingGet): void {
    const unwanted = this.gets.forget(get);
    if (unwanted.length > 0) this.port.unwant(unwanted);
  }

  /** The error says what was waited for, and why it is not there. */
  private timeOut(get: PendingGet, timeoutMs: number): void {
    const pending = get.refs.filter((ref) => this.gets.has(ref.seq));
    const first = pending[0];
    const base = `get() waited ${timeoutMs} ms for ${pending.length} of ${get.refs.length} refs`;
    const fail = (why: string): void => get.fail(new GetTimeoutError(`${base}${why}`));
    if (!first) {
      fail("");
      return;
    }
    const unanswered = setTimeout(() => fail(`; first of them: ${first.id}`), EXPLAIN_MS);
    this.explain(first).then(
      (explanation) => {
        clearTimeout(unanswered);
        fail(`; first of them: ${first.id}: ${explanation.sentences.join(" ")}`);
      },
      () => fail(`; first of them: ${first.id}`),
    );
  }

  explain(target: Ref | RefStream | Handle): Promise<Explanation> {
    if (target instanceof Handle) return this.port.explain({ actor: handleState(target).num });
    if (target instanceof Ref && target.isReleased && target.client === this) {
      const sentence = "This process released the ref; keep it as long as you need its value.";
      return Promise.resolve({ state: "released", since: wallMs(), sentences: [sentence], waitsFor: [] });
    }
    if (target instanceof Ref) this.keyOf(target);
    return this.port.explain({ seq: target.seq });
  }

  // ── wait ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  wait<W extends Ref | RefStream>(
    items: readonly W[],
    needed: number,
    options: GetOptions = {},
  ): Promise<{ ready: W[]; pending: W[] }> {
    const { signal } = options;
    if (signal?.aborted) return Promise.reject(signal.reason);
    for (const item of items) if (item instanceof Ref) item.check(this);
    if (this.closedBy) return Promise.reject(this.closedBy);
    return this.run(() =>
      this.waits.wait(items, needed, options, (fail) => {
        this.port.flush();
        // Only a wait for all of them is one that each of them can hold up.
        const isForAll = needed === items.length;
        return this.beginWait(isForAll ? items.map((item) => item.seq) : [], fail, new WaitedItems(items));
      }),
    );
  }

  // ── what the owner says ──────────────────────────────────────────────────────────────────────────────────────────

  private programEffects(): ProgramEffects {
    return {
      value: (seq, value) => this.arrived(seq, value),
      pinned: (seq, pinned) => this.arrivedPinned(seq, pinned),
      ready: (seq) => {
        this.copying.delete(seq);
        this.waits.ready(seq);
      },
      streamItem: (stream, item) => this.streamItem(stream, item),
      streamValue: (stream, bytes) => this.streamValue(stream, bytes),
      streamEnd: (stream) => this.streamEnd(stream),
      unreadFailure: (name, bytes) => this.options.onUnreadFailure(name, errorFromBytes(bytes, this.values)),
      warn: (code, message) => this.options.onWarning(code, message),
      kept: (bytes) => {
        const change = bytes - this.keptBytes;
        this.keptBytes = bytes;
        this.options.onHeldBytes?.(change);
      },
    };
  }

  private arrived(seq: Seq, value: ValueRecord): void {
    for (const { get, index } of this.gets.take(seq)) {
      if (get.isSettled) continue;
      const ref = get.refs[index];
      if (ref) ref.isReady = true;
      if (value.at === "stored") continue;
      const coming = prepareArrived(value, this.values);
      const read = (): void => {
        try {
          if (value.at === "error") get.fail(errorFromBytes(value.bytes, this.values));
          else get.fulfil(index, this.values.decode(value.bytes));
        } catch (error) {
          get.fail(error);
        }
      };
      if (coming) coming.then(read, (error: unknown) => get.fail(error));
      else read();
    }
  }

  private arrivedPinned(seq: Seq, pinned: StorePinned): void {
    const { store } = this;
    const [first, ...others] = this.gets.take(seq).filter((waiter) => !waiter.get.isSettled);
    if (!first || !store) {
      this.port.unpin([pinned.key]);
      return;
    }
    // Each get is an independent value: the others map the object for themselves.
    for (const other of others) if (this.gets.add(seq, other)) this.port.want([seq]);
    const ref = first.get.refs[first.index];
    if (ref) {
      ref.isReady = !this.copying.has(seq);
      ref.wasViewed = true;
      this.viewed.set(ref, pinned.key);
    }
    this.read(store.map(pinned), first);
  }

  /** A value that this process has mapped is mapped once more, without asking; false when it is not. */
  private viewAgain(ref: Ref, waiter: GetWaiter): boolean {
    const key = this.viewed.get(ref);
    const source = key === undefined ? undefined : this.store?.mapAgain(key);
    if (!source) return false;
    // In a turn of its own: a loop that gets all the time must let go of what it got before.
    setImmediate(() => this.read(source, waiter));
    return true;
  }

  private read(source: StoredBytes, waiter: GetWaiter): void {
    const { get } = waiter;
    const coming = this.closedBy || get.isSettled ? undefined : this.values.prepareForeign(source);
    if (coming) {
      // What cannot be had is found out again when it is read.
      void coming.catch(() => {}).then(() => this.readNow(source, waiter));
    } else {
      this.readNow(source, waiter);
    }
  }

  private readNow(source: StoredBytes, { get, index }: GetWaiter): void {
    try {
      if (this.closedBy) get.fail(this.closedBy);
      else if (!get.isSettled) get.fulfil(index, this.values.decode(source));
    } catch (error) {
      get.fail(error);
    } finally {
      source.done();
    }
  }

  // ── streams ──────────────────────────────────────────────────────────────────────────────────────────────────────

  trackStream(seq: Seq, bufferItems: number): RefStream {
    const state = new StreamState(bufferItems);
    if (this.closedBy) state.failure = this.closedBy;
    else this.streams.set(seq, state);
    const stream = new RefStream(this, this.track(seq), state);
    this.streamRegistry.register(stream, { seq, state });
    return stream;
  }

  private streamItem(seq: Seq, item: Seq): void {
    const state = this.streams.get(seq);
    if (!state || state.isReleased) {
      this.port.release(item);
      return;
    }
    const ref = this.track(item);
    ref.isReady = true;
    state.arrived(ref);
    this.waits.changed();
  }

  private streamValue(seq: Seq, bytes: Uint8Array): void {
    const state = this.streams.get(seq);
    if (!state || state.isReleased) return;
    state.arrived(new Ref(this, this.takeSeqs(1), Uint8Array.from(bytes)));
    this.waits.changed();
  }

  private streamEnd(seq: Seq): void {
    const state = this.streams.get(seq);
    if (!state) return;
    this.streams.delete(seq);
    state.isEnded = true;
    for (const waiting of state.waiting.splice(0)) waiting.resolve({ done: true, value: undefined });
    this.waits.changed();
  }

  streamTaken(seq: Seq, state: StreamState): void {
    if (state.isAcknowledgementDue() && this.streams.has(seq)) this.port.consumed(seq, state.taken);
  }

  /** The program left the stream: what it has not taken goes, and the producer is stopped. */
  streamLeft(seq: Seq, state: StreamState): void {
    state.isReleased = true;
    for (const item of state.items.splice(0)) this.release(item);
    for (const waiting of state.waiting.splice(0)) waiting.resolve({ done: true, value: undefined });
    if (this.streams.delete(seq) && !this.isClosed) this.port.abandonStream(seq);
  }

  // ── actors ───────────────────────────────────────────────────────────────────────────────────────────────────────

  adoptHandle(actorId: ActorId, meta: HandleMeta, isGranted: boolean): Handle {
    const num = this.takeNum();
    this.port.borrowActor(num, actorId, meta.className, meta.concurrency, isGranted);
    return this.trackHandle(num, actorId, meta);
  }

  trackHandle(num: number, actorId: ActorId, meta: HandleMeta): Handle {
    const handle = Handle.make(this, num, actorId, meta);
    this.handleRegistry.register(handle, num, handle);
    this.options.onHeldBytes?.(HANDLE_BYTES);
    return handle;
  }

  releaseHandle(handle: Handle): void {
    const state = handleState(handle);
    if (state.isReleased) return;
    state.isReleased = true;
    this.handleRegistry.unregister(handle);
    this.letGoOfActor(state.num);
  }

  private letGoOfActor(num: number): void {
    if (this.isClosed) return;
    this.options.onHeldBytes?.(-HANDLE_BYTES);
    this.port.releaseActor(num);
  }

  bindMethod(handle: Handle, name: string, method: MethodMeta, numReturns: number): BoundMethod {
    return bindMethod(this, handle, name, method, numReturns);
  }

  /** Calls `done` when the ref has a value. */
  onReady(ref: Ref, done: () => void): void {
    this.waits.onReady(ref, done);
  }

  // ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  async cancel(
    target: Ref | RefStream,
    options: { readonly force?: boolean; readonly recursive?: boolean },
  ): Promise<void> {
    this.run(() => {
      if (target instanceof Ref) this.keyOf(target);
      this.port.cancel(target.seq, options.force ?? false, options.recursive ?? true);
      this.port.flush();
    });
  }

  /** How far a bar of a driver is; at once, as the program may compute without a pause. */
  tellBar(bar: BarState): void {
    if (this.isClosed || this.wireVersion < 2) return;
    this.port.toNode({ t: "progress-bar", bar });
    this.port.flush();
  }

  /** Tells of failures that the program has refs of and never asked for; before it is closed. */
  async tellUnreadFailures(): Promise<void> {
    const unread = (await this.port.query("unread-failures", null)) as Queries["unread-failures"]["result"];
    for (const { name, bytes } of unread) this.options.onUnreadFailure(name, errorFromBytes(bytes, this.values));
  }

  /** Everything that waits, and all that is waited for later, is rejected with this error. */
  close(error: Error): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.closedBy = error;
    for (const get of this.gets.takeAll()) get.fail(error);
    this.waits.failAll(error);
    for (const [, state] of this.streams) {
      state.failure = error;
      for (const waiting of state.waiting.splice(0)) waiting.fail(error);
    }
    this.streams.clear();
  }
}

/** What a handle counts among the bytes that are held: an actor ends when it is noticed that its last one is gone. */
const HANDLE_BYTES = 1_024;
/** How long a get's timeout waits for the explanation it quotes. */
const EXPLAIN_MS = 500;

/** How many refs from `from` on have numbers that follow each other and values that only the owner has. */
function runLength(refs: readonly Ref[], from: number): number {
  const first = refs[from];
  if (!first) return 0;
  let at = from;
  for (
    let ref: Ref | undefined = first;
    ref && ref.local === undefined && ref.seq === first.seq + (at - from);
    ref = refs[at]
  )
    at++;
  return at - from;
}

export const nodeLostError = (why: string): MobulaError =>
  new ConnectionLostError(
    `the node process is gone (${why}); its tasks, actors and objects went with it: call shutdown() and init() to start again`,
  );
