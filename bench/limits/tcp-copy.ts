/** Bytes through a TCP connection between two processes, from memory to memory, with nothing around them. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import type { Measurement } from "../harness/protocol.ts";
import { summarise } from "../harness/statistics.ts";
import { nowSeconds } from "../harness/timing.ts";

const ROUNDS = 5;

export async function tcpCopy(bytes: number): Promise<Measurement> {
  const child = spawn(process.execPath, [join(import.meta.dirname, "tcp-source.ts"), `${bytes}`], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const [port] = await once(child.stdout, "data");
    const target = new Uint8Array(bytes).fill(1);
    const times: number[] = [];
    for (let round = 0; round <= ROUNDS; round += 1) {
      const start = nowSeconds();
      await receive(Number(port), target);
      times.push(nowSeconds() - start);
    }
    return { seconds: summarise(times.slice(1))?.median ?? Number.NaN, count: 1, bytes };
  } finally {
    child.kill("SIGKILL");
  }
}

function receive(port: number, target: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    let at = 0;
    const socket = connect({
      port,
      host: "127.0.0.1",
      onread: {
        buffer: () => target.subarray(at),
        callback: (bytes) => {
          at += bytes;
          if (at < target.length) return true;
          resolve();
          socket.destroy();
          return false;
        },
      },
    });
    socket.once("error", reject);
  });
}
