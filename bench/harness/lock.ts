/**
 * One benchmark at a time on a machine. The lock is a socket in Linux's abstract namespace: taking it is atomic, it
 * is seen by every user, and the kernel lets it go when its holder dies in whatever way.
 */
import { once } from "node:events";
import { createConnection, createServer } from "node:net";

const LOCK_NAME = "\0mobula-bench-lock";

/** Taken until disposed or until the process ends. */
export interface BenchmarkLock extends AsyncDisposable {}

/** @throws Error naming the holder when another benchmark runs. */
export async function takeBenchmarkLock(name: string = LOCK_NAME): Promise<BenchmarkLock> {
  const server = createServer((socket) => {
    // A caller that has gone away in the meantime needs no answer.
    socket.on("error", () => socket.destroy());
    socket.end(`${process.pid}`);
  });
  server.listen(name);
  try {
    await once(server, "listening");
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EADDRINUSE")) throw error;
    throw new Error(
      `another benchmark runs on this machine (process ${await holderOf(name)}); figures taken at the same time would be worthless: wait for it, or use --quick`,
    );
  }
  server.unref();
  return {
    async [Symbol.asyncDispose]() {
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

async function holderOf(name: string): Promise<string> {
  let pid = "";
  try {
    const socket = createConnection(name);
    socket.setTimeout(1000, () => socket.destroy(new Error("no answer")));
    for await (const chunk of socket) pid += String(chunk);
  } catch {
    // The holder may end between our two attempts; that it is unknown is then the honest answer.
  }
  return pid === "" ? "unknown" : pid;
}
