/** Leases that control divides and groups that it places, on one view and on nodes that do as they are told. Virtual time. */
import fc from "fast-check";
import { expect, test } from "vitest";
import type { JobId, NodeId } from "../base/ids.ts";
import { type ResourceUnits, toUnits } from "../base/resources.ts";
import { type GangStrategy, type GroupCommand, GroupEngine, type GroupEvent, Placer, Shape } from "../placement/mod.ts";
import { LeaseDivisions } from "./lease-divisions.ts";

const STEP_MS = 50;
const TASK_MS_MAX = 700;
const EARMARK_AFTER_MS = 1_000;
/** The first earmark begins, what runs ends, and words are heard. */
const READY_WITHIN_MS = EARMARK_AFTER_MS + TASK_MS_MAX + 6 * STEP_MS;

interface Lease {
  readonly key: string;
  endsMs: number;
}

/** Nodes of so many CPUs each, and owners that could use more leases of one CPU than there are. */
class World {
  nowMs = 0;
  readyMs: number | undefined;
  readonly divisions: LeaseDivisions;
  private readonly groups: GroupEngine;
  private readonly cpus: ReadonlyMap<NodeId, number>;
  private readonly owners: readonly { readonly key: string; readonly node: NodeId; readonly wanted: number }[];
  private readonly asked = new Map<string, ReadonlyMap<NodeId, number>>();
  private readonly leases = new Map<NodeId, Lease[]>();
  private readonly earmarks = new Map<NodeId, { readonly cpus: number; readonly untilMs: number }>();
  private readonly reserved = new Map<NodeId, number>();
  private readonly answers: GroupEvent[] = [];
  private readonly taskMs: () => number;

  constructor(
    cpus: readonly number[],
    owners: readonly { readonly at: number; readonly more: number }[],
    seed: number,
  ) {
    let state = seed;
    this.taskMs = () => {
      state = (state * 48_271) % 2_147_483_647;
      return 100 + (state % (TASK_MS_MAX - 99));
    };
    this.divisions = new LeaseDivisions(
      (_to, { key, at }) => void this.asked.set(key, new Map(at)),
      () => this.nowMs,
    );
    this.cpus = new Map(cpus.map((count, at) => [nodeOf(at), count]));
    for (const [nodeId, count] of this.cpus) {
      this.divisions.view.apply({
        kind: "node-joined",
        nodeId,
        name: nodeId.slice(0, 2),
        total: toUnits({ cpu: count }),
      });
      this.leases.set(nodeId, []);
    }
    const all = cpus.reduce((a, b) => a + b);
    this.owners = owners.map(({ at, more }, index) => ({
      key: `owner ${index}`,
      node: nodeOf(at % cpus.length),
      wanted: all + more,
    }));
    const options = { infeasibleTimeoutMs: 1_000, firstAttempt: 1, earmarkAfterMs: EARMARK_AFTER_MS };
    this.groups = new GroupEngine(this.divisions.view, options);
    for (const { key, node, wanted } of this.owners) {
      const demand = { key, name: "small", resources: toUnits({ cpu: 1 }), priority: 0 };
      this.divisions.divide(node, { t: "divide-leases", key, wanted, granted: [], demand, job: "job1" as JobId });
    }
  }

  create(bundles: readonly ResourceUnits[], strategy: GangStrategy): void {
    const spec = { groupId: "g", priority: 0, jobId: "job2" as JobId, namespace: "", lifetime: "owner" as const };
    const selectors: readonly [] = [];
    this.feed({
      kind: "group-created",
      spec: { ...spec, strategy, bundles: bundles.map((units) => ({ units, selectors })) },
    });
  }

  feed(event: GroupEvent): void {
    for (const command of this.groups.step(event, this.nowMs)) this.obey(command);
  }

  step(): void {
    this.nowMs += STEP_MS;
    for (const answer of this.answers.splice(0)) this.feed(answer);
    for (const node of this.cpus.keys()) this.run(node);
    this.feed({ kind: "tick" });
    this.divisions.tick();
  }

