/** What all state stores have in common: compare-and-set, watches, and how control's `persist` goes through them. */
import { MobulaError } from "../base/mod.ts";
import type { ControlEffects } from "./interface.ts";
import type { CommitOutcome, StateChange, StateEntry, StateStore } from "./kv.ts";

/** The first change whose `expect` does not hold, as an outcome. */
export function conflictOf(
  changes: readonly StateChange[],
  revisionOf: (key: string) => number,
): Extract<CommitOutcome, { kind: "conflict" }> | undefined {
  for (const { key, expect } of changes) {
    if (expect === undefined) continue;
    const revision = revisionOf(key);
    if (revision !== expect) return { kind: "conflict", key, revision };
  }
  return undefined;
}

const PIECE_BYTES = 1 << 20;

/** Entries, which nothing changes any more, for `snapshot`. */
export async function* inPieces(entries: readonly StateEntry[]): AsyncGenerator<readonly StateEntry[]> {
  let bytes = 0;
  let from = 0;
  for (const [at, { key, value }] of entries.entries()) {
    bytes += key.length + value.length;
    if (bytes < PIECE_BYTES) continue;
    yield entries.slice(from, at + 1);
    from = at + 1;
    bytes = 0;
  }
  if (from < entries.length) yield entries.slice(from);
}

type Listener = (change: StateChange, revision: number) => void;

export interface Watchers {
  watch(prefix: string, listener: Listener): Disposable;
  tell(changes: readonly StateChange[], revision: number): void;
}

export function createWatchers(): Watchers {
  const watchers = new Set<{ readonly prefix: string; readonly listener: Listener }>();
  return {
    watch(prefix, listener) {
      const watcher = { prefix, listener };
      watchers.add(watcher);
      return { [Symbol.dispose]: () => void watchers.delete(watcher) };
    },
    tell(changes, revision) {
      if (watchers.size === 0) return;
      for (const change of changes) {
        for (const { prefix, listener } of [...watchers]) if (change.key.startsWith(prefix)) listener(change, revision);
      }
    },
  };
}

/** Control's `persist`, through a store that it alone writes to. */
export function persistThrough(store: StateStore): ControlEffects["persist"] {
  return (changes, done) =>
    store.commit(changes, (outcome) => {
      switch (outcome.kind) {
        case "committed":
          done(undefined);
          break;
        case "failed":
          done(outcome.error);
          break;
        case "conflict":
          done(
            new MobulaError("STATE_CONFLICT", "internal", `another writer changed ${outcome.key} in the state store`),
          );
          break;
      }
    });
}
