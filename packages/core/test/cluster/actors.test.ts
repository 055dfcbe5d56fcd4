/** Actors over several nodes: real processes, of which some are killed. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { beginStandingHead } from "../../src/head/mod.ts";
import { processStart } from "../../src/node/mod.ts";
import { eventually } from "../eventually.ts";
import { Program } from "../failures/programs.ts";

const cli = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
/** Of each node one. */
const folders: string[] = [];
const newFolder = (): number => folders.push(mkdtempSync("/tmp/ma-")) - 1;
async function mobulaIn(folder: string, env: object, ...args: string[]): Promise<string> {
  const whole = { ...process.env, TMPDIR: folder, XDG_STATE_HOME: join(folders[0] ?? folder, "state"), ...env };
  return (await promisify(execFile)(process.execPath, [cli, ...args], { env: whole })).stdout;
}
const mobula = (at: number, env: object, ...args: string[]): Promise<string> =>
  mobulaIn(folders[at] ?? "", env, ...args);

const small = ["--cpus", "1", "--object-store", "32MiB"];
let token = "";
let address = "";
/** Gives the number of its folder. Each node has a resource of its name. */
async function start(name: string, ...resources: string[]): Promise<number> {
  const at = newFolder();
  const offers = [`${name}=1`, ...resources].flatMap((one) => ["--resource", one]);
  await mobula(at, { MOBULA_TOKEN: token }, "start", "--address", address, "--name", name, ...small, ...offers);
  return at;
}

beforeAll(async () => {
  const at = newFolder();
  // Where the head listens that a test starts again.
  const head = ["--head", "--host", "127.0.0.1", "--port", "0"];
  const begun = await mobula(at, {}, "start", ...head, "--name", "one", ...small, "--resource", "one=1");
  [, token = "", address = ""] = /MOBULA_TOKEN=(\w+) mobula start --address (\S+)/.exec(begun) ?? [];
  await start("two");
});
const stopFrom = async (first: number): Promise<void> => {
  for (const folder of folders.splice(first).reverse()) {
    await mobulaIn(folder, {}, "stop", "--now");
    rmSync(folder, { recursive: true, force: true });
  }
};
afterEach(async () => {
  for (const one of programs.splice(0)) one.kill();
  await stopFrom(2);
});
afterAll(() => stopFrom(0));

const programs: Program[] = [];
function program(scenario: string, args: string[] = [], at = 0): Program {
  const begun = new Program("../../cluster/fixtures/actors.ts", scenario, { folder: folders[at] ?? "", args });
  programs.push(begun);
  return begun;
}

test("an actor lives on the node that has what it reserves, and its calls are answered in order", async () => {
  const run = program("elsewhere");
  expect(await run.line("is at")).toBe("two");
  expect(await run.line("counts")).toEqual(Array.from({ length: 100 }, (_, index) => index + 1));
});

describe("handles", () => {
  test("mean the same actor on every node: in tasks, in actors, and as the actor's own", async () => {
    const run = program("passed");
    expect(await run.line("from one to two")).toEqual(["one", 10]);
    expect(await run.line("from two to one")).toEqual(["two", 5]);
    expect(await run.line("from actor to actor")).toBe(110);
    expect(await run.line("of itself")).toBe(111);
  });

  test("the last one ends its actor; constructors that throw and what no node has are told; a loop is broken", async () => {
    const run = program("ends");
    await run.line("ended");
    expect(await run.line("made")).toBe("ACTOR_DIED because of TASK_FAILED");
    expect(await run.line("never")).toBe("ACTOR_DIED because of INFEASIBLE");
    expect(await run.line("cancelled")).toEqual(["TASK_CANCELLED", 2, "two"]);
  });
});

test("a name is found from every node, is given once, and is free when its actor is killed", async () => {
  const run = program("named");
  expect(await run.line("found")).toEqual([
    ["one", 8],
    ["two", 9],
  ]);
  expect(await run.line("same")).toEqual(["two", 10]);
  expect(await run.line("taken")).toBe("NAME_TAKEN");
  expect(await run.line("killed")).toBe("ACTOR_DIED");
  expect(await run.line("gone")).toBe("ACTOR_NOT_FOUND");
  expect(await run.line("listed")).toContain("dead");
});

