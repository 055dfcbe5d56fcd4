/** How `mobula profile --summary` shows a heap. */
import type { ConstructorSize, HeapSummary } from "../heap/mod.ts";
import { cut } from "./text-table.ts";

const SHOWN_MAX = 25;
const NAME_LENGTH = 34;
const MIB = 2 ** 20;
const HEADING = ["constructor", "count", "own MiB", "retained MiB"] as const;

export function summaryLines({ nodes, totalBytes, constructors }: HeapSummary): string[] {
  // All of it is retained by the roots: that says nothing.
  const shown = constructors.filter(({ name }) => name !== "(roots)");
  const rows = shown.slice(0, SHOWN_MAX).map((one) => row(one, totalBytes));
  const lines = [
    `${nodes} objects, ${mib(totalBytes)} MiB; what would be freed without all of a kind is retained by it`,
  ];
  const widths = HEADING.map((title, column) =>
    Math.max(title.length, ...rows.map((cells) => cells[column]?.length ?? 0)),
  );
  for (const cells of [HEADING, ...rows]) {
    const [name = "", ...numbers] = cells.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
    );
    lines.push(`  ${[name, ...numbers].join("  ")}`.trimEnd());
  }
  if (shown.length > SHOWN_MAX) lines.push(`  and ${shown.length - SHOWN_MAX} more kinds (--json has all)`);
  return lines;
}

function row({ name, count, shallowBytes, retainedBytes }: ConstructorSize, totalBytes: number): readonly string[] {
  const percent = totalBytes > 0 ? Math.round((100 * retainedBytes) / totalBytes) : 0;
  return [
    cut(name, NAME_LENGTH),
    String(count),
    mib(shallowBytes),
    `${mib(retainedBytes)} ${`${percent} %`.padStart(5)}`,
  ];
}

const mib = (bytes: number): string => (bytes / MIB).toFixed(1);
