/** What was acknowledged to any head, and whether each that leads finds it. */
import type { StateChange, StateEntry, StateStore } from "../../core/src/control/kv.ts";
import type { World } from "./world.ts";

interface Acknowledged {
  readonly value: Uint8Array | null;
  readonly revision: number;
  /** Of the head that wrote it. */
  readonly epoch: number;
  /** Among all that was to be written. */
  readonly number: number;
}

export class AcknowledgedState {
  private readonly world: World;
  private readonly last = new Map<string, Acknowledged>();
  /** Which of all changes was the last that deletes a key: one of which nobody heard whether it was made leaves nothing behind. */
  private readonly deletions = new Map<string, number>();
  /** What each epoch has begun with. */
  private readonly begun = new Map<number, ReadonlyMap<string, StateEntry>>();
  private changes = 0;

  constructor(world: World) {
    this.world = world;
  }

  /** The state of who begins to lead, watched from now on. */
  watched(state: StateStore, entries: readonly StateEntry[]): StateStore {
    const { epoch } = state;
    const found = new Map(entries.map((entry) => [entry.key, entry]));
    if (this.begun.has(epoch)) this.world.failSoon("one head leads at a time", `epoch ${epoch} has begun twice`);
    this.begun.set(epoch, found);
    // It may have begun long before it heard that it has.
    for (const [key, acknowledged] of this.last) if (acknowledged.epoch < epoch) this.check(epoch, key, acknowledged);
    return {
      epoch,
      list: (prefix) => state.list(prefix),
      get: (key) => state.get(key),
      snapshot: () => state.snapshot(),
      watch: (prefix, listener) => state.watch(prefix, listener),
      close: () => state.close(),
      commit: (changes, done) => {
        const number = ++this.changes;
        for (const { key, value } of changes) if (value === null) this.deletions.set(key, number);
        state.commit(changes, (outcome) => {
          if (outcome.kind === "committed") this.acknowledged(epoch, changes, outcome.revision, number);
          done(outcome);
        });
      },
    };
  }

  private acknowledged(epoch: number, changes: readonly StateChange[], revision: number, number: number): void {
    // Of two changes of one key the later counts.
    for (const [key, value] of new Map(changes.map((change) => [change.key, change.value]))) {
      const one = { value, revision, epoch, number };
      if ((this.last.get(key)?.revision ?? 0) < revision) this.last.set(key, one);
      // The answer may come when another has begun, if that has read what was written.
      for (const later of this.begun.keys()) if (later > epoch) this.check(later, key, one);
    }
  }

  private check(epoch: number, key: string, { value, revision, number }: Acknowledged): void {
    const entry = this.begun.get(epoch)?.get(key);
    const isDeleted = value === null || (this.deletions.get(key) ?? 0) > number;
    const isThere = entry
      ? entry.revision > revision || (value !== null && Buffer.compare(entry.value, value) === 0)
      : isDeleted;
    if (isThere) return;
    const found = entry ? `revision ${entry.revision}` : "nothing";
    this.world.failSoon(
      "what was acknowledged is there for the next leader",
      `of ${key}, revision ${revision} was, and epoch ${epoch} began with ${found}`,
    );
  }
}