  free(node: NodeId): number {
    return (this.cpus.get(node) ?? 0) - (this.leases.get(node)?.length ?? 0) - (this.reserved.get(node) ?? 0);
  }

  private obey(command: GroupCommand): void {
    if (command.kind === "group-ready") this.readyMs = this.nowMs;
    if (!("nodeId" in command)) return;
    const { nodeId } = command;
    if (command.kind === "earmark") {
      const cpus = (command.units.cpu ?? 0) / 10_000;
      this.earmarks.set(nodeId, { cpus, untilMs: this.nowMs + command.forMs });
      return;
    }
    if (command.kind === "clear-earmark") {
      this.earmarks.delete(nodeId);
      return;
    }
    const { groupId, attempt } = command;
    const at = { groupId, attempt, nodeId };
    if (command.kind === "commit-bundles") this.answers.push({ kind: "bundles-committed", ...at });
    if (command.kind === "return-bundles") {
      this.reserved.delete(nodeId);
      this.answers.push({ kind: "bundles-returned", ...at });
    }
    if (command.kind !== "prepare-bundles") return;
    const wanted = command.bundles.reduce((sum, { units }) => sum + (units.cpu ?? 0) / 10_000, 0);
    if (wanted > this.free(nodeId)) this.answers.push({ kind: "bundles-refused", reason: "it is full", ...at });
    else {
      this.reserved.set(nodeId, wanted);
      this.answers.push({ kind: command.commit ? "bundles-committed" : "bundles-prepared", ...at });
    }
  }

  /** Tasks end, leases are given back that are called back or are too many, and others are granted. */
  private run(node: NodeId): void {
    const { nowMs } = this;
    if ((this.earmarks.get(node)?.untilMs ?? 0) <= nowMs) this.earmarks.delete(node);
    const kept = this.earmarks.get(node)?.cpus ?? 0;
    const leases = this.leases.get(node) ?? [];
    const held = new Map<string, number>();
    for (const { key } of leases) held.set(key, (held.get(key) ?? 0) + 1);
    let free = this.free(node);
    for (const lease of [...leases]) {
      if (lease.endsMs > nowMs) continue;
      const count = held.get(lease.key) ?? 0;
      if (free < kept || count > (this.asked.get(lease.key)?.get(node) ?? 0)) {
        leases.splice(leases.indexOf(lease), 1);
        held.set(lease.key, count - 1);
        free++;
      } else lease.endsMs = nowMs + this.taskMs();
    }
    for (const { key } of this.owners) {
      let missing = (this.asked.get(key)?.get(node) ?? 0) - (held.get(key) ?? 0);
      for (; missing > 0 && free - kept >= 1; missing--) {
        leases.push({ key, endsMs: nowMs + this.taskMs() });
        free--;
      }
    }
    const lasting = { cpu: (this.reserved.get(node) ?? 0) * 10_000 };
    this.divisions.view.apply({ kind: "node-reported", nodeId: node, free: { cpu: free * 10_000 }, lasting });
    for (const { key, node: home, wanted } of this.owners) {
      const granted = [...this.leases].map(([at, all]) => [at, all.filter((one) => one.key === key).length] as const);
      this.divisions.divide(home, {
        t: "divide-leases",
        key,
        wanted,
        granted: granted.filter(([, count]) => count > 0),
      });
    }
  }
}

const nodeOf = (at: number): NodeId =>
  String(at + 1)
    .padStart(2, "0")
    .repeat(16) as NodeId;

