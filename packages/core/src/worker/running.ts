/** One execution: a task's attempt or an actor's call, from its first line to its result. */
import { InvalidOptionError, type MobulaError, TaskCancelledError, TaskTimeoutError } from "../base/errors.ts";
import { type ActorId, objectKey, type ProcessId, type Seq, taskIdHex, type WorkerId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import {
  type Client,
  currentExecution,
  type Execution,
  type Handle,
  runAs,
  type TraceContext,
  type TracedRun,
  type Tracing,
} from "../client/mod.ts";
import type { TaskOrigin } from "../owner/mod.ts";
import type { BundleChoice } from "../wire/mod.ts";
import type { Habit } from "./attention.ts";
import type { OwnerConnection } from "./connection.ts";

/** What the place it runs in lends every execution. */
export interface Surroundings {
  readonly client: Client;
  /** Where workers share one client: this one's id. */
  readonly workerId?: WorkerId | undefined;
  readonly resources: ResourceUnits;
  readonly gpus: readonly string[];
  readonly bundle: BundleChoice | undefined;
  readonly wasRestarted: boolean;
  readonly actorId?: ActorId;
  readonly slots: number;
  self?(): Handle;
  /** Ends the actor after the calls before the one that asks. */
  exitActor?(running: Running): void;
  waiting(change: 1 | -1, running: Running, seqs: readonly Seq[]): void;
}

/** Hooks are nobody's calls. */
export const NO_SEQ = 0 as Seq;

export class Running implements Execution {
  readonly name: string;
  readonly attempt: number;
  readonly seq: Seq;
  /** Another one, when its owner has died and what it gives is somebody else's. */
  connection: OwnerConnection;
  private readonly around: Surroundings;
  private controller: AbortController | undefined;
  /** Numbers of what it submitted, as runs that follow each other: first and end, first and end. */
  private children: number[] | undefined;
  private cancelListeners: Set<(error: Error) => void> | undefined;
  /** Of its function, where that is known better than by its name: see attention.ts. */
  habit: Habit | undefined;
  cancelled: MobulaError | undefined;
  /** A cancel's signal has broken it off, and the cancel's message is still to come: see `OwnerConnection.brokeOff`. */
  isBroken = false;
  /** Ends it with this error although its own promise has not settled; absent when there is nothing to go on without. */
  abandon?: (error: unknown) => void;
  /** Waits under way. */
  waits = 0;
  private traced: TracedRun | undefined;
  private asOrigin: TaskOrigin | undefined;
  /** What it is an attempt of, where that is no call of its connection. */
  creation: { readonly owner: ProcessId; readonly seq: Seq; readonly attempt: number } | undefined;
  /** By the monotonic clock; 0 while its arguments are fetched. */
  startedAt = 0;

  constructor(name: string, seq: Seq, attempt: number, connection: OwnerConnection, around: Surroundings) {
    this.name = name;
    this.seq = seq;
    this.attempt = attempt;
    this.connection = connection;
    this.around = around;
  }

  get jobId(): Execution["jobId"] {
    return this.around.client.jobId;
  }
  get namespace(): string {
    return this.around.client.namespace;
  }
  get taskId(): string {
    const { owner, seq } = this.origin;
    return taskIdHex(owner, seq, this.jobId);
  }
  get origin(): TaskOrigin {
    const { name, seq, connection, creation } = this;
    this.asOrigin ??= { name, owner: creation?.owner ?? connection.ownerId, seq: creation?.seq ?? seq };
    return this.asOrigin;
  }
  get actorId(): ActorId | undefined {
    return this.around.actorId;
  }
  get workerId(): WorkerId | null {
    return this.around.workerId ?? this.around.client.workerId;
  }
  get resources(): ResourceUnits {
    return this.around.resources;
  }
  get gpus(): readonly string[] {
    return this.around.gpus;
  }
  get bundle(): BundleChoice | undefined {
    return this.around.bundle;
  }
  get wasRestarted(): boolean {
    return this.around.wasRestarted;
  }
  get slots(): number {
    return this.around.slots;
  }
  get waiter(): string {
    const { actorId } = this.around;
    return actorId === undefined ? `task:${objectKey(this.connection.ownerId, this.seq)}` : `actor:${actorId}`;
  }

  /** The key of the call of an actor that it executes. */
  get call(): string | undefined {
    const { around, connection, seq } = this;
    return around.actorId === undefined || seq === NO_SEQ ? undefined : objectKey(connection.ownerId, seq);
  }

  get exitActor(): (() => void) | undefined {
    const { around } = this;
    return around.exitActor ? () => around.exitActor?.(this) : undefined;
  }

  /** Its span begins; it ends with it. */
  trace(context: TraceContext, attempt = this.attempt): void {
    const { around, name } = this;
    this.traced = context.begin(name, {
      "code.function.name": name,
      "mobula.job_id": this.jobId,
      "mobula.node_id": around.client.nodeId,
      "mobula.attempt": attempt,
      ...(this.seq !== NO_SEQ && { "mobula.task_id": this.taskId }),
      ...(around.actorId !== undefined && { "mobula.actor_id": around.actorId }),
    });
  }

  get tracing(): Tracing | undefined {
    return this.traced?.tracing;
  }

  /** Code of the program, as part of this. */
  run<T>(fn: () => T): T {
    const { traced } = this;
    return runAs(this, traced ? () => traced.within(fn) : fn);
  }

  /** To be told before it has ended. */
  failed(error: unknown): void {
    this.traced?.failed(this.cancelled ?? error);
  }

  self(): Handle {
    const handle = this.around.self?.();
    if (!handle) throw new InvalidOptionError("runtimeContext().self exists inside actors only");
    return handle;
  }

  signal(): AbortSignal {
    this.controller ??= new AbortController();
    if (this.cancelled) this.controller.abort(this.cancelled);
    return this.controller.signal;
  }

  submitted(seq: Seq): void {
    this.children ??= [];
    const { children } = this;
    const last = children.length - 1;
    if (children[last] === seq) children[last] = seq + 1;
    else children.push(seq, seq + 1);
  }

  waiting(change: 1 | -1, seqs: readonly Seq[]): void {
    this.waits += change;
    this.around.waiting(change, this, seqs);
  }

  onCancel(reject: (error: Error) => void): () => void {
    const { cancelled } = this;
    // Later, as it would be if the cancel came now: the caller is not ready for it within this call.
    if (cancelled) queueMicrotask(() => reject(cancelled));
    this.cancelListeners ??= new Set();
    this.cancelListeners.add(reject);
    return () => this.cancelListeners?.delete(reject);
  }

  /** Ends what it waits for now with an error, and lets it go on. */
  rejectWaits(error: Error): void {
    for (const reject of [...(this.cancelListeners ?? [])]) reject(error);
    this.cancelListeners?.clear();
  }

  /** Its signal is aborted, its own waits are rejected, and what it submitted is cancelled too. */
  cancel(code: string, isRecursive: boolean): void {
    if (this.cancelled) return;
    this.cancelled =
      code === "TASK_TIMEOUT"
        ? new TaskTimeoutError(`${this.name} passed its timeoutMs`)
        : new TaskCancelledError(
            code === "TASK_PREEMPTED"
              ? `${this.name} is ended for something of higher priority, and runs again afterwards`
              : `${this.name} was cancelled`,
          );
    this.controller?.abort(this.cancelled);
    this.rejectWaits(this.cancelled);
    if (!isRecursive) return;
    const { children = [] } = this;
    for (let run = 0; run < children.length; run += 2) {
      const end = children[run + 1] ?? 0;
      for (let child = children[run] ?? end; child < end; child++) {
        this.around.client.port.cancel(child as Seq, false, true);
      }
    }
  }

  /** It has ended: nothing it submitted is its child any more, unless a cancel that ended it is to reach that too. */
  ended(): void {
    this.traced?.end();
    if (this.isBroken) return;
    this.children = undefined;
    this.cancelListeners = undefined;
  }
}

/**
 * A rejection that nobody handled fails the task that made it, if that still runs; one of a cancelled task is no news.
 * False when the rejection belongs to none of these.
 */
export function failExecution(error: unknown): boolean {
  const running = currentExecution();
  if (!(running instanceof Running)) return false;
  if (running.cancelled) return true;
  if (!running.abandon) return false;
  running.abandon(error);
  return true;
}
