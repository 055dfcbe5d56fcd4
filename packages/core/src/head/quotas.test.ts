import fc from "fast-check";
import { expect, test } from "vitest";
import type { JobId, NodeId } from "../base/ids.ts";
import { type Claim, Quotas } from "./quotas.ts";

const job = "job" as JobId;
const node = "node" as NodeId;
const claim = (wanted: number, more: Partial<Claim> = {}): Claim => ({
  ...{ units: { cpu: 1 }, priority: 0, wanted, granted: 0, allowed: 0 },
  ...more,
});
function with_(quota: Record<string, number>): Quotas {
  const quotas = new Quotas();
  quotas.jobBegan(job, quota);
  return quotas;
}

test("a job without a quota has no limit", () => {
  const quotas = new Quotas();
  expect(quotas.divide(job, [claim(9)])).toBeUndefined();
  expect(quotas.hasRoom(job, { cpu: 99 }, [])).toBe(true);
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
  expect(quotas.hasRoom(job, { cpu: 1 }, [claim(9, { granted: 1 })])).toBe(false);
  expect(quotas.reported(node, [[job, { cpu: 1 }]])).toBe(true);
  expect(quotas.reported(node, [[job, { cpu: 1 }]])).toBe(false);
  expect(quotas.hasRoom(job, { cpu: 1 }, [claim(9, { granted: 1 })])).toBe(true);
  expect(quotas.divide(job, [claim(9, { granted: 1 })])).toEqual([2]);
  quotas.charge(job, { cpu: 3 }, -1);
  quotas.nodeGone(node);
  expect(quotas.divide(job, [claim(9)])).toEqual([4]);
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
