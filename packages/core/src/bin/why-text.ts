/** How `mobula why` shows an explanation. */
import { sentenceOf, sentenceOfMany } from "../placement/mod.ts";
import type { ConsideredNode, Explanation, VerdictCount } from "../wire/explanation.ts";
import { cut, table, wrap } from "./text-table.ts";

/** Of many nodes so many are shown one by one. */
const BEST = 5;
const LABELS_MAX = 30;

/** @param id as it was asked for. @param columns of the terminal. */
export function whyLines(id: string, explanation: Explanation, nowMs: number, columns = 80): string[] {
  const { state, since, sentences, considered = [], verdicts = [], waitsFor } = explanation;
  // What the tables say need not be said twice.
  const told = new Set([...considered.map(sentenceOf), ...verdicts.map(sentenceOfMany)]);
  const seconds = (nowMs - since) / 1_000;
  const lines = [cut(`${id}: ${state}${seconds >= 0.05 ? `, for ${duration(seconds)}` : ""}`, Math.max(columns, 70))];
  for (const sentence of sentences) if (!told.has(sentence)) lines.push(...indented(sentence, columns));
  if (waitsFor.length > 0) lines.push(...indented(`It waits for: ${waitsFor.join(", ")}`, columns));
  if (verdicts.length > 0) lines.push("", ...manyNodes(verdicts, considered, columns));
  else if (considered.length > 0) lines.push("", ...nodeRows(considered, columns));
  return lines;
}

function manyNodes(
  verdicts: readonly VerdictCount[],
  considered: readonly ConsideredNode[],
  columns: number,
): string[] {
  const all = verdicts.reduce((sum, { count }) => sum + count, 0);
  const rows = verdicts.map(({ count, verdict, names }) => [
    count.toLocaleString("en-US"),
    count === 1 ? `${names[0]} ${verdict}` : `${verdict}: ${names.join(", ")}${count > names.length ? ", …" : ""}`,
  ]);
  return [
    `${all.toLocaleString("en-US")} nodes were considered.`,
    "",
    ...table([["NODES", "WHY"], ...rows], columns),
    "",
    `The best ${Math.min(BEST, considered.length)}:`,
    ...nodeRows(considered.slice(0, BEST), columns),
  ];
}

function nodeRows(considered: readonly ConsideredNode[], columns: number): string[] {
  const rows = considered.map(({ name, address, labels, verdict }) => [
    cut(name, 20),
    address ?? "",
    cut(
      Object.entries(labels)
        .map(([key, value]) => `${key}=${value}`)
        .join(" "),
      LABELS_MAX,
    ),
    verdict,
  ]);
  return table([["NODE", "ADDRESS", "LABELS", "WHY"], ...rows], columns);
}

function duration(seconds: number): string {
  if (seconds < 120) return `${seconds.toFixed(1)} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3_600).toFixed(1)} h`;
}

/** Each paragraph begins a line. */
const indented = (text: string, columns: number): string[] =>
  text.split("\n").flatMap((paragraph) => wrap(paragraph, columns - 2).map((line) => `  ${line}`));
