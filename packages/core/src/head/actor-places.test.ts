import { describe, expect, test } from "vitest";
import type { ActorId, JobId, NodeId, ProcessId, WorkerId } from "../base/ids.ts";
import { toUnits } from "../base/resources.ts";
import { ClusterView } from "../placement/mod.ts";
import { NO_ROOM_NOW } from "../wire/cluster-messages.ts";
import type { Placement, WorkerAddress } from "../wire/messages.ts";
import { ActorPlaces } from "./actor-places.ts";

const A = "a0000000" as NodeId;
const B = "b0000000" as NodeId;
const workerOn = (nodeId: NodeId, id = "w"): WorkerAddress => ({
  workerId: id as WorkerId,
  processId: `${nodeId}1` as ProcessId,
  nodeId,
  pid: 7,
  address: "",
});

function setUp(totals: Readonly<Record<string, Readonly<Record<string, number>>>>) {
  const view = new ClusterView();
  for (const [nodeId, total] of Object.entries(totals)) {
    view.apply({ kind: "node-joined", nodeId: nodeId as NodeId, name: nodeId[0] ?? "", total: toUnits(total) });
  }
  const said: unknown[][] = [];
  const s = {
    isAllowed: true,
    /** The last node that was asked is to have room. */
    expecting: false,
    /** So much may end for others at B. */
    ends: 0,
    /** CPUs that count for the quota. */
    charged: 0,
    nowMs: 1_000,
    said,
    take: () => said.splice(0),
    view,
  };
  const places = new ActorPlaces(view, {
    nowMs: () => s.nowMs,
    nodeOf: (process) => (process.startsWith("b") ? B : A),
    nodeTagged: (tag) => [A, B].find((node) => node === tag),
    ask: (node, { requestId, urgent, expectsRoom }) => {
      said.push([urgent ? "ask urgently" : "ask", node, requestId]);
      s.expecting = expectsRoom ?? false;
    },
    withdraw: (node, requestId) => said.push(["withdraw", node, requestId]),
    kill: (node, workerId, reason) => said.push(["kill", node, workerId, reason]),
    ready: (requestId, { nodeId }) => said.push(["ready", requestId, nodeId]),
    refused: (requestId, { code, message }) => said.push(["refused", requestId, code, message]),
    died: ({ workerId, lostWith }) => said.push(["died", workerId, lostWith]),
    isAllowed: () => s.isAllowed,
    leftQuota: () => {},
    mayPreempt: ({ priority }) => priority > 0,
    planPreemption: ({ planned, priority }) => {
      if (planned.has(B) || s.ends <= 0) return false;
      s.ends--;
      said.push(["ends", priority]);
      planned.set(B, [s.nowMs]);
      return true;
    },
    preemptAfterMs: () => 2_000,
    charge: (_job, { cpu = 0 }, count) => {
      s.charged += count * cpu;
    },
    whyNotAllowed: () => "The quota.",
    unitsOf: () => ({ cpu: 10_000 }),
  });
  const request = (
    requestId: number,
    resources: Readonly<Record<string, number>>,
    worker: "fresh" | WorkerId = "fresh",
    placement?: Placement,
    near?: string,
    priority = 0,
  ) =>
    places.request({
      requestId,
      jobId: "j" as JobId,
      namespace: "",
      demand: {
        key: "k",
        resources: toUnits(resources),
        priority,
        name: "Counter",
        ...(placement && { placement }),
        ...(near !== undefined && { near }),
      },
      worker,
      label: "Counter",
      retriable: false,
      creator: "b1" as ProcessId,
    });
  const ready = (node: NodeId, requestId: number, worker = workerOn(node)) =>
    places.ready(node, { t: "actor-worker-ready", requestId, worker, gpus: [] });
  const free = (nodeId: NodeId, resources: Readonly<Record<string, number>>) =>
    view.apply({ kind: "node-reported", nodeId, free: toUnits(resources) });
  return Object.assign(s, { places, request, ready, free });
}

test("an actor goes to its large arguments while there is room, if that node lives", () => {
  const s = setUp({ [A]: { cpu: 2 }, [B]: { cpu: 4 } });
  for (const id of [1, 2, 3]) s.request(id, { cpu: 1 }, "fresh", undefined, A);
  s.request(4, { cpu: 1 }, "fresh", undefined, "c0000000");
  expect(s.take()).toEqual([
    ["ask", A, 1],
    ["ask", A, 2],
    ["ask", B, 3],
    ["ask", B, 4],
  ]);
});