test("shared actors are in one process, wherever that is; those that reserve are where that is to be had", async () => {
  const run = program("shared");
  expect(await run.line("processes")).toBe(1);
  expect(await run.line("sums")).toEqual(Array.from({ length: 20 }, (_, index) => index));
  expect(await run.line("reserved at")).toEqual(["one", "two", "two"]);
  expect(await run.line("processes of those")).toBe(2);
});

/** A program that does what it is told; each order is answered. */
class Obedient {
  readonly program: Program;
  private orders = 0;

  constructor(at = 0) {
    this.program = program("obeys", [], at);
  }

  async does<T>(what: string, name = "", value: unknown = ""): Promise<T> {
    await this.program.line("ready");
    const id = `#${++this.orders}`;
    this.program.tell([id, what, name, typeof value === "string" ? value : JSON.stringify(value)].join(" "));
    return this.program.line<T>(id, 30_000);
  }
}

const pidOf = (at: number, file = "standing.json"): number =>
  JSON.parse(readFileSync(join(folders[at] ?? "", `mobula-${process.getuid?.()}`, file), "utf8")).pid;
const isGone = (pid: number): boolean => processStart(pid) === undefined;
const goneWithin = (ms: number, pids: readonly number[]): Promise<boolean> =>
  eventually(
    () => pids.every(isGone),
    () => `all are gone, ${pids.filter((one) => !isGone(one))} too`,
    ms,
  );

test("what a node took with it is made again elsewhere if it may, and is dead otherwise", async () => {
  const three = await start("three", "any=1");
  const run = program("survives", ["three"]);
  expect(await run.line("at")).toEqual(["three", "three", "three"]);
  await run.line("running");
  await start("four", "any=1");
  process.kill(pidOf(three), "SIGKILL");
  expect(await run.line("calls")).toEqual(["ACTOR_DIED because of WORKER_DIED", "ACTOR_UNAVAILABLE"]);
  expect(await run.line("now")).toEqual(["four", true, "ACTOR_DIED because of WORKER_DIED"]);
  expect(await run.line("retried")).toEqual(["four", 1]);
});

test("a node that ends in order lets its actors end so, and those that may are made again elsewhere", async () => {
  const three = await start("three", "any=1");
  const run = new Obedient();
  const files = ["moves", "ends"].map((name) => join(folders[three] ?? "", name));
  await run.does("make", "moves", { maxRestarts: 1, resources: { any: 0.1 } });
  await run.does("make", "ends", { isolation: "shared", resources: { three: 0.1 } });
  await run.does("note", "ends", files[1]);
  await run.does("note", "moves", files[0]);
  await start("four", "any=1");
  await mobula(three, {}, "stop");
  expect(files.map((file) => readFileSync(file, "utf8"))).toEqual(["ended", "ended"]);
  expect(await run.does("at", "moves")).toBe("four");
  expect(await run.does("add", "ends")).toBe("ACTOR_DIED");
});

describe("a driver that is killed", () => {
  test("takes its actors with it on all nodes within 10 s, but for detached ones", async () => {
    const run = new Obedient();
    await run.does("make", "own", { name: "own", resources: { two: 0.1 } });
    await run.does("make", "child", { resources: { one: 0.1 } });
    await run.does("make", "kept", { name: "kept", lifetime: "detached", resources: { two: 0.1 } });
    const own = [await run.does<number>("pid", "own"), await run.does<number>("pid", "child")];
    const kept = await run.does<number>("pid", "kept");
    expect(await run.does("add", "kept")).toBe(1);
    run.program.kill();
    await goneWithin(10_000, own);
    const next = new Obedient();
    await next.does("find", "kept");
    expect(await next.does("add", "kept")).toBe(2);
    expect(await next.does("pid", "kept")).toBe(kept);
    expect(await next.does("find", "own")).toBe("ACTOR_NOT_FOUND");
    await next.does("kill", "kept");
    await goneWithin(1_000, [kept]);
  });

  test("together with its node does so too", async () => {
    const three = await start("three");
    const run = new Obedient(three);
    await run.does("make", "own", { resources: { two: 0.1 } });
    const pid = await run.does<number>("pid", "own");
    const node = pidOf(three);
    for (const one of [node, run.program.pid]) process.kill(one, "SIGKILL");
    await goneWithin(10_000, [pid]);
  });
});

