/** One node is full and work waits for it, while others have room for that work. */
import type { Detector, Finding, Observation } from "./detector.ts";
import { countText, listText, shareText } from "./words.ts";

/** Of the CPUs: a node is full, or it is hardly used. */
const FULL_SHARE = 0.9;
const IDLE_SHARE = 0.3;

export class SkewedNodes implements Detector {
  readonly kind = "skewed-nodes";
  readonly pace = "control";
  /** What can go elsewhere does so within a second; locality gives way after some. */
  readonly raiseAfterMs = 15_000;
  readonly clearAfterMs = 15_000;

  *look({ nodes, waiting }: Observation): Generator<Finding> {
    const used = nodes.flatMap((node) => {
      const { cpu: total = 0 } = node.resources;
      return node.state === "alive" && total > 0 ? [{ node, total, share: 1 - (node.available.cpu ?? 0) / total }] : [];
    });
    const full = used.filter(({ share }) => share >= FULL_SHARE);
    const idle = used.filter(({ share }) => share <= IDLE_SHARE);
    if (full.length === 0 || idle.length === 0 || full.length > idle.length) return;
    // It waits although others have room: something ties it to the nodes that are full.
    const tied = waiting.filter(
      ({ isInfeasible, resources }) =>
        !isInfeasible &&
        (resources.cpu ?? 0) > 0 &&
        idle.some(({ node }) =>
          Object.entries(resources).every(([name, amount]) => (node.available[name] ?? 0) >= amount),
        ),
    );
    if (tied.length === 0) return;
    const measured = ({ node }: (typeof used)[number]): string =>
      node.cpuPercent === null ? "" : `, its machine is busy to ${node.cpuPercent.toFixed(0)} %`;
    const fullText = full.map(
      (one) => `node ${one.node.name} has ${shareText(one.share)} of its ${one.total} CPUs in use${measured(one)}`,
    );
    const idleText = idle.map(({ node, share, total }) => `${node.name} ${shareText(share)} of ${total}`);
    const names = tied.map(({ name }) => name);
    yield {
      key: full.map(({ node }) => node.nodeId).join(),
      severity: "warning",
      message: `${listText(fullText)}, and ${listText(names)} (${countText(tied.reduce((sum, { count }) => sum + count, 0))} asked for) waits; other nodes have room for it: ${listText(idleText)}`,
      remedy:
        'let it run elsewhere: schedulingStrategy { nodeId, soft: true } or "SPREAD" instead of a fixed node, a labelSelector that more nodes match, or copies of the data that ties it there',
      subjects: [...full, ...idle].map(({ node }) => node.nodeId).concat(names),
    };
  }
}
