/**
 * Claim words: one page of shared memory for each worker, where an owner and the worker race for tasks.
 *
 * A word holds (sequence, state). The owner swaps (s - 1, free) for (s, pending) and sends a message that names slot and
 * s; then the worker swaps (s, pending) for (s, started) when it takes the task up, or the owner swaps it for (s, taken)
 * when it wants the task back, or the worker does when it gives it back. Exactly one of them succeeds. The sequence grows with each use of a slot, so an old
 * message cannot claim a word that was used again. An actor has many callers, which share its worker's words.
 *
 * Words 0 and 1 are the guard: what the worker runs so that it can be interrupted. Word 1 names the task, word 0 is
 * (n, running) while it runs; a canceller swaps that for (n, interrupted) and sends SIGINT; a worker that finishes
 * first swaps it for (n, idle), and finds out if it lost that race, so a signal never hits the wrong task.
 */
import type { ProcessId, Seq } from "../base/ids.ts";
import type { ClaimsInfo } from "../wire/mod.ts";
import type { ClaimTable } from "./records.ts";

const FREE = 0;
const PENDING = 1;
const STARTED = 2;
const TAKEN = 3;
const GUARD_WORD = 0;
const GUARD_TASK_WORD = 1;
const GUARD_IDLE = 0;
const GUARD_RUNNING = 1;
const GUARD_INTERRUPTED = 2;
const FIRST_SLOT = 2;
const SEQUENCE_MASK = 0x1fff_ffff;
/** So many words that other owners use are passed over before a task goes without one. */
const TRIES_MAX = 8;

const word = (sequence: number, state: number): number => (sequence << 2) | state;

/** What the guard word calls a task or call: owners number theirs independently, and one worker serves many of them. */
export const guardKey = (owner: ProcessId, seq: Seq): number => guardKeyFrom(guardBase(owner), seq);
/** What the keys of an owner begin from. */
export const guardBase = (owner: ProcessId): number => Number.parseInt(owner.slice(-7), 16);
export const guardKeyFrom = (base: number, seq: Seq): number => (base + seq) % 0x4000_0000;

/** Breaks what a worker runs, if it is this; for an owner elsewhere its node does it. @param signal as for OwnerClaims. */
export function interruptTask(words: Int32Array, key: number, signal: () => boolean): boolean {
  const running = Atomics.load(words, GUARD_WORD);
  if ((running & 3) !== GUARD_RUNNING || Atomics.load(words, GUARD_TASK_WORD) !== key) return false;
  const interrupted = (running & ~3) | GUARD_INTERRUPTED;
  if (Atomics.compareExchange(words, GUARD_WORD, running, interrupted) !== running) return false;
  return signal();
}

/** The owner's side of one worker's page. */
export class OwnerClaims implements ClaimTable {
  private readonly words: Int32Array;
  private readonly pid: number;
  private readonly self: ProcessId;
  /** Words that this owner does not use; others may. */
  private free: number[] = [];
  /** Those that others were seen to use. */
  private passedOver: number[] = [];
  private readonly signal: (pid: number) => boolean;

  /** @param signal sends SIGINT to the worker; false when it is gone. */
  constructor(words: Int32Array, pid: number, self: ProcessId, signal: (pid: number) => boolean) {
    this.words = words;
    this.pid = pid;
    this.self = self;
    this.signal = signal;
    // Owners begin at different places, so that they seldom meet.
    const count = words.length - FIRST_SLOT;
    const first = guardKey(self, 0 as Seq) % count;
    for (let at = 0; at < count; at++) this.free.push(FIRST_SLOT + ((first + at) % count));
  }

  acquire(): number {
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const slot = this.free.pop();
      if (slot === undefined) {
        if (this.passedOver.length === 0) return 0;
        [this.free, this.passedOver] = [this.passedOver, this.free];
        continue;
      }
      const current = Atomics.load(this.words, slot);
      const sequence = ((current >>> 2) + 1) & SEQUENCE_MASK;
      const isFree = (current & 3) === FREE;
      if (isFree && Atomics.compareExchange(this.words, slot, current, word(sequence, PENDING)) === current)
        return slot;
      this.passedOver.push(slot);
    }
    return 0;
  }

  sequenceOf(slot: number): number {
    return (Atomics.load(this.words, slot) >>> 2) & SEQUENCE_MASK;
  }

  takeBack(slot: number, sequence: number): boolean {
    const pending = word(sequence, PENDING);
    return Atomics.compareExchange(this.words, slot, pending, word(sequence, TAKEN)) === pending;
  }

  wasStarted(slot: number, sequence: number): boolean {
    return Atomics.load(this.words, slot) === word(sequence, STARTED);
  }

  release(slot: number): void {
    Atomics.store(this.words, slot, Atomics.load(this.words, slot) & ~3);
    this.free.push(slot);
  }

  interrupt(seq: Seq): boolean {
    return interruptTask(this.words, guardKey(this.self, seq), () => this.signal(this.pid));
  }
}

/** The worker's side. */
export class WorkerClaims {
  private readonly words: Int32Array;
  private guards = 0;

  constructor(words: Int32Array) {
    this.words = words;
  }

  /** True when the task is this worker's to run. */
  start(slot: number, sequence: number): boolean {
    const pending = word(sequence, PENDING);
    return Atomics.compareExchange(this.words, slot, pending, word(sequence, STARTED)) === pending;
  }

  /** True when the task was not begun and now never will be here: its owner is to be told. */
  giveBack(slot: number, sequence: number): boolean {
    const pending = word(sequence, PENDING);
    return Atomics.compareExchange(this.words, slot, pending, word(sequence, TAKEN)) === pending;
  }

  /** @param key of what runs, see {@link guardKey}. */
  enterGuard(key: number): void {
    this.guards = (this.guards + 1) & SEQUENCE_MASK;
    // The store that follows orders it.
    this.words[GUARD_TASK_WORD] = key;
    Atomics.store(this.words, GUARD_WORD, word(this.guards, GUARD_RUNNING));
  }

  /** False when somebody is interrupting: the signal has been sent or is about to be. */
  leaveGuard(): boolean {
    const running = word(this.guards, GUARD_RUNNING);
    return Atomics.compareExchange(this.words, GUARD_WORD, running, word(this.guards, GUARD_IDLE)) === running;
  }

  /** Takes up again what {@link leaveGuard} had left. */
  resumeGuard(): void {
    Atomics.store(this.words, GUARD_WORD, word(this.guards, GUARD_RUNNING));
  }

  get isInterrupted(): boolean {
    return Atomics.load(this.words, GUARD_WORD) === word(this.guards, GUARD_INTERRUPTED);
  }
}

/** Maps a page of claim words. */
export type MapClaims = (info: ClaimsInfo) => Int32Array | undefined;
