/** Each detector: what it finds, and what looks like that and is none. */
import { describe, expect, test } from "vitest";
import { type ActorId, type NodeId, objectKey, type Seq, type WorkerId } from "../../base/ids.ts";
import { toUnits } from "../../base/resources.ts";
import { ActorBacklog } from "./actor-backlog.ts";
import { DeadlockedWaits, suspects } from "./deadlocked-waits.ts";
import { InfeasibleDemand, StarvedDemand } from "./demands.ts";
import type { FunctionSum, SiteSeen } from "./detector.ts";
import { ClosureBloat, HotCallSite, HotPuts } from "./hot-functions.ts";
import { LeakingRefs } from "./leaking-refs.ts";
import { OverloadedNodes } from "./overloaded-nodes.ts";
import { taskParty } from "./resource-waits.ts";
import { SkewedNodes } from "./skewed-nodes.ts";
import { SpillStorm, StorePressure } from "./store.ts";
import { Stragglers } from "./stragglers.ts";
import { actor, demand, group, lookOften, node, OWNER, observation, running, task } from "./test-observation.ts";

const sum = (name: string, ended: number, runMs = ended, kind: FunctionSum["kind"] = "task"): FunctionSum => ({
  ...{ name, kind, ended, finished: ended, runMs },
});
const partyOf = (seq: number): string => taskParty(objectKey(OWNER, seq as Seq));
const MIB = 2 ** 20;

describe("deadlocked waits", () => {
  const full = [node("a", { available: { cpu: 0 } })];
  const actors = [actor("r1", { className: "Report", resources: { cpu: 1 } }), actor("r2", { resources: { cpu: 1 } })];
  const inner = [task(1), task(2)];
  const of = (some: Parameters<typeof observation>[1]) => [
    ...new DeadlockedWaits().look(
      observation(0, { nodes: full, waiting: [demand()], live: { tasks: inner }, ...some }),
    ),
  ];

  test("are those of actors that have all CPUs and wait for tasks that want one, also in several steps", () => {
    const seen = {
      actors,
      waits: new Map([
        ["actor:r1", ["actor:r2"]],
        ["actor:r2", [partyOf(1)]],
      ]),
    };
    const [finding] = of(seen);
    expect(finding?.message).toMatch(
      /^deadlock: task f \(2 asked for\) waits for 1 cpu, and all 2 .* Report \(r1\) has 1/,
    );
    expect(finding?.subjects).toEqual(expect.arrayContaining(["r1", "r2", "f"]));
    expect([...suspects(observation(0, { nodes: full, waiting: [demand()], ...seen }))]).toEqual([
      "actor:r1",
      "actor:r2",
    ]);
  });

  test("are none while one of them works, when some of it is free, or when others may have it", () => {
    const waits = new Map([["actor:r1", [partyOf(1)]]]);
    expect(of({ actors, waits })).toEqual([]);
    const both = new Map([...waits, ["actor:r2", [partyOf(2)]] as const]);
    expect(of({ actors, waits: both })).toHaveLength(1);
    expect(of({ actors, waits: both, nodes: [node("a", { available: { cpu: 1 } })] })).toEqual([]);
    // A third CPU is somebody's of whom nothing is known.
    expect(of({ actors, waits: both, nodes: [node("a", { resources: { cpu: 3 }, available: { cpu: 0 } })] })).toEqual(
      [],
    );
    // What they wait for has begun.
    expect(of({ actors, waits: both, live: { tasks: [running(1), running(2)] } })).toEqual([]);
  });

  test("are those of tasks that keep a resource while they wait, and none of tasks that give their CPUs back", () => {
    const outer = running(9, { name: "outer", resources: toUnits({ cpu: 1, licence: 1 }) });
    const waits = new Map([[partyOf(9), [partyOf(1)]]]);
    const live = { tasks: [outer, ...inner] };
    const nodes = [node("a", { resources: { cpu: 2, licence: 1 }, available: { cpu: 1, licence: 0 } })];
    const waiting = [demand({ resources: { cpu: 1, licence: 1 } })];
    expect(of({ live, waits, nodes, waiting })[0]?.message).toContain("waits for 1 licence, and all 1 ");
    expect(of({ live, waits, nodes: [node("a", { resources: { cpu: 1 }, available: { cpu: 0 } })] })).toEqual([]);
  });
});

