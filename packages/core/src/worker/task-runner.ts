/**
 * Runs tasks, one at a time, in the order they arrive from the owner that leased this worker.
 *
 * A task is this worker's once its claim word says so; until then its owner may take it back. While a task waits for
 * other objects, those behind it are given back, so that they can run elsewhere.
 */
import { monotonicMs } from "../base/clock.ts";
import { InternalError, WorkerDiedError } from "../base/errors.ts";
import type { Seq } from "../base/ids.ts";
import { type ArgsWithCode, type Client, takeTrace } from "../client/mod.ts";
import type { OwnerRuntime, WorkerClaims } from "../owner/mod.ts";
import { NO_CLAIM } from "../wire/mod.ts";
import {
  ArgumentsLost,
  decodeCall,
  dropArguments,
  fetchValues,
  prepareArguments,
  receiveRefs,
  releaseRefs,
  unpin,
  type WithArguments,
} from "./arguments.ts";
import { pausing } from "./breakpoint.ts";
import { codeFrom, type OwnerConnection, type TaskCode, type WorkerTemplate } from "./connection.ts";
import { Interrupted, isGuarded, runBreakable, runGuarded } from "./guard.ts";
import { Orphans } from "./orphans.ts";
import { isGenerator, isThenable, Producer } from "./producer.ts";
import { isRetryable } from "./retry-rule.ts";
import { Running, type Surroundings } from "./running.ts";
import type { Setup } from "./setup.ts";

export interface TaskMessage extends WithArguments {
  connection: OwnerConnection;
  readonly seq: Seq;
  readonly attempt: number;
  readonly template: WorkerTemplate;
  readonly claimSlot: number;
  readonly claimSequence: number;
  /** What came with the arguments, in place of the template's. */
  code?: TaskCode;
}

/** Results leave at the latest after so much running, although more tasks wait. */
const FLUSH_MICROS = 500;
/** Before a function that was seen to run for so long, they leave too. */
const LONG_MICROS = 1_000;
/** What is left of the longest run after each further one. */
const PEAK_KEPT = 0.999;
/** The event loop gets a turn at the latest after so much running. */
const YIELD_MICROS = 4_000;
/** A cancelled task that neither heeds its signal nor ends is left to itself after this time, so that others can run. */
const CANCEL_GRACE_MS = 1_000;

export class TaskRunner {
  private readonly client: Client;
  private readonly runtime: OwnerRuntime;
  private readonly claims: WorkerClaims | undefined;
  private readonly around: () => Surroundings;
  private readonly setup: Setup | undefined;
  private queue: TaskMessage[] = [];
  private head = 0;
  private isRunning = false;
  private isBlocked = false;
  private current: Running | undefined;
  /** Whose function was called last, and when. */
  private called: TaskMessage | undefined;
  private calledAt = 0;
  private currentTask: TaskMessage | undefined;
  private readonly orphans = new Orphans();
  private producer: Producer | undefined;
  /** Tasks run when a debugger is there. */
  breaks = false;
  /** Called when something is there to run, and when nothing is left. */
  onBusy: (() => void) | undefined;
  onIdle: (() => void) | undefined;
  /** Whether tasks of this connection are to be given back: its lease has ended. */
  isRefused: ((connection: OwnerConnection) => boolean) | undefined;
  /** Called when a task has ended: it waits for nothing any more. */
  onEnd: ((running: Running) => void) | undefined;
  /** Called before a task runs, with its name: for the tags of its output. */
  onStart: ((name: string) => void) | undefined;

  constructor(
    client: Client,
    runtime: OwnerRuntime,
    claims: WorkerClaims | undefined,
    around: () => Surroundings,
    setup?: Setup,
  ) {
    this.setup = setup;
    this.client = client;
    this.runtime = runtime;
    this.claims = claims;
    this.around = around;
  }

  get running(): Running | undefined {
    return this.current;
  }

  get isIdle(): boolean {
    return !this.isRunning && this.queue.length === 0;
  }

  push(task: TaskMessage): void {
    if (this.isRefused?.(task.connection)) {
      this.giveBack([task]);
      return;
    }
    if (task.deps.length > 0) task.fetched = fetchValues(this.runtime, task.deps);
    this.queue.push(task);
  }

