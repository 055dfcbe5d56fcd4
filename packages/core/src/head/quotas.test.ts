import fc from "fast-check";
import { expect, test } from "vitest";
import type { JobId, NodeId } from "../base/ids.ts";
import type { Waiter } from "./quota-turns.ts";
import { type Claim, Quotas } from "./quotas.ts";

const job = "job" as JobId;
const node = "node" as NodeId;
const claim = (wanted: number, more: Partial<Claim> = {}): Claim => ({
  ...{ units: { cpu: 1 }, priority: 0, wanted, granted: 0, allowed: 0 },
  ...more,
});
const waiter = (id: string, units: Record<string, number>, priority = 0): Waiter => ({ id, job, units, priority });
function with_(quota: Record<string, number>): Quotas {
  const quotas = new Quotas();
  quotas.jobBegan(job, quota);
  return quotas;
}

test("a job without a quota has no limit", () => {
  const quotas = new Quotas();
  expect(quotas.divide(job, [claim(9)])).toBeUndefined();
  expect(quotas.hasRoom(waiter("a", { cpu: 99 }), [], 0)).toBe(true);
  expect(with_({ gpu: 1 }).divide(job, [claim(9)])).toEqual([9]);
});

test("what it asks for has equal parts, and what one does not want others have", () => {
  const quotas = with_({ cpu: 10 });
  expect(quotas.divide(job, [claim(20), claim(20)])).toEqual([5, 5]);
  expect(quotas.divide(job, [claim(2), claim(20)])).toEqual([2, 8]);
  expect(quotas.divide(job, [claim(20, { priority: 1 }), claim(20)])).toEqual([10, 0]);
  expect(quotas.divide(job, [claim(20, { units: { cpu: 4 } }), claim(20)])).toEqual([2, 2]);
});

test("what has more than its part gives it back before others have it", () => {
  const quotas = with_({ cpu: 10 });
  expect(quotas.divide(job, [claim(20, { granted: 10 }), claim(20)])).toEqual([5, 0]);
  expect(quotas.divide(job, [claim(20, { granted: 8 }), claim(20)])).toEqual([5, 2]);
});

test("a lowered quota is kept as what runs ends, and that of an administrator counts", () => {
  const quotas = with_({ cpu: 10 });
  quotas.change(job, { cpu: 3 });
  expect(quotas.divide(job, [claim(20, { granted: 10 })])).toEqual([3]);
  quotas.change(job, undefined);
  expect(quotas.divide(job, [claim(20, { granted: 4 })])).toEqual([10]);
  quotas.jobEnded(job);
  expect(quotas.limited()).toEqual([]);
});

test("actors count while they live, and tasks that wait give their CPUs back", () => {
  const quotas = with_({ cpu: 4 });
  quotas.charge(job, { cpu: 3 }, 1);
  expect(quotas.divide(job, [claim(9)])).toEqual([1]);
  expect(quotas.hasRoom(waiter("a", { cpu: 1 }), [claim(9, { granted: 1 })], 0)).toBe(false);
  expect(quotas.reported(node, [[job, { cpu: 1 }]])).toBe(true);
  expect(quotas.reported(node, [[job, { cpu: 1 }]])).toBe(false);
  expect(quotas.hasRoom(waiter("a", { cpu: 1 }), [claim(9, { granted: 1 })], 0)).toBe(true);
  expect(quotas.divide(job, [claim(9, { granted: 1 })])).toEqual([2]);
  quotas.charge(job, { cpu: 3 }, -1);
  quotas.nodeGone(node);
  expect(quotas.divide(job, [claim(9)])).toEqual([4]);
});

/** A stream of tasks on nodes with room for all, each of them so long, beside what waits: what happened when. */
function beside(quotas: Quotas, waiters: readonly Waiter[], taskMs: number, untilMs: number): string[] {
  const told: string[] = [];
  const open = new Map(waiters.map((one) => [one.id, one]));
  let ends: number[] = [];
  let allowed = 0;
  let version = -1;
  for (let nowMs = 0; nowMs <= untilMs; nowMs += 50) {
    const kept = ends.filter((end) => end > nowMs);
    const returned = ends.length - kept.length;
    const granted = Math.min(ends.length, allowed);
    // What has ended goes on with the next task if it may.
    ends = [...kept, ...Array.from({ length: Math.max(0, granted - kept.length) }, () => nowMs + taskMs)];
    if (returned > 0 && ends.length < kept.length + returned) quotas.returned(job);
    const claims = () => [claim(100, { granted: ends.length, allowed })];
    quotas.tick(nowMs);
    [allowed = 0] = quotas.divide(job, claims()) ?? [];
    while (ends.length < allowed) ends.push(nowMs + taskMs * (1 + ends.length / 7));
    if (version !== quotas.version) {
      version = quotas.version;
      for (const one of [...open.values()]) {
        if (!quotas.hasRoom(one, claims(), nowMs)) continue;
        quotas.withdraw(job, one.id, nowMs);
        quotas.charge(job, one.units, 1);
        open.delete(one.id);
        told.push(`${one.id} at ${nowMs} beside ${ends.length}`);
      }
    }
    expect(ends.length).toBeLessThanOrEqual(4);
  }
  return told;
}

