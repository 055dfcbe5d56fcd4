/** The state store of a node that ends with its driver: nothing outlives the process, so every commit is done at once. */
import type { CommitOutcome, StateEntry, StateStore } from "./kv.ts";
import { conflictOf, createWatchers, inPieces } from "./kv-rules.ts";

export function createMemoryState(epoch = 1): StateStore {
  const entries = new Map<string, StateEntry>();
  const watchers = createWatchers();
  let revision = 0;
  return {
    epoch,
    list: async (prefix) =>
      [...entries.values()]
        .filter(({ key }) => key.startsWith(prefix))
        .sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0)),
    get: async (key) => entries.get(key),
    snapshot: () => inPieces([...entries.values()]),
    commit(changes, done) {
      const conflict = conflictOf(changes, (key) => entries.get(key)?.revision ?? 0);
      if (conflict !== undefined) {
        done(conflict);
        return;
      }
      revision++;
      for (const { key, value } of changes) {
        if (value === null) entries.delete(key);
        else entries.set(key, { key, value, revision });
      }
      done({ kind: "committed", revision } satisfies CommitOutcome);
      watchers.tell(changes, revision);
    },
    watch: watchers.watch,
    close: async () => entries.clear(),
  };
}