  /** Runs what has arrived; called when all frames of one read are in. */
  drain(): void {
    if (this.isRunning) {
      if (this.isBlocked) this.giveBackUnstarted();
      return;
    }
    if (this.queue.length === 0) return;
    this.isRunning = true;
    this.onBusy?.();
    this.continue();
  }

  private continue(): void {
    runBreakable(this.claims, this.runQueue, this.brokenOff);
  }

  private readonly runQueue = (): void => {
    const startedAt = monotonicMs();
    let flushedAt = startedAt;
    for (;;) {
      const task = this.queue[this.head];
      if (!task) break;
      this.head++;
      if (this.head > 1024) {
        this.queue = this.queue.slice(this.head);
        this.head = 0;
      }
      const pending = this.start(task);
      if (pending) {
        task.connection.peer.flush();
        pending.then(() => this.continue());
        return;
      }
      const now = monotonicMs();
      if ((now - flushedAt) * 1000 > FLUSH_MICROS) {
        task.connection.peer.flush();
        flushedAt = now;
      }
      if ((now - startedAt) * 1000 > YIELD_MICROS) {
        task.connection.peer.flush();
        setImmediate(() => this.continue());
        return;
      }
    }
    this.queue = [];
    this.head = 0;
    this.isRunning = false;
    this.onIdle?.();
  };

  /** A cancel broke the task that ran, and with it the run of the queue. */
  private readonly brokenOff = (): void => {
    const { called: task, current: running } = this;
    if (!task || !running) throw new InternalError("a cancel broke something, and no task was running");
    this.finish(task, running, this.calledAt, (micros) => this.fail(task, running, micros, new Interrupted()));
  };

  /** Runs one task; a promise when it did not end at once. */
  private start(task: TaskMessage): Promise<void> | undefined {
    receiveRefs(this.runtime, task);
    if (task.claimSlot !== NO_CLAIM && this.claims && !this.claims.start(task.claimSlot, task.claimSequence)) {
      dropArguments(this.runtime, task);
      return undefined;
    }
    const { isPrompt, runs, peakMicros } = task.template;
    // What has finished must not wait for one that may take long.
    if (isPrompt || runs < 2 || peakMicros > LONG_MICROS) task.connection.peer.flush();
    const running = new Running(task.template.name, task.seq, task.attempt, task.connection, this.around());
    running.habit = task.template.habit;
    this.current = running;
    this.currentTask = task;
    this.onStart?.(running.name);
    const { fetched } = task;
    const isReady = task.template.fn !== undefined && !(fetched instanceof Promise) && !this.setup?.isNeeded;
    const preparing = isReady ? prepareArguments(this.client, task) : this.prepare(task);
    if (preparing) {
      return preparing.then(
        () => this.run(task, running),
        (error: unknown) => this.finish(task, running, monotonicMs(), () => this.fail(task, running, 0, error)),
      );
    }
    return this.run(task, running);
  }

  private async prepare(task: TaskMessage): Promise<void> {
    await this.setup?.done();
    // What traces calls is there before the program's code.
    await this.client.values.prepare(task.args);
    await task.template.load(this.client);
    task.fetched = await task.fetched;
    await prepareArguments(this.client, task);
  }

  private run(task: TaskMessage, running: Running): Promise<void> | undefined {
    const startedAt = monotonicMs();
    this.called = task;
    this.calledAt = startedAt;
    running.startedAt = startedAt;
    let value: unknown;
    try {
      if (running.cancelled) throw running.cancelled;
      value = this.call(task, running, decodeCall(this.client, task));
    } catch (error) {
      this.finish(task, running, startedAt, (micros) => this.fail(task, running, micros, error));
      return undefined;
    }
    if (task.template.isStream) {
      const produced = this.produce(task, running, value);
      return this.settle(task, running, startedAt, produced, (micros, count) => {
        if (running.cancelled) this.fail(task, running, micros, running.cancelled);
        else task.connection.results.streamEnd(task.seq, task.attempt, micros, count);
      });
    }
    if (isThenable(value)) {
      return this.settle(task, running, startedAt, Promise.resolve(value), (micros, settled) =>
        this.succeed(task, running, micros, settled),
      );
    }
    this.finish(task, running, startedAt, (micros) => this.succeed(task, running, micros, value));
    return undefined;
  }

