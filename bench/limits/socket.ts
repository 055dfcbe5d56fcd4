/**
 * Two processes, one Unix socket, messages of 64 bytes that nobody encodes or decodes: below this no call between
 * two Node.js processes can go.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createConnection, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Measurement } from "../harness/protocol.ts";
import { repeat } from "../harness/timing.ts";

const MESSAGE_BYTES = 64;
/** As many as a driver submits in the benchmark's asynchronous workloads. */
const PIPELINED_MESSAGES = 1000;

/** Messages and answers one at a time, a second. */
export const socketRoundTrips = (seconds: number): Promise<Measurement> => exchange(seconds, 1);

/** Messages and answers with 1000 under way, a second. */
export const socketPipelined = (seconds: number): Promise<Measurement> => exchange(seconds, PIPELINED_MESSAGES);

async function exchange(seconds: number, messages: number): Promise<Measurement> {
  const folder = await mkdtemp(join(tmpdir(), "mobula-bench-"));
  const path = join(folder, "echo");
  const child = spawn(process.execPath, [join(import.meta.dirname, "echo-process.ts"), path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    const socket = await connect(child, path);
    const request = Buffer.alloc(MESSAGE_BYTES * messages, 1);
    const outcome = await repeat(seconds, () => answered(socket, request, messages));
    socket.destroy();
    return outcome;
  } finally {
    child.kill("SIGKILL");
    await rm(folder, { recursive: true, force: true });
  }
}

async function connect(child: ChildProcess, path: string): Promise<Socket> {
  if (child.stdout === null) throw new Error("the echo process was started without a pipe");
  await once(child.stdout, "data");
  const socket = createConnection(path);
  await once(socket, "connect");
  return socket;
}

/** One write for all: a runtime that corks what it sends in one turn does the same. */
function answered(socket: Socket, request: Buffer, messages: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let missing = request.length;
    const onData = (chunk: Buffer): void => {
      missing -= chunk.length;
      if (missing > 0) return;
      socket.off("data", onData);
      socket.off("error", reject);
      resolve(messages);
    };
    socket.on("data", onData);
    socket.once("error", reject);
    socket.write(request);
  });
}
