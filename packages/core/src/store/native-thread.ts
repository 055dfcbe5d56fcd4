/** A thread that calls the system, and can be ended at any moment all the same; see native-gate.ts. */
import { type Transferable, Worker } from "node:worker_threads";
import type { EntryProgram } from "../bin/entries.ts";
import { type GateData, newNativeGate, shutNativeGate } from "./native-gate.ts";

export interface NativeThread {
  /** Does not keep the process alive. To be ended by `terminate` below. */
  readonly worker: Worker;
  /** Ends the thread wherever it is; resolves when it has ended. */
  terminate(): Promise<void>;
}

export interface NativeThreadOptions {
  readonly name: string;
  readonly data: object;
  readonly transferList?: Transferable[];
}

export function startNativeThread({ path, execArgv }: EntryProgram, options: NativeThreadOptions): NativeThread {
  const { name, data, transferList = [] } = options;
  const nativeGate = newNativeGate();
  const worker = new Worker(path, {
    workerData: { ...data, nativeGate } satisfies GateData,
    transferList,
    execArgv,
    name,
  });
  worker.unref();
  const shut = (): void => void shutNativeGate(nativeGate);
  // Node.js ends the threads after this event. First of all listeners: one that throws keeps the others from being called.
  process.prependListener("exit", shut);
  worker.once("exit", () => process.removeListener("exit", shut));
  return {
    worker,
    async terminate() {
      shut();
      await worker.terminate();
    },
  };
}
