import { expect, test } from "vitest";
import { eventually } from "../../test/eventually.ts";
import type { NodeId } from "../base/ids.ts";
import { toUnits } from "../base/resources.ts";
import { createMemoryState } from "../control/mod.ts";
import { ClusterView } from "../placement/mod.ts";
import type { FromControl } from "../wire/cluster-messages.ts";
import { HeadGroups } from "./groups.ts";

const [N1, N2, N3] = ["n1", "n2", "n3"] as unknown as readonly [NodeId, NodeId, NodeId];

/** Of a head, on nodes that commit what they are told to at once. */
function begin(state: ReturnType<typeof createMemoryState>, nodes: readonly NodeId[]) {
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
    ...{ nowMs: Date.now, wallMs: Date.now, changed() {}, news() {} },
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

test("what a group had on a node that died with the head before is placed anew, and it can be removed", async () => {
  const state = createMemoryState();
  const before = begin(state, [N1, N2]);
  const cpu = toUnits({ cpu: 1 });
  const request = { groupId: "f3", bundles: [cpu, cpu], strategy: "STRICT_SPREAD", selectors: [] };
  await before.ask("create-group", { ...request, jobId: "01", namespace: "", lifetime: "owner" });
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