describe("deadlocks through placement groups", () => {
  const full = [node("a", { resources: { cpu: 4 }, available: { cpu: 0 } })];
  const groups = [group("g1", 2, "a"), group("g2", 2, "a"), group("h1", 2, null), group("h2", 2, null)];
  const actors = ["1", "2"].map((n) =>
    actor(`r${n}`, { className: "Training", placementGroupId: `g${n}`, resources: { cpu: 1 } }),
  );
  const waits = new Map([
    ["actor:r1", ["group:h1"]],
    ["actor:r2", ["group:h2"]],
  ]);
  const of = (some: Parameters<typeof observation>[1]) => [
    ...new DeadlockedWaits().look(observation(0, { nodes: full, groups, actors, waits, ...some })),
  ];

  test("are those of groups whose work waits for groups that need what they have, each for another", () => {
    const findings = of({});
    expect(findings.map(({ message }) => message)).toEqual([
      "deadlock: placement group (h1) waits for 2 cpu, and all 4 that there are belong to what waits for it and for placement group (h2), which waits likewise: placement group (g1) has 2 for actor Training (r1) and placement group (g2) has 2 for actor Training (r2). None of them will ever end",
      expect.stringMatching(/^deadlock: placement group \(h2\) waits for 2 cpu/),
    ]);
    expect(findings[0]?.subjects).toEqual(["h1", "g1", "g2", "r1", "r2", "h2"]);
    expect(findings[0]?.remedy).toMatch(/one placementGroup/);
    expect([...suspects(observation(0, { nodes: full, groups, actors }))]).toEqual(["actor:r1", "actor:r2"]);
  });

  test("are none while something that runs in a group works, nothing runs in it, or there is room for one of them", () => {
    expect(of({ waits: new Map([["actor:r1", ["group:h1"]]]) })).toEqual([]);
    expect(of({ actors: actors.slice(0, 1) })).toEqual([]);
    expect(of({ actors: [...actors, actor("r3", { placementGroupId: "g2" })] })).toEqual([]);
    const six = [node("a", { resources: { cpu: 6 }, available: { cpu: 2 } })];
    expect(of({ nodes: six })).toEqual([]);
    expect(of({ nodes: [...full, node("b", { available: { cpu: 0 } })] })).toEqual([]);
    // It waits for something else than room, and what it cannot have is told otherwise.
    expect(of({ groups: groups.with(3, group("h2", 2, null, { state: "infeasible" })) })).toEqual([]);
  });

  test("are those of groups that have lost a node, and wait for each other's room with what they have left", () => {
    const half = (id: string, nodeId: string): ReturnType<typeof group> =>
      group(id, 2, nodeId, {
        state: "rescheduling",
        bundles: [nodeId, null].map((on, index) => ({ index, nodeId: on, resources: { cpu: 2 } })),
      });
    const nodes = ["a", "b"].map((id) => node(id, { available: { cpu: 0 } }));
    const both = { nodes, groups: [half("g1", "a"), half("g2", "b")], actors: [], waits: new Map() };
    expect(of(both).map(({ subjects }) => subjects)).toEqual([
      ["g1", "g2"],
      ["g2", "g1"],
    ]);
    const works = actor("r1", { placementGroupId: "g1", resources: { cpu: 1 } });
    expect(of({ ...both, actors: [works] })).toEqual([]);
  });

  test("are those of work that waits for a bundle which what waits for that work has", () => {
    const inner = { live: { tasks: [task(1)] }, waiting: [demand({ groupId: "g1" })], groups: [group("g1", 1, "a")] };
    const stuck = new Map([["actor:r1", [partyOf(1)]]]);
    const free = [node("a", { resources: { cpu: 4 }, available: { cpu: 3 } })];
    expect(of({ ...inner, nodes: free, waits: stuck })[0]?.message).toMatch(
      /^deadlock: task f \(1 asked for\) waits for 1 cpu in placement group \(g1\), and all 1 .*: actor Training \(r1\) has 1/,
    );
    expect(of({ ...inner, nodes: free, waits: stuck, groups: [group("g1", 2, "a")] })).toEqual([]);
  });

  test("are those of tasks of two kinds that wait for each other's resources", () => {
    const seen = {
      ...{ groups: [], nodes: [node("a", { available: { cpu: 0 } })] },
      actors: actors.map((one) => ({ ...one, placementGroupId: null })),
      live: { tasks: [task(1), task(2, { name: "g" })] },
      waits: new Map([
        ["actor:r1", [partyOf(1)]],
        ["actor:r2", [partyOf(2)]],
      ]),
    };
    expect(of({ ...seen, waiting: [demand(), demand({ name: "g" })] })).toHaveLength(2);
    // What is asked for under the same name may be served.
    expect(of({ ...seen, waiting: [demand(), demand({ name: "g" }), demand({ resources: {}, wish: "{}" })] })).toEqual(
      [],
    );
  });
});

