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

/** What was to be forgotten while there was no room to say so is tried again so often. */
const FORGET_AGAIN_MS = 500;

/**
 * Control's `persist`, through a store that it alone writes to. A full disk takes no deletions either; they have failed then, and are
 * made good as soon as there is room, unless the key has been written since: or what has ended would be there again after a restart.
 */
export function persistThrough(
  store: Pick<StateStore, "commit">,
  later: (ms: number, run: () => void) => void = (ms, run) => void setTimeout(run, ms).unref(),
): ControlEffects["persist"] {
  const late = new Set<string>();
  let isWaiting = false;

  function forgetLate(): void {
    isWaiting = false;
    if (late.size === 0) return;
    const keys = [...late];
    late.clear();
    commit(keys.map((key) => ({ key, value: null })));
  }

  function commit(changes: readonly StateChange[], done: (error: MobulaError | undefined) => void = () => {}): void {
    const overtaken = changes.filter(({ key }) => late.delete(key)).map(({ key }) => key);
    store.commit(changes, (outcome) => {
      if (outcome.kind === "failed" && outcome.error.kind === "exhausted") {
        for (const { key, value } of changes) if (value === null) late.add(key);
        for (const key of overtaken) late.add(key);
        if (late.size === 0 || isWaiting) return done(outcome.error);
        isWaiting = true;
        later(FORGET_AGAIN_MS, forgetLate);
      } else if (outcome.kind === "committed") {
        // A deletion before it may have failed while this one was under way.
        for (const { key } of changes) late.delete(key);
      }
      done(errorOf(outcome));
    });
  }
  return commit;
}

function errorOf(outcome: CommitOutcome): MobulaError | undefined {
  switch (outcome.kind) {
    case "committed":
      return undefined;
    case "failed":
      return outcome.error;
    case "conflict":
      return new MobulaError("STATE_CONFLICT", "internal", `another writer changed ${outcome.key} in the state store`);
  }
}