test("an actor goes to its creator's node while that has room, then elsewhere", () => {
  const s = setUp({ [A]: { cpu: 2 }, [B]: { cpu: 2 } });
  s.request(1, { cpu: 1 });
  s.request(2, { cpu: 2 });
  expect(s.take()).toEqual([
    ["ask", B, 1],
    ["ask", A, 2],
  ]);
});

test("what is asked for is held off the view until its node has it, also over reports", () => {
  const s = setUp({ [A]: { cpu: 1 }, [B]: { cpu: 1 } });
  s.request(1, { cpu: 1 });
  s.free(B, { cpu: 1 });
  s.request(2, { cpu: 1 });
  expect(s.take()).toEqual([
    ["ask", B, 1],
    ["ask", A, 2],
  ]);
  s.ready(B, 1);
  s.free(B, { cpu: 0 });
  expect(s.view.node(B)?.state.free.units.cpu ?? 0).toBe(0);
  expect(s.take()).toEqual([["ready", 1, B]]);
});

test("for what has waited long without room work of others ends, the higher priority first, where it goes urgently then", () => {
  const s = setUp({ [A]: { cpu: 1 }, [B]: { cpu: 1 } });
  s.free(A, {});
  s.free(B, {});
  for (const [id, priority] of [0, 1, 2].entries()) s.request(id, { cpu: 1 }, "fresh", undefined, undefined, priority);
  s.take();
  s.ends = 1;
  s.nowMs += 1_900;
  s.places.tick();
  expect(s.take()).toEqual([]);
  s.nowMs += 100;
  s.places.tick();
  expect(s.take()).toEqual([
    ["ends", 2],
    ["withdraw", B, 2],
    ["ask urgently", B, 2],
  ]);
  expect(s.places.explain(2).sentences.at(-1)).toMatch(/has a lower priority than 2 in other jobs ends for it there/);
  // Its node has lost its connection, and is asked again.
  s.places.stated(B, []);
  expect(s.take()).toContainEqual(["ask urgently", B, 2]);
  s.ends = 1;
  s.nowMs += 500;
  s.places.tick();
  expect(s.take()).toEqual([
    ["ends", 1],
    ["withdraw", B, 1],
    ["ask urgently", B, 1],
  ]);
  // What comes free elsewhere is for the higher priority first, and then nothing is urgent.
  s.free(A, { cpu: 1 });
  s.places.tick();
  expect(s.take()).toEqual([
    ["withdraw", B, 2],
    ["ask", A, 2],
  ]);
});

test("what has room nowhere waits at a node, and is moved when there is room elsewhere; a late answer counts for nothing", () => {
  const s = setUp({ [A]: { cpu: 1 }, [B]: { cpu: 1 } });
  s.free(A, { cpu: 0 });
  s.free(B, { cpu: 0 });
  s.request(1, { cpu: 1 });
  expect(s.take()).toEqual([["ask", B, 1]]);
  s.places.tick();
  expect(s.take()).toEqual([]);
  s.free(A, { cpu: 1 });
  s.places.tick();
  expect(s.take()).toEqual([
    ["withdraw", B, 1],
    ["ask", A, 1],
  ]);
  s.ready(B, 1, workerOn(B, "late"));
  expect(s.take()).toEqual([["kill", B, "late", "it is not needed any more"]]);
  s.ready(A, 1);
  expect(s.take()).toEqual([["ready", 1, A]]);
});

test("a node that turns out to have no room is left for another; what waits in a queue may go elsewhere as long as it does", () => {
  const s = setUp({ [A]: { cpu: 1 }, [B]: { cpu: 1 } });
  s.request(1, { cpu: 1 });
  const refuse = (node: NodeId) =>
    s.places.refused(node, { t: "actor-worker-refused", requestId: 1, code: NO_ROOM_NOW, message: "it is full" });
  expect([s.take(), s.expecting]).toEqual([[["ask", B, 1]], true]);
  // Others wait there, and will have what it says is free.
  refuse(B);
  expect([s.take(), s.expecting]).toEqual([
    [
      ["withdraw", B, 1],
      ["ask", A, 1],
    ],
    true,
  ]);
  refuse(A);
  // Neither has room: it waits at one of them.
  const [, [, node]] = s.take() as [unknown, [string, NodeId, number]];
  expect(s.expecting).toBe(false);
  const other = node === A ? B : A;
  // What that says to be free may be for others before it; there is none for it to be held off.
  s.free(node, { cpu: 1 });
  s.places.tick();
  expect([s.take(), s.view.node(node)?.state.free.units.cpu]).toEqual([[], 10_000]);
  s.free(other, { cpu: 1 });
  s.places.tick();
  expect(s.take()).toEqual([]);
  // Somebody else had it: that makes no new room anywhere, and there is some at the other.
  s.free(node, { cpu: 0 });
  s.places.tick();
  expect([s.take(), s.expecting]).toEqual([
    [
      ["withdraw", node, 1],
      ["ask", other, 1],
    ],
    true,
  ]);
  s.ready(other, 1);
  expect(s.take()).toEqual([["ready", 1, other]]);
});

