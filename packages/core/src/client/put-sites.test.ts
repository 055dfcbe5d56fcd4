import { expect, test } from "vitest";
import type { PutTally } from "../events/mod.ts";
import { PutSites } from "./put-sites.ts";

test("small puts are told by place, all of them, in shares that come near what each place has put", () => {
  const told: PutTally[][] = [];
  let [nowMs, place] = [0, ""];
  const sites = new PutSites(
    (tallies) => told.push([...tallies]),
    () => nowMs,
    () => place,
  );
  for (let put = 0; put < 100_000; put++) {
    nowMs += 0.1;
    place = put % 3 === 0 ? "app.ts:1" : "app.ts:2";
    sites.seen(10);
    place = "large.ts:1";
    sites.seen(5_000);
  }
  const sums = new Map<string, number>();
  for (const { site, times, bytes } of told.flat()) {
    expect(bytes).toBe(times * 10);
    sums.set(site, (sums.get(site) ?? 0) + times);
  }
  expect([...sums.keys()].sort()).toEqual(["app.ts:1", "app.ts:2"]);
  const [few = 0, many = 0] = [sums.get("app.ts:1"), sums.get("app.ts:2")];
  expect(few + many).toBeGreaterThan(95_000);
  expect(few / (few + many)).toBeGreaterThan(0.2);
  expect(few / (few + many)).toBeLessThan(0.45);
  // No more than some a second.
  expect(told.length).toBeLessThanOrEqual(40);
});

test("few puts are not told of", () => {
  const told: unknown[] = [];
  const sites = new PutSites(
    (tallies) => told.push(tallies),
    () => 0,
  );
  for (let put = 0; put < 500; put++) sites.seen(10);
  expect(told).toEqual([]);
});
