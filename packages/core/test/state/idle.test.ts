/** A node that nobody uses gives its memory back, also while it is looked at. */
import { readdirSync, readFileSync } from "node:fs";
import { afterEach, expect, test } from "vitest";
import { get, init, isInitialized, placementGroup, remote, shutdown } from "../../src/api/mod.ts";
import { eventually } from "../eventually.ts";
import { openStateApi } from "./state-api.ts";

const MIB = 2 ** 20;
const BUSY_MS = 20_000;

afterEach(async () => {
  if (isInitialized()) await shutdown();
});

/** Of the node of this process: memory of its own. */
function nodeBytes(): number {
  const children = readdirSync(`/proc/self/task`).flatMap((thread) =>
    readFileSync(`/proc/self/task/${thread}/children`, "utf8").split(" ").filter(Boolean),
  );
  const node = children.find((pid) => /\bnode\.(c?js|ts)\0/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8")));
  const kib = /^Anonymous:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${node}/smaps_rollup`, "utf8"))?.[1];
  return Number(kib) * 1_024;
}

test("while the state service asks it what there is, each second", async () => {
  const context = await init({ resources: { cpu: 2 } });
  const api = await openStateApi(context);
  const grown = nodeBytes() + 16 * MIB;
  const one = remote(() => 1, { numCpus: 0.1 });
  const use = async (): Promise<void> => {
    const group = placementGroup([{ cpu: 0.1 }]);
    await get(one.options({ schedulingStrategy: { placementGroup: group } }).remote());
    await group.remove();
  };
  const until = performance.now() + BUSY_MS;
  while (nodeBytes() < grown && performance.now() < until) await Promise.all(Array.from({ length: 8 }, use));
  const busy = nodeBytes();
  expect(busy).toBeGreaterThan(grown);
  await eventually(() => nodeBytes() < busy - 8 * MIB, "it has given memory back", 20_000);
  expect((await api.list("nodes")).total).toBe(1);
});
