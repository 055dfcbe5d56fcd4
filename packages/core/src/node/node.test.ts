/** The node as it runs: real processes, real sockets, real signals. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { WIRE_VERSION } from "../base/wire-version.ts";
import { WorkerClaims } from "../owner/mod.ts";
import { mapClaims } from "../store/mod.ts";
import type { WorkerDeath } from "../wire/messages.ts";
import type { LaunchedNode } from "./launch.ts";
import { isAlive } from "./session-folder.ts";
import { findStandingNode, startStandingNode, stopStandingNode } from "./standing.ts";
import { joinAsDriver, launchTestNode, TestPeer } from "./test-driver.ts";

let base = "";
const launched: LaunchedNode[] = [];

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "mn-"));
});
afterEach(async () => {
  for (const node of launched.splice(0)) await node.stopNow();
  rmSync(base, { recursive: true, force: true });
});

async function launch(more: Parameters<typeof launchTestNode>[1] = {}): Promise<LaunchedNode> {
  const node = await launchTestNode(base, more);
  launched.push(node);
  return node;
}

const pidsOf = (sessionDir: string): number[] =>
  readFileSync(join(sessionDir, "pids"), "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => Number.parseInt(line, 10));

/** Processes end on their own time and are not our children: there is nothing to await but their absence. */
async function goneWithin(pids: readonly number[], timeoutMs: number): Promise<void> {
  for (const deadline = Date.now() + timeoutMs; pids.some(isAlive); await delay(10)) {
    if (Date.now() > deadline) throw new Error(`${pids.filter(isAlive)} still run after ${timeoutMs} ms`);
  }
}

describe("start and stop", () => {
  test("a node starts, leases ready workers, and leaves nothing behind when it is stopped", async () => {
    const before = performance.now();
    const node = await launch();
    const readyMs = performance.now() - before;
    const driver = await joinAsDriver(node);
    const lease = await driver.lease(1);
    const leasedMs = performance.now() - before;
    console.log(`node ready after ${readyMs.toFixed(0)} ms, first lease after ${leasedMs.toFixed(0)} ms`);
    const worker = await lease.connect();
    worker.send({ t: "env" });
    const { received } = await worker.next("env");
    expect(received).toContainEqual(
      expect.objectContaining({ t: "lease-begin", leaseId: lease.leaseId, jobId: driver.jobId, namespace: "test" }),
    );
    // One worker starts before anything else, the others when it is ready.
    const pids = await vi.waitFor(() => {
      const started = pidsOf(node.sessionDir);
      expect(started.length).toBeGreaterThanOrEqual(2);
      return started;
    });
    await node.stop();
    expect(await node.exited).toMatchObject({ isOrderly: true, code: 0 });
    expect(existsSync(node.sessionDir)).toBe(false);
    expect(pids.filter(isAlive)).toEqual([]);
  });

  test("the session's folder is private, and so is every socket in it", async () => {
    const { sessionDir } = await launch();
    const { statSync } = await import("node:fs");
    expect(statSync(sessionDir).mode & 0o777).toBe(0o700);
  });

  test("a worker in an endless loop does not hold up a shutdown", async () => {
    const node = await launch();
    const driver = await joinAsDriver(node);
    const lease = await driver.lease(1);
    (await lease.connect()).send({ t: "loop" });
    const before = Date.now();
    await node.stop();
    expect(Date.now() - before).toBeLessThan(4_000);
    expect(isAlive(lease.worker.pid)).toBe(false);
  });

  test("a store that cannot be made is the error of the start, and nothing is left", async () => {
    await expect(launch({ objectStoreBytes: 2 ** 60 })).rejects.toThrow();
    expect(readdirSync(base)).toEqual([]);
  });
});

