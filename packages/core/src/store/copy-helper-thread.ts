/**
 * The parked half of `copy-helper.ts`. It shares the process's memory, so that addresses are all it needs: the main
 * thread waits while this one is inside a copy, and neither side's buffers can move or vanish meanwhile.
 */
import { workerData } from "node:worker_threads";
import {
  type CopyThreadData,
  copier,
  copyShareOf,
  INSIDE_WORD,
  STATE_BUSY,
  STATE_IDLE,
  STATE_STOP,
  STATE_WORD,
} from "./copy-share.ts";
import { bindEarly } from "./memory.ts";
import { passNativeGate } from "./native-gate.ts";

export function runCopyThread(): void {
  // Structured clone keeps it shared: copy-helper.ts starts this thread with exactly this.
  const share = copyShareOf((workerData as CopyThreadData).memory);
  const { words } = share;
  bindEarly();
  const copyBlocks = copier(share, { writesFile: false });
  for (let state = Atomics.load(words, STATE_WORD); state !== STATE_STOP; state = Atomics.load(words, STATE_WORD)) {
    if (state === STATE_BUSY) {
      // First in, then a look whether there is still anything to do: the other side closes first and then looks in.
      Atomics.store(words, INSIDE_WORD, 1);
      if (Atomics.load(words, STATE_WORD) === STATE_BUSY) passNativeGate(copyBlocks);
      Atomics.store(words, INSIDE_WORD, 0);
      Atomics.notify(words, INSIDE_WORD);
      Atomics.wait(words, STATE_WORD, STATE_BUSY);
    } else Atomics.wait(words, STATE_WORD, STATE_IDLE);
  }
}
