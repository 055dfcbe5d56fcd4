/**
 * The parked half of `copy-helper.ts`. It shares the process's memory, so that addresses are all it needs: the main
 * thread waits until it is done, and neither side's buffers can move or vanish meanwhile.
 */
import { workerData } from "node:worker_threads";
import {
  copyShare,
  STATE_BUSY,
  STATE_DONE,
  STATE_READY,
  STATE_STARTING,
  STATE_STOP,
  STATE_WORD,
} from "./copy-share.ts";
import { bindEarly } from "./memory.ts";

export function runCopyThread(): void {
  const words = new Int32Array(workerData as SharedArrayBuffer);
  // The other side waits for every copy, so nothing is left for the first one.
  bindEarly();
  // Not over a "stop" that came while this thread was starting.
  Atomics.compareExchange(words, STATE_WORD, STATE_STARTING, STATE_READY);
  for (let run = true; run; ) {
    Atomics.wait(words, STATE_WORD, STATE_READY);
    Atomics.wait(words, STATE_WORD, STATE_DONE);
    switch (Atomics.load(words, STATE_WORD)) {
      case STATE_BUSY:
        copyShare(words);
        Atomics.store(words, STATE_WORD, STATE_DONE);
        Atomics.notify(words, STATE_WORD);
        break;
      case STATE_STOP:
        run = false;
        break;
    }
  }
}