test("what has waited for a second beside a stream of tasks has a turn, one after the other, the higher priority first", () => {
  const waiters = [waiter("actor", { cpu: 1 }), waiter("group", { cpu: 2 }), waiter("first", { cpu: 1 }, 1)];
  const told = beside(with_({ cpu: 4 }), waiters, 300, 6_000);
  expect(told.map((one) => one.split(" ")[0])).toEqual(["first", "actor", "group"]);
  const [first, actor, group] = told.map((one) => Number(one.split(" ")[2]));
  expect(first).toBeGreaterThanOrEqual(1_000);
  expect(first).toBeLessThan(1_700);
  // As long as a turn takes, tasks have a pause.
  expect((actor ?? 0) - (first ?? 0)).toBeGreaterThan(2 * ((first ?? 0) - 1_000) - 100);
  expect(group).toBeLessThan(5_000);
});

test("long tasks are waited for in turns that grow, and in between they have all of the quota", () => {
  const [told = ""] = beside(with_({ cpu: 4 }), [waiter("group", { cpu: 4 })], 5_000, 60_000);
  expect(told).toMatch(/^group at \d+ beside 0$/);
  const quotas = with_({ cpu: 4 });
  const claims = [claim(9, { granted: 4 })];
  quotas.hasRoom(waiter("group", { cpu: 4 }), claims, 0);
  quotas.tick(1_000);
  expect(quotas.divide(job, claims)).toEqual([0]);
  quotas.tick(3_000);
  expect(quotas.divide(job, claims)).toEqual([4]);
  quotas.tick(5_000);
  expect(quotas.divide(job, claims)).toEqual([0]);
  quotas.tick(8_950);
  expect(quotas.divide(job, claims)).toEqual([0]);
  quotas.tick(9_000);
  expect(quotas.divide(job, claims)).toEqual([4]);
});

test("nothing is kept for what would not fit without tasks either, or has gone", () => {
  const quotas = with_({ cpu: 4 });
  quotas.charge(job, { cpu: 2 }, 1);
  const claims = [claim(9, { granted: 2 })];
  quotas.hasRoom(waiter("large", { cpu: 3 }), claims, 0);
  quotas.hasRoom(waiter("small", { cpu: 1 }), claims, 0);
  quotas.tick(1_000);
  expect(quotas.divide(job, claims)).toEqual([1]);
  expect(quotas.describe(job)).toMatch(/What comes free of \{ cpu: 0\.0001 \} is for what has waited there longest/);
  quotas.withdraw(job, "small", 1_100);
  expect(quotas.divide(job, claims)).toEqual([2]);
  quotas.charge(job, { cpu: 2 }, -1);
  quotas.tick(1_300);
  expect(quotas.divide(job, claims)).toEqual([1]);
  quotas.jobEnded(job);
  quotas.jobBegan(job, { cpu: 4 });
  expect(quotas.divide(job, claims)).toEqual([4]);
});

test("in its turn an actor gets nothing of what tasks that wait have given back while others may need it", () => {
  const quotas = with_({ cpu: 1 });
  quotas.reported(node, [[job, { cpu: 1 }]]);
  const parent = claim(1, { granted: 1, allowed: 1 });
  const actor = waiter("actor", { cpu: 1 });
  expect(quotas.hasRoom(actor, [parent, claim(1, { allowed: 1 })], 0)).toBe(false);
  quotas.tick(1_000);
  // The child has to wait for the end of the turn, and does not lose what it needs.
  expect(quotas.divide(job, [parent, claim(1)])).toEqual([1, 0]);
  expect(quotas.hasRoom(actor, [parent, claim(1)], 1_000)).toBe(false);
  quotas.tick(3_000);
  expect(quotas.divide(job, [parent, claim(1)])).toEqual([1, 1]);
  // Nobody else needs it: what waits may wait for the actor.
  expect(quotas.hasRoom(actor, [parent], 3_000)).toBe(true);
});

test("what is in hand stays there while nothing else needs it", () => {
  const quotas = with_({ cpu: 4 });
  expect(quotas.divide(job, [claim(0, { granted: 3 })])).toEqual([3]);
  expect(quotas.divide(job, [claim(0, { granted: 3 }), claim(1)])).toEqual([3, 1]);
  // Two are for the other; one of the three is to come back for that.
  expect(quotas.divide(job, [claim(0, { granted: 3 }), claim(2, { granted: 1 })])).toEqual([2, 1]);
});

test("never more than the quota in all, but for what has it already", () => {
  const units = fc.constantFrom({ cpu: 1 }, { cpu: 3 }, { gpu: 1 }, { cpu: 1, gpu: 2 });
  const anyClaim = fc.record({
    units,
    priority: fc.constantFrom(0, 1),
    wanted: fc.nat({ max: 50 }),
    granted: fc.nat({ max: 5 }),
    allowed: fc.constant(0),
  });
  fc.assert(
    fc.property(fc.array(anyClaim, { maxLength: 6 }), fc.nat(40), fc.nat(10), (claims, cpu, gpu) => {
      const quotas = with_({ cpu, gpu });
      const parts = quotas.divide(job, claims) ?? [];
      for (const name of ["cpu", "gpu"] as const) {
        const of = (count: (claim: Claim, index: number) => number): number =>
          claims.reduce(
            (sum, one, index) => sum + count(one, index) * ((one.units as Record<string, number>)[name] ?? 0),
            0,
          );
        const had = of(({ granted }) => granted);
        const has = of(({ granted }, index) => Math.max(granted, parts[index] ?? 0));
        expect(has).toBeLessThanOrEqual(Math.max(had, name === "cpu" ? cpu : gpu));
      }
    }),
  );
});
