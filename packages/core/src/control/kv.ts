/**
 * The state store that control writes what must outlive it to: keys to bytes, with compare-and-set, watch and an epoch.
 *
 * 1. Every commit is all or nothing and gets a revision; revisions grow by at least one.
 * 2. `done` is called when the commit is durable, in the order of the commits.
 * 3. The epoch grows each time a store is opened for writing: what carries an older one is stale.
 *
 * Kept in memory for a node that ends with its driver (state-memory.ts), in SQLite for one that stands by itself
 * (state-sqlite.ts), and in a log on several servers for a control that must outlive its machine (state-log.ts).
 */
import type { MobulaError } from "../base/mod.ts";

export interface StateEntry {
  readonly key: string;
  readonly value: Uint8Array;
  /** The revision of the commit that wrote it. */
  readonly revision: number;
}

export interface StateChange {
  readonly key: string;
  /** null deletes the key. */
  readonly value: Uint8Array | null;
  /** The revision that the key must have now, 0 for "must not exist"; left out: whatever it has. */
  readonly expect?: number;
}

export type CommitOutcome =
  | { readonly kind: "committed"; readonly revision: number }
  /** An `expect` did not hold; nothing was written. */
  | { readonly kind: "conflict"; readonly key: string; readonly revision: number }
  /**
   * The store cannot write: DISK_FULL may pass, STATE_CORRUPT does not; STATE_FENCED says that another writer has begun.
   * Nothing was written, except that with STATE_OUTCOME_UNKNOWN it may have been.
   */
  | { readonly kind: "failed"; readonly error: MobulaError };

export interface StateStore {
  readonly epoch: number;
  /** Everything that is committed now under a prefix, by key. */
  list(prefix: string): Promise<readonly StateEntry[]>;
  get(key: string): Promise<StateEntry | undefined>;
  /** Everything that is committed now, in pieces of about a MiB, whatever is committed while they are taken. */
  snapshot(): AsyncIterable<readonly StateEntry[]>;
  commit(changes: readonly StateChange[], done: (outcome: CommitOutcome) => void): void;
  /** Hears each committed change under a prefix, in order, from now on. */
  watch(prefix: string, listener: (change: StateChange, revision: number) => void): Disposable;
  /** Ends after what was committed is durable. */
  close(): Promise<void>;
}
