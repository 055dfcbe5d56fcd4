/**
 * Large copies into the arena with two threads: this one and a helper that is parked between copies. One core cannot
 * saturate memory. The helper joins when it gets a core, and this thread never waits for one that has not: it starts
 * with the first large copy, which takes it some 30 ms, and costs 17 MB, so it ends when it has had nothing to do for a
 * while.
 */
import type { Worker } from "node:worker_threads";
import { entryPath } from "../bin/entries.ts";
import {
  type CopyJob,
  type CopyThreadData,
  copier,
  copyShareOf,
  INSIDE_WORD,
  newCopyShare,
  STATE_BUSY,
  STATE_IDLE,
  STATE_STOP,
  STATE_WORD,
  setJob,
} from "./copy-share.ts";
import { addressOf } from "./memory.ts";
import { startNativeThread } from "./native-thread.ts";
import { streamCopyCode } from "./stream-copy.ts";

/** Below this the bytes had better stay in the cache, and waking a thread costs more than it saves. */
export const LARGE_COPY_BYTES_MIN = 8 * 2 ** 20;
const IDLE_MS = 10_000;
/** The helper has at most one block left when this thread has none; a second means that it will never answer. */
const HELPER_TIMEOUT_MS = 10_000;

export interface CopyHelper {
  /** Copies all of `source`, at least {@link LARGE_COPY_BYTES_MIN}, to its place in the arena. */
  copy(source: Uint8Array, place: Omit<CopyJob, "from" | "length" | "code">): void;
  close(): void;
}

export function createCopyHelper(arenaBytes: number): CopyHelper {
  const memory = newCopyShare(arenaBytes);
  const share = copyShareOf(memory);
  const { words } = share;
  const copyBlocks = copier(share, { writesFile: true });
  let helper: Worker | undefined;
  let idleTimer: NodeJS.Timeout | undefined;
  let unavailable = false;

  function start(): void {
    const data: CopyThreadData = { memory };
    const { worker } = startNativeThread(entryPath("copy-thread"), { name: "mobula-copy", data });
    // Where threads cannot start (no memory) one thread copies alone.
    worker.on("error", () => {
      unavailable = true;
      if (helper === worker) helper = undefined;
    });
    helper = worker;
  }

  function stop(): void {
    clearTimeout(idleTimer);
    idleTimer = undefined;
    if (!helper) return;
    const stopping = helper;
    helper = undefined;
    tell(STATE_STOP);
    // A next one must not begin before this one has read that it is to stop.
    unavailable = true;
    stopping.once("exit", () => {
      Atomics.store(words, STATE_WORD, STATE_IDLE);
      unavailable = false;
    });
  }

  function tell(state: number): void {
    Atomics.store(words, STATE_WORD, state);
    Atomics.notify(words, STATE_WORD);
  }

  /** It must be out before this goes on: it writes to memory that the caller is about to seal. */
  function awaitHelper(): void {
    while (Atomics.load(words, INSIDE_WORD) === 1) {
      if (Atomics.wait(words, INSIDE_WORD, 1, HELPER_TIMEOUT_MS) === "timed-out")
        throw new Error("the copying thread does not answer");
    }
  }

  return {
    copy(source, place) {
      if (!helper && !unavailable) start();
      if (idleTimer) idleTimer.refresh();
      else {
        idleTimer = setTimeout(stop, IDLE_MS);
        idleTimer.unref();
      }
      setJob(share, { ...place, from: addressOf(source), length: source.byteLength, code: streamCopyCode() });
      if (helper) tell(STATE_BUSY);
      copyBlocks();
      if (!helper) return;
      tell(STATE_IDLE);
      awaitHelper();
    },
    close: stop,
  };
}
