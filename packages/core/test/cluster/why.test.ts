/** Why things wait, or went where they did, on several nodes: `explain()`, and `mobula why` as a person uses it. */
import { execFile } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  cancel,
  type Explanation,
  explain,
  get,
  type ObjectRef,
  put,
  remote,
  runtimeContext,
} from "../../src/api/mod.ts";
import { askHead } from "../../src/head/mod.ts";
import { type ClusterNode, LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";

const program = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
const folder = newFolder();
let cluster: LocalCluster;

beforeAll(async () => {
  const node = (name: string, labels: Record<string, string>, more: Record<string, number> = {}) => ({
    name,
    labels,
    resources: { cpu: 2, ...more },
  });
  cluster = await LocalCluster.start({
    nodes: [node("one", { zone: "a" }), node("two", { zone: "b" }), node("three", { zone: "b" }, { licence: 1 })],
  });
  await cluster.connect({ node: nodeCalled("one") });
});
afterAll(() => cluster.stop());

function nodeCalled(name: string): ClusterNode {
  const node = cluster.nodes.find((one) => one.name === name);
  if (!node) throw new Error(`no node is called ${name}`);
  return node;
}

/** Runs until the file is there, and says with another one that it has begun. */
const hold = remote(async function hold(name: string, files: string) {
  writeFileSync(join(files, `${name}.${runtimeContext().attempt}.began`), "");
  while (!existsSync(join(files, `${name}.end`))) await new Promise((resolve) => setTimeout(resolve, 5));
  return runtimeContext().nodeId;
});
const hasBegun = (name: string, attempt = 0): boolean => existsSync(join(folder, `${name}.${attempt}.began`));
const end = (name: string): void => writeFileSync(join(folder, `${name}.end`), "");

/** By the command line, which asks the head. */
function mobula(...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const env = { ...process.env, ...cluster.env, MOBULA_ADDRESS: "", TMPDIR: newFolder(), COLUMNS: "120" };
    const all = [program, ...args, "--address", cluster.address];
    execFile(process.execPath, all, { env }, (error, out, err) => (error ? reject(new Error(err)) : resolve(out)));
  });
}

const verdictOf = ({ considered = [] }: Explanation, name: string): string | undefined =>
  considered.find((node) => node.name === name)?.verdict;

async function until(target: Parameters<typeof explain>[0], isSo: (explanation: Explanation) => boolean) {
  let explanation: Explanation | undefined;
  await eventually(async () => {
    explanation = await explain(target);
    return isSo(explanation);
  }, "explain() says it");
  return explanation as Explanation; // What `isSo` was true of.
}

test("a task that runs elsewhere: where, since when, which nodes were considered and why each was not chosen", async () => {
  const ref = hold.options({ labelSelector: { zone: "b" }, resources: { licence: 1 } }).remote("labelled", folder);
  await eventually(() => hasBegun("labelled"), "it runs");
  const explanation = await explain(ref);
  expect(explanation.state).toBe("running");
  expect(explanation.sentences.join(" ")).toMatch(
    /hold was sent to worker \w+ \(pid \d+\) on node three \([\d.]+:\d+\) \d+\.\d s ago/,
  );
  expect(explanation.sentences.join(" ")).toMatch(/it went to three, the least utilised/);
  expect(explanation.considered?.map(({ name }) => name)[0]).toBe("three");
  expect(explanation.considered?.[0]).toMatchObject({
    verdict: "was chosen",
    labels: { zone: "b" },
    address: expect.stringMatching(/:\d+$/),
  });
  expect(verdictOf(explanation, "one")).toMatch(/has the label zone "a"/);
  expect(verdictOf(explanation, "two")).toBe("has no licence");
  const said = await mobula("why", ref.id);
  expect(said).toMatch(/^\w+: running/);
  expect(said).toMatch(/NODE +ADDRESS +LABELS +WHY\nthree +[\d.]+:\d+ +zone=b +was chosen\n/);
  end("labelled");
  expect(await get(ref)).toBe(nodeCalled("three").id);
  const after = await explain(ref);
  expect(after.state).toBe("ready");
  expect(after.sentences.join(" ")).toMatch(/ran .* in worker process \d+ on node three .*it went to three/);
  expect(verdictOf(after, "two")).toBe("has no licence");
});

test("a task of another process, asked for by its key, is explained by that process", async () => {
  const outer = remote(async function outer(files: string) {
    const inner = hold.options({ name: "inner" }).remote("inner", files);
    return [inner];
  });
  const [inner] = await get(outer.options({ labelSelector: { zone: "b" } }).remote(folder));
  if (!inner) throw new Error("it returns one");
  await eventually(() => hasBegun("inner"), "it runs");
  const explanation = await until(inner, ({ sentences }) => sentences.some((text) => text.includes("inner was sent")));
  expect(explanation.sentences.join(" ")).toMatch(/on node (one|two|three)/);
  end("inner");
  await get(inner);
});

