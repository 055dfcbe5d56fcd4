/**
 * What processes of the version before say, recorded from a cluster of theirs (`fixtures/version-1.jsonl`): it is still read, and
 * still means something here. README.md says how a message is changed.
 */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { BetweenNodes, FromControl, NodeJoin, NodeReport, ToControl } from "./cluster-messages.ts";
import { isHotFrame, unpack } from "./cold.ts";
import { TO_OWNER, TO_WORKER } from "./hot.ts";
import type { FromNode, ToNode } from "./messages.ts";

interface Recorded {
  readonly from: "driver" | "head" | "node" | "worker";
  readonly what: string;
  readonly frame: Buffer;
}

const file = new URL("fixtures/version-1.jsonl", import.meta.url);
const recorded = readFileSync(file, "utf8")
  .trimEnd()
  .split("\n")
  .map((line): Recorded => {
    const { frame, ...rest } = JSON.parse(line) as { from: Recorded["from"]; what: string; frame: string };
    return { ...rest, frame: Buffer.from(frame, "base64") };
  });

type Name = (ToNode | FromNode | ToControl | FromControl | BetweenNodes)["t"] | "owner-hello" | "goodbye" | "batch";

/** A message whose name is changed here has another name in the recording: this release has to read both. */
const NAMES = [
  ...["actor-create", "actor-created", "actor-exited", "actor-recorded", "actor-start", "actor-state", "actor-stop"],
  ...["actor-stopping", "actor-worker-ready", "actor-worker-wanted", "answer", "ask-control", "batch"],
  ...[
    "bundles-committed",
    "bundles-prepared",
    "bundles-returned",
    "commit-bundles",
    "prepare-bundles",
    "return-bundles",
  ],
  ...["copy-check", "copy-checked", "copy-from", "copy-held", "copy-locate", "deliver", "divide-leases", "events"],
  ...["forget-leases", "goodbye", "hello", "job-began", "known-heads", "lease-ask", "lease-begin", "lease-demand"],
  ...[
    "lease-give-back",
    "lease-granted",
    "lease-idle",
    "lease-lost",
    "lease-refused",
    "lease-return",
    "leases-divided",
  ],
  ...["node-ends", "node-join", "node-leave", "node-report", "node-welcome", "nodes-changed", "owner-hello"],
  ...["process-gone", "process-watch", "processes-gone", "query", "relay", "store-pin", "store-pinned", "store-unpin"],
  ...["watch-processes", "welcome", "worker-order"],
] as const satisfies readonly Name[];

const isCold = ({ frame }: Recorded): boolean => !isHotFrame(frame, 0);

test("every message of the version before has a reader here", () => {
  expect(recorded.length).toBeGreaterThan(90);
  const said = new Set(recorded.filter(isCold).map(({ frame }) => (unpack(frame) as { t: string }).t));
  expect([...said].sort()).toEqual([...NAMES].sort());
});

test("every hot frame of the version before is one here", () => {
  for (const { from, what, frame } of recorded.filter((one) => !isCold(one))) {
    const [number] = unpack(frame) as readonly number[];
    expect(Object.values<number>(from === "worker" ? TO_OWNER : TO_WORKER), what).toContain(number);
  }
});

test("a node of the version before joins and reports: all of what it has, each time, and no version of its own", () => {
  const of = <T>(what: string): T => unpack(recorded.find((one) => one.what === what)?.frame ?? Buffer.of()) as T;
  const { node, use } = of<NodeJoin>("node-join");
  expect(node.wireVersion).toBeUndefined();
  expect(Object.keys(node).sort()).toEqual(["address", "labels", "name", "nodeId", "objectStoreBytes", "total"]);
  expect(Object.keys(of<NodeReport>("node-report").use ?? {}).sort()).toEqual(Object.keys(use).sort());
});
