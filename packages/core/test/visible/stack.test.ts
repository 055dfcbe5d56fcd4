/** `mobula stack` and `mobula profile`: looking into workers and drivers that hang or compute, on this node and others. */
import { execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { cancel, get, kill, type ObjectRef, remote, runtimeContext } from "../../src/api/mod.ts";
import { processCalled } from "../../src/bin/cli-inspect.ts";
import type { SuspendedCode } from "../../src/bin/suspended-code.ts";
import { askHead } from "../../src/head/mod.ts";
import { inspect } from "../../src/state/mod.ts";
import { type ClusterNode, LocalCluster } from "../../src/testing/mod.ts";
import type { InspectedStack, StackFrame } from "../../src/wire/inspection.ts";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";
import { asks as asksTask, exits, Hanging, hoards, reads, sleeps, spins, waits } from "./fixtures/hangs.ts";

const cli = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
const fixture = join(import.meta.dirname, "fixtures/hangs.ts");
let cluster: LocalCluster;
const ask = <M extends Parameters<typeof askHead>[1]>(method: M, params: never) => askHead(cluster, method, params);
const asks = ask as Parameters<typeof processCalled>[0];

beforeAll(async () => {
  const node = (name: string) => ({ name, resources: { cpu: 4 }, labels: { name } });
  cluster = await LocalCluster.start({ nodes: [node("one"), node("two")] });
  await cluster.connect({ node: nodeCalled("one") });
});
afterAll(() => cluster.stop());

const hanging: ObjectRef[] = [];
afterEach(async () => {
  // A worker that is used again should be the one that was left.
  for (const ref of hanging.splice(0)) {
    await cancel(ref);
    await get(ref).catch(() => {});
  }
});
const hangs = <R extends ObjectRef>(ref: R): R => {
  hanging.push(ref);
  return ref;
};

function nodeCalled(name: string): ClusterNode {
  const node = cluster.nodes.find((one) => one.name === name);
  if (!node) throw new Error(`no node is called ${name}`);
  return node;
}

async function stackOf(id: string): Promise<InspectedStack> {
  const target = await processCalled(asks, id, undefined);
  return JSON.parse((await inspect(asks, target, "stack")).toString()) as InspectedStack;
}

/** Looks until the process is seen to be at it. */
const seen = (id: string, isAtIt: (stack: InspectedStack) => unknown): Promise<InspectedStack> =>
  eventually(async () => {
    const stack = await stackOf(id).catch(({ message }: Error) => {
      // It is not with a worker yet, or an actor that nobody has heard of.
      if (/is in no process now|no actor that lives has that name/.test(message)) return undefined;
      throw new Error(message);
    });
    return stack && isAtIt(stack) ? stack : undefined;
  }, `${id} is at it`) as Promise<InspectedStack>;

const at = ({ name, file, line }: StackFrame): string => `${name} ${file}:${line}`;
const own = (stack: InspectedStack): string[] =>
  (stack.program?.stack ?? []).filter(({ of }) => of === "program").map(at);
const lineOf = (text: string): number =>
  readFileSync(fixture, "utf8")
    .split("\n")
    .findIndex((line) => line.includes(text)) + 1;

/** Ports of 127.0.0.1 on which the process listens; those of Mobula have other addresses of this machine, or none. */
function inspectorPorts(pid: number): number[] {
  const inodes = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /socket:\[(\d+)\]/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return []; // It was closed in the meantime.
      }
    }),
  );
  return readFileSync(`/proc/${pid}/net/tcp`, "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local = "", , state, , , , , , inode = ""]) => {
      return state === "0A" && local.startsWith("0100007F:") && inodes.has(inode);
    })
    .map(([, local = ""]) => Number.parseInt(local.slice(9), 16));
}

const isClosed = (pid: number): Promise<unknown> =>
  eventually(() => inspectorPorts(pid).length === 0, `the inspector of ${pid} is closed`);

const onTwo = { labelSelector: { name: "two" } };

