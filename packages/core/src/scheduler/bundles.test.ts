import { describe, expect, test } from "vitest";
import { toUnits } from "../base/mod.ts";
import type { LeaseEngine } from "./lease-engine.ts";
import type { SchedulerCommand } from "./protocol.ts";
import { client, demandOf, engineWith, inBundle, job, leaseId, workerId } from "./test-world.ts";

const A = client("a");

function ready(engine: LeaseEngine, workers: number): void {
  for (let index = 1; index <= workers; index++) {
    const id = workerId(`early${index}`);
    engine.step({ kind: "workers-started", workerIds: [id] }, 0);
    engine.step({ kind: "worker-ready", workerId: id, clientId: client(`p-early${index}`) }, 0);
  }
  engine.step({ kind: "client-joined", clientId: A, jobId: job("j1") }, 0);
}

function prepare(
  engine: LeaseEngine,
  bundles: readonly Record<string, number>[],
  { groupId = "g", attempt = 1, commit = true, atMs = 0, isOwn = false } = {},
): SchedulerCommand[] {
  const list = bundles.map((of, index) => ({ index, units: toUnits(of) }));
  const at = { groupId, attempt, commit, ...(isOwn && { isOwn }) };
  return engine.step({ kind: "prepare-bundles", ...at, bundles: list }, atMs);
}

const ask = (
  engine: LeaseEngine,
  shape: number,
  of: Record<string, number>,
  wanted: number,
  more: Parameters<typeof demandOf>[1] = {},
): SchedulerCommand[] =>
  engine.step({ kind: "demand-changed", clientId: A, shape, demand: demandOf(of, more), wanted }, 0);

const grants = (commands: readonly SchedulerCommand[]) => commands.filter((command) => command.kind === "grant-lease");
const bundleAnswers = (commands: readonly SchedulerCommand[]) =>
  commands.filter((command) => command.kind.startsWith("bundles-"));

describe("what is free in them", () => {
  test("is told when it has changed, and all of it to control that knows nothing", () => {
    const engine = engineWith({ cpu: 4, gpu: 1 });
    ready(engine, 4);
    prepare(engine, [{ cpu: 1, gpu: 1 }, { cpu: 2 }]);
    expect(engine.bundles.use(false)).toEqual([]);
    ask(engine, 1, { cpu: 1, gpu: 0.5 }, 1, inBundle({ groupId: "g" }));
    const use = { groupId: "g", attempt: 1, free: [[0, { cpu: 0, gpu: 5_000 }, [5_000]]] };
    expect(engine.bundles.use(false)).toEqual([use]);
    expect(engine.bundles.use(false)).toEqual([]);
    expect(engine.bundles.use(true)).toEqual([use]);
    ask(engine, 1, {}, 0);
    engine.step({ kind: "lease-returned", clientId: A, leaseId: leaseId(1), retire: false }, 1);
    expect(engine.bundles.use(false)).toMatchObject([{ free: [[0, toUnits({ cpu: 1, gpu: 1 }), [10_000]]] }]);
  });
});

