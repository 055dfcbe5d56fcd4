import { expect, test } from "vitest";
import type { Observation, Session, SideName } from "../plan/plan.ts";
import { atMost, duration, ofLimit, rate, ratio, sizes } from "../plan/plan.ts";
import { benchmarkPages } from "./document.ts";
import { type BenchmarkReport, reportRows } from "./report.ts";
import type { WorkloadResult } from "./runner.ts";
import { formatValue, tableCells } from "./table.ts";

const seen = (count: number, seconds: number): Observation => ({
  seconds,
  count,
  bytes: 0,
  pssBeforeBytes: 0,
  pssAfterBytes: 0,
  driverBeforeBytes: 0,
  driverPeakBytes: 0,
});

function result(
  rows: WorkloadResult["workload"]["rows"],
  bySide: Partial<Record<SideName, Observation[]>>,
  limits: Record<string, Observation[]> = {},
): WorkloadResult {
  const workload = { name: "w", full: sizes({}), quick: sizes({}), on: ["mobula", "ray"] as const, rows };
  const session: Session = { name: "s", workloads: [workload] };
  // Keys of a record of sides are names of sides.
  const entries = Object.entries(bySide) as [SideName, Observation[]][];
  return { session, workload, seen: new Map(entries), limits: new Map(Object.entries(limits)), errors: [] };
}

test("a row has the medians, their ratio, the ratios of paired rounds, and whether each goal is met", () => {
  const row = rate({ name: "calls", limit: "socket", goals: [ratio(10), ofLimit(0.5)] });
  const mobula = [seen(1000, 1), seen(2000, 1), seen(3000, 1)];
  const ray = [seen(100, 1), seen(100, 1), seen(200, 1)];
  const [report] = reportRows(result([row], { mobula, ray }, { socket: [seen(5000, 1)] }), ["ray"]);
  expect(report).toMatchObject({ mobula: 2000, peer: 100, ratio: 20, limit: 5000, goalMet: false });
  expect(report?.goal).toBe("≥ 10× Ray, ≥ 0.5× limit");
  expect(report?.peers.ray).toMatchObject({ ratio: 20, ratioMin: 10, ratioMax: 20 });
});

test("for durations a ratio above 1 means less time", () => {
  const row = duration({ name: "start", goals: [ratio(12)] });
  const [report] = reportRows(result([row], { mobula: [seen(1, 0.1)], ray: [seen(1, 2)] }), ["ray"]);
  expect(report).toMatchObject({ ratio: 20, goalMet: true, better: "lower" });
});

test("a goal against Ray is neither met nor missed by a run without Ray, one in seconds is", () => {
  const rows = [duration({ name: "a", goals: [ratio(2)] }), duration({ name: "b", goals: [atMost(1)] })];
  const reports = reportRows(result(rows, { mobula: [seen(1, 2)] }), []);
  expect(reports.map((report) => report.goalMet)).toEqual([null, false]);
  expect(reports[0]).toMatchObject({ peer: null, ratio: null });
});

test("the generated pages show every row and name the goals that were missed; clusters have a page of their own", () => {
  const row = (name: string, seconds: number) =>
    reportRows(result([duration({ name, goals: [atMost(1)] })], { mobula: [seen(1, seconds)] }), []);
  const report: BenchmarkReport = {
    machine: { cpu: "c", cpus: 2, memoryBytes: 2 ** 34, os: "linux", node: "v24", loadBefore: 0 },
    startedAt: "2026-01-02T03:04:05Z",
    quick: false,
    rounds: 1,
    cpus: 2,
    storeBytes: 2 ** 32,
    versions: { mobula: "1" },
    rows: [...row("quick one", 0.5), ...row("slow one", 3)],
    errors: [],
  };
  const only = benchmarkPages(report);
  expect([...only.keys()]).toEqual(["benchmarks.md"]);
  const page = only.get("benchmarks.md");
  expect(page).toContain("| quick one | s | 0.5 | – | ≤ 1 s | ✓ |");
  expect(page).toContain("Goals not met: slow one.");
  expect(page).toContain("## What is not measured");
  const both = benchmarkPages({ ...report, rows: [...report.rows, ...row("cluster: head ready", 0.3)] });
  expect([...both.keys()]).toEqual(["benchmarks.md", "benchmarks-clusters.md"]);
  expect(both.get("benchmarks.md")).toBe(page);
  expect(both.get("benchmarks-clusters.md")).toContain("| cluster: head ready | s | 0.3 | – | ≤ 1 s | ✓ |");
  expect(tableCells(report).every((cells) => cells.length === tableCells(report)[0]?.length)).toBe(true);
});

test("figures have three significant digits", () => {
  expect([123_456, 12.345, 0.012_345, 1000, 0].map(formatValue)).toEqual(["123,000", "12.3", "0.0123", "1,000", "0"]);
});
