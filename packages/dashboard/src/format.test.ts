import { describe, expect, test } from "vitest";
import {
  absolute,
  ago,
  amount,
  bytes,
  compact,
  count,
  duration,
  percent,
  resourceList,
  shortId,
  shortSite,
} from "./format.ts";

test("counts are grouped, and large ones short in tiles", () => {
  expect(count(1_234_567)).toBe("1,234,567");
  expect(compact(12_345)).toBe("12,345");
  expect(compact(2863.4)).toBe("2,863");
  expect(compact(18.52)).toBe("18.5");
  expect(compact(975_000)).toBe("975 k");
  expect(compact(1_250_000)).toBe("1.25 M");
});

test("sizes are binary, with three digits", () => {
  expect(bytes(null)).toBe("–");
  expect(bytes(0)).toBe("0 B");
  expect(bytes(1023)).toBe("1023 B");
  expect(bytes(1024)).toBe("1 KiB");
  expect(bytes(1024 ** 2 - 1)).toBe("1 MiB");
  expect(bytes(19.2 * 1024 ** 3)).toBe("19.2 GiB");
  expect(bytes(2 ** 60)).toBe("1024 PiB");
});

test("durations go from microseconds to days", () => {
  expect([0.4, 3.94, 240, 1500, 59_999, 94_000, 3_725_000, 100_000_000].map(duration)).toEqual([
    "400 µs",
    "3.9 ms",
    "240 ms",
    "1.5 s",
    "59 s",
    "1 m 34 s",
    "1 h 02 m",
    "1 d 3 h",
  ]);
  expect(duration(null)).toBe("–");
  expect(duration(-5)).toBe("0 ms");
});

describe("ages", () => {
  test.each([
    [0, "now"],
    [-900, "now"],
    [-90_000, "in 1 m 30 s"],
    [42_000, "42 s ago"],
    [120_000, "2 min ago"],
    [7_300_000, "2 h ago"],
    [200_000_000, "2 d ago"],
  ])("%d ms", (ms, text) => {
    expect(ago(1e12, 1e12 + ms)).toBe(text);
  });

  test("the absolute time has milliseconds", () => {
    expect(absolute(new Date(2026, 10, 27, 3, 4, 5, 6).getTime())).toBe("2026-11-27 03:04:05.006");
  });
});

test("long ids show their ends", () => {
  expect(shortId("0fb86738b42c835484f3e32248c1e89a")).toBe("0fb867…c1e89a");
  expect(shortId("bd02be4d")).toBe("bd02be4d");
  expect(shortId("f8f083d29f3a40f415b7af540000000000000004842482a6")).toBe("f8f0…00000004");
  expect(shortId("f8f083d2.3y283za")).toBe("f8f083d2.3y283za");
});

test("a call site is its file, with the folder", () => {
  expect(shortSite("/srv/app/src/embed.ts:31")).toBe("src/embed.ts:31");
  expect(shortSite("embed.ts:31")).toBe("embed.ts:31");
});

test("resources are listed in words, memory as a size", () => {
  expect(resourceList({ cpu: 0.5, memory: 2 ** 30, gpu: 0 })).toBe("0.5 cpu, 1 GiB memory");
  expect(resourceList({})).toBe("–");
  expect(amount("licence", 2)).toBe("2");
  expect([percent(0), percent(1.14), percent(93.2), percent(null)]).toEqual(["0 %", "1.1 %", "93 %", "–"]);
});