describe("reserving", () => {
  test("what is prepared is taken out of what is free, and usable once it is committed", () => {
    const engine = engineWith({ cpu: 4 });
    ready(engine, 4);
    expect(bundleAnswers(prepare(engine, [{ cpu: 1 }, { cpu: 2 }], { commit: false }))).toEqual([
      { kind: "bundles-prepared", groupId: "g", attempt: 1 },
    ]);
    expect(engine.pool.available()).toEqual(toUnits({ cpu: 1 }));
    expect(grants(ask(engine, 1, { cpu: 1 }, 9, inBundle({ groupId: "g", index: 1 })))).toEqual([]);
    const commands = engine.step({ kind: "commit-bundles", groupId: "g", attempt: 1 }, 1);
    expect(bundleAnswers(commands)).toEqual([{ kind: "bundles-committed", groupId: "g", attempt: 1 }]);
    expect(grants(commands)).toHaveLength(2);
    expect(engine.pool.available()).toEqual(toUnits({ cpu: 1 }));
  });

  test("one that does not fit is refused with numbers, and nothing of it is held", () => {
    const engine = engineWith({ cpu: 4 });
    ready(engine, 4);
    expect(bundleAnswers(prepare(engine, [{ cpu: 3 }, { cpu: 2 }]))).toEqual([
      { kind: "bundles-refused", groupId: "g", attempt: 1, reason: "of cpu 4 are free, not 5" },
    ]);
    expect(engine.pool.available()).toEqual(toUnits({ cpu: 4 }));
  });

  test("leases that nothing runs on are called back for it, and what they give back is for nobody else", () => {
    const engine = engineWith({ cpu: 2 });
    ready(engine, 2);
    ask(engine, 1, { cpu: 1 }, 2);
    engine.step({ kind: "lease-idle", workerId: workerId("early2"), leaseId: leaseId(2), idle: true }, 0);
    engine.step({ kind: "lease-idle", workerId: workerId("early1"), leaseId: leaseId(1), idle: true }, 0);
    const commands = prepare(engine, [{ cpu: 2 }]);
    expect(commands.filter(({ kind }) => kind === "end-lease")).toHaveLength(2);
    ask(engine, 2, { cpu: 1 }, 1);
    const first = engine.step({ kind: "lease-ended", workerId: workerId("early1"), leaseId: leaseId(1) }, 1);
    expect(grants(first)).toEqual([]);
    const last = engine.step({ kind: "lease-ended", workerId: workerId("early2"), leaseId: leaseId(2) }, 2);
    expect(bundleAnswers(last)).toEqual([{ kind: "bundles-committed", groupId: "g", attempt: 1 }]);
  });

  test("when they do not come back in time, it is refused", () => {
    const engine = engineWith({ cpu: 1 });
    ready(engine, 1);
    ask(engine, 1, { cpu: 1 }, 1);
    engine.step({ kind: "lease-idle", workerId: workerId("early1"), leaseId: leaseId(1), idle: true }, 0);
    expect(bundleAnswers(prepare(engine, [{ cpu: 1 }]))).toEqual([]);
    const dueMs = 1_000;
    expect(engine.nextTickMs(0)).toBeLessThanOrEqual(dueMs);
    expect(bundleAnswers(engine.step({ kind: "tick" }, dueMs))).toEqual([
      expect.objectContaining({ kind: "bundles-refused", reason: "of cpu 0 are free, not 1" }),
    ]);
  });

  test("a lease that works is not called back: it is refused at once", () => {
    const engine = engineWith({ cpu: 1 });
    ready(engine, 1);
    ask(engine, 1, { cpu: 1 }, 1);
    const commands = prepare(engine, [{ cpu: 1 }]);
    expect(commands.map(({ kind }) => kind)).toEqual(["bundles-refused"]);
  });

  test("what the node reserves by itself is free at once, or refused: nothing is called back for it", () => {
    const engine = engineWith({ cpu: 4, gpu: 3 });
    ready(engine, 2);
    ask(engine, 1, { gpu: 1 }, 1);
    engine.step({ kind: "lease-idle", workerId: workerId("early1"), leaseId: leaseId(1), idle: true }, 0);
    engine.step({ kind: "lease-idle", workerId: workerId("early2"), leaseId: leaseId(1), idle: true }, 0);
    const split = [{ gpu: 0.6 }, { gpu: 0.6 }, { gpu: 0.6 }];
    for (const bundles of [split, [{ gpu: 3 }], [{ cpu: 5 }]]) {
      const commands = prepare(engine, bundles, { isOwn: true });
      expect(commands.map(({ kind }) => kind)).toEqual(["bundles-refused"]);
    }
    expect(bundleAnswers(prepare(engine, split.slice(1), { isOwn: true }))).toMatchObject([
      { kind: "bundles-committed" },
    ]);
    // By control it is.
    expect(prepare(engine, [{ gpu: 1 }], { groupId: "h" }).map(({ kind }) => kind)).toContain("revoke-lease");
  });

  test("what is prepared and hears nothing says so", () => {
    const engine = engineWith({ cpu: 1 });
    prepare(engine, [{ cpu: 1 }], { commit: false });
    const atMs = engine.nextTickMs(0) ?? 0;
    const report = { kind: "bundles-reported", groupId: "g", attempt: 1, isCommitted: false };
    expect(bundleAnswers(engine.step({ kind: "tick" }, atMs))).toEqual([report]);
    expect([...engine.bundles.reserved()]).toEqual([{ groupId: "g", attempt: 1, isCommitted: false }]);
  });

  test("a node that drains reserves nothing", () => {
    const engine = engineWith({ cpu: 1 });
    engine.step({ kind: "drain-began" }, 0);
    expect(bundleAnswers(prepare(engine, [{ cpu: 1 }]))).toEqual([
      { kind: "bundles-refused", groupId: "g", attempt: 1, reason: "it is being drained" },
    ]);
  });
});