describe("actor backlog", () => {
  const look = (calls: (look: number) => number, perLook: number, others = 0) =>
    lookOften(new ActorBacklog(), 6, 5_000, (at) => ({
      actors: [actor("c1"), ...Array.from({ length: others }, (_, n) => actor(`o${n}`))],
      functions: [sum("Counter.add", at * perLook, 0, "actor-call")],
      live: { backlogs: new Map([["c1" as ActorId, calls(at)]]) },
    }));

  test("is one that does not fall and takes seconds, told with how fast it is worked off", () => {
    expect(look((at) => 5_000 + 1_000 * at, 1_000)[0]?.message).toBe(
      "actor Counter (c1) has 10,000 calls that have not begun, and it ends 200 a second: the last one waits 50 s",
    );
    expect(look(() => 5_000, 0)[0]?.message).toMatch(/ends 0.0 a second: the last one waits for ever$/);
    expect(look(() => 5_000, 1_000, 4)[0]?.message).toMatch(/the 5 actors of its class end 200 a second/);
  });

  test("is none while it falls, is short, or is worked off at once", () => {
    expect(look((at) => 10_000 - 1_000 * at, 1_000)).toEqual([]);
    expect(look(() => 900, 10)).toEqual([]);
    expect(look(() => 5_000, 50_000)).toEqual([]);
  });
});

describe("demands", () => {
  test("are infeasible when no node can ever take them, and it is told what the best has", () => {
    const waiting = [demand({ isInfeasible: true, resources: { gpu: 1 }, wish: "{ gpu: 1 }" }), demand({ name: "g" })];
    const findings = [...new InfeasibleDemand().look(observation(0, { waiting, live: { tasks: [task(1)] } }))];
    expect(findings).toMatchObject([
      {
        severity: "error",
        message: "task f wants { gpu: 1 }, and no node can ever give that: the most that one of 1 has is 0 gpu",
      },
    ]);
    expect(findings[0]?.subjects[1]).toMatch(/^[0-9a-f]{48}$/);
  });

  test("are not called infeasible while nodes join, but for a minute of that", () => {
    const waiting = [demand({ isInfeasible: true, resources: { gpu: 1 } })];
    const detector = new InfeasibleDemand();
    const look = (second: number, ...names: string[]) =>
      [...detector.look(observation(second * 1_000, { waiting, nodes: names.map((name) => node(name)) }))].length;
    expect([look(0, "a"), look(1, "a", "b"), look(15, "a", "b"), look(16, "a", "b")]).toEqual([1, 0, 0, 1]);
    expect([look(20, "a", "c"), look(34, "a", "c"), look(59, "a", "d"), look(60, "a", "d")]).toEqual([0, 0, 0, 1]);
  });

  const starved = (own: (look: number) => number, others: number, tasks = [task(1)]) =>
    lookOften(new StarvedDemand(), 8, 5_000, (at) => ({
      waiting: [demand()],
      functions: [sum("f", own(at)), sum("g", at * others)],
      live: { tasks },
    }));

  test("starve when none has run for long while others did", () => {
    expect(starved(() => 3, 20)[0]?.message).toMatch(
      /^task f wants .* has run for 35 s, while 140 other tasks have ended/,
    );
  });

  test("do not starve while some of them run or end, or while nothing else does", () => {
    expect(starved((at) => at, 20)).toEqual([]);
    expect(starved(() => 3, 20, [running(1)])).toEqual([]);
    expect(starved(() => 3, 0)).toEqual([]);
  });

  test("do not starve for what an owner may run that does not answer, within a minute", () => {
    const silent = (looks: number) =>
      lookOften(new StarvedDemand(), looks, 5_000, (at) => ({
        waiting: [demand()],
        functions: [sum("f", 3), sum("g", at * 20)],
        live: { tasks: at === 0 ? [running(1)] : [], isWhole: at === 0 },
      }));
    expect(silent(12)).toEqual([]);
    expect(silent(20)[0]?.message).toMatch(/^task f wants .* has run for 35 s/);
  });
});

