/**
 * When a thread may call the system, if others may end it.
 *
 * Whoever ends a thread, or the process with it, does so at any moment of what the thread does. JavaScript stops then;
 * but koffi, called in such a thread, finds that it can no longer throw, and that aborts the whole process instead of
 * letting it end with its code. So a thread calls the system only inside its gate, a word in memory that it shares with
 * the thread that started it, and that one shuts the gate before it ends the thread: from then on nothing goes in, and
 * it waits for what is inside. Those are a few system calls, or the loading of koffi, for which the end of the
 * thread would have to wait too. A main thread has no gate: nothing ends it while it runs JavaScript.
 */
import { workerData } from "node:worker_threads";
import { assert } from "../base/mod.ts";

const INSIDE = 1;
const SHUT = 2;
/** A thread that stays inside for longer hangs in the kernel, and whoever ends it would hang with it. */
const LEAVE_MS_MAX = 1_000;

/** What a thread with a gate is given in its `workerData`. */
export interface GateData {
  readonly nativeGate: SharedArrayBuffer;
}

export const newNativeGate = (): SharedArrayBuffer => new SharedArrayBuffer(4);

/** Shuts a thread's gate for good, from another thread. False when the thread did not leave. */
export function shutNativeGate(memory: SharedArrayBuffer): boolean {
  const word = new Int32Array(memory);
  if ((Atomics.or(word, 0, SHUT) & INSIDE) === 0) return true;
  return Atomics.wait(word, 0, INSIDE | SHUT, LEAVE_MS_MAX) !== "timed-out";
}

/** This thread's. */
const gate = findGate();
let isInside = false;

function findGate(): Int32Array | undefined {
  // A thread of somebody else's has anything.
  const memory = (workerData as Partial<GateData> | null)?.nativeGate;
  return memory instanceof SharedArrayBuffer ? new Int32Array(memory) : undefined;
}

/** Makes native calls, one after the other. Undefined, and none is made, when this thread is being ended. */
export function passNativeGate<T>(calls: () => T): T | undefined {
  if (!gate) return calls();
  assert(!isInside, "a native gate is passed once at a time");
  if (Atomics.compareExchange(gate, 0, 0, INSIDE) !== 0) return undefined;
  isInside = true;
  try {
    return calls();
  } finally {
    isInside = false;
    if ((Atomics.and(gate, 0, ~INSIDE) & SHUT) !== 0) Atomics.notify(gate, 0);
  }
}

export function assertInsideGate(): void {
  assert(!gate || isInside, "a thread that may be ended calls the system only inside its native gate");
}
