/** Tables for terminals. */

export const cut = (text: string, length: number): string =>
  text.length <= length ? text : `${text.slice(0, length - 1)}…`;

/** A column that may be cut is never shorter than this. */
const CUT_CHARS_MIN = 10;
/** With less room the last column is written below its row. */
const LAST_CHARS_MIN = 20;

/**
 * The first row is the heading. A column that is empty below it is left out. What is longer than `columns` is made to fit: columns
 * that may be cut are, and the last one goes on in further lines.
 */
export function table(
  rows: readonly (readonly string[])[],
  columns: number,
  mayBeCut: (heading: string) => boolean = () => false,
): string[] {
  const [heading = [], ...body] = rows;
  const kept = heading.map((_, column) => body.some((row) => (row[column] ?? "") !== ""));
  const cells = rows.map((row) => row.filter((_, column) => kept[column]));
  const headings = cells[0] ?? [];
  const last = headings.length - 1;
  const widths = headings.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  const widthBefore = (): number => widths.slice(0, last).reduce((sum, width) => sum + width + 2, 0);
  for (const [column, name] of headings.entries()) {
    const tooMuch = widthBefore() + Math.min(widths[last] ?? 0, LAST_CHARS_MIN) - columns;
    if (tooMuch <= 0 || !mayBeCut(name)) continue;
    widths[column] = Math.max(CUT_CHARS_MIN, (widths[column] ?? 0) - tooMuch);
  }
  const before = widthBefore();
  const isBelow = before + Math.min(widths[last] ?? 0, LAST_CHARS_MIN) > columns;
  const indent = isBelow ? 2 : before;
  return cells.flatMap((row, at) => {
    const start = row.slice(0, last).map((cell, column) => {
      const width = widths[column] ?? 0;
      return cut(cell, width).padEnd(width + 2);
    });
    const rest = row[last] ?? "";
    const lines = wrap(rest, columns - indent);
    // Below, the column has no heading, which would stand above nothing.
    const beside = isBelow ? "" : lines.shift();
    const below = isBelow && (at === 0 || rest === "") ? [] : lines;
    return [(start.join("") + beside).trimEnd(), ...below.map((line) => " ".repeat(indent) + line)];
  });
}

/** Between words; further lines are indented. */
export function wrap(text: string, length: number): string[] {
  const all: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > length) {
      all.push(line);
      line = `  ${word}`;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...all, line];
}
