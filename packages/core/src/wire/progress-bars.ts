/**
 * How far a bar of a program is (`progressBar`), as processes say it: a driver in a message to its node; a worker in a line of its
 * output, which reaches node and driver also while it computes without a pause.
 */

/** Begins with a control character, so that no program writes it by chance. */
export const PROGRESS_MARK = "\u0001mobula-progress ";

export interface BarState {
  /** Of its process. */
  readonly id: string;
  readonly label: string;
  /** Null: not known. */
  readonly total: number | null;
  readonly done: number;
  readonly closed: boolean;
}

const LABEL_CHARS_MAX = 200;
const ID_CHARS_MAX = 64;

/** Whether a line of output is about a bar, and not for people. */
export const isBarLine = (line: string): boolean => line.startsWith(PROGRESS_MARK);

export const barLine = (bar: BarState): string => `${PROGRESS_MARK}${JSON.stringify(bar)}\n`;

/** Undefined for a line that says nothing of a bar, or was cut off by the end of its process. */
export function barOfLine(line: string): BarState | undefined {
  try {
    return readBar(JSON.parse(line.slice(PROGRESS_MARK.length)));
  } catch {
    return undefined;
  }
}

/** What a program says of its bar is checked here: undefined when that is none. Labels are cut, and have no control characters. */
export function readBar(value: unknown): BarState | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  const { id, label, total, done, closed } = value as Partial<Record<keyof BarState, unknown>>;
  if (typeof id !== "string" || id.length > ID_CHARS_MAX || typeof label !== "string") return undefined;
  if (typeof done !== "number" || !Number.isFinite(done) || typeof closed !== "boolean") return undefined;
  if (total !== null && typeof total !== "number") return undefined;
  const known = total !== null && Number.isFinite(total) && total >= 0 ? total : null;
  return { id, label: barLabel(label), total: known, done, closed };
}

/** One line, and not longer than is shown: the whole state must fit into a line of output. */
export function barLabel(label: string): string {
  const shown = label.slice(0, LABEL_CHARS_MAX + 1).replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]/gu, " ");
  return (shown.length > LABEL_CHARS_MAX ? `${shown.slice(0, LABEL_CHARS_MAX - 1)}…` : shown).toWellFormed();
}
