/** Which leases end for a placement group that control makes room for, by events and exact commands. */
import { expect, test } from "vitest";
import type { ProcessId } from "../base/ids.ts";
import { toUnits } from "../base/resources.ts";
import type { LeaseEngine } from "./lease-engine.ts";
import type { SchedulerCommand } from "./protocol.ts";
import { client, demandOf, engineWith, job, leaseId, workerId } from "./test-world.ts";

const A = client("a");
const B = client("b");

/** All CPUs are leased: to A with priority 0, then to B with priority 1. */
function full(ofA: number, ofB: number) {
  const engine = engineWith({ cpu: ofA + ofB });
  for (let index = 1; index <= ofA + ofB; index++) {
    const id = workerId(`early${index}`);
    engine.step({ kind: "workers-started", workerIds: [id] }, 0);
    engine.step({ kind: "worker-ready", workerId: id, clientId: client(`p-early${index}`) }, 0);
  }
  for (const id of [A, B]) engine.step({ kind: "client-joined", clientId: id, jobId: job(`job ${id}`) }, 0);
  const ask = (clientId: ProcessId, priority: number, wanted: number) =>
    engine.step({ kind: "demand-changed", clientId, shape: 1, demand: demandOf({ cpu: 1 }, { priority }), wanted }, 0);
  if (ofA > 0) ask(A, 0, ofA);
  if (ofB > 0) ask(B, 1, ofB);
  return engine;
}
const earmark = (engine: LeaseEngine, cpu: number, priority: number, isDecided: boolean, nowMs: number) =>
  told(
    engine.step(
      {
        ...{ kind: "earmark", groupId: "g", units: toUnits({ cpu }), forMs: 10_000 },
        ending: { job: job("job c"), priority, by: "the group", isDecided },
      },
      nowMs,
    ),
  );
const kept = (engine: LeaseEngine, id: number, forMs: number | undefined, nowMs: number, of = A) =>
  told(
    engine.step(
      { kind: "lease-kept", clientId: of, leaseId: leaseId(id), ...(forMs !== undefined && { forMs }) },
      nowMs,
    ),
  );
const told = (commands: readonly SchedulerCommand[]): string[] =>
  commands.flatMap((command) => {
    if (command.kind === "question-lease") return [`question ${command.leaseId}`];
    if (command.kind === "preempt-lease") return [`end ${command.leaseId} for ${command.by}`];
    if (command.kind === "earmark-answered") return [`can ${command.canEnd ? "" : "not "}end`];
    return command.kind === "revoke-lease" ? [`revoke ${command.leaseId}`] : [];
  });

test("owners are asked first, and nothing ends before control has decided", () => {
  const engine = full(3, 0);
  expect(earmark(engine, 2, 1, false, 10)).toEqual(["question 1", "question 2"]);
  expect(kept(engine, 1, 0, 11)).toEqual([]);
  expect(kept(engine, 2, 0, 12)).toEqual(["can end"]);
  expect(told(engine.step({ kind: "tick" }, 500))).toEqual([]);
  expect(earmark(engine, 2, 1, true, 600)).toEqual([
    "revoke 1",
    "end 1 for the group",
    "revoke 2",
    "end 2 for the group",
  ]);
  expect(told(engine.step({ kind: "tick" }, 700))).toEqual([]);
  // What comes free is the group's.
  engine.step({ kind: "demand-changed", clientId: A, shape: 1, wanted: 9 }, 700);
  for (const id of [1, 2]) {
    const returned = engine.step({ kind: "lease-returned", clientId: A, leaseId: leaseId(id), retire: false }, 800);
    expect(returned.filter(({ kind }) => kind === "grant-lease")).toEqual([]);
  }
  const bundles = [{ index: 0, units: toUnits({ cpu: 2 }) }];
  const prepared = engine.step({ kind: "prepare-bundles", groupId: "g", attempt: 1, bundles, commit: true }, 900);
  expect(prepared).toContainEqual({ kind: "bundles-committed", groupId: "g", attempt: 1 });
});

test("of what an owner keeps another is asked for, and when too little is left control hears that", () => {
  const engine = full(3, 0);
  earmark(engine, 2, 1, false, 10);
  expect(kept(engine, 1, undefined, 11)).toEqual(["question 3"]);
  expect(kept(engine, 2, 0, 12)).toEqual([]);
  expect(kept(engine, 3, 300, 13)).toEqual(["can not end"]);
  expect(engine.preemptable(14)).toEqual([[job("job a"), 0, toUnits({ cpu: 1 }), 1]]);
  // What an owner keeps for a while may end after that.
  expect(told(engine.step({ kind: "tick" }, 400))).toEqual(["can end"]);
  // Who has said no is asked again later: other tasks may run there by then.
  engine.step({ kind: "clear-earmark", groupId: "g" }, 400);
  expect(earmark(engine, 2, 1, false, 6_000)).toEqual(["question 1", "question 2"]);
});

test("nothing of an equal priority or of the group's own job is asked for, and what is free needs no end", () => {
  expect(earmark(full(0, 2), 1, 1, false, 10)).toEqual(["can not end"]);
  const own = full(2, 0);
  const ending = { job: job("job a"), priority: 1, by: "the group", isDecided: false };
  const event = { kind: "earmark", groupId: "g", units: toUnits({ cpu: 1 }), forMs: 1_000, ending } as const;
  expect(told(own.step(event, 10))).toEqual(["can not end"]);
  const engine = full(2, 1);
  expect(earmark(engine, 3, 2, false, 10)).toEqual(["question 1", "question 2", "question 3"]);
  expect(earmark(engineWith({ cpu: 2 }), 2, 0, false, 10)).toEqual(["can end"]);
});
