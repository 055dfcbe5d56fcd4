/**
 * A log that several machines keep, and of which each place is written once: what NATS JetStream and etcd both offer,
 * and all that replicated state needs of them (log-nats.ts, log-etcd.ts).
 *
 * 1. Records are numbered from 1, one by one. A record is there for good once `append` has said so.
 * 2. `append` says which record it follows. While another one has taken that place it is refused: this is what makes
 *    two writers see each other. The check of a server may be weak (JetStream makes it before it proposes, so it can
 *    let two through while its leaders change): each record also says inside which one it follows, and readers pass
 *    over one that is elsewhere (log-view.ts).
 * 3. Old records may be trimmed, so a reader may find the first one gone.
 */
import type { MobulaError } from "../base/mod.ts";

export interface LogRecord {
  readonly seq: number;
  readonly data: Uint8Array;
}

export type AppendOutcome =
  /** Durable, at `seq`. */
  | { readonly kind: "appended"; readonly seq: number }
  /** The last record is not the one it was to follow: another writer's, or this one, sent before. */
  | { readonly kind: "refused" }
  /** It was not written, and a repetition would fail as well: a full disk, a lost permission. */
  | { readonly kind: "failed"; readonly error: MobulaError }
  /** No answer in time: it may have been written, or may yet be. */
  | { readonly kind: "unknown"; readonly error: MobulaError };

export interface ReplicatedLog {
  /** For messages: "NATS stream x at …". */
  readonly name: string;
  /** Longer records are refused by the servers. */
  readonly recordBytesMax: number;
  /** Some records from `from` on, or from the first one after it that is left; none at the end. May lag behind. */
  read(from: number): Promise<readonly LogRecord[]>;
  append(data: Uint8Array, after: number): Promise<AppendOutcome>;
  /** Records before `before` are not needed any more. */
  trim(before: number): Promise<void>;
  close(): Promise<void>;
}
