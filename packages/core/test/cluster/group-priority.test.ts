/** Placement groups and actors of higher priority that have waited long end work of other programs that may run again. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { explain, get, kill, placementGroup, remote, runtimeContext } from "../../src/api/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";
import { Program } from "../failures/programs.ts";
import { newFolder } from "../new-folder.ts";

const NODES = ["one", "two", "three"];
/** Half a second of notice, and what a busy machine needs. */
const WITHIN_MS = 15_000;
const folder = newFolder();
let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.start({ nodes: NODES.map((name) => ({ name, resources: { cpu: 1 } })) });
  await cluster.connect({ preemptAfterMs: 300 });
});
afterAll(() => cluster.stop());

/** A program with a task on each node, which may run again so often. */
async function holders(scenario: string, retries: readonly number[]) {
  const files = join(folder, scenario);
  mkdirSync(files);
  const program = new Program("../../cluster/fixtures/holders.ts", scenario, {
    env: { ...cluster.env },
    args: [files, ...retries.map(String)],
  });
  await eventually(() => readdirSync(files).length === retries.length, "all of them run");
  return { program, files, end: () => writeFileSync(join(files, "end"), "") };
}
const whole = NODES.map(() => ({ cpu: 1 }));
const where = remote(() => runtimeContext().nodeId);

test("a group of all nodes has them within a bound, and what made room runs again and has lost no retry", async () => {
  const { program, files, end } = await holders("group", [1, 1, 1]);
  try {
    const group = placementGroup(whole, { strategy: "STRICT_SPREAD", priority: 1, name: "gang" });
    await get(group.ready(), { timeoutMs: WITHIN_MS });
    const aborted = readdirSync(files).filter((name) => name.includes("aborted"));
    expect(aborted.sort()).toEqual(["task 0 aborted 0", "task 1 aborted 0", "task 2 aborted 0"]);
    expect(readFileSync(join(files, "task 0 aborted 0"), "utf8")).toMatch(/ended for something of higher priority/);
    const ids = await get(
      whole.map((_, bundleIndex) =>
        where.options({ schedulingStrategy: { placementGroup: group, bundleIndex } }).remote(),
      ),
    );
    expect(new Set(ids).size).toBe(3);
    await group.remove();
    end();
    expect(await program.line("results")).toEqual(["task 0 1", "task 1 1", "task 2 1"]);
    const [why = ""] = await program.line<string[]>("why");
    expect(why).toMatch(
      /Attempt 0 ran .* it was ended for placement group gang of job [0-9a-f]{8}, whose priority is 1\./,
    );
    await program.exitWithin(5_000);
  } finally {
    program.remove();
  }
}, 60_000);

test("actors take part as tasks do: each of them ends one task, on whatever node", async () => {
  const { program, files, end } = await holders("actors", [1, 1, 1]);
  try {
    class Urgent {
      where(): string {
        return runtimeContext().nodeId;
      }
    }
    const make = remote(Urgent, { numCpus: 1, priority: 1 });
    const actors = [make.remote(), make.remote()];
    const ids = await get(
      actors.map((actor) => actor.where.remote()),
      { timeoutMs: WITHIN_MS },
    );
    expect(new Set(ids).size).toBe(2);
    const aborted = readdirSync(files).filter((name) => name.includes("aborted"));
    expect(aborted).toHaveLength(2);
    for (const actor of actors) await kill(actor);
    end();
    const attempts = ["task 0", "task 1", "task 2"].map(
      (task) => `${task} ${Number(aborted.includes(`${task} aborted 0`))}`,
    );
    expect(await program.line("results")).toEqual(attempts);
    expect((await program.line<string[]>("why")).join(" ")).toMatch(
      /it was ended for Urgent of job [0-9a-f]{8}, whose priority is 1\./,
    );
    await program.exitWithin(5_000);
  } finally {
    program.remove();
  }
}, 60_000);

test("nothing is ended for a group that would not fit all the same, and it says so", async () => {
  const { program, files, end } = await holders("keeps", [1, 0, 1]);
  try {
    const group = placementGroup(whole, { strategy: "STRICT_SPREAD", priority: 1 });
    const says = async () => (await explain(group)).sentences.join(" ");
    await eventually(
      async () => /lower priority than 1 in other jobs would end for it, but .*not enough/.test(await says()),
      "it says why it waits",
    );
    // Longer than notice and grace together.
    expect(await group.wait(3_500)).toBe(false);
    expect(readdirSync(files).filter((name) => !name.includes("begun 0"))).toEqual([]);
    // One that needs less has its room.
    const small = placementGroup([{ cpu: 1 }, { cpu: 1 }], { strategy: "STRICT_SPREAD", priority: 2 });
    await get(small.ready(), { timeoutMs: WITHIN_MS });
    expect(existsSync(join(files, "task 1 aborted 0"))).toBe(false);
    await small.remove();
    end();
    await get(group.ready(), { timeoutMs: WITHIN_MS });
    await group.remove();
    expect(await program.line("results")).toEqual(["task 0 1", "task 1 0", "task 2 1"]);
    await program.exitWithin(5_000);
  } finally {
    program.remove();
  }
}, 60_000);
