/**
 * Calls of hosted actors. They wait in one line for each concurrency group and start in the order in which they came,
 * as many at once as the group allows. A call keeps its place in the line until it is answered, its retries included,
 * so with a concurrency of 1 calls never overlap; a stream is the exception: it goes on beside the calls that follow.
 */
import { setTimeout as delay } from "node:timers/promises";
import { monotonicMs } from "../base/clock.ts";
import { InternalError } from "../base/errors.ts";
import type { Seq } from "../base/ids.ts";
import { type Client, takeTrace } from "../client/mod.ts";
import type { OwnerRuntime, WorkerClaims } from "../owner/mod.ts";
import { NO_CLAIM } from "../wire/mod.ts";
import {
  ArgumentsLost,
  decodeArguments,
  dropArguments,
  fetchValues,
  prepareArguments,
  receiveRefs,
  releaseRefs,
  unpin,
} from "./arguments.ts";
import type { OwnerConnection, WorkerMethod } from "./connection.ts";
import { Interrupted, isGuarded, runBreakable, runGuarded } from "./guard.ts";
import type { CallLine, CallMessage, HostedActor, OpenCall } from "./hosted-actor.ts";
import { type AnyGenerator, isGenerator, isThenable, Producer } from "./producer.ts";
import { isRetryable, type RetryRule } from "./retry-rule.ts";
import { Running } from "./running.ts";

/** Results leave at the latest after so much running, although more calls wait. */
const FLUSH_MS = 0.5;
/** The event loop, and with it a cancel, gets a turn at the latest after so much running. */
const YIELD_MS = 4;

export interface ActorCallsOptions {
  readonly client: Client;
  readonly runtime: OwnerRuntime;
  readonly claims: WorkerClaims | undefined;
  readonly onStart: ((name: string) => void) | undefined;
  /** Called when a call has ended. */
  readonly onEnded: ((running: Running) => void) | undefined;
  /** A call of an actor that is ending has ended. */
  readonly onProgress: (actor: HostedActor) => void;
}

export class ActorCalls {
  private readonly options: ActorCallsOptions;
  /** Calls under way, by who made them. */
  private readonly open = new Map<OwnerConnection, Map<Seq, OpenCall>>();
  private readonly rules = new WeakMap<WorkerMethod, RetryRule>();
  private nextNumber = 0;
  /** Lines with calls that may start now, in order. */
  private readonly due: { readonly actor: HostedActor; readonly line: CallLine }[] = [];
  private dueDone = 0;
  /** The call whose method runs, in which actor, and since when. */
  private invoked: OpenCall | undefined;
  private invokedIn: HostedActor | undefined;
  private invokedAt = 0;
  /** When the call that was looked at last had begun to run, or had run. */
  private at = 0;
  private turnStartedAt = 0;
  private flushedAt = 0;

  constructor(options: ActorCallsOptions) {
    this.options = options;
  }

  get connections(): Iterable<OwnerConnection> {
    return this.open.keys();
  }

  arrived(actor: HostedActor, call: CallMessage): void {
    if (!this.open.has(call.connection)) this.open.set(call.connection, new Map());
    if (call.deps.length > 0) call.fetched = fetchValues(this.options.runtime, call.deps);
    call.number = this.nextNumber++;
    const line = actor.lineOf(call.method.group);
    line.push(call);
    this.becomesDue(actor, line);
  }

  private becomesDue(actor: HostedActor, line: CallLine): void {
    if (line.isDue) return;
    line.isDue = true;
    this.due.push({ actor, line });
  }

  /** Starts what may start; called when all frames of one read are in. */
  drain(): void {
    if (this.due.length === 0) return;
    runBreakable(this.options.claims, this.advanceDue, this.brokenOff);
  }

  private readonly advanceDue = (): void => {
    const { due } = this;
    for (let next = due[this.dueDone]; next; next = due[this.dueDone]) {
      this.dueDone++;
      next.line.isDue = false;
      this.advance(next.actor, next.line);
    }
    due.length = 0;
    this.dueDone = 0;
  };

  /** A cancel broke the call that ran, and with it what followed in its line. */
  private readonly brokenOff = (): void => {
    const { invoked: open, invokedIn: actor } = this;
    if (!open || !actor) throw new InternalError("a cancel broke something, and no call was running");
    const line = actor.lineOf(open.call.method.group);
    const micros = this.returned(open, this.invokedAt);
    void this.failed(actor, open, micros, new Interrupted());
    line.running--;
    this.becomesDue(actor, line);
  };

