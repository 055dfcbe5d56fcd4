/** Figures as a person reads them, in the terminal and in the generated page. Pure. */
import type { BenchmarkReport, PeerReport, RowReport } from "./report.ts";
import type { Summary } from "./statistics.ts";

const LIMIT_NAMES: Readonly<Record<string, string>> = {
  "socket-sync": "socket round trip",
  "socket-async": "socket, 1000 under way",
  "memcpy-1": "memcpy, 1 thread",
  "memcpy-2": "memcpy, 2 threads",
  "write-fresh": "write to fresh pages",
  "process-start": "process start",
  "process-start-50": "50 process starts",
};

/** Three significant digits: the machine's noise is larger than the fourth. */
export function formatValue(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  const rounded = Number(value.toPrecision(3));
  return rounded.toLocaleString("en-US", { minimumFractionDigits: 0, maximumFractionDigits: digits });
}

const withSpread = (value: number, min: number, max: number, suffix = ""): string =>
  min === max
    ? `${formatValue(value)}${suffix}`
    : `${formatValue(value)}${suffix} (${formatValue(min)}–${formatValue(max)})`;

const spread = ({ median, min, max }: Summary): string => withSpread(median, min, max);

const ratioText = ({ ratio, ratioMin, ratioMax }: PeerReport): string =>
  ratio === null ? "–" : withSpread(ratio, ratioMin ?? ratio, ratioMax ?? ratio, "×");

const mark = (row: RowReport): string => (row.goalMet === null ? "" : row.goalMet ? "✓" : "✗");

/** Header and cells; peers give two columns each, in the order of the report's versions. */
export function tableCells(report: BenchmarkReport): string[][] {
  const peers = (["ray", "piscina"] as const).filter((name) => report.versions[name] !== undefined);
  const header = [
    "workload",
    "unit",
    "Mobula",
    ...peers.flatMap((name) => [name === "ray" ? "Ray" : "Piscina", "ratio"]),
    "limit",
    "goal",
    "",
  ];
  return [
    header,
    ...report.rows.map((row) => [
      row.name,
      row.unit,
      row.mobulaSpread === null ? "–" : spread(row.mobulaSpread),
      ...peers.flatMap((name) => {
        const peer = row.peers[name];
        return peer === undefined ? ["–", "–"] : [spread(peer.summary), ratioText(peer)];
      }),
      row.limit === null || row.limitName === null
        ? "–"
        : `${formatValue(row.limit)} ${LIMIT_NAMES[row.limitName] ?? row.limitName}`,
      row.goal === "" ? "–" : row.goal,
      mark(row),
    ]),
  ];
}

export function textTable(cells: readonly (readonly string[])[]): string {
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => (row[column] ?? "").length)));
  return cells
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

export function markdownTable(cells: readonly (readonly string[])[]): string {
  const line = (row: readonly string[]): string => `| ${row.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  const [header = [], ...rows] = cells;
  return [line(header), line(header.map(() => "---")), ...rows.map(line)].join("\n");
}
