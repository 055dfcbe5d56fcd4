import { expect, test } from "vitest";
import { eventually } from "../../test/eventually.ts";
import type { JobId, NodeId } from "../base/ids.ts";
import { toUnits } from "../base/resources.ts";
import { createMemoryState } from "../control/mod.ts";
import { ClusterView } from "../placement/mod.ts";
import type { FromControl } from "../wire/cluster-messages.ts";
import { HeadGroups } from "./groups.ts";

const [N1, N2, N3] = ["n1", "n2", "n3"] as unknown as readonly [NodeId, NodeId, NodeId];

/** Of a head, on nodes that commit what they are told to at once. */
function begin(state: ReturnType<typeof createMemoryState>, nodes: readonly NodeId[], nowMs = Date.now) {
  const view = new ClusterView();
  for (const nodeId of nodes) view.apply({ kind: "node-joined", nodeId, name: nodeId, total: toUnits({ cpu: 1 }) });
  const told: string[] = [];
  const groups: HeadGroups = new HeadGroups({
    ...{
      state,
      view,
      quotas: { allows: () => true, left() {}, charge() {}, describe: () => "" },
      earmarkAfterMs: undefined,
    },
    preemption: { afterMs: () => Number.POSITIVE_INFINITY, victimsFor: () => [] },
    ...{ nowMs, wallMs: nowMs, changed() {}, news() {} },
    later: (ms, run) => {
      const timer = setTimeout(run, ms);
      return () => clearTimeout(timer);
    },
    send: (to: NodeId, message: FromControl) => {
      if (message.t !== "prepare-bundles" && message.t !== "commit-bundles" && message.t !== "return-bundles") return;
      const { t, groupId, attempt } = message;
      told.push(`${t} ${to}`);
      if (!nodes.includes(to)) return;
      const answer = t === "return-bundles" ? "bundles-returned" : "bundles-committed";
      queueMicrotask(() => groups.hear(to, { t: answer, groupId, attempt }));
    },
  });
  const ask = (method: string, params: object) =>
    groups.answer(nodes[0] as NodeId, { t: "query", id: 1, method, params } as never);
  return { groups, told, ask };
}

const requestOf = (groupId: string, bundles: number, more: object = {}) => ({
  ...{ groupId, bundles: Array.from({ length: bundles }, () => toUnits({ cpu: 1 })), strategy: "STRICT_SPREAD" },
  ...{ selectors: [], jobId: "01", namespace: "", lifetime: "owner", ...more },
});

test("what a group had on a node that died with the head before is placed anew, and it can be removed", async () => {
  const state = createMemoryState();
  const before = begin(state, [N1, N2]);
  await before.ask("create-group", requestOf("f3", 2));
  await before.ask("await-group", { groupId: "f3" });
  await eventually(async () => (await state.list("group/")).length === 1, "the group is written down");

  // The death of n2 was written down, what it means for the group was not.
  const after = begin(state, [N1, N3]);
  await after.groups.recover(new Set([N1, N3]));
  await after.ask("await-group", { groupId: "f3" });
  expect(after.told).toContain("prepare-bundles n3");
  await after.ask("remove-group", { groupId: "f3" });
  await eventually(async () => (await state.list("group/")).length === 0, "the group is gone");
});

test("what processes of a job ask for that nobody knows ends, after the time in which its driver would be heard of", async () => {
  let nowMs = 1_000_000;
  const { groups, ask } = begin(createMemoryState(), [N1, N2], () => nowMs);
  const known = new Set(["02" as JobId]);
  groups.host.jobsKnown(known);
  await ask("create-group", requestOf("a1", 1));
  await ask("create-group", requestOf("a2", 1, { jobId: "02" }));
  const states = () => groups.host.details().map(({ request: { groupId }, state }) => `${groupId} ${state}`);
  nowMs += 3_000;
  groups.host.jobsKnown(known);
  expect(states()).toEqual(["a1 created", "a2 created"]);
  nowMs += 1_500;
  groups.host.jobsKnown(known);
  await eventually(() => states().length === 1, "the group of the unknown job ends");
  expect(states()).toEqual(["a2 created"]);
});