test("what no node can take is refused after a while, unless a node joins that can", () => {
  const s = setUp({ [A]: { cpu: 1 }, [B]: { cpu: 1 } });
  s.request(1, { gpu: 1 });
  s.request(2, { disk: 1 });
  s.nowMs += 9_999;
  s.places.tick();
  expect(s.take()).toEqual([]);
  s.view.apply({ kind: "node-joined", nodeId: "c0000000" as NodeId, name: "c", total: toUnits({ gpu: 1 }) });
  s.nowMs += 1;
  s.places.tick();
  const [first, second] = s.take();
  expect(first).toEqual(["ask", "c0000000", 1]);
  expect(second).toMatchObject([
    "refused",
    2,
    "INFEASIBLE",
    expect.stringMatching(/Counter needs .*disk.*no node can ever/),
  ]);
});

test("a node that is named and unknown is refused at once", () => {
  const s = setUp({ [A]: { cpu: 1 } });
  s.request(1, { cpu: 1 }, "fresh", { strategy: { nodeId: "f".repeat(32) as NodeId, soft: false } });
  expect(s.take()).toMatchObject([["refused", 1, "NODE_NOT_FOUND", expect.stringMatching(/no such node/)]]);
});

test("a node that dies takes its workers with it, and what it was asked for is asked for elsewhere", () => {
  const s = setUp({ [A]: { cpu: 4 }, [B]: { cpu: 4 } });
  s.request(1, {});
  s.ready(B, 1);
  s.request(2, { cpu: 1 });
  s.request(3, { cpu: 1 }, "w" as WorkerId);
  s.take();
  s.view.apply({ kind: "node-died", nodeId: B });
  s.places.nodeDied(B, "b");
  expect(s.take()).toEqual([
    ["died", "w", "b"],
    ["ask", A, 2],
    ["refused", 3, "WORKER_DIED", "worker w is gone"],
  ]);
});

test("room in a shared worker is asked for at its node, and given back there", () => {
  const s = setUp({ [A]: { cpu: 4 }, [B]: { cpu: 4 } });
  s.request(1, {});
  s.ready(B, 1);
  s.request(2, { cpu: 1 }, "w" as WorkerId);
  s.ready(B, 2);
  s.places.release(2);
  s.places.kill("w" as WorkerId, "idle");
  expect(s.take()).toEqual([
    ["ask", B, 1],
    ["ready", 1, B],
    ["ask", B, 2],
    ["ready", 2, B],
    ["withdraw", B, 2],
    ["kill", B, "w", "idle"],
  ]);
});

test("room in a shared worker that its node has not is refused when another node has it; else it is waited for", () => {
  const s = setUp({ [A]: { cpu: 2 }, [B]: { cpu: 2 } });
  s.request(1, {});
  s.ready(B, 1);
  for (const id of [2, 3, 4]) s.request(id, { cpu: 1 }, "w" as WorkerId);
  expect(s.take().slice(2)).toEqual([
    ["ask", B, 2],
    ["ask", B, 3],
    ["refused", 4, "NO_ROOM_THERE", "b has no room for it"],
  ]);
  s.free(A, { cpu: 0 });
  s.request(5, { cpu: 1 }, "w" as WorkerId);
  expect(s.take()).toEqual([["ask", B, 5]]);
  s.places.tick();
  expect(s.take()).toEqual([]);
  s.free(A, { cpu: 1 });
  s.places.tick();
  expect(s.take()).toEqual([
    ["withdraw", B, 5],
    ["refused", 5, "NO_ROOM_THERE", "b has no room for it"],
  ]);
});

