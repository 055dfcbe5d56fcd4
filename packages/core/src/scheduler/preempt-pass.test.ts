/** Which leases end for what has waited long, by events and exact commands, and under random loads. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { ProcessId } from "../base/ids.ts";
import { toUnits } from "../base/resources.ts";
import type { Demand } from "../wire/messages.ts";
import type { LeaseEngine } from "./lease-engine.ts";
import type { SchedulerCommand } from "./protocol.ts";
import { client, demandOf, engineWith, job, leaseId, World, workerId } from "./test-world.ts";

const A = client("a");
const B = client("b");
const C = client("c");
const AFTER_MS = 2_000;

/** An engine with ready workers, and clients of the jobs that they are named after. */
function setUp(resources: Record<string, number> = { cpu: 1 }, workers = 6) {
  const engine = engineWith(resources);
  for (let index = 1; index <= workers; index++) {
    const id = workerId(`early${index}`);
    engine.step({ kind: "workers-started", workerIds: [id] }, 0);
    engine.step({ kind: "worker-ready", workerId: id, clientId: client(`p-early${index}`) }, 0);
  }
  for (const id of [A, B, C]) engine.step({ kind: "client-joined", clientId: id, jobId: job(`job ${id}`) }, 0);
  const ask = (
    clientId: ProcessId,
    of: Demand,
    wanted: number,
    nowMs: number,
    preemptAfterMs: number | undefined = AFTER_MS,
    shape = 1,
  ) => engine.step({ kind: "demand-changed", clientId, shape, demand: of, wanted, preemptAfterMs }, nowMs);
  return { engine, ask };
}
const of = (priority: number, resources: Record<string, number> = { cpu: 1 }): Demand =>
  demandOf(resources, { priority });
const about = (commands: readonly SchedulerCommand[], kind: SchedulerCommand["kind"]) =>
  commands.filter((command) => command.kind === kind);
const ended = (commands: readonly SchedulerCommand[]) =>
  about(commands, "preempt-lease").map((command) => command.kind === "preempt-lease" && command.leaseId);
const tick = (engine: LeaseEngine, nowMs: number) => engine.step({ kind: "tick" }, nowMs);

