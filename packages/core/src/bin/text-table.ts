/** Tables for terminals. */

export const cut = (text: string, length: number): string =>
  text.length <= length ? text : `${text.slice(0, length - 1)}…`;

/**
 * The first row is the heading. A column that is empty below it is left out; the last one goes on in further lines when it
 * would be longer than `columns`.
 */
export function table(rows: readonly (readonly string[])[], columns: number): string[] {
  const [heading = [], ...body] = rows;
  const kept = heading.map((_, column) => column === heading.length - 1 || body.some((row) => row[column] !== ""));
  const cells = rows.map((row) => row.filter((_, column) => kept[column]));
  const last = (cells[0]?.length ?? 1) - 1;
  const widths = (cells[0] ?? []).map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  const before = widths.slice(0, last).reduce((sum, width) => sum + width + 2, 0);
  const room = Math.max(24, columns - before);
  return cells.flatMap((row) => {
    const start = row.slice(0, last).map((cell, column) => cell.padEnd((widths[column] ?? 0) + 2));
    const [first = "", ...more] = wrap(row[last] ?? "", room);
    return [(start.join("") + first).trimEnd(), ...more.map((line) => " ".repeat(before) + line)];
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