test("a synchronous loop: functions and lines of the program, and which task runs, on another node too", async () => {
  const ref = hangs(spins.options(onTwo).remote(3));
  const stack = await seen(ref.id, ({ program }) => program?.current);
  // The innermost are of a module that the worker imports; the function of the task itself was sent as vitest has made it.
  const loop = `descend ${fixture}:${lineOf("for (;;);")}`;
  const recursion = `descend ${fixture}:${lineOf("return descend(depth - 1)")}`;
  expect(own(stack).slice(0, 4)).toEqual([loop, recursion, recursion, recursion]);
  expect(own(stack)[4]).toMatch(`spins ${fixture}:`);
  expect(stack).toMatchObject({ nodeName: "two", role: "worker", kernel: null });
  expect(stack.program?.current).toEqual({ name: "spins", taskId: ref.id.slice(0, 48), actorId: null });
  expect(stack.program?.running).toMatchObject([{ name: "spins", waits: 0 }]);
  await isClosed(stack.pid);
});

test("a task that awaits a get: which ref is missing, since when, and where it waits", async () => {
  const never = hangs(sleeps.remote());
  const ref = hangs(waits.remote([never]));
  const { program } = await seen(ref.id, (stack) => stack.program?.waits.length);
  expect(program?.stack).toEqual([]);
  const [wait] = program?.waits ?? [];
  expect(wait).toMatchObject({ call: "get", refs: 1, missing: 1, ids: [never.id], taskId: ref.id.slice(0, 48) });
  expect(wait?.at.map(at)[0]).toMatch(`first ${fixture}:`);
  const asleep = await stackOf(never.id);
  expect(asleep.program).toMatchObject({ stack: [], waits: [], running: [{ name: "sleeps" }] });
  expect(asleep.program?.handles.Timeout).toBeGreaterThan(0);
});

test("an actor by its class: the call on its stack, and those that await", async () => {
  const actor = Hanging.options(onTwo).remote();
  const pid = await get(actor.pid.remote());
  void actor.wait.remote();
  await seen("Hanging", ({ program }) => program?.running.length === 1);
  void actor.spin.remote();
  const stack = await seen("Hanging", ({ program }) => program?.current);
  expect(stack.pid).toBe(pid);
  expect(stack.program?.current?.name).toBe("Hanging.spin");
  expect(stack.program?.running.map(({ name }) => name).sort()).toEqual(["Hanging.spin", "Hanging.wait"]);
  expect(own(stack)[0]).toMatch(/^Hanging\.spin /);
  await kill(actor);
});

test("one that is stopped, or in native code, is shown as the kernel sees it, and stays as it was", async () => {
  const pipe = join(newFolder(), "pipe");
  execFileSync("mkfifo", [pipe]);
  const ref = hangs(reads.remote(pipe));
  const stack = await seen(ref.id, ({ kernel }) => kernel?.sentences.some((one) => one.includes("cat (pid")));
  expect(stack.kernel?.why).toMatch(
    /did not come to a point where its inspector could be opened|did not answer within/,
  );
  expect(stack.kernel?.sentences[0]).toMatch(/within a call, most likely for a program that it has started/);
  expect(stack.kernel?.threads[0]).toMatchObject({ id: stack.pid, state: "S" });
  process.kill(stack.pid, "SIGSTOP");
  const stopped = await seen(String(stack.pid), ({ kernel }) => kernel?.why === "it is stopped");
  expect(stopped.kernel?.sentences[0]).toMatch(/is stopped by a signal \(SIGSTOP\)/);
  process.kill(stack.pid, "SIGCONT");
  writeFileSync(pipe, "through");
  expect(await get(ref)).toBe("through");
  // What was opened late is closed at once.
  await isClosed(stack.pid);
  expect((await stackOf(String(stack.pid))).program?.running).toEqual([]);
});

