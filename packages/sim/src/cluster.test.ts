import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { PLANTED } from "./planted.ts";
import { SimulationFailure, simulate } from "./simulation.ts";

const nodes = 4;
const steps = 250;
/**
 * Seeds without a line that could be broken again. 40357: what was wrong was the simulation, a name that a node may yet give stood for
 * one of another that had the same tag. 288: a node dialled heads that hang one after the other, and was given up meanwhile.
 */
const ownSeeds = [40_357, 288];
const freshSeed = Math.floor(Math.random() * 2 ** 31);

test("the same seed gives the same run of a cluster, event by event", { timeout: 60_000 }, async () => {
  const once = await simulate({ seed: 3, steps, nodes });
  expect(once.trace).toMatch(/^[0-9a-f]{16}$/);
  expect(await simulate({ seed: 3, steps, nodes })).toEqual(once);
  expect((await simulate({ seed: 4, steps, nodes })).trace).not.toBe(once.trace);
});

test("every invariant holds over many runs, in which everything fails that can", { timeout: 120_000 }, async () => {
  const faults = new Map<string, number>();
  let groups = 0;
  let followed = 0;
  let keptCopies = 0;
  let inherited = 0;
  for (let seed = 1; seed <= 25; seed++) {
    const result = await simulate({ seed, steps, nodes });
    for (const [kind, count] of Object.entries(result.faults)) faults.set(kind, (faults.get(kind) ?? 0) + count);
    groups += result.groups;
    keptCopies += result.keptCopies;
    inherited += result.inheritedObjects;
    // One in four has several heads.
    if (seed % 4 === 0 && result.terms > 1) followed++;
  }
  expect([...faults.keys()].sort()).toEqual([
    "connection to control reset",
    "control crashed",
    "control stopped",
    "disk of a store full",
    "disk of control full",
    "disk of control full while a node is cut off, and control crashes",
    "head cut off from its state",
    "machine lost",
    "node added",
    "node cut off from all",
    "node cut off from control",
    "node drained",
    "node slow",
    "node stopped",
    "nodes cut off from each other",
    "servers of control change their leader",
    "servers of control down",
  ]);
  expect(groups).toBeGreaterThan(100);
  expect(followed).toBeGreaterThan(2);
  expect(keptCopies).toBeGreaterThan(20);
  expect(inherited).toBeGreaterThan(0);
});

test(`and for seeds that are new in each run: ${freshSeed} to ${freshSeed + 5}`, { timeout: 120_000 }, async () => {
  for (let seed = freshSeed; seed < freshSeed + 6; seed++) await simulate({ seed, steps, nodes });
});

test("seeds that once found a bug find none", { timeout: 120_000 }, async () => {
  const runs = PLANTED.flatMap(({ heads, foundBy = [] }) => foundBy.map((seed) => ({ seed, ...(heads && { heads }) })));
  expect(runs.length).toBeGreaterThan(0);
  for (const run of [...runs, ...ownSeeds.map((seed) => ({ seed }))]) await simulate({ ...run, steps, nodes });
});

test("a run that breaks an invariant tells who did what, last of all what broke it", async () => {
  const error = await (async () => {
    try {
      // Long before everything can have ended.
      await simulate({ seed: 1, steps, nodes, endingMs: 1 });
    } catch (thrown) {
      return thrown;
    }
    return undefined;
  })();
  expect(error).toBeInstanceOf(SimulationFailure);
  const { message, trace } = error as SimulationFailure;
  expect(message).toMatch(/^seed 1, 250 steps, event \d+, [\d.]+ ms: /);
  const lines = trace.split("\n");
  expect(lines.length).toBeGreaterThan(10);
  for (const line of lines) expect(line).toMatch(/^ +\d+\.\d{3} {2}\S+ {2}/);
});

test("every planted bug has its place in the sources", () => {
  for (const { file, code } of PLANTED) {
    const source = readFileSync(new URL(`../../core/src/${file}`, import.meta.url), "utf8");
    expect(source.split(code), `${file}: ${code}`).toHaveLength(2);
  }
});
