/**
 * Whether this thread is about to look after what it submits. User code runs here, and while it computes, nothing goes
 * on that the owner engine of this process keeps.
 *
 * 1. Tasks lie in the submission log, out of which the node takes them when this thread does not come back: see
 *    owner/handover.ts. What the log has no room for is handed over within the call that submits it, and so is
 *    everything when a program computes between its submissions, for the node then sees that it comes back.
 * 2. Tasks whose arguments are not there are handed over when the turn ends, unless the program waits for them.
 * 3. Calls of actors and streams cannot be handed over. Of a function that was seen to come back to the event loop soon
 *    after it had submitted something they leave when it does, which is faster; of one that is new, or computed on,
 *    within the call.
 *
 * Known limits: a function that was always quick and computes on for the first time holds back the calls of actors that
 * it made in that turn. Calls to an actor that this process has not heard of, and streams, wait for the thread.
 */
import { monotonicMs } from "../base/clock.ts";
import type { ObjectKey, Seq } from "../base/ids.ts";
import { currentExecution, DirectPort, type Execution, type OwnerPort } from "../client/mod.ts";
import type { Handover, OwnerRuntime } from "../owner/mod.ts";
import { Running } from "./running.ts";

/** A program that computes for so long while something of it is under way is not quick. */
const QUICK_MS = 50;
/** One that is away for so long is not, whether it computes, sleeps, or others have the processor. */
const AWAY_MS = 250;
/** The thread's own time is asked for so often at most: it costs microseconds. */
const CPU_ASKED_EVERY_MS = 20;
/** A turn that has computed for so long between its submissions hands over. */
const BETWEEN_MS = 20;
/** Shorter gaps are what submitting takes. */
const GAP_MS = 1;
/** So much of it each submission makes up for: many in a row are no computing, whatever else the processor did. */
const GAP_MS_EACH = 0.5;
/** Quick turns until a function that was not is trusted again. */
const TRUSTED_AFTER = 5;
const METHODS_MAX = 10_000;

/** How a function has behaved here. */
export interface Habit {
  /** Above 0, it is trusted. */
  trust: number;
}

export class Attention {
  private readonly runtime: () => OwnerRuntime;
  /** Of methods of actors, and code that belongs to no task. */
  private readonly byName = new Map<string, Habit>();
  /** Whose turn it is, when something of it is under way. */
  private current: Habit | undefined;
  private lookedAtMs = 0;
  private isSlow = false;
  private cpuMs = 0;
  private cpuAtMs = 0;
  /** The program itself has the engine flushed: its turn goes on. */
  private isWithinTurn = false;
  private betweenMs = 0;
  /** It is known in this turn that not everything is waited for. */
  private isUncovered = false;

  constructor(runtime: () => OwnerRuntime) {
    this.runtime = runtime;
  }

  private get handover(): Handover | undefined {
    return this.runtime().engine.handover;
  }

  private habitOf(execution: Execution | undefined): Habit {
    if (execution instanceof Running && execution.habit) return execution.habit;
    const name = execution?.name ?? "";
    let habit = this.byName.get(name);
    if (!habit) {
      if (this.byName.size >= METHODS_MAX) this.byName.clear();
      habit = { trust: 0 };
      this.byName.set(name, habit);
    }
    return habit;
  }

  /** The program has submitted a task. */
  submitted(): void {
    const { handover } = this;
    const isTrusted = this.asked();
    if (!handover) return;
    if (this.betweenMs > 0) this.betweenMs -= GAP_MS_EACH;
    if (handover.isUnlogged || this.betweenMs > BETWEEN_MS) {
      this.betweenMs = 0;
      this.runtime().enter();
      handover.handOver();
      this.flushWithinTurn();
    } else if (handover.hasUnmovable) {
      handover.hasUnmovable = false;
      if (!isTrusted) this.leaveNow();
    } else if (handover.hasNews) {
      handover.hasNews = false;
      this.runtime().flushNode();
    }
  }

  /** The program has called an actor, or created one. */
  called(): void {
    if (!this.asked()) this.leaveNow();
  }