describe("a head that is killed", () => {
  const killHead = async (): Promise<void> => {
    const pid = pidOf(0, "standing-head.json");
    process.kill(pid, "SIGKILL");
    await goneWithin(5_000, [pid]);
  };
  const startHead = () => {
    const base = join(folders[0] ?? "", `mobula-${process.getuid?.()}`);
    return beginStandingHead({ base, stateDir: join(folders[0] ?? "", "state", "mobula", "cluster") }).begun;
  };

  test("is not noticed by actors and calls; what was asked and what happened meanwhile has its effect afterwards", async () => {
    const [run, other] = [new Obedient(0), new Obedient(1)];
    const at = (node: string, more: object = {}) => ({ resources: { [node]: 0.1 }, ...more });
    await run.does("make", "own", at("two", { name: "own", maxConcurrency: 4 }));
    await run.does("make", "again", at("two", { maxRestarts: 1 }));
    await run.does("make", "mortal", at("two"));
    await run.does("make", "shared", at("two", { isolation: "shared" }));
    await run.does("make", "kept", at("one", { name: "kept", lifetime: "detached" }));
    await run.does("make", "dropped", at("two", { name: "dropped", isolation: "shared" }));
    await run.does("make", "killed", at("one", { name: "killed" }));
    for (const name of ["again", "mortal", "shared", "kept", "killed"]) expect(await run.does("add", name)).toBe(1);
    const pids = Object.fromEntries(
      await Promise.all(
        ["own", "again", "mortal", "shared", "dropped"].map(async (name) => [name, await run.does("pid", name)]),
      ),
    );
    await run.does("begin", "own", "9000");
    await killHead();

    expect(await run.does("add", "own")).toBe(1);
    expect(await run.does("add", "shared")).toBe(2);
    for (const name of ["again", "mortal"]) process.kill(pids[name], "SIGKILL");
    await run.does("drop", "dropped");
    const found = other.does("find", "kept");
    const killed = run.does("kill", "killed");
    await run.does("make", "late", at("two"));
    const late = run.does("add", "late");

    await startHead();
    const startedAt = performance.now();
    await run.does("make", "new", at("two"));
    expect(await run.does("add", "new")).toBe(1);
    expect(performance.now() - startedAt).toBeLessThan(2_000);
    expect(await late).toBe(1);
    const isDropped = async () => (await other.does<Record<string, string>>("states")).dropped === "dead";
    expect(await isDropped()).toBe(false);
    await found;
    expect(await other.does("add", "kept")).toBe(2);
    await killed;
    expect(await run.does("add", "killed")).toBe("ACTOR_DIED");
    expect(await other.does("find", "killed")).toBe("ACTOR_NOT_FOUND");
    expect(await run.does("add", "again")).toBe(1);
    expect(await run.does("add", "mortal")).toBe("ACTOR_DIED because of WORKER_DIED");
    expect(await run.does("make", "second", { name: "own" })).toBe("done");
    expect(await run.does("add", "second")).toBe("NAME_TAKEN");
    expect(await run.does("end", "own")).toBe(2);
    expect(await run.does("pid", "own")).toBe(pids.own);
    expect(await run.does("add", "shared")).toBe(3);
    // Who holds what is known again once everybody has said so twice.
    await eventually(isDropped, "the last handle of an actor is gone");
    expect(await run.does("add", "shared")).toBe(4);

    // Creators are known too.
    run.program.kill();
    await goneWithin(10_000, [pids.own, pids.shared]);
    expect(await other.does("add", "kept")).toBe(3);
    await other.does("kill", "kept");
  });

  test("together with a node: what that had is made again elsewhere when it has been given up", async () => {
    const three = await start("three", "any=1");
    const run = new Obedient();
    await run.does("make", "again", { maxRestarts: 1, resources: { any: 0.1 } });
    await run.does("make", "mortal", { resources: { any: 0.1 } });
    expect(await run.does("at", "again")).toBe("three");
    expect(await run.does("at", "mortal")).toBe("three");
    await start("four", "any=1");
    await killHead();
    process.kill(pidOf(three), "SIGKILL");
    await startHead();
    // A call that is on its way to a node when that is given up may have begun there.
    await eventually(async () => (await run.does("at", "again")) === "four", "it is made again");
    expect(await run.does("add", "mortal")).toBe("ACTOR_DIED because of WORKER_DIED");
  });
});