test("nodes are skewed when work waits for full ones that others have room for", () => {
  const full = node("a", { available: { cpu: 0 } });
  const look = (nodes: readonly ReturnType<typeof node>[], waiting = [demand({ count: 7 })]) => [
    ...new SkewedNodes().look(observation(0, { nodes, waiting })),
  ];
  expect(look([full, node("b")])[0]?.message).toBe(
    "node a has 100 % of its 2 CPUs in use, and f (7 asked for) waits; other nodes have room for it: b 0 % of 2",
  );
  expect(look([full])).toEqual([]);
  expect(look([full, node("b", { available: { cpu: 0 } })])).toEqual([]);
  expect(look([full, node("b")], [])).toEqual([]);
  expect(look([full, node("b")], [demand({ resources: { cpu: 4 } })])).toEqual([]);
});

describe("overloaded nodes", () => {
  const seen = (cpuPercent: number, runnableWorkers: number) => ({ cpuPercent, cores: 4, runnableWorkers });
  const look = (
    machines: Readonly<Record<string, (look: number) => ReturnType<typeof seen>>>,
    addresses: string[] = [],
  ) =>
    lookOften(new OverloadedNodes(), 12, 1_000, (at) => ({
      nodes: Object.keys(machines).map((id, n) =>
        node(id, { resources: { cpu: 4 }, available: { cpu: 3.2 }, address: addresses[n] ?? `10.0.0.${n}:20001` }),
      ),
      machines: new Map(Object.entries(machines).map(([id, of]) => [id, of(at)])),
      live: { tasks: [1, 2, 3].map((n) => running(n, { name: n < 3 ? "f" : "g" })) },
    }));

  test("are those on which more wants to compute than there are cores, while others hardly do anything", () => {
    const findings = look({ a: (at) => seen(99, at % 2 === 0 ? 10 : 6), b: () => seen(5, 1) });
    expect(findings.map(({ message }) => message)).toEqual([
      "on node a 7.8 processes want to compute (2 × f and 1 × g), its machine has 4 cores and is busy to 99 %, and by what was asked for 0.8 of its 4 CPUs are in use; others have hardly anything to do: b 1.0 of 4",
    ]);
    expect(findings[0]?.subjects).toEqual(["a", "b", "f", "g"]);
  });

  test("are none that are used to the full, for a moment only, or while the others' machines are busy with something else", () => {
    const idle = () => seen(5, 0);
    expect(look({ a: () => seen(100, 5), b: idle })).toEqual([]);
    expect(look({ a: (at) => (at > 8 ? seen(100, 12) : seen(20, 1)), b: idle })).toEqual([]);
    expect(look({ a: () => seen(100, 12), b: () => seen(95, 0) })).toEqual([]);
    expect(look({ a: () => seen(100, 12), b: () => seen(60, 3) })).toEqual([]);
    expect(look({ a: () => seen(100, 12), b: () => seen(100, 12), c: idle })).toEqual([]);
    expect(look({ a: () => seen(100, 12) })).toEqual([]);
    // Of nodes on one machine only their own processes tell them apart.
    const here = ["127.0.0.1:1", "127.0.0.2:1"];
    expect(look({ a: () => seen(100, 12), b: () => seen(100, 0) }, here)).toHaveLength(1);
  });
});