describe("work of lower priority of another job", () => {
  test("ends for what has waited so long without room, and what it had goes to that", () => {
    const { engine, ask } = setUp();
    ask(B, of(0), 5, 0);
    ask(A, of(1), 1, 100);
    expect(ended(tick(engine, 2_099))).toEqual([]);
    expect(about(tick(engine, 2_100), "preempt-lease")).toEqual([
      { kind: "preempt-lease", clientId: B, leaseId: 1, by: "f of job job a, whose priority is 1" },
    ]);
    expect(ended(tick(engine, 2_200))).toEqual([]);
    const commands = engine.step({ kind: "lease-returned", clientId: B, leaseId: leaseId(1), retire: true }, 2_300);
    expect(about(commands, "grant-lease")).toMatchObject([{ clientId: A }]);
  });

  test("ends for an actor of a higher priority too, once for each that is urgent", () => {
    const { engine, ask } = setUp({ cpu: 2 });
    ask(B, of(0), 2, 0);
    const request = (requestId: number, nowMs: number, preemptAfterMs?: number) =>
      engine.step(
        { kind: "worker-requested", requestId, jobId: job("job a"), demand: of(1), worker: "fresh", preemptAfterMs },
        nowMs,
      );
    expect(ended(request(1, 100))).toEqual([]);
    expect(ended(tick(engine, 10_000))).toEqual([]);
    expect(ended(request(2, 10_050, 0))).toEqual([1]);
    expect(ended(tick(engine, 10_100))).toEqual([]);
    const commands = engine.step({ kind: "lease-returned", clientId: B, leaseId: leaseId(1), retire: false }, 10_200);
    // Of equals of one job the older goes first, and then there is something to end for the other.
    expect(about(commands, "grant-request")).toMatchObject([{ requestId: 1 }]);
    expect(ended(commands)).toEqual([2]);
  });

  test.each([
    ["equal priority", of(0), AFTER_MS],
    ["a lower one", of(-1), AFTER_MS],
    ["a program that does not want it", of(1), undefined],
  ])("goes on when what waits is of %s", (_what, demand, afterMs) => {
    const { engine, ask } = setUp();
    ask(B, of(0), 1, 0);
    if (afterMs === undefined) {
      engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand, wanted: 1 }, 0);
    } else ask(A, demand, 1, 0, afterMs);
    expect(ended(tick(engine, 100_000))).toEqual([]);
  });

  test("goes on when it is of the same job, which it may have been submitted by", () => {
    const { engine, ask } = setUp();
    ask(A, of(0), 1, 0);
    ask(A, of(5), 1, 0, AFTER_MS, 2);
    expect(ended(tick(engine, 100_000))).toEqual([]);
  });

  test("goes on while it waits for others: what it keeps it could not go on without", () => {
    const { engine, ask } = setUp({ cpu: 2, gpu: 1 });
    ask(B, of(0, { cpu: 1, gpu: 1 }), 1, 0);
    const [{ worker } = { worker: undefined }] = engine.tables.leases.values();
    engine.step({ kind: "worker-blocked", workerId: worker?.id ?? workerId(""), blocked: true }, 1);
    ask(A, of(1, { gpu: 1 }), 1, 1);
    expect(ended(tick(engine, 100_000))).toEqual([]);
  });

  test("that its owner keeps goes on, and another is ended; what it keeps for a while is asked for again", () => {
    const { engine, ask } = setUp({ cpu: 2 });
    ask(B, of(0), 2, 0);
    ask(A, of(1), 1, 0);
    expect(ended(tick(engine, 2_000))).toEqual([1]);
    const kept = engine.step({ kind: "lease-kept", clientId: B, leaseId: leaseId(1), forMs: 500 }, 2_010);
    expect(ended(kept)).toEqual([2]);
    expect(ended(engine.step({ kind: "lease-kept", clientId: B, leaseId: leaseId(2) }, 2_020))).toEqual([]);
    expect(ended(tick(engine, 2_510))).toEqual([1]);
    expect(ended(tick(engine, 100_000))).toEqual([]);
  });

  test("ends by the lowest priority, then the newest, and no more of it than is needed", () => {
    const { engine, ask } = setUp({ cpu: 4 });
    ask(B, of(2), 1, 0);
    ask(C, of(0), 1, 10);
    ask(C, of(0, { cpu: 2 }), 1, 20, AFTER_MS, 2);
    ask(A, of(3, { cpu: 2 }), 1, 30);
    expect(ended(tick(engine, 2_030))).toEqual([3]);
  });
});

describe("what has had others ended", () => {
  test("gets all that they give back, also what it cannot use before the last has ended", () => {
    const { engine, ask } = setUp({ cpu: 2, gpu: 2 });
    ask(B, of(0), 2, 0);
    ask(A, of(1, { cpu: 1, gpu: 1 }), 2, 0);
    expect(ended(tick(engine, 2_000))).toEqual([1, 2]);
    // Both devices are free, and kept.
    const commands = ask(B, of(0, { gpu: 0.5 }), 1, 2_010, AFTER_MS, 2);
    expect(about(commands, "grant-lease")).toEqual([]);
  });

  test("shares with equals of other jobs, as if nothing were urgent", () => {
    const world = new World(engineWith({ cpu: 2 }));
    for (const id of [A, B, C]) world.send({ kind: "client-joined", clientId: id, jobId: job(`job ${id}`) });
    const submit = (id: ProcessId, priority: number, tasks: number) => {
      const work = world.submit(id, 1, of(priority), tasks, 50);
      const wanted = { kind: "demand-changed", clientId: id, shape: 1, wanted: tasks, preemptAfterMs: 100 } as const;
      world.send(wanted);
      return work;
    };
    const low = submit(A, 0, 10_000);
    const high = [submit(B, 1, 10_000), submit(C, 1, 10_000)];
    world.run(10_000);
    const [one = 0, other = 0] = high.map(({ done }) => done);
    expect(Math.abs(one - other)).toBeLessThan(20);
    expect(one + other).toBeGreaterThan(350);
    expect(low.done).toBeLessThan(15);
  });

  test("is not called back for them, nor for equals of those, while it has more to do", () => {
    const { engine, ask } = setUp();
    ask(B, of(0), 5, 0);
    ask(A, of(1), 3, 0);
    tick(engine, 2_000);
    engine.step({ kind: "lease-returned", clientId: B, leaseId: leaseId(1), retire: true }, 2_000);
    ask(C, of(0), 5, 2_001);
    const commands = Array.from({ length: 200 }, (_, index) => tick(engine, 2_050 + index * 50)).flat();
    expect([...about(commands, "revoke-lease"), ...ended(commands)]).toEqual([]);
    const fewer = { kind: "demand-changed", clientId: A, shape: 1, wanted: 1, preemptAfterMs: AFTER_MS } as const;
    expect(about(engine.step(fewer, 12_100), "revoke-lease")).toMatchObject([{ clientId: A }]);
  });
});