  /** Starts what may start of an actor that has just begun to live. */
  advanceAll(actor: HostedActor): void {
    for (const line of actor.lines) this.goesOn(actor, line);
  }

  private goesOn(actor: HostedActor, line: CallLine): void {
    if (!line.first() && actor.ending === undefined) return;
    this.becomesDue(actor, line);
    this.drain();
  }

  private advance(actor: HostedActor, line: CallLine): void {
    while (!line.isPaused && actor.instance && !actor.isDropped && line.running < line.concurrency) {
      const call = this.next(actor, line);
      if (!call) break;
      line.running++;
      const pending = this.begin(actor, call);
      if (pending) {
        this.at = monotonicMs();
        void pending.then(() => {
          line.running--;
          this.goesOn(actor, line);
        });
      } else line.running--;
      this.shareTurn(actor, line, call.connection);
    }
    if (actor.ending !== undefined) this.options.onProgress(actor);
  }

  private next(actor: HostedActor, line: CallLine): CallMessage | undefined {
    const { claims } = this.options;
    for (let call = line.first(); call && call.number <= actor.lastNumber; call = line.first()) {
      line.shift();
      receiveRefs(this.options.runtime, call);
      if (call.claimSlot === NO_CLAIM || !claims || claims.start(call.claimSlot, call.claimSequence)) return call;
      // Its caller took it back.
      dropArguments(this.options.runtime, call);
    }
    return undefined;
  }

  /** Many short calls in a row must hold back neither their results nor the event loop. */
  private shareTurn(actor: HostedActor, line: CallLine, connection: OwnerConnection): void {
    const now = this.at;
    if (this.turnStartedAt === 0) {
      this.turnStartedAt = now;
      this.flushedAt = now;
      setImmediate(() => {
        this.turnStartedAt = 0;
      });
    }
    if (now - this.flushedAt > FLUSH_MS) {
      this.flushedAt = now;
      connection.peer.flush();
    }
    if (now - this.turnStartedAt < YIELD_MS || !line.first()) return;
    line.isPaused = true;
    setImmediate(() => {
      line.isPaused = false;
      this.goesOn(actor, line);
    });
  }

  /** Starts a call; a promise unless it gave its place back at once. */
  private begin(actor: HostedActor, call: CallMessage): Promise<void> | undefined {
    const method = actor.type.method(call.method.name);
    const running = new Running(call.method.displayName || method.name, call.seq, call.attempt, call.connection, actor);
    const ofCaller = this.open.get(call.connection) ?? new Map<Seq, OpenCall>();
    const open: OpenCall = {
      call,
      method,
      ofCaller,
      running,
      producer: undefined,
      failures: 0,
      place: 0,
      isExiting: false,
      isOver: false,
    };
    this.options.onStart?.(running.name);
    actor.opens(open);
    ofCaller.set(call.seq, open);
    return this.attempt(actor, open);
  }

  private attempt(actor: HostedActor, open: OpenCall): Promise<void> | undefined {
    const { call } = open;
    const preparing =
      call.fetched instanceof Promise ? this.prepare(call) : prepareArguments(this.options.client, call);
    if (!preparing) return this.run(actor, open);
    return preparing.then(
      () => this.run(actor, open),
      (error: unknown) => this.failed(actor, open, 0, error),
    );
  }

  private async prepare(call: CallMessage): Promise<void> {
    call.fetched = await call.fetched;
    await prepareArguments(this.options.client, call);
  }

  private run(actor: HostedActor, open: OpenCall): Promise<void> | undefined {
    const { call, running } = open;
    const startedAt = monotonicMs();
    this.at = startedAt;
    running.startedAt = startedAt;
    const micros = (): number => Math.max(0, Math.round((monotonicMs() - startedAt) * 1000));
    let value: unknown;
    try {
      if (running.cancelled) throw running.cancelled;
      value = this.invoke(actor, open, startedAt);
    } catch (error) {
      return this.failed(actor, open, micros(), error);
    }
    if (call.method.streamBufferItems > 0) {
      void this.produce(actor, open, micros, value);
      return undefined;
    }
    if (!isThenable(value)) {
      const ranMicros = Math.max(0, Math.round((this.at - startedAt) * 1000));
      this.finish(actor, open, () => this.succeed(open, ranMicros, value));
      return undefined;
    }
    return this.settle(running, value, {
      succeeded: (settled) => {
        this.finish(actor, open, () => this.succeed(open, micros(), settled));
        return undefined;
      },
      failed: (error) => this.failed(actor, open, micros(), error),
    });
  }

