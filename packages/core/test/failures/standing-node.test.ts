/** A node that stands by itself: several drivers share it, and it outlives each of them. */
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { userInfo } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { Program, type ProgramOptions } from "./programs.ts";

const cli = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
const folder = mkdtempSync("/tmp/ms-");
const programs: Program[] = [];

async function mobula(...args: string[]): Promise<string> {
  const env = { ...process.env, TMPDIR: folder };
  return (await promisify(execFile)(process.execPath, [cli, ...args], { env })).stdout;
}

function join(scenario: string, options: ProgramOptions = {}): Program {
  const program = new Program("joins.ts", scenario, { ...options, folder });
  programs.push(program);
  return program;
}

interface Status {
  readonly nodes: readonly {
    readonly available: { readonly cpu: number };
    readonly objectStore: { readonly usedBytes: number };
  }[];
}

/** The node settles in its own time after a driver has left. */
async function settles(): Promise<void> {
  let nodes: Status["nodes"] = [];
  const isFree = async () => {
    ({ nodes } = JSON.parse(await mobula("status", "--json")) as Status);
    return nodes[0]?.available.cpu === 2 && nodes[0].objectStore.usedBytes === 0;
  };
  await eventually(isFree, () => `the node has it all, and not only ${JSON.stringify(nodes)}`, 5_000);
}

beforeAll(async () => {
  await mobula("start", "--cpus", "2", "--object-store", "64MiB");
});
afterEach(() => {
  for (const program of programs.splice(0)) if (program.family().length > 0) program.kill();
});
afterAll(async () => {
  await mobula("stop", "--now");
  rmSync(folder, { recursive: true, force: true });
});

test("two drivers get the same share, however many tasks each has waiting", async () => {
  const FOR_MS = 4_000;
  const modest = join("works", { args: ["8", String(FOR_MS)] });
  const greedy = join("works", { args: ["400", String(FOR_MS)] });
  await Promise.all([modest.line("ready"), greedy.line("ready")]);
  const few = await modest.line<number>("done");
  const many = await greedy.line<number>("done");
  expect(few + many).toBeGreaterThan(100);
  expect(few / (few + many)).toBeGreaterThan(0.35);
  await Promise.all([modest.exitWithin(5_000), greedy.exitWithin(5_000)]);
  await settles();
});

test("a driver that submits 1,000 tasks and computes for 5 s finds them done, and another had its share meanwhile", async () => {
  const other = join("works", { args: ["50", "5000", "1"] });
  await other.line("ready");
  const computing = join("computes");
  await computing.line("submitted");
  expect(await computing.line("finished")).toBe(100);
  // While the 1,000 ran, as many of the other's can have run.
  expect(await other.line<number>("done")).toBeGreaterThan(500);
  await Promise.all([computing.exitWithin(5_000), other.exitWithin(5_000)]);
  await settles();
});

test("work of higher priority that has waited ends the loops of another driver, which run again", async () => {
  const loops = join("gives-way");
  await loops.line("submitted");
  const urgent = join("urgent");
  await urgent.line("done");
  const attempts = await loops.line<number[]>("attempts");
  expect(Math.max(...attempts)).toBe(1);
  expect(loops.stderr).toMatch(/was ended for .* whose priority is 1; it runs again/);
  await Promise.all([urgent.exitWithin(5_000), loops.exitWithin(5_000)]);
  await settles();
});

test("a detached actor lives on after its driver, and another driver finds it", async () => {
  const first = join("detaches");
  expect(await first.line("added")).toBe(1);
  expect(await first.exitWithin(5_000)).toEqual({ code: 0, signal: null });
  const second = join("finds");
  expect(await second.line("added")).toBe(2);
  expect(await second.line("listed")).toEqual([{ name: "counter", state: "alive" }]);
  await second.exitWithin(5_000);
  const third = join("finds");
  expect(await third.line("added")).toBe(3);
});

test("a driver that is killed takes its tasks and objects with it, and the node and the others go on", async () => {
  const other = join("works", { args: ["2", "1500"] });
  await other.line("ready");
  const dying = join("dies");
  await dying.line("ready");
  dying.kill();
  await dying.exited;
  await other.line("done");
  expect(await other.exitWithin(5_000)).toEqual({ code: 0, signal: null });
  await settles();
});

test("mobula stop ends it while drivers are connected: they are told, and nothing is left", async () => {
  const staying = join("stays");
  await staying.line("ready");
  expect(await mobula("stop")).toMatch(/has ended/);
  expect(await staying.line("rejected", 2_000)).toMatchObject({ code: "CONNECTION_LOST", kind: "unavailable" });
  expect(await staying.line("view")).toBe(9);
  expect(await staying.exitWithin(5_000)).toEqual({ code: 0, signal: null });
  expect(await mobula("status").catch((error: { stdout: string }) => error.stdout)).toMatch(/No node is running/);
  await staying.leavesNothing(1_000);
  const late = join("stays");
  await late.stderrHas(/no node is running on this machine; start one with `mobula start`/);
  expect((await late.exited).code).not.toBe(0);
});

test("a node that is killed leaves its logs, and `mobula status` says where", async () => {
  await mobula("start", "--cpus", "1", "--object-store", "64MiB");
  const base = path.join(folder, `mobula-${userInfo().uid}`);
  const { pid } = JSON.parse(readFileSync(path.join(base, "standing.json"), "utf8")) as { pid: number };
  process.kill(pid, "SIGKILL");
  const said = async (): Promise<string> => mobula("status").catch((error: { stdout: string }) => error.stdout);
  const logs = await eventually(async () => /its logs are in (.*)\.\n/.exec(await said())?.[1], "they are named");
  expect(readdirSync(logs ?? "")).toContain("node.stderr");
  await mobula("start", "--cpus", "1", "--object-store", "64MiB");
  expect(await mobula("stop")).toMatch(/has ended/);
  expect(await said()).toBe("No node is running. Start one with `mobula start`.\n");
});
