import { spawn } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import type { Measurement } from "../harness/protocol.ts";
import { nowSeconds } from "../harness/timing.ts";

/** Node.js processes of one line, until the last has said a word; as many at a time as there are CPUs. */
export async function startProcesses(count: number): Promise<Measurement> {
  let started = 0;
  const startSome = async (): Promise<void> => {
    while (started < count) {
      started += 1;
      await startOne();
    }
  };
  const start = nowSeconds();
  await Promise.all(Array.from({ length: Math.min(count, availableParallelism()) }, startSome));
  return { seconds: nowSeconds() - start, count, bytes: 0 };
}

async function startOne(): Promise<void> {
  const child = spawn(process.execPath, ["-e", "process.stdout.write('ready'); setInterval(() => {}, 1e6)"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    await once(child.stdout, "data");
  } finally {
    child.kill("SIGKILL");
  }
}
