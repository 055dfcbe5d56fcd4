/**
 * Large copies with two threads: this one and a helper that is parked between copies. One core cannot saturate memory;
 * measured 23 GB/s against 12. The helper starts with the first large copy (which does not wait for it: a thread takes
 * some 30 ms) and costs 17 MB, so it ends when it has had nothing to do for a while.
 */
import { Worker } from "node:worker_threads";
import { entryPath } from "../bin/entries.ts";
import { copyShare, SHARE_BYTES, STATE_BUSY, STATE_STARTING, STATE_STOP, STATE_WORD, setShare } from "./copy-share.ts";
import { addressOf } from "./memory.ts";

/** Below this the handshake costs more than it saves. */
const SHARED_COPY_BYTES_MIN = 8 * 2 ** 20;
const IDLE_MS = 10_000;
/** The helper has at most one piece left when this thread has none; a second means that it will never answer. */
const HELPER_TIMEOUT_MS = 10_000;

export interface CopyHelper {
  /** `target.set(source)`, faster when it is large. The two must be of equal length and must not overlap. */
  copy(target: Uint8Array, source: Uint8Array): void;
  readonly isRunning: boolean;
  close(): void;
}

export function createCopyHelper(): CopyHelper {
  let helper: { readonly worker: Worker; readonly words: Int32Array<SharedArrayBuffer> } | undefined;
  let idleTimer: NodeJS.Timeout | undefined;
  let unavailable = false;

  function start(): void {
    const words = new Int32Array(new SharedArrayBuffer(SHARE_BYTES));
    const { path, execArgv } = entryPath("copy-thread");
    const worker = new Worker(path, { workerData: words.buffer, execArgv, stdin: false, name: "mobula-copy" });
    worker.unref();
    const started = { worker, words };
    // Where threads cannot start (no memory) one thread copies alone.
    worker.on("error", () => {
      unavailable = true;
      if (helper === started) helper = undefined;
    });
    helper = started;
  }

  function stop(): void {
    clearTimeout(idleTimer);
    idleTimer = undefined;
    if (!helper) return;
    Atomics.store(helper.words, STATE_WORD, STATE_STOP);
    Atomics.notify(helper.words, STATE_WORD);
    helper = undefined;
  }

  return {
    copy(target, source) {
      if (source.byteLength < SHARED_COPY_BYTES_MIN || unavailable) {
        target.set(source);
        return;
      }
      if (!helper) start();
      if (idleTimer) idleTimer.refresh();
      else {
        idleTimer = setTimeout(stop, IDLE_MS);
        idleTimer.unref();
      }
      if (!helper || Atomics.load(helper.words, STATE_WORD) === STATE_STARTING) {
        target.set(source);
        return;
      }
      const { words } = helper;
      setShare(words, addressOf(target), addressOf(source), source.byteLength);
      Atomics.store(words, STATE_WORD, STATE_BUSY);
      Atomics.notify(words, STATE_WORD);
      copyShare(words);
      // It must be done before this returns: it writes to memory that the caller is about to seal.
      if (Atomics.wait(words, STATE_WORD, STATE_BUSY, HELPER_TIMEOUT_MS) === "timed-out") {
        throw new Error("the copying thread does not answer");
      }
    },
    get isRunning() {
      return helper !== undefined;
    },
    close: stop,
  };
}