describe("running in bundles", () => {
  test("a demand has its bundle alone, and what is outside has none of it", () => {
    const engine = engineWith({ cpu: 4 });
    ready(engine, 4);
    prepare(engine, [{ cpu: 1 }, { cpu: 2 }]);
    expect(grants(ask(engine, 1, { cpu: 1 }, 9, inBundle({ groupId: "g", index: 0 })))).toHaveLength(1);
    expect(grants(ask(engine, 2, { cpu: 1 }, 9, inBundle({ groupId: "other" })))).toHaveLength(0);
    expect(grants(ask(engine, 3, { cpu: 1 }, 9))).toHaveLength(1);
    expect(grants(ask(engine, 4, { cpu: 1 }, 9, inBundle({ groupId: "g" })))).toHaveLength(2);
  });

  test("a share of a device is divided further, and it is the same device", () => {
    const engine = engineWith({ cpu: 4, gpu: 1 });
    ready(engine, 4);
    prepare(engine, [{ gpu: 0.5 }]);
    expect(grants(ask(engine, 1, { gpu: 0.25 }, 3, inBundle({ groupId: "g" })))).toEqual([
      expect.objectContaining({ gpus: ["0"] }),
      expect.objectContaining({ gpus: ["0"] }),
    ]);
    expect(grants(ask(engine, 2, { gpu: 0.5 }, 2))).toHaveLength(1);
  });

  test("a waiting task gives its CPUs back to its bundle", () => {
    const engine = engineWith({ cpu: 2 });
    ready(engine, 2);
    prepare(engine, [{ cpu: 1 }]);
    const bundle = { groupId: "g", index: 0 };
    expect(grants(ask(engine, 1, { cpu: 1 }, 1, inBundle(bundle)))).toHaveLength(1);
    expect(grants(ask(engine, 2, { cpu: 1 }, 1, inBundle(bundle)))).toHaveLength(0);
    const worker = engine.workerOf(leaseId(1)) ?? workerId("none");
    const commands = engine.step({ kind: "worker-blocked", workerId: worker, blocked: true }, 1);
    expect(grants(commands)).toEqual([expect.objectContaining({ shape: 2 })]);
    expect(engine.pool.available()).toEqual(toUnits({ cpu: 1 }));
  });

  test("what has no room in its bundle calls nothing back outside of it", () => {
    const engine = engineWith({ cpu: 2 });
    ready(engine, 2);
    prepare(engine, [{ cpu: 1 }]);
    ask(engine, 1, { cpu: 1 }, 1);
    engine.step({ kind: "lease-idle", workerId: workerId("early1"), leaseId: leaseId(1), idle: true }, 0);
    ask(engine, 2, { cpu: 1 }, 1, inBundle({ groupId: "g" }));
    const commands = ask(engine, 3, { cpu: 1 }, 1, inBundle({ groupId: "g" }));
    expect(commands.filter(({ kind }) => kind === "revoke-lease")).toEqual([]);
  });

  test("why it waits is said of its bundle", () => {
    const engine = engineWith({ cpu: 2 });
    ready(engine, 2);
    prepare(engine, [{ cpu: 1 }]);
    const bundle = { groupId: "g", index: 0 };
    ask(engine, 1, { cpu: 1 }, 2, inBundle(bundle));
    expect(engine.explain(A, 1, 5)?.sentences).toContain("In bundle 0 of placement group g on n1 0 of 1 cpu are free.");
    ask(engine, 2, { cpu: 2 }, 1, inBundle(bundle));
    expect(engine.explain(A, 2, 5)?.sentences.join()).toMatch(/no bundle of its group can ever offer that/);
  });
});

