/** What happened to the cluster and what detectors found, the newest last; bounded. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { EventRow } from "./rows.ts";

const EVENTS_MAX = 10_000;

/** What has a value of its own when it is left out. */
type Given = Pick<EventRow, "count" | "remedy" | "by">;

/** Who asks for what is done now. */
export interface Asker {
  readonly by: string;
  /** An event has said what was done. */
  isNoted: boolean;
}

export class EventLog {
  /** Within it, what is added is done for somebody. */
  readonly askers = new AsyncLocalStorage<Asker>();
  private readonly events: EventRow[] = [];
  private nextId = 1;
  private readonly listeners = new Set<(event: EventRow) => void>();

  /** Told of each from now on; what it returns ends that. */
  listen(listener: (event: EventRow) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  add(event: Omit<EventRow, "eventId" | keyof Given> & Partial<Given>): EventRow {
    const asker = this.askers.getStore();
    if (asker) asker.isNoted = true;
    const row: EventRow = { eventId: String(this.nextId++), count: 1, remedy: null, by: asker?.by ?? null, ...event };
    this.events.push(row);
    if (this.events.length > 2 * EVENTS_MAX) this.events.splice(0, this.events.length - EVENTS_MAX);
    for (const listener of this.listeners) listener(row);
    return row;
  }

  /** The newest first. */
  *newest(): Generator<EventRow> {
    const first = Math.max(0, this.events.length - EVENTS_MAX);
    for (let at = this.events.length - 1; at >= first; at--) yield this.events[at] as EventRow; // It is below the length.
  }
}
