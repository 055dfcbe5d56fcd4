/**
 * Claim words: one page of shared memory for each worker, where an owner and the worker race for tasks.
 *
 * A word holds (sequence, state). The owner writes (s, pending) and sends a message that names slot and s; then the
 * worker swaps (s, pending) for (s, started) when it takes the task up, or the owner swaps it for (s, taken) when it
 * wants the task back. Exactly one of them succeeds. The sequence grows with each use of a slot, so an old message
 * cannot claim a word that was used again.
 *
 * Words 0 and 1 are the guard: what the worker runs so that it can be interrupted. Word 1 names the task, word 0 is
 * (n, running) while it runs; a canceller swaps that for (n, interrupted) and sends SIGINT; a worker that finishes
 * first swaps it for (n, idle), and finds out if it lost that race, so a signal never hits the wrong task.
 */
import type { Seq } from "../base/ids.ts";
import type { ClaimsInfo } from "../wire/mod.ts";
import type { ClaimTable } from "./records.ts";

const PENDING = 0;
const STARTED = 1;
const TAKEN = 2;
const GUARD_WORD = 0;
const GUARD_TASK_WORD = 1;
const GUARD_IDLE = 0;
const GUARD_RUNNING = 1;
const GUARD_INTERRUPTED = 2;
const FIRST_SLOT = 2;
const SEQUENCE_MASK = 0x1fff_ffff;

const word = (sequence: number, state: number): number => (sequence << 2) | state;
const guardTask = (seq: Seq): number => seq % 0x4000_0000;

/** The owner's side of one worker's page. */
export class OwnerClaims implements ClaimTable {
  private readonly words: Int32Array;
  private readonly pid: number;
  private readonly free: number[] = [];
  private readonly signal: (pid: number) => boolean;

  /** @param signal sends SIGINT to the worker; false when it is gone. */
  constructor(words: Int32Array, pid: number, signal: (pid: number) => boolean) {
    this.words = words;
    this.pid = pid;
    this.signal = signal;
    for (let slot = words.length - 1; slot >= FIRST_SLOT; slot--) this.free.push(slot);
  }

  acquire(): number {
    const slot = this.free.pop();
    if (slot === undefined) return 0;
    const sequence = ((Atomics.load(this.words, slot) >>> 2) + 1) & SEQUENCE_MASK;
    Atomics.store(this.words, slot, word(sequence, PENDING));
    return slot;
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
    this.free.push(slot);
  }

  interrupt(seq: Seq): boolean {
    const running = Atomics.load(this.words, GUARD_WORD);
    if ((running & 3) !== GUARD_RUNNING || Atomics.load(this.words, GUARD_TASK_WORD) !== guardTask(seq)) return false;
    const interrupted = (running & ~3) | GUARD_INTERRUPTED;
    if (Atomics.compareExchange(this.words, GUARD_WORD, running, interrupted) !== running) return false;
    return this.signal(this.pid);
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

  enterGuard(seq: Seq): void {
    this.guards = (this.guards + 1) & SEQUENCE_MASK;
    Atomics.store(this.words, GUARD_TASK_WORD, guardTask(seq));
    Atomics.store(this.words, GUARD_WORD, word(this.guards, GUARD_RUNNING));
  }

  /** False when somebody is interrupting: the signal has been sent or is about to be. */
  leaveGuard(): boolean {
    const running = word(this.guards, GUARD_RUNNING);
    return Atomics.compareExchange(this.words, GUARD_WORD, running, word(this.guards, GUARD_IDLE)) === running;
  }

  get isInterrupted(): boolean {
    return Atomics.load(this.words, GUARD_WORD) === word(this.guards, GUARD_INTERRUPTED);
  }
}

/** Maps a page of claim words. */
export type MapClaims = (info: ClaimsInfo) => Int32Array | undefined;
