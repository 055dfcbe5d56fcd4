/** The engine under random events. A failing run prints its seed; `fc.assert(..., { seed })` repeats it. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { newNodeId } from "../base/ids.ts";
import { toUnits } from "../base/mod.ts";
import type { RuntimeEnv } from "../wire/messages.ts";
import type { SchedulerEvent } from "./protocol.ts";
import { client, demandOf, engineWith, inBundle, job, leaseId, World, workerId } from "./test-world.ts";

const NODE = newNodeId();
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

const groupIds = fc.constantFrom("g1", "g2");
const attempts = fc.integer({ min: 1, max: 4 });
const bundle = fc.option(
  fc.oneof(fc.record({ groupId: groupIds }), fc.record({ groupId: groupIds, index: fc.integer({ min: 0, max: 2 }) })),
  { nil: undefined },
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
    demand: fc
      .record({ of: resources, priority: fc.constantFrom(0, 0, 5), bundle })
      .map((d) => demandOf(d.of, { priority: d.priority, ...(d.bundle && inBundle(d.bundle)) })),
    wanted: fc.integer({ min: 0, max: 4 }),
  }),
  fc.record({ kind: fc.constant("demand-over" as const), clientId: clientIds, shape: fc.integer({ min: 1, max: 3 }) }),
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
    demand: fc.record({ of: resources, bundle }).map((d) => demandOf(d.of, d.bundle && inBundle(d.bundle))),
    worker: fc.oneof(fc.constant("fresh" as const), workerIds),
  }),
  fc.record({ kind: fc.constant("request-released" as const), requestId: fc.integer({ min: 1, max: 6 }) }),
  fc.constant({ kind: "tick" as const }),
  fc.record({
    kind: fc.constant("prepare-bundles" as const),
    groupId: groupIds,
    attempt: attempts,
    bundles: fc
      .array(
        fc.constantFrom<Record<string, number>[]>({ cpu: 1 }, { cpu: 1, gpu: 0.5 }, { gpu: 1 }, { cpu: 2, disk: 1 }),
        { minLength: 1, maxLength: 3 },
      )
      .map((list) => list.map((of, index) => ({ index, units: toUnits(of) }))),
    commit: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("commit-bundles" as const), groupId: groupIds, attempt: attempts }),
  fc.record({ kind: fc.constant("return-bundles" as const), groupId: groupIds, attempt: attempts }),
  fc.record({
    kind: fc.constant("earmark" as const),
    groupId: groupIds,
    units: fc.constant(toUnits({ cpu: 2 })),
    forMs: fc.constantFrom(0, 300),
  }),
  fc.record({ kind: fc.constant("clear-earmark" as const), groupId: groupIds }),
);

const prepared = (groupId: string, cpu: number): SchedulerEvent => ({
  kind: "prepare-bundles",
  groupId,
  attempt: 1,
  bundles: [{ index: 0, units: toUnits({ cpu }) }],
  commit: true,
});
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
        const before = () => new Map([...engine.bundles.pools()].map((pool) => [pool, pool.freeOf("cpu")]));
        for (const [event, elapsed] of steps) {
          now += elapsed;
          const cpuBefore = before();
          const commands = engine.step(event, now);
          const { tables, pool } = engine;

          // What is held and what is free add up to what there is, on the node and in each bundle.
          const held = new Map<object, Record<string, number>>();
          const holders = new Set<string>();
          const holdings = [
            ...tables.leases.values(),
            ...[...tables.requests.values()].flatMap((request) => request.holding ?? []),
          ];
          for (const holding of holdings) {
            const of = held.get(holding.pool) ?? {};
            held.set(holding.pool, of);
            for (const [name, units] of Object.entries(holding.allocation.units)) of[name] = (of[name] ?? 0) + units;
            expect(engine.bundles.isIn(holding.pool, holding.ask), "only from its own bundles").toBe(true);
            if (holding.leaseId === undefined) continue;
            expect(holders.has(holding.worker.id), "one lease a worker").toBe(false);
            holders.add(holding.worker.id);
            expect(holding.worker.requests.size).toBe(0);
          }
          const cpus = [...held.values()].reduce((sum, { cpu = 0 }) => sum + cpu, 0);
          expect(engine.heldCpuUnits).toBe(cpus);
          // CPUs go below zero only when a task goes on.
          const wentOn = event.kind === "worker-blocked" && !event.blocked;
          const inBundles: Record<string, number> = {};
          for (const one of engine.bundles.pools()) {
            const isNode = one === pool;
            for (const name of ["cpu", "gpu", "disk"]) {
              const all = one.total[name] ?? 0;
              const used = held.get(one)?.[name] ?? 0;
              if (!isNode) {
                inBundles[name] = (inBundles[name] ?? 0) + all;
                expect(one.freeOf(name) + used, name).toBe(all);
              }
              if (name !== "cpu") expect(one.freeOf(name)).toBeGreaterThanOrEqual(0);
            }
            const cpu = one.freeOf("cpu");
            if (!wentOn && cpu < 0) expect(cpu).toBeGreaterThanOrEqual(Math.min(0, cpuBefore.get(one) ?? 0));
          }
          for (const name of ["cpu", "gpu", "disk"]) {
            const used = (held.get(pool)?.[name] ?? 0) + (inBundles[name] ?? 0);
            expect(pool.freeOf(name) + used, name).toBe(pool.total[name]);
          }

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
              // A refused one may be tried again, and what is not here is said to be returned each time.
              command.kind === "bundles-refused" ||
              command.kind === "bundles-returned" ||
              // Whoever asks again has not heard the answer.
              command.kind === "bundles-prepared" ||
              command.kind === "bundles-committed" ||
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
        group: fc.constantFrom(undefined, undefined, "g1"),
        tasks: fc.integer({ min: 1, max: 40 }),
        taskMs: fc.integer({ min: 1, max: 200 }),
        env: fc.constantFrom<RuntimeEnv | undefined>(
          undefined,
          undefined,
          { env: { A: "1" } },
          { files: { hash: "a", bytes: 1, node: NODE } },
          { files: { hash: "b", bytes: 1, node: NODE } },
        ),
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
        world.send(prepared("g1", 1));
        for (const [shape, { owner, at, of, group, tasks, taskMs, env }] of list.entries()) {
          // In the group there is one CPU, and outside two are left.
          const cpu = Math.min(of.cpu ?? 0, group === undefined ? 2 : 1);
          const demand = demandOf(group === undefined ? { ...of, cpu } : { cpu }, {
            ...(env && { runtimeEnv: env }),
            ...(group !== undefined && inBundle({ groupId: group })),
          });
          world.after(at, () => all.push({ work: world.submit(owner, shape, demand, tasks, taskMs), tasks }));
        }
        world.run(200_000);
        expect(all.length).toBe(list.length);
        for (const { work, tasks } of all) expect(work.done, JSON.stringify(work)).toBe(tasks);
        world.send({ kind: "return-bundles", groupId: "g1", attempt: 1 });
        expect(world.engine.pool.available()).toEqual(world.engine.pool.total);
      }),
      { numRuns: 150 },
    );
  });
});
