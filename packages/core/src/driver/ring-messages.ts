/** The records on the rings between a program's thread and its I/O thread: MessagePack, hot ones as arrays. */
import type { ObjectKey, Seq } from "../base/ids.ts";
import type { ActorCreation, NestedRef } from "../owner/mod.ts";
import type { FrameReader, FrameWriter } from "../wire/mod.ts";

/** Program → owner. */
export const ASK = {
  /** [0, seq, template, args, nested, deps] */
  submit: 0,
  /** [1, seq, actor, method, args, nested, deps] */
  call: 1,
  /** [2, seq…] */
  release: 2,
  /** [3, seq…] */
  want: 3,
  /** [4, seq…] */
  watch: 4,
  /** [5, seq, bytes, nested] */
  put: 5,
  /** [6, seq] */
  retain: 6,
  /** [7, first, owner, seq…, owner, seq…]: numbered one after the other from `first` on; each list is of one owner. */
  borrow: 7,
  /** [8, stream, count] */
  consumed: 8,
  /** [9, actor] */
  releaseActor: 9,
  /** [10, seq…] */
  unwant: 10,
  /** [11, first, count] */
  wantRun: 11,
  /** [12, kind, num, actorId, args, nested, deps]: see {@link ActorKind}. */
  createActor: 12,
} as const;

/** Owner → program. */
export const TELL = {
  /** [0, seq, bytes] */
  value: 0,
  /** [1, seq, bytes] */
  error: 1,
  /** [2, seq] */
  ready: 2,
  /** [3, stream, item] */
  streamItem: 3,
  /** [4, stream, count] */
  streamEnd: 4,
  /** [5, bytes] */
  kept: 5,
  /** [6, stream, bytes] */
  streamValue: 6,
} as const;

/** What actors that are made alike have in common, told once for all that follow; one for each place among a few. */
export type ActorKind = Pick<ActorCreation, "options" | "spec" | "concurrency">;
export const ACTOR_KINDS = 16;

export function writeNested(out: FrameWriter, nested: readonly NestedRef[]): void {
  if (nested.length === 0) {
    out.nil();
    return;
  }
  out.array(nested.length);
  for (const ref of nested) {
    // An own object is its number; a foreign one or an actor its key.
    if (typeof ref === "number") out.uint(ref);
    else out.string(ref);
  }
}

const NONE: readonly never[] = Object.freeze([]);

export function readNested(reader: FrameReader): readonly NestedRef[] {
  if (reader.tryNil()) return NONE;
  const count = reader.array();
  const nested: NestedRef[] = [];
  for (let index = 0; index < count; index++) {
    nested.push(reader.isString() ? (reader.string() as ObjectKey) : (reader.uint() as Seq));
  }
  return nested;
}

export function writeSeqs(out: FrameWriter, seqs: readonly Seq[]): void {
  if (seqs.length === 0) {
    out.nil();
    return;
  }
  out.array(seqs.length);
  for (const seq of seqs) out.uint(seq);
}

export function readSeqs(reader: FrameReader): readonly Seq[] {
  if (reader.tryNil()) return NONE;
  const count = reader.array();
  const seqs: Seq[] = [];
  for (let index = 0; index < count; index++) seqs.push(reader.uint() as Seq);
  return seqs;
}