test("what the quota of its job does not allow waits for that, and counts from its choice until its worker's end", () => {
  const s = setUp({ [A]: { cpu: 4 }, [B]: { cpu: 4 } });
  s.isAllowed = false;
  s.request(1, { cpu: 1 });
  s.request(2, {});
  expect(s.take()).toEqual([["ask", B, 2]]);
  expect(s.places.explain(1)).toEqual({ sentences: ["The quota."], considered: [] });
  s.isAllowed = true;
  s.places.quotasChanged();
  expect(s.take()).toEqual([["ask", B, 1]]);
  expect(s.charged).toBe(10_000);
  s.ready(B, 1);
  s.places.stated(B, [
    { worker: workerOn(B), requestId: 1, actors: [{ actorId: "a" as ActorId, incarnation: 0, gpus: [] }] },
  ]);
  expect(s.charged).toBe(10_000);
  s.places.nodeDied(B, "b");
  expect(s.charged).toBe(0);
  // After a restart of control nodes say what there is.
  const again = setUp({ [A]: { cpu: 4 }, [B]: { cpu: 4 } });
  again.places.stated(B, [
    { worker: workerOn(B), requestId: 1, actors: [{ actorId: "a" as ActorId, incarnation: 0, gpus: [] }] },
  ]);
  expect(again.charged).toBe(10_000);
});

test("a node whose connection was lost is told once more which of its workers to end", () => {
  const s = setUp({ [A]: { cpu: 1 } });
  s.request(1, { cpu: 1 });
  s.ready(A, 1);
  const worker = { worker: workerOn(A), requestId: 1, actors: [{ actorId: "a" as ActorId, incarnation: 0, gpus: [] }] };
  const { workerId } = worker.worker;
  s.places.kill(workerId, "killed");
  s.take();
  s.places.stated(A, [worker]);
  expect(s.take()).toEqual([["kill", A, workerId, "killed"]]);
  const death = { workerId, pid: 7, exitCode: null, signal: "SIGKILL", stderrTail: "" };
  s.places.stated(A, [{ ...worker, death }]);
  expect(s.take()).toEqual([]);
});

describe("in a group", () => {
  /** What it has room for at each node, less what is held. */
  function groupOf(s: ReturnType<typeof setUp>, free: Record<NodeId, number>) {
    const holds = new Map<number, NodeId>();
    const held = (nodeId: NodeId): number => [...holds.values()].filter((of) => of === nodeId).length;
    let last = 0;
    s.places.groups = {
      placesFor: () => ({
        kind: "places",
        places: ([A, B] as const).map((nodeId) => ({ nodeId, slots: 1, room: (free[nodeId] ?? 0) - held(nodeId) })),
      }),
      hold: ({ nodeId }) => {
        holds.set(++last, nodeId);
        return last;
      },
      isGood: (hold) => (free[holds.get(hold) ?? A] ?? 0) >= 1,
      release: (hold) => void holds.delete(hold),
      settle: (hold) => void holds.delete(hold),
      explain: () => ({ state: "ready", since: 0, sentences: [], waitsFor: [] }),
    };
    return holds;
  }
  const inGroup: Placement = { bundle: { groupId: "g" } };

  test("each goes to where there is room, and what was held for it is let go of when it lives or is not wanted", () => {
    const s = setUp({ [A]: { cpu: 1 }, [B]: { cpu: 1 } });
    const holds = groupOf(s, { [A]: 1, [B]: 1 });
    s.request(1, { cpu: 1 }, "fresh", inGroup);
    s.request(2, { cpu: 1 }, "fresh", inGroup);
    expect(s.take()).toEqual([
      ["ask", A, 1],
      ["ask", B, 2],
    ]);
    expect(holds.size).toBe(2);
    s.ready(A, 1);
    s.places.release(2);
    expect(holds.size).toBe(0);
  });

  test("what has room nowhere waits at one of its nodes, and moves when there is room at another", () => {
    const s = setUp({ [A]: { cpu: 1 }, [B]: { cpu: 1 } });
    const free: Record<NodeId, number> = { [A]: 0, [B]: 0 };
    groupOf(s, free);
    s.request(1, { cpu: 1 }, "fresh", inGroup);
    const [[, waitsAt] = []] = s.take() as [string, NodeId, number][];
    const other = waitsAt === A ? B : A;
    s.places.groupsChanged();
    expect(s.take()).toEqual([]);
    free[other] = 1;
    s.places.groupsChanged();
    expect(s.take()).toEqual([
      ["withdraw", waitsAt, 1],
      ["ask", other, 1],
    ]);
    // Somebody else was quicker there.
    free[other] = 0;
    s.places.groupsChanged();
    expect(s.take()).toEqual([]);
    free[waitsAt as NodeId] = 1;
    s.places.groupsChanged();
    expect(s.take()).toEqual([
      ["withdraw", other, 1],
      ["ask", waitsAt, 1],
    ]);
  });
});
