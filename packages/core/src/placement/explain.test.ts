import { describe, expect, test } from "vitest";
import { Placer } from "./placer.ts";
import { clusterOf, nodeId, report, shapeOf } from "./test-cluster.ts";

const n = nodeId;

describe("explanations", () => {
  test("name each node of a small cluster, as it was when it was decided", () => {
    const view = clusterOf([
      { cpu: 4 },
      { cpu: 4 },
      { cpu: 2 },
      { cpu: 4, gpu: 1 },
      { resources: { cpu: 4 }, labels: { tier: "spot" } },
      { cpu: 4 },
      { cpu: 1 },
    ]);
    report(view, "n1", { cpu: 1 });
    report(view, "n2", { cpu: 3 });
    report(view, "n3", { cpu: 0.5 });
    view.apply({ kind: "node-draining", nodeId: n("n6") });
    const placer = new Placer(view);
    const shape = shapeOf({ cpu: 1 }, { tier: "!spot" });
    const decision = placer.decide({ shape, strategy: "default", from: n("n1") });
    // What happens later does not change what was.
    report(view, "n1", { cpu: 4 });
    report(view, "n2", { cpu: 0 });
    view.apply({ kind: "node-died", nodeId: n("n3") });
    expect(placer.explain(decision.id)?.sentences).toEqual([
      "f wants { cpu: 1 } and a node with tier not spot; it went to n7, the least utilised of those with room, at 0 %, since n1, which asked, was at 75 %.",
      "n7 was chosen.",
      "n2 had room, but was 25 % utilised.",
      "n1 had room, but was 75 % utilised.",
      "n4 had room, but has GPUs, and is kept for work that wants them.",
      "n3 has 0.5 of 2 cpu free, and 1 is wanted.",
      'n5 has the label tier "spot", and not "spot" is wanted.',
      "n6 is draining and takes nothing new.",
    ]);
    expect(placer.explain(decision.id)?.considered[5]).toEqual({
      nodeId: "n5",
      name: "n5",
      labels: { tier: "spot" },
      verdict: 'has the label tier "spot", and not "spot" is wanted',
    });
  });

  test("group the nodes of a large cluster, with counts and ranges", () => {
    const view = clusterOf(
      Array.from({ length: 1_000 }, (_, index) => ({ cpu: 8, ...(index < 600 ? { gpu: 8 } : {}) })),
    );
    for (let index = 1; index <= 500; index++) report(view, `n${index}`, { cpu: 8, gpu: index % 4 });
    const placer = new Placer(view);
    const decision = placer.decide({ shape: shapeOf({ gpu: 4 }), strategy: "spread", from: n("n501") });
    const explained = placer.explain(decision.id);
    expect(explained?.sentences).toEqual([
      "f wants { gpu: 4 }; it went to n501, whose turn it was.",
      "500 nodes have too little gpu free for 4 (0 to 3 gpu free), for example n3, n7, n11.",
      "400 nodes can never offer 4 gpu (0 gpu in all), for example n601, n602, n603.",
      "99 nodes had room; their turn comes later, for example n502, n503, n504.",
      "n501 was chosen.",
    ]);
    expect(explained?.considered).toHaveLength(64);
    expect(explained?.considered[0]).toMatchObject({ name: "n501", verdict: "was chosen" });
    expect(explained?.verdicts?.map(({ count }) => count)).toEqual([500, 400, 99, 1]);
  });

  test("say why a demand waits, by what is known now", () => {
    const view = clusterOf([{ cpu: 2 }, { cpu: 1 }]);
    report(view, "n1", { cpu: 1 });
    const placer = new Placer(view);
    expect(placer.explainNow({ shape: shapeOf({ cpu: 2 }), strategy: "default" }).sentences).toEqual([
      "f wants { cpu: 2 }; no node has room for it now, and it waits.",
      "n1 has 1 of 2 cpu free, and 2 are wanted.",
      "n2 has 1 cpu in all, and 2 are wanted.",
    ]);
  });

  test("of the other reasons: arguments, the asking node, one that was named, pieces of GPUs", () => {
    const view = clusterOf([{ cpu: 4 }, { cpu: 4 }, { cpu: 4, gpu: 2 }]);
    report(view, "n3", { cpu: 4, gpu: 1 }, [0.5, 0.5]);
    const placer = new Placer(view);
    const told = (request: Parameters<Placer["decide"]>[0]) => placer.explain(placer.decide(request).id)?.sentences;
    const shape = shapeOf({ cpu: 1 });
    const locality = [
      { nodeId: n("n1"), bytes: 2 ** 20 },
      { nodeId: n("n2"), bytes: 2 ** 22 },
    ];
    expect(told({ shape, strategy: "default", locality })).toEqual([
      "f wants { cpu: 1 }; it went to n2, which has most of its arguments: 4 MiB.",
      "n2 was chosen.",
      "n1 had room, and only 1 MiB of the arguments.",
      "n3 had room, and nothing of the arguments.",
    ]);
    expect(told({ shape, strategy: "default", from: n("n2") })?.slice(0, 3)).toEqual([
      "f wants { cpu: 1 }; it went to n2, the node that asked, which was 25 % utilised, under 50 %.",
      "n2 was chosen.",
      "n1 had room; the node that asked goes first.",
    ]);
    expect(told({ shape, strategy: { nodeId: n("n2"), soft: false } })?.slice(0, 3)).toEqual([
      "f wants { cpu: 1 }; it went to n2, the node that it named.",
      "n2 was chosen.",
      "n1 is not the node that was named.",
    ]);
    expect(told({ shape: shapeOf({ gpu: 1 }), strategy: "default" })?.[1]).toBe(
      "n3 has 1 of 2 gpu free, in pieces that are too small, and 1 is wanted.",
    );
  });

  test("are forgotten in the order in which they were made, and what nodes had before that", () => {
    const view = clusterOf([{ cpu: 100 }], { journalMax: 3 });
    const placer = new Placer(view, { decisionsMax: 5 });
    const ids = Array.from({ length: 7 }, () => placer.decide({ shape: shapeOf({ cpu: 1 }), strategy: "default" }).id);
    expect(placer.explain(ids[1] ?? 0)).toBeUndefined();
    expect(placer.explain(ids[2] ?? 0)?.sentences[1]).toBe("What the other nodes had then is no longer remembered.");
    expect(placer.explain(ids[6] ?? 0)?.sentences).toEqual([
      "f wants { cpu: 1 }; it went to n1, the least utilised of those with room, at 6 %.",
      "n1 was chosen.",
    ]);
  });
});
