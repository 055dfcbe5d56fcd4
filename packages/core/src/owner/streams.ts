/** Items of streams at their owner: those that were lost and are made again, and how streams end. */
import { storedNameTag } from "../base/ids.ts";
import { packFailure, type ValueRecord } from "../wire/mod.ts";
import type { OwnerEffects } from "./effects.ts";
import type { LeaseTable } from "./leases.ts";
import type { Lineage } from "./lineage.ts";
import type { ObjectTable } from "./objects.ts";
import type { ObjectRecord, StreamRecord, TaskRecord } from "./records.ts";

export interface StreamsOptions {
  readonly objects: ObjectTable;
  readonly leases: LeaseTable;
  readonly lineage: Lineage;
  readonly effects: OwnerEffects;
  end(task: TaskRecord, keepLineage: boolean): void;
}

export class Streams {
  private readonly options: StreamsOptions;

  constructor(options: StreamsOptions) {
    this.options = options;
  }

  /** A stream's error is its last item. */
  failed(task: TaskRecord, error: ValueRecord): void {
    const { stream } = task;
    if (!stream) return;
    for (const item of stream.lost.values()) this.setLost(item, error);
    stream.lost.clear();
    const completion = task.returns[0];
    if (completion) completion.isRead = true;
    if (stream.isEnded) return;
    stream.isEnded = true;
    if (!stream.isAbandoned) {
      const item = this.options.objects.createUnnumbered(task);
      item.isRead = true;
      stream.received++;
      for (const key of error.nested) this.options.objects.holds.use(key);
      this.options.objects.setValue(item, error);
      this.options.effects.streamItem(task.seq, item.seq);
    }
    this.options.effects.streamEnd(task.seq, stream.received);
  }

  /** Whoever wanted the item reads the error. */
  private setLost(item: ObjectRecord, error: ValueRecord): void {
    item.isRead = true;
    for (const key of error.nested) this.options.objects.holds.use(key);
    this.options.objects.setValue(item, error);
  }

  /** An item that lies in the store is kept in mind as long as it may have to be made again. */
  itemStored(task: TaskRecord, item: ObjectRecord, index: number): void {
    if (this.options.lineage.whyNever(task) === undefined) task.stream?.stored.set(item, index);
  }

  /** The attempt that follows makes the items again anyway, so it need not be found out for each that it is lost. */
  loseItemsAt(node: string, { name, stream }: TaskRecord): void {
    for (const item of [...(stream?.stored.keys() ?? [])]) {
      if (item.value?.at !== "stored" || storedNameTag(item.value.name) !== node) continue;
      this.options.objects.lose(item, {
        code: "OBJECT_LOST",
        kind: "lost",
        message: `an item of ${name} was on a node that died`,
      });
    }
  }

  /**
   * An attempt that is past a lost item makes it no more, and when it waits for the consumer, who may be waiting for that item, it
   * does not end either: then its worker is ended, and it begins again.
   */
  restartStalled(task: TaskRecord): void {
    const { stream } = task;
    // Asked for each item that comes, and hardly ever so.
    if (!stream || stream.lost.size === 0 || stream.isEnded) return;
    const { lease, registered } = task;
    if (!lease || !registered) return;
    if (stream.made <= stream.consumed + registered.template.streamBufferItems) return;
    const lost = [...stream.lost.keys()].find((index) => index < stream.made);
    if (lost === undefined) return;
    this.options.leases.kill(task, lease, `${task.name} begins again, since its item ${lost} is lost`);
  }

  /** The generator has made `count` items and no more. */
  ended(task: TaskRecord, stream: StreamRecord, count: number): void {
    stream.isEnded = true;
    this.options.end(task, stream.stored.size > 0);
    for (const [index, item] of stream.lost) {
      const whyNot =
        index < count
          ? this.options.lineage.rebuild(task, item)
          : `${task.name} made only ${count} items when it ran again`;
      if (whyNot === undefined) continue;
      stream.lost.delete(index);
      const message = `item ${index} of ${task.name} was lost, and was not made again: ${whyNot}`;
      this.setLost(item, {
        at: "error",
        bytes: packFailure({ code: "OBJECT_LOST", kind: "lost", message }),
        nested: [],
      });
    }
  }
}