test("under random loads only what is lower and of another job ends, no more than makes room, and nothing is granted twice", () => {
  const loads = fc.array(
    fc.record({
      owner: fc.constantFrom(A, B, C),
      priority: fc.integer({ min: -1, max: 2 }),
      of: fc.constantFrom<Record<string, number>[]>({ cpu: 1 }, { cpu: 2 }, { cpu: 1, gpu: 1 }, { gpu: 0.5 }),
      wanted: fc.integer({ min: 0, max: 4 }),
      passMs: fc.integer({ min: 0, max: 2_500 }),
      answer: fc.constantFrom("ends", "ends", "keeps", "says nothing"),
    }),
    { minLength: 2, maxLength: 25 },
  );
  fc.assert(
    fc.property(loads, (steps) => {
      const { engine, ask } = setUp({ cpu: 3, gpu: 2 });
      let nowMs = 0;
      let answers = 0;
      const check = (commands: readonly SchedulerCommand[], answer: string): void => {
        const told = commands.flatMap((command) => (command.kind === "preempt-lease" ? [command] : []));
        for (const { leaseId: id } of told) {
          const lease = engine.tables.leases.get(id);
          expect(lease, "a lease that there is").toMatchObject({ isBlocked: false });
          const higher = [...engine.tables.active].filter(
            ({ isUrgent, priority, client: { job: of } }) =>
              isUrgent && lease && priority > lease.ask.priority && of !== lease.ask.client.job,
          );
          expect(higher.length, "something is urgent that is of higher priority and another job").toBeGreaterThan(0);
        }
        for (const { clientId, leaseId: id } of told) {
          expect(++answers, "it comes to an end").toBeLessThan(1_000);
          if (answer === "ends")
            check(engine.step({ kind: "lease-returned", clientId, leaseId: id, retire: true }, nowMs), answer);
          else if (answer === "keeps") check(engine.step({ kind: "lease-kept", clientId, leaseId: id }, nowMs), answer);
        }
        const used: Record<string, number> = {};
        for (const { allocation } of engine.tables.leases.values()) {
          for (const [name, units] of Object.entries(allocation.units)) used[name] = (used[name] ?? 0) + units;
        }
        for (const [name, all] of Object.entries(toUnits({ cpu: 3, gpu: 2 }))) {
          expect(engine.pool.freeOf(name) + (used[name] ?? 0), name).toBe(all);
        }
      };
      for (const [shape, { owner, priority, of: resources, wanted, passMs, answer }] of steps.entries()) {
        check(ask(owner, of(priority, resources), wanted, nowMs, AFTER_MS, shape), answer);
        // Workers that were ordered meanwhile are ready.
        for (const worker of engine.tables.workers.values()) {
          if (worker.state === "stopping")
            check(engine.step({ kind: "worker-died", workerId: worker.id, detail: "" }, nowMs), answer);
          else if (worker.state === "starting")
            check(
              engine.step({ kind: "worker-ready", workerId: worker.id, clientId: client(`p-${worker.id}`) }, nowMs),
              answer,
            );
        }
        nowMs += passMs;
        check(tick(engine, nowMs), answer);
      }
    }),
    { numRuns: 300 },
  );
});