test("what waits: what each node has free, who holds it, and what is kept from it by labels", async () => {
  const names = ["w1", "w2"];
  const busy = names.map((name) => hold.options({ labelSelector: { zone: "a" } }).remote(name, folder));
  await eventually(() => names.every((name) => hasBegun(name)), "one is full");
  const waits = hold.options({ name: "late", labelSelector: { zone: "a" } }).remote("w3", folder);
  const explanation = await until(waits, ({ sentences }) => sentences.some((text) => text.startsWith("At one")));
  const all = explanation.sentences.join(" ");
  expect(explanation.state).toBe("queued");
  expect(all).toMatch(/late waits for a worker since/);
  expect(all).toMatch(/no node has room for it now, and it waits/);
  expect(all).toMatch(/At one: hold waits for 1 more .* On one 0 of 2 cpu are free\. hold of job \w+ holds 2 of them/);
  expect(verdictOf(explanation, "one")).toBe("has 0 of 2 cpu free, and 1 is wanted");
  expect(verdictOf(explanation, "two")).toMatch(/has the label zone "b"/);
  for (const name of [...names, "w3"]) end(name);
  await get([...busy, waits]);
});

test("attempts that were lost, with their node and how they ended", async () => {
  const four = await cluster.addNode({ name: "four", resources: { cpu: 1 }, labels: { zone: "d" } });
  const ref = hold.options({ name: "tried", labelSelector: [{ zone: "d" }, { zone: "b" }] }).remote("tried", folder);
  await eventually(() => hasBegun("tried"), "it runs");
  await cluster.kill(four);
  await eventually(() => hasBegun("tried", 1), "it runs again");
  const lost = /Attempt 0 ran in worker process \d+ on node four \([\d.:]+\) and ended .* its node, four, died\./;
  const running = await explain(ref);
  expect(running.sentences.join(" ")).toMatch(lost);
  expect(verdictOf(running, "four")).toMatch(/is dead|was chosen/);
  end("tried");
  await get(ref);
  const ended = (await explain(ref)).sentences.join(" ");
  expect(ended).toMatch(lost);
  expect(ended).toMatch(/in the last of 2 attempts/);
});

class Place {
  node(): string {
    return runtimeContext().nodeId;
  }
}

test("an actor: where it lives and why there, how its earlier starts ended, and by its name on the command line", async () => {
  const five = await cluster.addNode({ name: "five", resources: { cpu: 2 }, labels: { zone: "e" } });
  const options = { name: "placed", numCpus: 1, maxRestarts: 2, labelSelector: [{ zone: "e" }, { zone: "b" }] };
  using actor = remote(Place, options).remote();
  expect(await get(actor.node.remote())).toBe(five.id);
  const before = await explain(actor);
  expect(before.sentences.join(" ")).toMatch(/it went to five/);
  expect(verdictOf(before, "one")).toMatch(/has the label zone "a"/);
  await cluster.drain(five, { deadlineMs: 10_000 });
  expect(await get(actor.node.remote())).not.toBe(five.id);
  const said = await mobula("why", "placed");
  expect(said).toMatch(/its start 0 in worker process \d+ on node five/);
  expect(said.replaceAll(/\n\s+/g, " ")).toMatch(/it was moved off its node, which was drained/);
  expect(said).toMatch(/it went to (two|three)/);
});

test("an object: where its copies are, who holds it, and what makes it again", async () => {
  const make = remote(function make() {
    return new Uint8Array(2 ** 20);
  });
  const ref = make.options({ labelSelector: { zone: "b" } }).remote();
  expect((await get(ref)).length).toBe(2 ** 20);
  const explanation = await explain(ref);
  const all = explanation.sentences.join(" ");
  expect(all).toMatch(/It was made at node (two|three).*; copies are at node one\./);
  expect(all).toMatch(/When its last copy is lost, make makes it again, from 0 arguments\./);
  const whole = await explain(put(new Uint8Array(2 ** 20)));
  expect(whole.sentences.join(" ")).toMatch(
    /It was made at node one; no other node has a copy\..*Only its owner knows it/,
  );
  expect(whole.sentences.join(" ")).toMatch(/not made again .* it was put/);
  const held = remote(async function held(refs: readonly ObjectRef<Uint8Array>[], files: string) {
    writeFileSync(join(files, "held.0.began"), String(refs.length));
    while (!existsSync(join(files, "held.end"))) await new Promise((resolve) => setTimeout(resolve, 5));
  });
  const holder = held.options({ labelSelector: { zone: "b" } }).remote([ref], folder);
  await eventually(() => hasBegun("held"), "it is held");
  expect((await explain(ref)).sentences.join(" ")).toMatch(/2 processes hold it .*one of node (two|three)/);
  end("held");
  await get(holder);
});

test("what is asked of an owner that is gone, or of no owner, says so", async () => {
  await expect(mobula("why", "nobody")).rejects.toThrow(/is no id, and no actor has that name or class/);
  const unknown = askHead(cluster, "explain-id", { id: "f".repeat(32) });
  await expect(unknown).rejects.toThrow(/no actor or placement group f+ is known/);
  const gone = `${nodeCalled("one").id.slice(0, 8)}${"0".repeat(16)}${"1".padStart(16, "0")}`;
  const { sentences } = await askHead(cluster, "explain-id", { id: `${gone}00000000` });
  expect(sentences[0]).toMatch(/The process that owned it has ended/);
  const ref = hold.remote("cancelled", folder);
  await cancel(ref);
  expect((await explain(ref)).state).toBe("failed");
});
