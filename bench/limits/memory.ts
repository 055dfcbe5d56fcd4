import { once } from "node:events";
import { closeSync, openSync, unlinkSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { Measurement } from "../harness/protocol.ts";
import { nowSeconds } from "../harness/timing.ts";

/** Copies between pages that are all present; the first copy, which makes them so, does not count. */
export async function memcpyOneThread(bytes: number): Promise<Measurement> {
  const { seconds } = copyTimed(bytes);
  return { seconds, count: 1, bytes };
}

export interface CopyTimes {
  readonly seconds: number;
  /** Milliseconds since the epoch, comparable between threads. */
  readonly startedAt: number;
  readonly endedAt: number;
}

/** How often the measured copy is repeated. */
const COPIES = 3;

export function copyTimed(bytes: number, waitForOthers: () => void = () => {}): CopyTimes {
  const source = new Uint8Array(bytes).fill(1);
  const target = new Uint8Array(bytes);
  target.set(source);
  waitForOthers();
  const start = nowSeconds();
  const startedAt = performance.timeOrigin + performance.now();
  for (let copy = 0; copy < COPIES; copy += 1) target.set(source);
  const endedAt = performance.timeOrigin + performance.now();
  return { seconds: (nowSeconds() - start) / COPIES, startedAt, endedAt };
}

/** Two threads copy half of the bytes each, from the first one's start to the last one's end. */
export async function memcpyTwoThreads(bytes: number): Promise<Measurement> {
  const ready = new Int32Array(new SharedArrayBuffer(4));
  const workers = [0, 1].map(
    () =>
      new Worker(join(import.meta.dirname, "copy-thread.ts"), { workerData: { bytes: Math.floor(bytes / 2), ready } }),
  );
  try {
    const times = await Promise.all(
      workers.map(async (worker) => {
        const [message] = await once(worker, "message");
        return message as CopyTimes; // copy-thread.ts posts nothing else.
      }),
    );
    const started = Math.min(...times.map((time) => time.startedAt));
    const ended = Math.max(...times.map((time) => time.endedAt));
    return { seconds: (ended - started) / 1000 / COPIES, count: 1, bytes: Math.floor(bytes / 2) * 2 };
  } finally {
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}

/** The kernel copies into shared-memory pages that did not exist before: what a first put cannot avoid. */
export async function writeFresh(bytes: number): Promise<Measurement> {
  const source = new Uint8Array(bytes).fill(1);
  const path = `/dev/shm/mobula-bench-${process.pid}`;
  const file = openSync(path, "wx", 0o600);
  unlinkSync(path);
  try {
    const start = nowSeconds();
    let written = 0;
    while (written < bytes) written += writeSync(file, source, written, bytes - written, written);
    return { seconds: nowSeconds() - start, count: 1, bytes };
  } finally {
    closeSync(file);
  }
}
