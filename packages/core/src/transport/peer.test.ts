import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { FrameWriter, writeCold } from "../wire/mod.ts";
import { listenUnix } from "./mod.ts";

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
