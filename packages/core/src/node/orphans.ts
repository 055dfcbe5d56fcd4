/**
 * Stored objects whose maker died before anybody heard of them: sealed for a result that never left its worker. Nobody
 * would ever free them.
 *
 * 1. A process is gone: the store names what it sealed and nobody has freed.
 * 2. Every process that can own objects is asked which of these it knows; it answers once it has read everything that
 *    the dead one sent it. What the directory holds by then is known too, since publishing comes before letting go.
 * 3. When all have answered or are gone themselves, the rest is freed. One that does not answer only delays that.
 */
import type { ProcessId, StoredName, WorkerId } from "../base/ids.ts";
import type { StoreClaims, StoreOrphans } from "../wire/messages.ts";

export interface OrphansOptions {
  /** Drivers and workers that are connected. */
  owners(): Iterable<ProcessId>;
  send(to: ProcessId, message: StoreOrphans): void;
  /** Of these, the ones that the directory holds. */
  published(names: ReadonlySet<StoredName>): Iterable<StoredName>;
  free(names: readonly StoredName[]): void;
}

interface Inquiry {
  readonly names: Set<StoredName>;
  readonly waitsFor: Set<ProcessId>;
}

export class Orphans {
  private readonly options: OrphansOptions;
  private readonly inquiries = new Map<number, Inquiry>();
  private nextId = 1;

  constructor(options: OrphansOptions) {
    this.options = options;
  }

  /** @param workerId of the process that made them, when it was a worker: owners read its connection to the end. */
  ask(names: readonly StoredName[], workerId: WorkerId | undefined): void {
    if (names.length === 0) return;
    const id = this.nextId++;
    const inquiry: Inquiry = { names: new Set(names), waitsFor: new Set(this.options.owners()) };
    this.inquiries.set(id, inquiry);
    for (const owner of [...inquiry.waitsFor]) {
      this.options.send(owner, { t: "store-orphans", id, names, ...(workerId !== undefined ? { workerId } : {}) });
    }
    this.settle(id, inquiry);
  }

  answered(from: ProcessId, message: StoreClaims): void {
    const inquiry = this.inquiries.get(message.id);
    if (!inquiry) return;
    for (const name of message.names) inquiry.names.delete(name);
    inquiry.waitsFor.delete(from);
    this.settle(message.id, inquiry);
  }

  processGone(processId: ProcessId): void {
    for (const [id, inquiry] of [...this.inquiries]) {
      if (inquiry.waitsFor.delete(processId)) this.settle(id, inquiry);
    }
  }

  private settle(id: number, { names, waitsFor }: Inquiry): void {
    if (names.size > 0 && waitsFor.size > 0) return;
    this.inquiries.delete(id);
    for (const name of this.options.published(names)) names.delete(name);
    if (names.size > 0) this.options.free([...names]);
  }
}