  /** The call has left when this returns; so has what waits, before some of it is sent and waited for here. */
  private leaveNow(): void {
    const { handover } = this;
    if (handover && handover.waiting.size > 0) {
      this.runtime().enter();
      handover.handOver();
    }
    this.flushWithinTurn();
  }

  private asked(): boolean {
    this.looked();
    this.current = this.habitOf(currentExecution());
    return this.current.trust > 0;
  }

  /**
   * The program begins to wait. What it asked for leaves now, unless it has submitted more than it waits for as yet: the
   * rest of the turn shows whether it will.
   */
  flush(): void {
    this.isUncovered ||= this.handover?.isCovered === false;
    if (this.isUncovered) return;
    this.looked();
    this.flushWithinTurn();
  }

  private flushWithinTurn(): void {
    this.isWithinTurn = true;
    this.runtime().flushNow();
    this.isWithinTurn = false;
    this.handover?.leave();
    // What that took was not the program's time.
    this.lookedAtMs = monotonicMs();
  }

  /** Runs before the engine sends anything. */
  decide(): void {
    const { handover } = this;
    if (!this.isWithinTurn) {
      this.judge();
      this.isUncovered = false;
      this.betweenMs = 0;
      if (handover?.isCovered === false) handover.handOver();
    }
    handover?.keep();
  }

  /** The program called the runtime, or its turn ended. */
  private looked(): void {
    const now = monotonicMs();
    const awayMs = now - this.lookedAtMs;
    if (this.current && awayMs > GAP_MS) this.betweenMs += awayMs;
    if (this.current && awayMs > QUICK_MS) {
      // On a busy machine others run meanwhile: what counts is what this thread did.
      if (awayMs > AWAY_MS || threadCpuMs() - this.cpuMs > QUICK_MS) this.isSlow = true;
    }
    if (now - this.cpuAtMs > CPU_ASKED_EVERY_MS) {
      this.cpuMs = threadCpuMs();
      this.cpuAtMs = now;
    }
    this.lookedAtMs = now;
  }

  private judge(): void {
    this.looked();
    const { current } = this;
    if (!current) return;
    if (this.isSlow) current.trust = -TRUSTED_AFTER;
    else if (current.trust <= 0) current.trust++;
    this.current = undefined;
    this.isSlow = false;
  }

  /** An execution that waited goes on: it may be long until this thread looks again. */
  goesOn(running: Running): void {
    const { handover } = this;
    if (!handover?.isUnderWay) return;
    const habit = this.habitOf(running);
    const isTrusted = habit.trust > 0;
    // After what arrived with the end of its wait, and before its first line.
    queueMicrotask(() => {
      if (!isTrusted) this.flushWithinTurn();
      this.lookedAtMs = monotonicMs();
      this.current = habit;
      this.runtime().schedule();
    });
  }

  /** An execution has ended: the next may begin within the turn. */
  ended(): void {
    if (this.handover?.hasUndecided) this.runtime().flushNow();
  }
}

function threadCpuMs(): number {
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

/** The program's side of a worker. */
export class WorkerPort extends DirectPort {
  private readonly attention: Attention;

  constructor(runtime: OwnerRuntime, attention: Attention) {
    super(runtime);
    this.attention = attention;
  }

  override submit(
    seq: Seq,
    template: number,
    args: Uint8Array,
    deps: readonly Seq[],
    nested: readonly (Seq | ObjectKey)[],
  ): void {
    super.submit(seq, template, args, deps, nested);
    this.attention.submitted();
  }

  override call(
    seq: Seq,
    actor: number,
    method: number,
    args: Uint8Array,
    deps: readonly Seq[],
    nested: readonly (Seq | ObjectKey)[],
  ): void {
    super.call(seq, actor, method, args, deps, nested);
    this.attention.called();
  }

  override createActor(creation: Parameters<OwnerPort["createActor"]>[0]): void {
    super.createActor(creation);
    this.attention.called();
  }

  override flush(): void {
    this.attention.flush();
  }
}
