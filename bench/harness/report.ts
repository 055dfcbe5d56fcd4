/** From observations to the rows of the table. Pure. */
import type { Goal, Observation, Row, SideName } from "../plan/plan.ts";
import type { Machine } from "./machine.ts";
import type { WorkloadResult } from "./runner.ts";
import { type Summary, summarise, timesBetter } from "./statistics.ts";

export interface PeerReport {
  readonly summary: Summary;
  /** How many times better Mobula is: of the medians, and the extremes of the rounds paired in time. Null without Mobula. */
  readonly ratio: number | null;
  readonly ratioMin: number | null;
  readonly ratioMax: number | null;
}

/** `mobula`, `peer` and `limit` are medians in the row's unit; null where nothing was measured. */
export interface RowReport {
  readonly name: string;
  readonly unit: Row["unit"];
  readonly better: Row["better"];
  readonly mobula: number | null;
  /** The first peer asked for; all of them are in `peers`. */
  readonly peer: number | null;
  readonly ratio: number | null;
  readonly limit: number | null;
  readonly goal: string;
  /** Null when what the goal compares with was not measured. */
  readonly goalMet: boolean | null;
  readonly limitName: string | null;
  readonly mobulaSpread: Summary | null;
  readonly peers: Readonly<Partial<Record<SideName, PeerReport>>>;
}

export interface BenchmarkReport {
  readonly machine: Machine;
  readonly startedAt: string;
  readonly quick: boolean;
  readonly rounds: number;
  readonly cpus: number;
  readonly storeBytes: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly rows: readonly RowReport[];
  readonly errors: readonly string[];
}

export function reportRows(result: WorkloadResult, peers: readonly SideName[]): RowReport[] {
  return result.workload.rows.map((row) => {
    const valuesOf = (seen: readonly Observation[] | undefined): number[] => (seen ?? []).map(row.read);
    const ours = valuesOf(result.seen.get("mobula"));
    const mobula = summarise(ours);
    const limit = row.limit === undefined ? undefined : summarise(valuesOf(result.limits.get(row.limit)));
    const peerReports: Partial<Record<SideName, PeerReport>> = {};
    for (const name of peers) {
      const report = comparePeer(row, ours, valuesOf(result.seen.get(name)));
      if (report !== undefined) peerReports[name] = report;
    }
    const firstPeer = peers.map((name) => peerReports[name]).find((report) => report !== undefined);
    const met = row.goals.map((goal) =>
      isMet(goal, row, mobula?.median, peerReports.ray?.ratio ?? undefined, limit?.median),
    );
    return {
      name: row.name,
      unit: row.unit,
      better: row.better,
      mobula: mobula?.median ?? null,
      peer: firstPeer?.summary.median ?? null,
      ratio: firstPeer?.ratio ?? null,
      limit: limit?.median ?? null,
      goal: row.goals.map((goal) => describeGoal(goal, row)).join(", "),
      goalMet: met.includes(false) ? false : met.includes(undefined) ? null : true,
      limitName: row.limit ?? null,
      mobulaSpread: mobula ?? null,
      peers: peerReports,
    };
  });
}

function comparePeer(row: Row, ours: readonly number[], theirs: readonly number[]): PeerReport | undefined {
  const summary = summarise(theirs);
  if (summary === undefined) return undefined;
  const paired = summarise(
    theirs.flatMap((value, round) => {
      const our = ours[round];
      return our === undefined ? [] : [timesBetter(our, value, row.better)];
    }),
  );
  const our = summarise(ours);
  return {
    summary,
    ratio: our === undefined ? null : timesBetter(our.median, summary.median, row.better),
    ratioMin: paired?.min ?? null,
    ratioMax: paired?.max ?? null,
  };
}

/** Undefined when a figure that the goal needs is missing. */
function isMet(
  goal: Goal,
  row: Row,
  ours: number | undefined,
  ratio: number | undefined,
  limit: number | undefined,
): boolean | undefined {
  if (ours === undefined) return undefined;
  switch (goal.kind) {
    case "ratio":
      return ratio === undefined ? undefined : ratio >= goal.min;
    case "limit":
      return limit === undefined ? undefined : timesBetter(ours, limit, row.better) >= goal.share;
    case "most":
      return ours <= goal.value;
  }
}

function describeGoal(goal: Goal, row: Row): string {
  switch (goal.kind) {
    case "ratio":
      return `≥ ${goal.min}× Ray`;
    case "limit":
      return `≥ ${goal.share}× limit`;
    case "most":
      return `≤ ${goal.value} ${row.unit}`;
  }
}