test("a group has its room by the end of its first earmark, whatever tasks control divides beside it", () => {
  const owner = fc.record({ at: fc.nat(3), more: fc.integer({ min: 1, max: 20 }) });
  const strategies = ["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] as const;
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 2, maxLength: 4 }),
      fc.array(owner, { minLength: 1, maxLength: 3 }),
      fc.constantFrom(...strategies),
      fc.integer({ min: 1, max: 1_000_000 }),
      (cpus, owners, strategy, seed) => {
        const world = new World(cpus, owners, seed);
        for (let step = 0; step < 20; step++) world.step();
        expect(
          cpus.map((_, at) => world.free(nodeOf(at))),
          "tasks have everything",
        ).toEqual(cpus.map(() => 0));
        const isSpread = strategy === "STRICT_SPREAD";
        const isPacked = strategy === "STRICT_PACK";
        // All that the strategy could have.
        const whole = isPacked ? [Math.max(...cpus)] : isSpread ? cpus.map(() => Math.min(...cpus)) : cpus;
        const beganMs = world.nowMs;
        world.create(
          whole.map((cpu) => toUnits({ cpu })),
          strategy,
        );
        while (world.readyMs === undefined && world.nowMs - beganMs < READY_WITHIN_MS) world.step();
        expect(world.readyMs, "ready in time").toBeDefined();
        // What was kept is free for others again, as far as the group leaves it.
        for (let step = 0; step < 20; step++) world.step();
        for (const node of world.divisions.view.nodes()) expect(node.state.kept).toEqual({});
        expect(
          cpus.map((_, at) => world.free(nodeOf(at))),
          "tasks have the rest",
        ).toEqual(cpus.map(() => 0));
      },
    ),
    { numRuns: 100 },
  );
});

test("actors and groups behind do not count on what is kept for a group, are told so, and the group has it", () => {
  const { view } = new LeaseDivisions(
    () => {},
    () => 0,
  );
  const [one, two] = [nodeOf(0), nodeOf(1)];
  for (const nodeId of [one, two]) {
    view.apply({ kind: "node-joined", nodeId, name: nodeId.slice(0, 2), total: toUnits({ cpu: 2, gpu: 1 }) });
    view.apply({ kind: "node-reported", nodeId, free: toUnits({ cpu: 1, gpu: 0 }), gpus: [0] });
  }
  const groups = new GroupEngine(view, { infeasibleTimeoutMs: 1_000, firstAttempt: 1 });
  const create = (groupId: string, cpu: number, gpu: number, nowMs: number) => {
    const bundles = [{ units: toUnits({ cpu, ...(gpu > 0 && { gpu }) }), selectors: [] }];
    const spec = { groupId, bundles, strategy: "PACK" as const, priority: 0, namespace: "", jobId: "j" as JobId };
    return kinds(groups.step({ kind: "group-created", spec: { ...spec, lifetime: "owner" } }, nowMs));
  };
  const kinds = (commands: readonly GroupCommand[]) =>
    commands.flatMap((each) => ("nodeId" in each ? [`${each.kind} ${each.groupId} ${each.nodeId.slice(0, 2)}`] : []));
  create("first", 2, 1, 0);
  expect(kinds(groups.step({ kind: "tick" }, 10_000))).toEqual(["earmark first 01"]);
  // What runs there has ended in part, and elsewhere nothing has.
  view.apply({ kind: "node-reported", nodeId: one, free: toUnits({ cpu: 2, gpu: 0 }), gpus: [0] });
  view.apply({ kind: "node-reported", nodeId: two, free: toUnits({ gpu: 1 }), gpus: [10_000] });
  const placer = new Placer(view);
  const request = { shape: new Shape("Actor", toUnits({ cpu: 1 })), strategy: "default" } as const;
  expect(placer.decide(request).kind).toBe("waits");
  expect(placer.explainNow(request).sentences).toContain("01 keeps what it has free for a placement group that waits.");
  expect(create("behind", 1, 0, 10_100)).toEqual([]);
  view.apply({ kind: "node-reported", nodeId: one, free: toUnits({ cpu: 2, gpu: 1 }), gpus: [10_000] });
  const gpu = { ...request, shape: new Shape("Trainer", toUnits({ gpu: 1 })) };
  expect(placer.decide(gpu)).toMatchObject({ kind: "placed", nodeId: two });
  expect(placer.decide(gpu).kind).toBe("waits");
  expect(placer.explainNow(gpu).sentences).toContain("01 keeps what it has free for a placement group that waits.");
  expect(kinds(groups.step({ kind: "view-changed" }, 10_200))).toEqual(["prepare-bundles first 01"]);
});
