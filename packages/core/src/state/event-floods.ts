/**
 * What happens over and over is told one by one at first and then in sums, so that a program which ends thousands of actors
 * does not push all else out of the log.
 */
import { monotonicMs } from "../base/clock.ts";
import type { EventLog } from "./event-log.ts";

type Event = Parameters<EventLog["add"]>[0];

/** Of one kind and source, in a minute. */
const ONE_BY_ONE_MAX = 20;
const MINUTE_MS = 60_000;
const SUM_MS = 10_000;
/** Of a sum. */
const SUBJECTS_MAX = 200;

interface Flood {
  readonly sinceMs: number;
  told: number;
  sum: { readonly sinceMs: number; count: number; last: Event; readonly subjects: Set<string> } | undefined;
}

export class EventFloods {
  private readonly add: (event: Event) => void;
  private readonly nowMs: () => number;
  private readonly floods = new Map<string, Flood>();

  constructor(add: (event: Event) => void, nowMs: () => number = monotonicMs) {
    this.add = add;
    this.nowMs = nowMs;
  }

  /** @param source events of one kind and source may become one. */
  note(source: string, event: Event): void {
    const nowMs = this.nowMs();
    const key = `${event.kind} ${source}`;
    let flood = this.floods.get(key);
    if (!flood) {
      flood = { sinceMs: nowMs, told: 0, sum: undefined };
      this.floods.set(key, flood);
    }
    if (flood.told < ONE_BY_ONE_MAX) {
      flood.told++;
      this.add(event);
      return;
    }
    flood.sum ??= { sinceMs: nowMs, count: 0, last: event, subjects: new Set() };
    const { sum } = flood;
    sum.count++;
    sum.last = event;
    for (const subject of event.subjects) if (sum.subjects.size < SUBJECTS_MAX) sum.subjects.add(subject);
  }

  /** Tells the sums that are due. To be called each second or so. */
  tell(): void {
    const nowMs = this.nowMs();
    for (const [key, flood] of this.floods) {
      const { sum } = flood;
      if (sum && nowMs - sum.sinceMs >= SUM_MS) {
        this.add({ ...sum.last, ...sumOf(sum, nowMs), subjects: [...sum.subjects] });
        flood.sum = undefined;
      }
      // It begins anew, one by one.
      if (!flood.sum && nowMs - flood.sinceMs >= MINUTE_MS) this.floods.delete(key);
    }
  }
}

function sumOf({ count, last, sinceMs }: NonNullable<Flood["sum"]>, nowMs: number): Pick<Event, "message" | "count"> {
  if (count === 1) return { message: last.message, count };
  const seconds = Math.round((nowMs - sinceMs) / 1_000);
  return { message: `${last.message}; and ${count - 1} more like it within ${seconds} s`, count };
}
