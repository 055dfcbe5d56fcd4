/** Collects events for a timeline: what the ring holds, after every process that can answer has sent the rest. */
import type { ProcessId } from "../base/ids.ts";
import type { FromNode } from "../wire/messages.ts";
import type { NodeInfo, Queries } from "../wire/queries.ts";
import type { EventRing } from "./event-ring.ts";

/** A worker that computes cannot answer; what it has not sent yet is missing then. */
const REPORT_TIMEOUT_MS = 300;

interface Collection {
  readonly waitsFor: Set<ProcessId>;
  done(): void;
}

export interface TimelineOptions {
  readonly ring: EventRing;
  /** Processes that may hold unsent events, without the one that asks: it has sent its own before it asked. */
  readonly workers: () => Iterable<ProcessId>;
  readonly send: (to: ProcessId, message: FromNode) => void;
}

export class Timeline {
  private readonly options: TimelineOptions;
  private readonly collections = new Map<number, Collection>();
  private nextId = 1;

  constructor(options: TimelineOptions) {
    this.options = options;
  }

  get kept(): NodeInfo["events"] {
    return this.options.ring.kept;
  }

  async collect(): Promise<Queries["timeline"]["result"]> {
    const { ring, workers, send } = this.options;
    const waitsFor = new Set(workers());
    if (waitsFor.size > 0) {
      const id = this.nextId++;
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, REPORT_TIMEOUT_MS);
        this.collections.set(id, {
          waitsFor,
          done() {
            clearTimeout(timer);
            resolve();
          },
        });
        for (const worker of waitsFor) send(worker, { t: "report-events", id });
      });
      this.collections.delete(id);
    }
    return { batches: ring.all(), droppedBatches: ring.droppedBatches };
  }

  reported(from: ProcessId, id: number): void {
    const collection = this.collections.get(id);
    if (collection?.waitsFor.delete(from) && collection.waitsFor.size === 0) collection.done();
  }

  processGone(processId: ProcessId): void {
    for (const id of this.collections.keys()) this.reported(processId, id);
  }
}