describe("giving back", () => {
  test("what runs in them is ended, and they are returned when it is gone", () => {
    const engine = engineWith({ cpu: 2 });
    ready(engine, 2);
    prepare(engine, [{ cpu: 1 }]);
    ask(engine, 1, { cpu: 1 }, 1, inBundle({ groupId: "g" }));
    const worker = engine.workerOf(leaseId(1)) ?? workerId("none");
    const back = engine.step({ kind: "return-bundles", groupId: "g", attempt: 1 }, 1);
    expect(back).toEqual([{ kind: "stop-worker", workerId: worker, reason: "group-removed" }]);
    expect(engine.pool.available()).toEqual(toUnits({ cpu: 1 }));
    const gone = engine.step({ kind: "worker-died", workerId: worker, detail: "" }, 2);
    expect(bundleAnswers(gone)).toEqual([{ kind: "bundles-returned", groupId: "g", attempt: 1 }]);
    expect(engine.pool.available()).toEqual(toUnits({ cpu: 2 }));
  });

  test("what runs in those that have moved is called back and goes on, and is ended when the group is removed", () => {
    const engine = engineWith({ cpu: 2 });
    ready(engine, 2);
    prepare(engine, [{ cpu: 1 }]);
    ask(engine, 1, { cpu: 1 }, 5, inBundle({ groupId: "g" }));
    const worker = engine.workerOf(leaseId(1)) ?? workerId("none");
    const back = { kind: "return-bundles", groupId: "g", attempt: 1 } as const;
    expect(engine.step({ ...back, moved: true }, 1)).toEqual([
      { kind: "revoke-lease", clientId: A, leaseId: leaseId(1) },
    ]);
    expect(engine.step({ ...back, moved: true }, 2)).toEqual([]);
    expect(engine.step(back, 3)).toEqual([{ kind: "stop-worker", workerId: worker, reason: "group-removed" }]);
  });

  test("those that have moved are returned when what ran there has ended, and nothing begins there", () => {
    const engine = engineWith({ cpu: 2 });
    ready(engine, 2);
    prepare(engine, [{ cpu: 1 }]);
    ask(engine, 1, { cpu: 1 }, 5, inBundle({ groupId: "g" }));
    engine.step({ kind: "return-bundles", groupId: "g", attempt: 1, moved: true }, 1);
    const ended = engine.step({ kind: "lease-returned", clientId: A, leaseId: leaseId(1), retire: false }, 2);
    expect(bundleAnswers(ended)).toEqual([{ kind: "bundles-returned", groupId: "g", attempt: 1 }]);
    expect(ended.filter(({ kind }) => kind === "grant-lease")).toEqual([]);
    expect(engine.pool.available()).toEqual(toUnits({ cpu: 2 }));
  });

  test("one that is not here is returned", () => {
    const engine = engineWith({ cpu: 2 });
    const returned = { kind: "bundles-returned", groupId: "g", attempt: 7 };
    expect(bundleAnswers(engine.step({ kind: "return-bundles", groupId: "g", attempt: 7 }, 0))).toEqual([returned]);
  });
});

describe("earmarks", () => {
  test("no lease leaves less than the earmark, what runs is called back for it, and it ends by itself", () => {
    const engine = engineWith({ cpu: 2 });
    ready(engine, 2);
    ask(engine, 1, { cpu: 1 }, 2);
    const marked = engine.step({ kind: "earmark", groupId: "g", units: toUnits({ cpu: 2 }), forMs: 100 }, 0);
    expect(marked.filter(({ kind }) => kind === "revoke-lease")).toHaveLength(2);
    const returned = engine.step({ kind: "lease-returned", clientId: A, leaseId: leaseId(1), retire: false }, 10);
    expect(grants(returned)).toEqual([]);
    expect(grants(engine.step({ kind: "tick" }, 100))).toHaveLength(1);
  });
});
