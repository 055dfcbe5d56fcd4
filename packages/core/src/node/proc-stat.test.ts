import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test, vi } from "vitest";
import { isInEventLoop, procStat } from "./proc-stat.ts";

describe.skipIf(process.platform !== "linux")("what a main thread waits for", () => {
  let child: ChildProcess | undefined;
  afterEach(() => {
    // With the program that it waits for.
    if (child?.pid !== undefined) process.kill(-child.pid, "SIGKILL");
  });

  /** A process that has written a line and goes on to do this. */
  async function doing(code: string): Promise<number> {
    const line = `require("fs").writeSync(1, "ready\\n");`;
    child = spawn(process.execPath, ["-e", line + code], { stdio: ["ignore", "pipe", "inherit"], detached: true });
    await once(child.stdout as NonNullable<typeof child.stdout>, "data");
    return child.pid as number;
  }
  const isAsleep = (pid: number): boolean => procStat(pid)?.[0] === "S";
  const hasChild = (pid: number): boolean => readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8") !== "";
  const seen = (claim: () => boolean): Promise<void> =>
    vi.waitFor(() => expect(claim()).toBe(true), { timeout: 15_000 });

  test("in its event loop, for what comes", async () => {
    const pid = await doing("setInterval(() => {}, 100_000);");
    await seen(() => isInEventLoop(pid));
  });

  test("in a call, for another thread", async () => {
    const pid = await doing("Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);");
    await seen(() => isAsleep(pid));
    expect(isInEventLoop(pid)).toBe(false);
  });

  test("in a call, for another program, whose loop is not the process's own", async () => {
    const pid = await doing('require("child_process").execFileSync("sleep", ["1000"]);');
    await seen(() => isAsleep(pid) && hasChild(pid));
    expect(isInEventLoop(pid)).toBe(false);
  });
});