  private invoke(actor: HostedActor, open: OpenCall, startedAt: number): unknown {
    const { call, running, method } = open;
    const { client, claims } = this.options;
    const { name } = call.method;
    const args = decodeArguments(client, call);
    const trace = takeTrace(args);
    if (trace) running.trace(trace);
    const fn = actor.instance?.[name];
    if (typeof fn !== "function") throw new TypeError(`actor ${actor.className} has no method ${name}`);
    const run = (): unknown => running.run(() => fn.apply(actor.instance, args));
    this.invoked = open;
    this.invokedIn = actor;
    this.invokedAt = startedAt;
    try {
      if (!claims || !isGuarded(method.runs, method.micros)) return run();
      return runGuarded(claims, call.connection.guardKey(call.seq), run);
    } finally {
      this.returned(open, startedAt);
    }
  }

  private returned({ method }: OpenCall, startedAt: number): number {
    this.invoked = undefined;
    this.invokedIn = undefined;
    this.at = monotonicMs();
    const micros = (this.at - startedAt) * 1000;
    method.runs++;
    method.micros += (micros - method.micros) / Math.min(method.runs, 8);
    return Math.max(0, Math.round(micros));
  }

  /** Ends with what comes first: the method's own end, or the reason to go on without it. */
  private settle(
    running: Running,
    value: PromiseLike<unknown>,
    then: { succeeded(value: unknown): undefined; failed(error: unknown): Promise<void> | undefined },
  ): Promise<void> {
    return new Promise((resolve) => {
      const end = (report: () => Promise<void> | undefined): void => {
        if (!running.abandon) return;
        delete running.abandon;
        const more = report();
        if (more) void more.then(resolve);
        else resolve();
      };
      const fail = (error: unknown): void => end(() => then.failed(error));
      running.abandon = fail;
      value.then((settled) => end(() => then.succeeded(settled)), fail);
    });
  }

  private async produce(actor: HostedActor, open: OpenCall, micros: () => number, value: unknown): Promise<void> {
    const { call, running } = open;
    const { results } = call.connection;
    try {
      const generator = await value;
      if (!isGenerator(generator)) throw new TypeError(`${running.name} did not return a generator`);
      const count = await this.stream(open, generator);
      this.finish(actor, open, () => results.streamEnd(call.seq, call.attempt, micros(), count));
    } catch (error) {
      await this.failed(actor, open, micros(), error);
    }
  }

  private stream(open: OpenCall, generator: AnyGenerator): Promise<number> {
    const { claims } = this.options;
    const { call, running } = open;
    const { connection, method, seq } = call;
    const guard = claims ? <T>(step: () => T): T => runGuarded(claims, connection.guardKey(seq), step) : undefined;
    // The owner knows the items by their numbers: those it has from an earlier attempt are not sent for twice.
    const producer = new Producer(running, connection.results, method.streamBufferItems, guard);
    open.producer = producer;
    return running.run(() => producer.run(generator));
  }

  // ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  private succeed({ call, running }: OpenCall, micros: number, value: unknown): undefined {
    const { results } = call.connection;
    const { numReturns } = call.method;
    try {
      results.answer(call, micros, value, numReturns, running.name);
    } catch (error) {
      running.failed(error);
      results.error(call.seq, call.attempt, micros, running.cancelled ?? error, running.name, false);
    }
  }

  /** Repeats the call in its place, where its rule asks for that; else its error is the answer. */
  private failed(actor: HostedActor, open: OpenCall, micros: number, error: unknown): Promise<void> | undefined {
    const { call, running } = open;
    const { method } = call;
    if (error instanceof Interrupted) call.connection.brokeOff(running);
    if (error instanceof ArgumentsLost && !running.cancelled) {
      unpin(this.options.runtime, call.fetched);
      this.finish(actor, open, () => call.connection.results.argumentsLost(call.seq, call.attempt, error.names));
      return undefined;
    }
    const rule = this.mayRetry(actor, open, error) && this.ruleOf(method);
    if (rule instanceof Promise) return rule.then(() => this.failed(actor, open, micros, error));
    running.failed(error);
    if (isRetryable(rule, error)) {
      open.failures++;
      open.running = new Running(running.name, call.seq, call.attempt + open.failures, call.connection, actor);
      running.ended();
      if (call.deps.length > 0) call.fetched = fetchValues(this.options.runtime, call.deps);
      return delay(method.retryDelayMs).then(() => this.attempt(actor, open));
    }
    this.finish(actor, open, () => {
      call.connection.results.error(call.seq, call.attempt, micros, running.cancelled ?? error, running.name, false);
    });
    return undefined;
  }

  private mayRetry(actor: HostedActor, { call, running, failures, isExiting }: OpenCall, error: unknown): boolean {
    const { method } = call;
    if (method.retry.length === 0 || running.cancelled || error instanceof Interrupted) return false;
    if (isExiting || actor.isDropped) return false;
    return method.failuresMax === 0 || call.attempt + failures + 1 < method.failuresMax;
  }

  /** A promise: it names a class whose module is not here yet. One that cannot be read has nothing tried again, and says so once. */
  private ruleOf(method: WorkerMethod): RetryRule | Promise<void> {
    if (this.rules.has(method)) return this.rules.get(method);
    const { values } = this.options.client;
    const know = (read: () => RetryRule): RetryRule => {
      let rule: RetryRule = false;
      try {
        rule = read();
      } catch (error) {
        console.error(
          `${method.name}: what its retryExceptions names cannot be read, so nothing is tried again:`,
          error,
        );
      }
      this.rules.set(method, rule);
      return rule;
    };
    const read = (): RetryRule => values.decode(method.retry);
    const coming = values.prepare(method.retry);
    if (!coming) return know(read);
    return coming.then(
      () => void know(read),
      (error) =>
        void know(() => {
          throw error;
        }),
    );
  }

  private finish(actor: HostedActor, open: OpenCall, report: () => void): void {
    if (open.isOver) return;
    open.isOver = true;
    const { call, running } = open;
    const { peer } = call.connection;
    if (!open.isExiting && !actor.isDropped && !peer.isClosed) {
      report();
      peer.schedule();
    }
    running.ended();
    actor.closes(open);
    open.ofCaller.delete(call.seq);
    releaseRefs(this.options.runtime, call);
    this.options.onEnded?.(running);
    if (actor.ending !== undefined) this.options.onProgress(actor);
  }

  /** The actor is no more: whoever has calls in it is told that nothing comes of them. */
  drop(actor: HostedActor): void {
    const { incarnation } = actor;
    actor.isDropped = true;
    const callers = new Map<OwnerConnection, { readonly num: number; readonly unstarted: Seq[] }>();
    const callerOf = (call: CallMessage): { readonly unstarted: Seq[] } => {
      let caller = callers.get(call.connection);
      if (!caller) {
        caller = { num: call.actor.num, unstarted: [] };
        callers.set(call.connection, caller);
      }
      return caller;
    };
    for (const open of [...actor.open]) {
      callerOf(open.call);
      open.running.cancel("TASK_CANCELLED", true);
      this.finish(actor, open, () => {});
    }
    for (const line of actor.lines) {
      for (const call of line.take(() => true)) {
        callerOf(call).unstarted.push(call.seq);
        this.forget(call);
      }
    }
    for (const [{ peer, results }, { num, unstarted }] of callers) {
      if (peer.isClosed) continue;
      if (unstarted.length > 0) results.returned(unstarted);
      results.actorGone(num, incarnation);
    }
    for (const { peer } of this.connections) peer.flush();
  }

  /** A call that is not going to start. */
  forget(call: CallMessage): void {
    receiveRefs(this.options.runtime, call);
    dropArguments(this.options.runtime, call);
  }

  // ── what callers say of their calls ──────────────────────────────────────────────────────────────────────────────

  /** True when the call has started. */
  cancel(connection: OwnerConnection, seq: Seq, code: string, isRecursive: boolean): boolean {
    const open = this.open.get(connection)?.get(seq);
    open?.running.cancel(code, isRecursive);
    return open !== undefined;
  }

  acknowledge(connection: OwnerConnection, seq: Seq, consumed: number): boolean {
    const open = this.open.get(connection)?.get(seq);
    open?.producer?.acknowledge(consumed);
    return open !== undefined;
  }

  /** The caller is gone: what it asked for and still runs is cancelled. */
  ownerGone(connection: OwnerConnection): void {
    for (const { running } of this.open.get(connection)?.values() ?? []) running.cancel("TASK_CANCELLED", true);
    this.open.delete(connection);
  }
}