test("a straggler runs far longer than most of its function did; what is behind it in its worker is none", () => {
  const row = (finished: number, p95RunMs: number) => () => [
    { name: "f", kind: "task" as const, counts: { finished }, meanRunMs: 1, p95RunMs },
  ];
  const tasks = [running(1), running(2, { worker: ["w1" as WorkerId, "a" as NodeId, 1], sentAtMs: 1 })];
  const look = (runTimes: ReturnType<typeof row>, atMs = 60_000) => [
    ...new Stragglers().look(observation(atMs, { live: { tasks }, runTimes })),
  ];
  const [finding, ...others] = look(row(100, 1_000));
  expect(others).toEqual([]);
  expect(finding?.message).toMatch(/runs for 60 s in process 1; 95 of 100 of the 100 before it took less than 1.0 s$/);
  expect(look(row(19, 1_000))).toEqual([]);
  expect(look(row(100, 20_000))).toEqual([]);
  expect(look(row(100, 1), 9_000)).toEqual([]);
});

test("a straggler has run for as long as this machine has seen it, whatever the clock of its owner's says", () => {
  const runTimes = () => [{ name: "f", kind: "task" as const, counts: { finished: 100 }, meanRunMs: 1, p95RunMs: 1 }];
  const detector = new Stragglers();
  const look = (second: number, ...tasks: ReturnType<typeof running>[]) =>
    [...detector.look(observation(100_000 + second * 1_000, { live: { tasks }, runTimes }))].map(
      ({ message }) => /runs for (.*?) in/.exec(message)?.[1],
    );
  expect(look(0)).toEqual([]);
  // Sent a minute ago, it says.
  const task = running(1, { sentAtMs: 40_000 });
  expect(look(5, task)).toEqual([]);
  expect(look(10, task)).toEqual([]);
  expect(look(15)).toEqual([]);
  expect(look(20, task)).toEqual(["20 s"]);
  expect(look(20, running(1, { sentAtMs: 40_000, attempt: 1 }))).toEqual([]);
});

test("rates are known, and compare, on a busy machine too, where looks are far apart; but not over a pause", () => {
  const look = (everySeconds: number, timesPerSecond: number) =>
    lookOften(new ClosureBloat(), 4, everySeconds * 1_000, (at) => {
      const times = at * everySeconds * timesPerSecond;
      return { packed: new Map([["f", { times, bytes: times * 2 * MIB }]]) };
    });
  expect(look(25, 3)).toHaveLength(1);
  expect(look(25, 1)).toEqual([]);
  expect(look(50, 3)).toEqual([]);
});

describe("leaking refs", () => {
  const look = (objects: (look: number) => number, sizeBytes = MIB) =>
    lookOften(new LeakingRefs(), 8, 10_000, (at) => {
      const site = { callSite: "app.ts:1", spilledBytes: 0, holders: 0, freedBytes: 0, ownerPids: [7] };
      return { sites: [{ ...site, objects: objects(at), sizeBytes: objects(at) * sizeBytes } satisfies SiteSeen] };
    });

  test("are objects of one place that only become more, told with how fast", () => {
    expect(look((at) => 100 + 60 * at)[0]?.message).toBe(
      "objects made at app.ts:1, owned by process 7 have grown from 160 to 520 (160 MiB to 520 MiB) in 60 s and were never fewer: 6.0 more a second",
    );
  });

  test("are none of those that fell once, rest, are few or small, or were many before", () => {
    expect(look((at) => (at === 4 ? 50 : 100 + 60 * at))).toEqual([]);
    expect(look((at) => Math.min(300, 100 + 60 * at))).toEqual([]);
    expect(look((at) => 5 + at)).toEqual([]);
    expect(look((at) => 100 + 60 * at, 1_024)).toEqual([]);
    expect(look((at) => 10_000 + 60 * at)).toEqual([]);
  });
});

