import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { FrameWriter, writeCold } from "../wire/mod.ts";
import { connectUnix, listenUnix, MemoryPeer } from "./mod.ts";

const folder = mkdtempSync(join(tmpdir(), "mobula-transport-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Sends what it is given, and dies by a signal. */
const DYING = `
const socket = require("node:net").connect(process.argv[1], () => {
  socket.write(Buffer.from(process.argv[2], "base64"), () => process.kill(process.pid, "SIGKILL"));
});
`;

test("what a process sent before it died is read, although writing to it fails", async () => {
  const path = join(folder, "dying.sock");
  const frames = new FrameWriter();
  for (let number = 0; number < 200; number++) writeCold(frames, { t: "result", number });
  const received: unknown[] = [];
  let ended: (error: Error | undefined) => void = () => {};
  const end = new Promise<Error | undefined>((resolve) => {
    ended = resolve;
  });
  const listener = await listenUnix(path, (peer) => {
    // It is dead by now, and its frames lie in the socket.
    peer.send({ t: "late" });
    peer.flush();
    peer.send({ t: "later" });
    return { onMessage: (message) => void received.push(message), onClose: ended };
  });
  // The system accepts the connection; this thread hears of it when the process is gone.
  const { signal } = spawnSync(process.execPath, ["-e", DYING, path, frames.takeCopy().toString("base64")]);
  expect(signal).toBe("SIGKILL");
  expect(await end).toMatchObject({ code: "EPIPE" });
  expect(received).toEqual(Array.from({ length: 200 }, (_, number) => ({ t: "result", number })));
  await listener.close();
});

test("cold messages that may be put together and hot frames arrive in the order in which they were written", async () => {
  const received: unknown[] = [];
  const { promise: ended, resolve: end } = Promise.withResolvers<unknown>();
  const listener = await listenUnix(join(folder, "order.sock"), () => ({
    onMessage: (message) => void received.push(message),
    onHotFrame: (buffer, start, last) => void received.push([...buffer.subarray(start, last)]),
    onClose: end,
  }));
  const peer = await connectUnix(listener.path, { onMessage() {}, onClose() {} });
  const created = (incarnation: number): object => ({ t: "actor-created", actorId: "a", incarnation });
  peer.send(created(0));
  peer.send(created(1));
  peer.out.begin();
  peer.out.array(1);
  peer.out.uint(7);
  peer.out.end();
  peer.send(created(2));
  peer.send({ t: "collect" });
  peer.send(created(3));
  peer.close();
  await ended;
  expect(received).toEqual([created(0), created(1), [0x91, 7], created(2), { t: "collect" }, created(3)]);
  await listener.close();
});

test("what has to be known elsewhere is said before the next flush, and not before others", () => {
  const [peer] = MemoryPeer.pair();
  const said: string[] = [];
  peer.beforeFlush = () => void said.push("before");
  peer.flush();
  expect(said).toEqual([]);
  for (let round = 0; round < 2; round++) {
    peer.send({ t: "x" });
    peer.flush();
  }
  expect(said).toEqual(["before"]);
});
