/** The engine under random events. A failing run prints its seed; `fc.assert(..., { seed })` repeats it. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { SchedulerEvent } from "./protocol.ts";
import { client, demandOf, engineWith, job, leaseId, World, workerId } from "./test-world.ts";

const resources = fc.constantFrom<Record<string, number>[]>(
  { cpu: 1 },
  { cpu: 2 },
  { cpu: 0.5 },
  {},
  { cpu: 1, gpu: 0.5 },
  { gpu: 1 },
  { cpu: 1, disk: 2 },
  { cpu: 9 },
);
const clientIds = fc.constantFrom("a", "b", "c", "p-early1", "p-w1", "p-w2").map(client);
const workerIds = fc.oneof(
  fc.constant(workerId("early1")),
  fc.integer({ min: 1, max: 8 }).map((number) => workerId(`w${number}`)),
);

const events: fc.Arbitrary<SchedulerEvent> = fc.oneof(
  fc.record({
    kind: fc.constant("client-joined" as const),
    clientId: fc.constantFrom("a", "b", "c").map(client),
    jobId: fc.constantFrom("j1", "j2").map(job),
  }),
  fc.record({ kind: fc.constant("client-left" as const), clientId: clientIds }),
  fc.record({
    kind: fc.constant("demand-changed" as const),
    clientId: clientIds,
    shape: fc.integer({ min: 1, max: 3 }),
    demand: fc.record({ of: resources, priority: fc.constantFrom(0, 0, 5) }).map((d) => demandOf(d.of, d)),
    wanted: fc.integer({ min: 0, max: 4 }),
  }),
  fc.record({
    kind: fc.constant("lease-returned" as const),
    clientId: clientIds,
    leaseId: fc.integer({ min: 1, max: 30 }).map(leaseId),
    retire: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant("lease-idle" as const),
    workerId: workerIds,
    leaseId: fc.integer({ min: 1, max: 30 }).map(leaseId),
    idle: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant("lease-ended" as const),
    workerId: workerIds,
    leaseId: fc.integer({ min: 1, max: 30 }).map(leaseId),
  }),
  fc.constant({ kind: "workers-started" as const, workerIds: [workerId("early1")] }),
  workerIds.map((id) => ({ kind: "worker-ready" as const, workerId: id, clientId: client(`p-${id}`) })),
  fc.record({ kind: fc.constant("worker-died" as const), workerId: workerIds, detail: fc.constant("died") }),
  fc.record({ kind: fc.constant("worker-blocked" as const), workerId: workerIds, blocked: fc.boolean() }),
  fc.record({
    kind: fc.constant("worker-requested" as const),
    requestId: fc.integer({ min: 1, max: 6 }),
    jobId: fc.constantFrom("j1", "j2").map(job),
    demand: resources.map((of) => demandOf(of)),
    worker: fc.oneof(fc.constant("fresh" as const), workerIds),
  }),
  fc.record({ kind: fc.constant("request-released" as const), requestId: fc.integer({ min: 1, max: 6 }) }),
  fc.constant({ kind: "tick" as const }),
);

const oneCpu = demandOf({ cpu: 1 });
/** Runs that were found to break something, each with the time that passes before each event. */
const FOUND_BEFORE: ReadonlyArray<ReadonlyArray<[SchedulerEvent, number]>> = [
  // A worker that hosts actors of one job was given to another.
  [
    [{ kind: "worker-ready", workerId: workerId("w1"), clientId: client("p-w1") }, 0],
    [{ kind: "worker-requested", requestId: 1, jobId: job("j2"), demand: oneCpu, worker: "fresh" }, 0],
    [{ kind: "worker-requested", requestId: 2, jobId: job("j1"), demand: oneCpu, worker: workerId("w1") }, 0],
  ],
  // A worker is ordered when others have failed for a while, in the same step in which it is said to be ready.
  [
    [{ kind: "workers-started", workerIds: [workerId("early1")] }, 0],
    [{ kind: "worker-requested", requestId: 1, jobId: job("j1"), demand: oneCpu, worker: "fresh" }, 0],
    [{ kind: "worker-died", workerId: workerId("early1"), detail: "died" }, 0],
    [{ kind: "worker-ready", workerId: workerId("w3"), clientId: client("p-w3") }, 100],
  ],
];