describe("the store", () => {
  const NO_SITE = { objects: 0, sizeBytes: 0, spilledBytes: 0, holders: 0, freedBytes: 0, ownerPids: [] };
  const sites: readonly SiteSeen[] = [
    { ...NO_SITE, callSite: "app.ts:1", objects: 3, sizeBytes: 40 * MIB },
    { ...NO_SITE, callSite: "app.ts:2", freedBytes: 50 * MIB },
    { ...NO_SITE, callSite: "app.ts:3", objects: 1, sizeBytes: MIB, freedBytes: MIB },
    { ...NO_SITE, callSite: "app.ts:4", spilledBytes: MIB },
  ];

  test("is under pressure when it is nearly full, told with what is in it", () => {
    const look = (used: number) => [
      ...new StorePressure().look(observation(0, { nodes: [node("a", { storeUsedBytes: used * MIB })], sites })),
    ];
    expect(look(120)[0]?.message).toMatch(
      /^the object store of node a is full to 94 % \(120 MiB of 128 MiB\), .*; most of what is stored was made at /,
    );
    expect(look(120)[0]?.message).toContain(
      "app.ts:2 (50 MiB without a ref, which are only read), app.ts:1 (40 MiB in 3) and app.ts:3 (1.0 MiB in 1, 1.0 MiB without a ref, which are only read)",
    );
    expect(look(120)[0]?.subjects).toEqual(["a", "app.ts:2", "app.ts:1", "app.ts:3"]);
    expect(look(110)).toEqual([]);
  });

  test("has a storm when it writes and reads its own size in ten seconds, and none when it writes once", () => {
    const look = (spilled: number, restored: number) =>
      lookOften(new SpillStorm(), 12, 1_000, (at) => ({
        diskTraffic: new Map([["a", { spilledBytes: at * spilled * MIB, restoredBytes: at * restored * MIB }]]),
        sites,
      }));
    expect(look(10, 10)[0]?.message).toMatch(/written 10 MiB a second to disk and read 10 MiB a second back for 10 s/);
    expect(look(2, 2)).toEqual([]);
    expect(look(20, 0)).toEqual([]);
  });
});

test("a hot call site is one of very many tiny tasks", () => {
  const look = (perSecond: number, meanMs: number, kind?: FunctionSum["kind"]) =>
    lookOften(new HotCallSite(), 4, 5_000, (at) => ({
      functions: [sum("f", at * 5 * perSecond, at * 5 * perSecond * meanMs, kind)],
    }));
  expect(look(10_000, 0.005)[0]?.message).toBe(
    "task f ends 10,000 times a second and runs 5 µs each time: sending one costs more than running it",
  );
  expect(look(10_000, 0.005, "actor-creation")[0]?.remedy).toMatch(/^make fewer actors/);
  expect(look(10_000, 0.5)).toEqual([]);
  expect(look(1_000, 0.005)).toEqual([]);
});

test("a hot call site is one that puts very many small values", () => {
  const look = (perSecond: number, bytes: number) =>
    lookOften(new HotPuts(), 4, 5_000, (at) => ({
      puts: new Map([["app.ts:3", { times: at * 5 * perSecond, bytes: at * 5 * perSecond * bytes }]]),
    }));
  expect(look(9_000, 24)[0]?.message).toBe(
    "put() at app.ts:3 is called 9,000 times a second with 24 bytes each: a ref costs more than such a value",
  );
  expect(look(9_000, 4_000)).toEqual([]);
  expect(look(1_000, 24)).toEqual([]);
});

test("closures are bloated when they are packed often with much in them", () => {
  const look = (perLook: number, bytes: number) =>
    lookOften(new ClosureBloat(), 4, 5_000, (at) => ({
      packed: new Map([["f", { times: at * perLook, bytes: at * perLook * bytes }]]),
    }));
  expect(look(20, 2 * MIB)[0]?.message).toMatch(/^function f was packed anew 40 times in 10 s, each time with 2.0 MiB/);
  expect(look(5, 2 * MIB)).toEqual([]);
  expect(look(20, 100_000)).toEqual([]);
});
