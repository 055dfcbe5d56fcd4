/**
 * Identical lines of several workers become one with a count, pure. The first is passed on at once; what the same text
 * from other workers adds within {@link COLLAPSE_MS} is said once, at the end of that time. A worker that repeats
 * itself is not collapsed: its output is its own.
 */
import type { LogLines } from "../wire/messages.ts";

export type LogLine = LogLines["lines"][number];

export const COLLAPSE_MS = 5_000;
/** Texts remembered at a time; past it lines pass as they come. */
const TEXTS_MAX = 2_000;

interface Seen {
  readonly first: LogLine;
  readonly untilMs: number;
  repeated: number;
}

export class LineCollapser {
  private readonly seen = new Map<string, Seen>();

  /** The line itself, or undefined when it was counted instead. */
  push(line: LogLine, nowMs: number): LogLine | undefined {
    const key = `${line.stream} ${line.text}`;
    const seen = this.seen.get(key);
    if (seen && nowMs < seen.untilMs) {
      // One that stands for others of its node is counted as those.
      if (line.repeated === 0 && seen.first.pid === line.pid && seen.first.node === line.node) return line;
      seen.repeated += line.repeated || 1;
      return undefined;
    }
    if (line.repeated > 0) return line;
    if (!seen && this.seen.size < TEXTS_MAX)
      this.seen.set(key, { first: line, untilMs: nowMs + COLLAPSE_MS, repeated: 0 });
    return line;
  }

  /** What has to be said about texts whose time is over; with `all`, about every text. */
  flush(nowMs: number, all = false): LogLine[] {
    const lines: LogLine[] = [];
    for (const [key, seen] of this.seen) {
      if (!all && nowMs < seen.untilMs) continue;
      this.seen.delete(key);
      if (seen.repeated > 0) lines.push({ ...seen.first, repeated: seen.repeated });
    }
    return lines;
  }

  nextFlushMs(): number | undefined {
    let next: number | undefined;
    for (const { untilMs } of this.seen.values()) next = Math.min(next ?? untilMs, untilMs);
    return next;
  }
}