  private call(task: TaskMessage, running: Running, decoded: unknown[] | ArgsWithCode): unknown {
    const { template } = task;
    const args = Array.isArray(decoded) ? decoded : decoded.args;
    if (!Array.isArray(decoded)) task.code = codeFrom(decoded.code);
    const trace = takeTrace(args);
    if (trace) running.trace(trace);
    const { fn: given } = task.code ?? template;
    if (!given) throw new WorkerDiedError("the task's function was not loaded");
    const fn = this.breaks ? pausing(given) : given;
    if (this.claims && isGuarded(template.runs, template.runMicros)) {
      return runGuarded(this.claims, task.connection.guardKey(task.seq), () => running.run(() => fn(...args)));
    }
    return running.run(() => fn(...args));
  }

  /** Ends the task with what comes first: its own end, or the reason to go on without it. */
  private settle<T>(
    task: TaskMessage,
    running: Running,
    startedAt: number,
    promise: Promise<T>,
    succeed: (micros: number, value: T) => void,
  ): Promise<void> {
    return new Promise((resolve) => {
      const end = (report: (micros: number) => void): void => {
        if (!running.abandon) return;
        delete running.abandon;
        this.finish(task, running, startedAt, report);
        resolve();
      };
      const fail = (error: unknown): void => end((micros) => this.fail(task, running, micros, error));
      running.abandon = fail;
      promise.then((value) => end((micros) => succeed(micros, value)), fail);
    });
  }

  private async produce(task: TaskMessage, running: Running, value: unknown): Promise<number> {
    const generator = await value;
    if (!isGenerator(generator)) throw new TypeError(`${task.template.name} did not return a generator`);
    const { claims } = this;
    const producer = new Producer(
      running,
      task.connection.results,
      task.template.streamBufferItems,
      claims ? (step) => runGuarded(claims, task.connection.guardKey(task.seq), step) : undefined,
    );
    this.producer = producer;
    try {
      return await running.run(() => producer.run(generator));
    } finally {
      if (this.producer === producer) this.producer = undefined;
    }
  }

  private succeed(task: TaskMessage, running: Running, micros: number, value: unknown): void {
    const { results, peer } = task.connection;
    const { numReturns, name } = task.template;
    if (peer.isClosed) return;
    if (running.cancelled) {
      // It may have heeded its signal, and given what it had by then.
      this.fail(task, running, micros, running.cancelled);
      return;
    }
    try {
      results.answer(task, micros, value, numReturns, name);
    } catch (error) {
      this.fail(task, running, micros, error);
    }
  }

  private fail(task: TaskMessage, running: Running, micros: number, error: unknown): void {
    const { results, peer } = task.connection;
    running.failed(error);
    if (error instanceof Interrupted) task.connection.brokeOff(running);
    if (peer.isClosed) return;
    if (error instanceof ArgumentsLost && !running.cancelled) {
      unpin(this.runtime, task.fetched);
      results.argumentsLost(task.seq, task.attempt, error.names);
      return;
    }
    const retry = !running.cancelled && isRetryable((task.code ?? task.template).retry, error);
    results.error(task.seq, task.attempt, micros, running.cancelled ?? error, task.template.name, retry);
  }

  private finish(task: TaskMessage, running: Running, startedAt: number, report: (micros: number) => void): void {
    const micros = Math.max(0, Math.round((monotonicMs() - startedAt) * 1000));
    const { template } = task;
    template.runs++;
    template.runMicros += (micros - template.runMicros) / Math.min(template.runs, 8);
    template.peakMicros = Math.max(micros, template.peakMicros * PEAK_KEPT);
    report(micros);
    this.orphans.answered(task, micros, () => report(micros));
    if (template.isPrompt) task.connection.peer.flush();
    else task.connection.peer.schedule();
    this.current = undefined;
    this.currentTask = undefined;
    this.onEnd?.(running);
    this.called = undefined;
    running.ended();
    releaseRefs(this.runtime, task);
  }