describe("sudden deaths", () => {
  test("a driver killed with SIGKILL takes node, workers and files with it within 2 s", async () => {
    const driver = spawn(process.execPath, [fileURLToPath(new URL("./fixtures/driver.ts", import.meta.url)), base], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const line = await new Promise<string>((resolve) => driver.stdout.once("data", (data) => resolve(String(data))));
    const node = JSON.parse(line) as { pid: number; sessionDir: string; nodeSocket: string; token: string };
    const member = await joinAsDriver(node);
    const lease = await member.lease(1);
    (await lease.connect()).send({ t: "loop" });
    const pids = [node.pid, ...pidsOf(node.sessionDir)];
    driver.kill("SIGKILL");
    await goneWithin(pids, 2_000);
    expect(readdirSync(base)).toEqual([]);
  });

  test("when the node is killed its launcher is told within 2 s and removes workers and files", async () => {
    const node = await launch();
    const driver = await joinAsDriver(node);
    const lease = await driver.lease(1);
    (await lease.connect()).send({ t: "loop" });
    const pids = pidsOf(node.sessionDir);
    const before = Date.now();
    process.kill(node.pid, "SIGKILL");
    expect(await node.exited).toMatchObject({ signal: "SIGKILL", isOrderly: false });
    expect(Date.now() - before).toBeLessThan(2_000);
    await goneWithin(pids, 1_000);
    expect(readdirSync(base)).toEqual([]);
  });

  test("what a dead run left is swept at the next start, and what a living one has is not", async () => {
    const living = await launch();
    const dead = spawn(process.execPath, [fileURLToPath(new URL("./fixtures/driver.ts", import.meta.url)), base], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const line = await new Promise<string>((resolve) => dead.stdout.once("data", (data) => resolve(String(data))));
    const node = JSON.parse(line) as { pid: number; sessionDir: string };
    process.kill(node.pid, "SIGSTOP");
    dead.kill("SIGKILL");
    process.kill(node.pid, "SIGKILL");
    await goneWithin([node.pid], 2_000);
    expect(existsSync(node.sessionDir)).toBe(true);
    const next = await launch();
    for (const deadline = Date.now() + 5_000; existsSync(node.sessionDir); await delay(10)) {
      if (Date.now() > deadline) throw new Error("not swept");
    }
    expect(existsSync(living.sessionDir)).toBe(true);
    expect(existsSync(next.sessionDir)).toBe(true);
  });

  test("a killed worker takes its lease with it, with signal and last lines, and another takes its place", async () => {
    const node = await launch();
    const driver = await joinAsDriver(node);
    const lease = await driver.lease(1);
    const worker = await lease.connect();
    worker.send({ t: "complain", text: "last words\n" });
    worker.send({ t: "exit", code: 7 });
    const lost = await driver.peer.next("lease-lost");
    expect(lost.leaseId).toBe(lease.leaseId);
    expect(lost.death).toMatchObject({ exitCode: 7, signal: null, stderrTail: "last words", pid: lease.worker.pid });
    const again = await driver.peer.next("lease-granted");
    expect((again.worker as { pid: number }).pid).not.toBe(lease.worker.pid);
    process.kill((again.worker as { pid: number }).pid, "SIGKILL");
    const second = await driver.peer.next("lease-lost");
    expect((second.death as WorkerDeath).signal).toBe("SIGKILL");
    expect((second.death as WorkerDeath).outOfMemory).toBeUndefined();
  });

  test("an owner that goes away takes the workers of its leases with it", async () => {
    const node = await launch({ standing: false });
    const driver = await joinAsDriver(node);
    const lease = await driver.lease(1);
    driver.peer.close();
    await goneWithin([lease.worker.pid, node.pid], 3_000);
  });
});

describe("memory", () => {
  test("a worker that eats memory dies alone, and the error says how much it used", async () => {
    const node = await launch({ memoryMonitor: { limitBytes: 700 * 2 ** 20 } });
    const driver = await joinAsDriver(node);
    const other = await driver.lease(1);
    const hog = await driver.lease(2);
    (await hog.connect()).send({ t: "eat", bytes: 3 * 2 ** 30 });
    const lost = await driver.peer.next("lease-lost", 20_000);
    expect(lost.leaseId).toBe(hog.leaseId);
    expect((lost.death as WorkerDeath).outOfMemory).toMatch(/used \d+ MiB.*of 700 MiB.*threshold/);
    expect(isAlive(other.worker.pid)).toBe(true);
  });

  test("V8's heap limit counts as out of memory", async () => {
    const node = await launch();
    const driver = await joinAsDriver(node);
    const lease = await driver.lease(1, { runtimeEnv: { nodeOptions: ["--max-old-space-size=40"] } });
    (await lease.connect()).send({ t: "heap" });
    const lost = await driver.peer.next("lease-lost", 20_000);
    expect((lost.death as WorkerDeath).outOfMemory).toMatch(/heap limit of V8/);
  });
});

describe("who may talk to it", () => {
  const hello = { t: "hello", version: WIRE_VERSION, language: "js", role: "tool", pid: 1, processId: "0".repeat(24) };

  test("a wrong token is refused by name and the connection ends", async () => {
    const node = await launch();
    const peer = await TestPeer.connect(node.nodeSocket);
    peer.send({ ...hello, token: "wrong" });
    expect(await peer.next("refused")).toMatchObject({ code: "AUTHENTICATION", kind: "invalid" });
    await peer.until(() => peer.closed);
  });

  test("another version is refused, naming both", async () => {
    const node = await launch();
    const peer = await TestPeer.connect(node.nodeSocket);
    peer.send({ ...hello, token: node.token, version: 99 });
    expect(await peer.next("refused")).toMatchObject({
      code: "VERSION_MISMATCH",
      message: expect.stringMatching(/wire version \d+ .* 99: upgrade/),
    });
  });

  test("a frame above 64 KiB before hello, and garbage, end the connection and nothing else", async () => {
    const node = await launch();
    const driver = await joinAsDriver(node);
    for (const bytes of [
      Buffer.from([0, 0, 2, 0, 1]),
      Buffer.from("GET / HTTP/1.1\r\n\r\n"),
      Buffer.from([3, 0, 0, 0, 0x93, 1, 2]),
    ]) {
      const socket = connect(node.nodeSocket);
      socket.on("error", () => {});
      socket.write(bytes);
      await new Promise((resolve) => socket.once("close", resolve));
    }
    await driver.lease(1);
  });

  test("an embedded node serves one driver", async () => {
    const node = await launch();
    await joinAsDriver(node);
    await expect(joinAsDriver(node)).rejects.toThrow(/welcome.*embedded in another driver/s);
  });
});

describe("what workers get", () => {
  test("a runtime environment: variables, folder and options", async () => {
    const node = await launch();
    const driver = await joinAsDriver(node);
    const runtimeEnv = { env: { COLOUR: "blue" }, workingDir: base, nodeOptions: ["--stack-trace-limit=33"] };
    const lease = await driver.lease(1, { runtimeEnv });
    const worker = await lease.connect();
    worker.send({ t: "env" });
    const answer = await worker.next("env");
    expect(answer.env).toMatchObject({ COLOUR: "blue" });
    expect(answer.cwd).toBe(base);
    expect(answer.execArgv).toContain("--stack-trace-limit=33");
  });

  test("a folder that does not exist refuses the demand instead of waiting for ever", async () => {
    const node = await launch();
    const driver = await joinAsDriver(node);
    const runtimeEnv = { workingDir: "/does/not/exist" };
    const demand = { key: "x", resources: { cpu: 10_000 }, priority: 0, name: "f", runtimeEnv };
    driver.peer.send({ t: "lease-demand", shape: 1, demand, wanted: 1 });
    expect(await driver.peer.next("lease-refused")).toMatchObject({ message: expect.stringMatching(/ENOENT/) });
  });

  test("declared GPUs are handed out by device", async () => {
    const node = await launch({ resources: { cpu: 2, gpu: 2 } });
    const driver = await joinAsDriver(node);
    const half = await driver.lease(1, { of: { gpu: 0.5 } });
    const whole = await driver.lease(2, { of: { gpu: 1 } });
    expect([half.gpus, whole.gpus]).toEqual([["0"], ["1"]]);
  });

  test("output reaches the job's driver with name and pid, and equal lines of several workers once with a count", async () => {
    const node = await launch();
    const driver = await joinAsDriver(node);
    const leases = [await driver.lease(1), await driver.lease(2)];
    const workers = await Promise.all(leases.map((lease) => lease.connect()));
    workers[0]?.send({ t: "print", text: "\x1b]mobula;square\x07hello\nsame\n" });
    const lines: unknown[] = [];
    while (lines.length < 2) lines.push(...((await driver.peer.next("log")).lines as unknown[]));
    const pid = leases[0]?.worker.pid;
    expect(lines[0]).toEqual({ stream: "stdout", name: "square", pid, text: "hello", repeated: 0 });
    workers[1]?.send({ t: "print", text: "\x1b]mobula;square\x07same\n" });
    const collapsed = await driver.peer.next("log", 8_000);
    expect(collapsed.lines).toEqual([expect.objectContaining({ text: "same", repeated: 1 })]);
    const files = readdirSync(join(node.sessionDir, "logs"));
    expect(files).toContain(`worker-${pid}.log`);
    expect(readFileSync(join(node.sessionDir, "logs", `worker-${pid}.log`), "utf8")).toMatch(
      new RegExp(`${driver.jobId} ${pid} stdout square: hello`),
    );
  });
});

describe("questions", () => {
  test("nodes, resources and why a shape waits", async () => {
    const node = await launch({ name: "n1" });
    const driver = await joinAsDriver(node);
    await driver.lease(1, { name: "slow", of: { cpu: 2 } });
    const demand = { key: "y", resources: { cpu: 10_000 }, priority: 0, name: "late" };
    driver.peer.send({ t: "lease-demand", shape: 2, demand, wanted: 3 });
    const explained = (await driver.query("explain-shape", { shape: 2 })).result as { sentences: string[] };
    expect(explained.sentences.join(" ")).toMatch(/late waits for 3 more.*0 of 2 cpu are free.*slow of job/);
    expect((await driver.query("available-resources", null)).result).toMatchObject({ cpu: 0 });
    expect((await driver.query("nodes", null)).result).toEqual([
      expect.objectContaining({
        name: "n1",
        state: "alive",
        objectStore: expect.objectContaining({ usedBytes: expect.any(Number) }),
        events: { keptBytes: expect.any(Number), droppedBatches: 0 },
      }),
    ]);
    expect((await driver.query("nonsense", null)).error).toMatchObject({
      message: expect.stringContaining("nonsense"),
    });
  });

  test("kill-worker is answered when the process is gone, interrupt-worker reaches what it names", async () => {
    const node = await launch();
    const driver = await joinAsDriver(node);
    const lease = await driver.lease(1);
    const { workerId, pid, claims } = lease.worker;
    const words = claims && mapClaims(claims);
    if (!words) throw new Error("the worker has no claim words");
    // As if it ran what 7 names.
    new WorkerClaims(words).enterGuard(7);
    for (const key of [8, 7, 7]) expect((await driver.query("interrupt-worker", { workerId, key })).result).toBeNull();
    expect((await driver.peer.next("log")).lines).toEqual([expect.objectContaining({ text: "interrupted" })]);
    // Somebody else may have it by now.
    const over = { workerId, reason: "cancelled", lease: Number(lease.leaseId) + 1 };
    expect((await driver.query("kill-worker", over)).result).toBeNull();
    expect(isAlive(pid)).toBe(true);
    expect((await driver.query("kill-worker", { ...over, lease: lease.leaseId })).result).toBeNull();
    expect(isAlive(pid)).toBe(false);
    expect(((await driver.peer.next("lease-lost")).death as WorkerDeath).intended).toBe("cancelled");
  });
});

describe("a standing node", () => {
  test("outlives its starter, serves several drivers, and is found and stopped by its address", async () => {
    const program = fileURLToPath(new URL("./fixtures/node.ts", import.meta.url));
    const command = { execPath: process.execPath, args: [program] };
    const options = { base, command, resources: { cpu: 2 }, objectStoreBytes: 64 * 2 ** 20 };
    const { exited: _exited, ...node } = await startStandingNode(options);
    await expect(startStandingNode(options)).rejects.toThrow(/running already/);
    expect(findStandingNode(base)).toEqual(node);
    const first = await joinAsDriver(node);
    const second = await joinAsDriver(node);
    const lease = await first.lease(1);
    await second.lease(1);
    first.peer.close();
    await goneWithin([lease.worker.pid], 3_000);
    expect((await second.query("cluster-resources", null)).result).toMatchObject({ cpu: 2 });
    expect(await stopStandingNode({ base })).toBe(true);
    expect(isAlive(node.pid)).toBe(false);
    expect(readdirSync(base)).toEqual([]);
    expect(await stopStandingNode({ base })).toBe(false);
  });
});