test("several ask at once, for stacks and profiles; then nothing listens any more", async () => {
  const ref = hangs(spins.remote(0));
  const { pid } = await seen(ref.id, ({ program }) => program?.current);
  const target = await processCalled(asks, String(pid), undefined);
  const profile = inspect(asks, target, "cpu", { seconds: 1 });
  const [port = 0] = (await eventually(() => {
    const ports = inspectorPorts(pid);
    return ports.length > 0 ? ports : undefined;
  }, "the inspector is open")) as number[];
  const stacks = await Promise.all([1, 2, 3].map(() => stackOf(String(pid))));
  for (const stack of stacks) expect(own(stack)[0]).toMatch(/^descend /);
  const { nodes, samples } = JSON.parse((await profile).toString());
  expect(
    nodes.some((node: { callFrame: { functionName: string } }) =>
      /^(descend|spins)$/.test(node.callFrame.functionName),
    ),
  ).toBe(true);
  expect(samples.length).toBeGreaterThan(10);
  await isClosed(pid);
  const refused = connect(port, "127.0.0.1");
  expect((await once(refused, "error"))[0]).toMatchObject({ code: "ECONNREFUSED" });
});

test("a heap profile says which functions allocated what is kept", async () => {
  const grows = remote(async function grows() {
    const kept: unknown[] = [];
    while (!runtimeContext().signal.aborted) {
      kept.push(new Array(1_000).fill(kept.length));
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  });
  const ref = hangs(grows.remote());
  const { pid } = await seen(ref.id, ({ program }) => program?.running.length);
  const target = await processCalled(asks, String(pid), undefined);
  expect((await inspect(asks, target, "heap", { seconds: 1 })).toString()).toContain('"functionName":"grows"');
});

/** The command line, as a person uses it. */
const run = (...args: string[]): Promise<{ code: number; out: string; err: string }> =>
  new Promise((resolve) => {
    const env = { ...process.env, ...cluster.env, MOBULA_ADDRESS: "", TMPDIR: newFolder(), COLUMNS: "80" };
    const all = [cli, ...args, "--address", cluster.address];
    execFile(process.execPath, all, { env, maxBuffer: 2 ** 28 }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    );
  });

test("async functions that wait beside Mobula: their lines, who awaits them, and of which task", {
  timeout: 120_000,
}, async () => {
  const ref = hangs(asksTask.options(onTwo).remote());
  await seen(ref.id, ({ program }) => program?.running.length);
  const { out, err, code } = await run("stack", ref.id, "--async");
  expect(err).toMatch(/^worker \d+ on two has \d+ MiB of heap: it stands still for up to/);
  expect(code).toBe(0);
  const [, , after = ""] =
    /one async function waits, the innermost first\n {4}of task (\w+)\n([\s\S]*)/.exec(out) ?? [];
  expect(out).toContain(`of task ${ref.id.slice(0, 48)}`);
  // The innermost is of a module that the worker imports, as above.
  const lines = after.split("\n");
  expect(lines[0]).toMatch(new RegExp(`at askForever .*hangs.ts:${lineOf("await new Promise<void>((resolve) =>")}:`));
  expect(lines[1]).toMatch(/at async asksTwice .*hangs.ts:/);
  expect(after).toMatch(/ {2}it stood still for \d+\.\d s\n$/);
  for (const line of out.split("\n")) expect(line.length).toBeLessThanOrEqual(80);

  // Of an actor, whose method was found in a class; and what nothing can wake is said to be gone.
  const actor = Hanging.options(onTwo).remote();
  void actor.ask.remote();
  void actor.wait.remote();
  await seen("Hanging", ({ program }) => program?.running.length === 2);
  const json = JSON.parse((await run("stack", "Hanging", "--async", "--json")).out) as InspectedStack & {
    readonly suspended: SuspendedCode;
  };
  const own = json.suspended.stacks.filter(({ frames }) => frames.some(({ of }) => of === "program"));
  expect(own.map(({ frames }) => frames.filter(({ of }) => of === "program").map(({ name }) => name))).toEqual([
    ["askForever", "ask"],
  ]);
  expect(own[0]?.taskId).toBe(json.program?.running.find(({ name }) => name === "Hanging.ask")?.taskId);
  await kill(actor);
});

test("a driver that awaits at its top level is found too, through its I/O thread", { timeout: 120_000 }, async () => {
  const driver = spawn(process.execPath, ["--conditions=mobula-source", fixture, "asking"], {
    env: { ...process.env, ...cluster.env },
    stdio: ["ignore", "pipe", "inherit"],
  });
  try {
    await once(driver.stdout, "data");
    await seen(String(driver.pid), ({ program }) => program);
    const { out } = await run("stack", String(driver.pid), "--async");
    expect(out).toMatch(new RegExp(`at askForever .*hangs.ts:${lineOf("await new Promise<void>((resolve) =>")}:`));
  } finally {
    driver.kill("SIGKILL");
    await once(driver, "exit");
  }
});

test("a heap snapshot: a file that DevTools opens, and what is in it", { timeout: 120_000 }, async () => {
  const ref = hangs(hoards.options(onTwo).remote(500));
  const { pid } = await seen(ref.id, ({ program }) => program?.running.length);
  const file = join(newFolder(), "of.heapsnapshot");
  const { out, err } = await run("profile", String(pid), "--heap-snapshot", "--summary", "-o", file);
  expect(err).toMatch(
    new RegExp(`^worker ${pid} on two has \\d+ MiB of heap: it stands still for up to .*,\nand needs`),
  );
  expect(out).toMatch(/of\.heapsnapshot: the heap of process \d+ on two. It stood still for \d+\.\d s\. Open it/);
  // 500 arrays of 1,000 doubles.
  expect(out).toMatch(/\n {2}Order +500 +0\.0 +[34]\.\d +\d+ %\n/);
  for (const line of out.split("\n").slice(1)) expect(line.length).toBeLessThanOrEqual(90);
  // As DevTools reads it: every count is right, every edge leads to a node, every name is there.
  const { snapshot, nodes, edges, strings } = JSON.parse(readFileSync(file, "utf8"));
  const { node_fields, edge_fields, node_types } = snapshot.meta;
  expect(nodes.length).toBe(snapshot.node_count * node_fields.length);
  expect(edges.length).toBe(snapshot.edge_count * edge_fields.length);
  const [name, count] = [node_fields.indexOf("name"), node_fields.indexOf("edge_count")];
  let total = 0;
  let isRight = true;
  for (let at = 0; at < nodes.length; at += node_fields.length) {
    total += nodes[at + count];
    isRight &&= nodes[at] < node_types[0].length && strings[nodes[at + name]] !== undefined;
  }
  const to = edge_fields.indexOf("to_node");
  for (let at = to; at < edges.length; at += edge_fields.length)
    isRight &&= edges[at] < nodes.length && edges[at] % node_fields.length === 0;
  expect({ isRight, total }).toEqual({ isRight: true, total: snapshot.edge_count });
  // It was the node's only until it was read.
  const [node = 0] = nodeCalled("two").pids();
  const spools = (): string[] =>
    readdirSync(`/proc/${node}/fd`).flatMap((fd) => {
      try {
        return readlinkSync(`/proc/${node}/fd/${fd}`);
      } catch {
        return []; // It was closed in the meantime.
      }
    });
  await eventually(() => !spools().some((one) => one.includes("/snapshot-")), "the file is gone", 30_000);
  expect(await run("profile", String(pid), "--cpu", "--heap-snapshot")).toMatchObject({ code: 1 });
});

test("a worker that ends while its heap is written is an error, and no half file is left", {
  timeout: 120_000,
}, async () => {
  const ref = hangs(hoards.options({ maxRetries: 0 }).remote(20_000));
  const { pid } = await seen(ref.id, ({ program }) => program?.running.length);
  const file = join(newFolder(), "of.heapsnapshot");
  const taken = run("profile", String(pid), "--heap-snapshot", "-o", file);
  await eventually(() => inspectorPorts(pid).length > 0, "the inspector is open");
  process.kill(pid, "SIGKILL");
  expect(await taken).toMatchObject({ code: 1, err: expect.stringMatching(new RegExp(`${pid}`)) });
  expect(existsSync(file)).toBe(false);
});

test("a worker that ends while it is profiled is an error that says so", async () => {
  const ref = hangs(spins.options({ maxRetries: 0 }).remote(0));
  const { pid } = await seen(ref.id, ({ program }) => program?.current);
  const target = await processCalled(asks, String(pid), undefined);
  await eventually(() => inspectorPorts(pid).length === 0, "the one for the stack is closed");
  const profile = inspect(asks, target, "cpu", { seconds: 300 }).catch((error: Error) => error);
  await eventually(() => inspectorPorts(pid).length > 0, "the inspector is open");
  process.kill(pid, "SIGKILL");
  expect(await profile).toMatchObject({
    code: "WORKER_DIED",
    message: expect.stringMatching(new RegExp(`process ${pid} ended before its profile was done|${pid} cannot be`)),
  });
});

test("a worker that exits while it is profiled does not wait for that", async () => {
  const flags = newFolder();
  const ref = hangs(exits.options({ maxRetries: 0 }).remote(join(flags, "exit")));
  const { pid } = await seen(ref.id, ({ program }) => program?.running.length);
  const target = await processCalled(asks, String(pid), undefined);
  await eventually(() => inspectorPorts(pid).length === 0, "the one for the stack is closed");
  const profile = inspect(asks, target, "cpu", { seconds: 300 }).catch((error: Error) => error);
  await eventually(() => inspectorPorts(pid).length > 0, "the inspector is open");
  writeFileSync(join(flags, "exit"), "");
  expect(await profile).toMatchObject({ code: "WORKER_DIED" });
  await expect(get(ref)).rejects.toThrow(/exit code 3/);
});

test("a driver that computes, without a port and without a word on its terminal", async () => {
  const driver = spawn(process.execPath, ["--conditions=mobula-source", fixture, "driver"], {
    env: { ...process.env, ...cluster.env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let printed = "";
  driver.stderr.setEncoding("utf8").on("data", (text: string) => {
    printed += text;
  });
  try {
    await once(driver.stdout, "data");
    const stack = await seen(String(driver.pid), ({ program }) => program?.stack.length);
    expect(stack.role).toBe("driver");
    expect(own(stack)[0]).toBe(`descend ${fixture}:${lineOf("for (;;);")}`);
    expect(inspectorPorts(driver.pid ?? 0)).toEqual([]);
    expect(printed).toBe("");
  } finally {
    driver.kill("SIGKILL");
    await once(driver, "exit");
  }
});

test("a debugger that the program has opened itself stays open", async () => {
  const ref = hangs(spins.options({ inspect: true }).remote(0));
  const { pid } = await seen(ref.id, ({ program }) => program?.current);
  const [port] = inspectorPorts(pid);
  expect(own(await stackOf(String(pid)))[0]).toMatch(/^(descend|spins) /);
  expect(inspectorPorts(pid)).toEqual([port]);
});

test("what is no worker and no driver is refused, and so is a name that nothing has", async () => {
  await expect(stackOf("1")).rejects.toThrow(/^1 is no worker and no driver; `mobula stack --all`/);
  await expect(stackOf("nobody")).rejects.toThrow(/no pid and no id, and no actor that lives/);
  const begin = { pid: 1, what: "stack", nodeId: nodeCalled("one").id } as const;
  await expect(askHead(cluster, "inspect-begin", begin)).rejects.toMatchObject({ code: "INVALID_OPTION" });
});

test("the commands, as a person uses them", async () => {
  const ref = hangs(spins.options(onTwo).remote(1));
  const { pid } = await seen(ref.id, ({ program }) => program?.current);
  const { out } = await run("stack", ref.id);
  expect(out).toMatch(new RegExp(`^worker ${pid} on two runs spins for \\d+\\.\\d s\n  task ${ref.id.slice(0, 48)}\n`));
  expect(out).toContain(`hangs.ts:${lineOf("for (;;);")}`);
  expect(out).toMatch(/\d+ frames of Node.js and Mobula \(--full\)\n$/);
  for (const line of out.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
  const file = join(newFolder(), "of.cpuprofile");
  const profile = await run("profile", String(pid), "--seconds", "1", "-o", file);
  expect(profile.out).toContain(`${file}: 1 s of process ${pid} on two`);
  expect(JSON.parse(readFileSync(file, "utf8"))).toHaveProperty("nodes");
  const all = JSON.parse((await run("stack", "--all", "--node", "two", "--json")).out) as InspectedStack[];
  expect(all.map((one) => one.pid)).toContain(pid);
  expect(await run("stack")).toMatchObject({ code: 1, err: expect.stringContaining("or --all for every one") });
  expect(await run("profile", "1", "--seconds", "0")).toMatchObject({
    code: 1,
    err: expect.stringContaining("1 to 300"),
  });
});