describe("random events", () => {
  test("never over-grant except by going on after a wait, never share a worker, and the same event twice changes nothing", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(events, fc.integer({ min: 0, max: 400 })), { maxLength: 120 }), (steps) => {
        const engine = engineWith({ cpu: 3, gpu: 2, disk: 3 }, { infeasibleTimeoutMs: 1_000 });
        let now = 0;
        const before = () => engine.pool.available().cpu ?? 0;
        for (const [event, elapsed] of steps) {
          now += elapsed;
          const cpuBefore = before();
          const commands = engine.step(event, now);
          const { tables, pool } = engine;

          // What is held and what is free add up to what there is.
          const held: Record<string, number> = {};
          const holders = new Set<string>();
          const holdings = [
            ...tables.leases.values(),
            ...[...tables.requests.values()].flatMap((request) => request.holding ?? []),
          ];
          for (const holding of holdings) {
            for (const [name, units] of Object.entries(holding.allocation.units))
              held[name] = (held[name] ?? 0) + units;
            if (holding.leaseId === undefined) continue;
            expect(holders.has(holding.worker.id), "one lease a worker").toBe(false);
            holders.add(holding.worker.id);
            expect(holding.worker.requests.size).toBe(0);
          }
          const free = pool.available();
          for (const name of ["cpu", "gpu", "disk"]) {
            expect((free[name] ?? 0) + (held[name] ?? 0), name).toBe(pool.total[name]);
            if (name !== "cpu") expect(free[name]).toBeGreaterThanOrEqual(0);
          }
          // CPUs go below zero only when a task goes on.
          const wentOn = event.kind === "worker-blocked" && !event.blocked;
          if (!wentOn && (free.cpu ?? 0) < 0) expect(free.cpu).toBeGreaterThanOrEqual(Math.min(0, cpuBefore));

          // A worker serves one job.
          for (const { worker, ask } of holdings) expect(worker.job).toBe(ask.client.job);
          // Rates are what is held.
          for (const ask of tables.active) {
            expect(ask.rate).toBe([...ask.held].length * ask.cost);
            expect(ask.promised).toBe(0);
          }
          // Time does not pass between the two, so nothing else may have changed either. What refers to a worker that
          // was ordered only then says something new the second time.
          const again = engine.step(event, now);
          const isFollowed = commands.some(
            (command) =>
              command.kind === "refuse-demand" ||
              command.kind === "refuse-request" ||
              (command.kind === "start-worker" && "workerId" in event && command.workerId === event.workerId),
          );
          if (!isFollowed) expect(again, JSON.stringify(event)).toEqual([]);
        }
      }),
      { numRuns: 400, examples: FOUND_BEFORE.map((steps) => [[...steps]]) },
    );
  });

  test("every feasible demand ends, whatever its size, priority and environment", () => {
    const submissions = fc.array(
      fc.record({
        owner: fc.constantFrom("a", "b", "c").map(client),
        at: fc.integer({ min: 0, max: 3_000 }),
        of: fc.constantFrom<Record<string, number>[]>(
          { cpu: 1 },
          { cpu: 3 },
          { cpu: 0.5, disk: 2 },
          { gpu: 1 },
          { gpu: 0.5 },
          {},
        ),
        tasks: fc.integer({ min: 1, max: 40 }),
        taskMs: fc.integer({ min: 1, max: 200 }),
        env: fc.boolean(),
      }),
      { minLength: 1, maxLength: 8 },
    );
    fc.assert(
      fc.property(submissions, (list) => {
        const world = new World(engineWith({ cpu: 3, gpu: 2, disk: 3 }));
        const jobs: Record<string, string> = { a: "j1", b: "j1", c: "j2" };
        for (const [name, id] of Object.entries(jobs)) {
          world.send({ kind: "client-joined", clientId: client(name), jobId: job(id) });
        }
        const all: { readonly work: ReturnType<World["submit"]>; readonly tasks: number }[] = [];
        for (const [shape, { owner, at, of, tasks, taskMs, env }] of list.entries()) {
          const demand = demandOf(of, env ? { runtimeEnv: { env: { A: "1" } } } : {});
          world.after(at, () => all.push({ work: world.submit(owner, shape, demand, tasks, taskMs), tasks }));
        }
        world.run(200_000);
        expect(all.length).toBe(list.length);
        for (const { work, tasks } of all) expect(work.done, JSON.stringify(work)).toBe(tasks);
        expect(world.engine.pool.available()).toEqual(world.engine.pool.total);
      }),
      { numRuns: 150 },
    );
  });
});