  acknowledge(connection: OwnerConnection, seq: Seq, consumed: number): void {
    if (this.isCurrent(connection, seq)) this.producer?.acknowledge(consumed);
  }

  cancel(connection: OwnerConnection, seq: Seq, code: string, isRecursive: boolean): void {
    const { current } = this;
    if (current && this.isCurrent(connection, seq)) this.cancelRunning(current, code, isRecursive);
    else this.giveBackOne(connection, seq);
  }

  private isCurrent(connection: OwnerConnection, seq: Seq): boolean {
    return this.current?.seq === seq && this.current.connection === connection;
  }

  private cancelRunning(running: Running, code: string, isRecursive: boolean): void {
    running.cancel(code, isRecursive);
    // What makes room for others is ended by force when it does not end itself.
    if (code !== "TASK_PREEMPTED") setTimeout(() => running.abandon?.(running.cancelled), CANCEL_GRACE_MS).unref();
  }

  private giveBackOne(connection: OwnerConnection, seq: Seq): void {
    for (let at = this.head; at < this.queue.length; at++) {
      const task = this.queue[at];
      if (task?.seq !== seq || task.connection !== connection) continue;
      this.giveBack([...this.queue.splice(at, 1)]);
      return;
    }
  }

  /** While the running task waits for others, what comes behind it is given back. */
  blocked(isBlocked: boolean): void {
    this.isBlocked = isBlocked;
    if (isBlocked) this.giveBackUnstarted();
  }

  /** What has not started goes back to its owner: the running task waits, or the owner asked. */
  giveBackUnstarted(only?: ReadonlySet<Seq>): void {
    const waiting = this.queue.slice(this.head);
    const returned = only ? waiting.filter((task) => only.has(task.seq)) : waiting;
    if (returned.length === 0) return;
    this.queue = only ? waiting.filter((task) => !only.has(task.seq)) : [];
    this.head = 0;
    this.giveBack(returned);
  }

  private giveBack(tasks: readonly TaskMessage[]): void {
    const byConnection = new Map<OwnerConnection, Seq[]>();
    for (const task of tasks) {
      this.drop(task);
      // The owner may have taken it back in the meantime: then it is not ours to give.
      if (task.claimSlot !== NO_CLAIM && this.claims && !this.claims.giveBack(task.claimSlot, task.claimSequence))
        continue;
      const seqs = byConnection.get(task.connection);
      if (seqs) seqs.push(task.seq);
      else byConnection.set(task.connection, [task.seq]);
    }
    for (const [connection, seqs] of byConnection) connection.results.returned(seqs);
  }

  /** A task that will not run here: what was granted and pinned for it goes back. */
  private drop(task: TaskMessage): void {
    receiveRefs(this.runtime, task);
    dropArguments(this.runtime, task);
  }

  /**
   * The owner is gone: nothing that it sent and that has not begun needs to run. What runs goes on until it is known
   * whether another has inherited it, which is told, or nobody: then this worker is ended.
   */
  ownerGone(connection: OwnerConnection): void {
    connection.isOver = true;
    const waiting = this.queue.slice(this.head);
    this.queue = waiting.filter((task) => task.connection !== connection);
    this.head = 0;
    for (const task of waiting) if (task.connection === connection) this.drop(task);
  }

  /** Another speaks for an owner that is dead. */
  inherit(heir: OwnerConnection): void {
    const { current, currentTask } = this;
    this.orphans.passTo(heir, currentTask);
    if (current && currentTask) current.connection = currentTask.connection;
  }

  /** An owner has no need of an answer any more. */
  heard(connection: OwnerConnection, seq: number, attempt: number): void {
    this.orphans.heard(connection, seq, attempt);
  }

  /** This worker is leased anew: nobody will ask for what other owners have left. */
  forgetOrphans(): void {
    this.orphans.clear();
  }

  /** Nobody has inherited what runs: its signal says so before the process ends. */
  cancelOrphan(): void {
    if (this.current?.connection.isOver) this.current.cancel("TASK_CANCELLED", true);
  }
}
