import { parentPort, workerData } from "node:worker_threads";
import { copyTimed } from "./memory.ts";

const THREADS = 2;
// memory.ts starts this thread with exactly these.
const { bytes, ready } = workerData as { bytes: number; ready: Int32Array };

parentPort?.postMessage(
  copyTimed(bytes, () => {
    Atomics.add(ready, 0, 1);
    Atomics.notify(ready, 0);
    for (let seen = Atomics.load(ready, 0); seen < THREADS; seen = Atomics.load(ready, 0)) Atomics.wait(ready, 0, seen);
  }),
);
