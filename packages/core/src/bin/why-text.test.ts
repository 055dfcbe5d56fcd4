import { expect, test } from "vitest";
import type { NodeId } from "../base/ids.ts";
import { toUnits } from "../base/resources.ts";
import { ClusterView, explainNow, Placer, Shape } from "../placement/mod.ts";
import { whyLines } from "./why-text.ts";

const UNTIL_MS = 20_000;

function viewOf(count: number): ClusterView {
  const view = new ClusterView();
  for (let index = 0; index < count; index++) {
    const nodeId = `${index}`.padStart(32, "0") as NodeId;
    const total = toUnits({ cpu: 8, ...(index % 2 === 1 && { gpu: 4 }) });
    view.apply({ kind: "node-joined", nodeId, name: `n${index}`, total, labels: { rack: `r${index % 20}` } });
    view.apply({
      kind: "node-reported",
      nodeId,
      free: toUnits({ cpu: 8, ...(index % 2 === 1 && { gpu: index % 3 }) }),
    });
  }
  return view;
}

test("few nodes are a line each, with what was said of them said once", () => {
  const view = viewOf(3);
  const placer = new Placer(view);
  const { id } = placer.decide({ shape: new Shape("train", toUnits({ gpu: 1 }), []), strategy: "default" });
  const explained = placer.explain(id) ?? { sentences: [], considered: [] };
  const considered = explained.considered.map((node) => ({ ...node, address: "10.0.0.1:6380" }));
  const explanation = { state: "running", since: UNTIL_MS - 12_300, waitsFor: [], ...explained, considered };
  expect(whyLines("5f2c81", explanation, UNTIL_MS, 90)).toEqual([
    "5f2c81: running, for 12.3 s",
    "  train wants { gpu: 1 }; it went to n1, the least utilised of those with room, at 75 %.",
    "",
    "NODE  ADDRESS        LABELS   WHY",
    "n1    10.0.0.1:6380  rack=r1  was chosen",
    "n0    10.0.0.1:6380  rack=r0  has no gpu",
    "n2    10.0.0.1:6380  rack=r2  has no gpu",
  ]);
});

test("a thousand nodes are counted by what is said of them, with the best one by one", () => {
  const view = viewOf(1_000);
  const explained = explainNow(view, { shape: new Shape("train", toUnits({ gpu: 4 }), []), strategy: "default" });
  expect(
    whyLines("train", { state: "queued", since: UNTIL_MS, waitsFor: ["a.1"], ...explained }, UNTIL_MS, 72),
  ).toEqual([
    "train: queued",
    "  train wants { gpu: 4 }; no node has room for it now, and it waits.",
    "  It waits for: a.1",
    "",
    "1,000 nodes were considered.",
    "",
    "NODES  WHY",
    "500    have too little gpu free for 4 (0 to 2 gpu free): n5, n11, n17, …",
    "500    can never offer 4 gpu (0 gpu in all): n0, n2, n4, …",
    "",
    "The best 5:",
    "NODE  LABELS    WHY",
    "n5    rack=r5   has 2 of 4 gpu free, and 4 are wanted",
    "n11   rack=r11  has 2 of 4 gpu free, and 4 are wanted",
    "n17   rack=r17  has 2 of 4 gpu free, and 4 are wanted",
    "n23   rack=r3   has 2 of 4 gpu free, and 4 are wanted",
    "n29   rack=r9   has 2 of 4 gpu free, and 4 are wanted",
  ]);
});
