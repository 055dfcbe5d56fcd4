/**
 * The line between a program's side (refs, promises, values) and its owner engine, wherever that runs: on the same
 * thread in a worker, on the I/O thread in a driver.
 */
import type { ActorId, ProcessId, Seq } from "../base/ids.ts";
import type { PutTally } from "../events/mod.ts";
import type {
  ActorCreation,
  ExpectedValue,
  MethodTemplate,
  NestedRef,
  ProgramEffects,
  ProgramValue,
  Template,
} from "../owner/mod.ts";
import type { Explanation, ToNode } from "../wire/mod.ts";

export interface OwnerPort {
  /** What the owner tells the program; set once, before anything is asked. */
  program: ProgramEffects | undefined;
  /** Tasks and calls that have ended since the start. */
  readonly endedCount: number;

  template(template: Template): void;
  dropTemplate(id: number): void;
  method(method: MethodTemplate): void;
  submit(seq: Seq, template: number, args: Uint8Array, deps: readonly Seq[], nested: readonly NestedRef[]): void;
  call(
    seq: Seq,
    actor: number,
    method: number,
    args: Uint8Array,
    deps: readonly Seq[],
    nested: readonly NestedRef[],
  ): void;
  createActor(creation: ActorCreation): void;
  /** A handle read from a value, or looked up by name (`isGranted`: the look-up came with a hold). */
  borrowActor(num: number, actorId: ActorId, className: string, concurrency: number, isGranted: boolean): void;
  releaseActor(num: number): void;

  put(seq: Seq, value: ProgramValue): void;
  /** Small values that were put and are nobody's but the program's, by where. */
  putsSeen(tallies: readonly PutTally[]): void;
  /** An object whose value is there when the node says so. */
  expect(seq: Seq, value: ExpectedValue): void;
  borrow(seq: Seq, owner: ProcessId, ownerSeq: Seq): void;
  retain(seq: Seq): void;
  release(seq: Seq): void;
  /** The same of a ref that was found dead: it may wait for others of its kind to the end of the turn. */
  releaseCollected(seq: Seq): void;
  want(seqs: readonly Seq[]): void;
  /** The same for `count` objects from `first` on. */
  wantRun(first: Seq, count: number): void;
  unwant(seqs: readonly Seq[]): void;
  watch(seqs: readonly Seq[]): void;
  unpin(keys: readonly number[]): void;

  consumed(stream: Seq, count: number): void;
  abandonStream(stream: Seq): void;
  cancel(seq: Seq, force: boolean, isRecursive: boolean): void;

  /** Sends to the node as it is: what only the node understands. */
  toNode(message: ToNode): void;
  query(method: string, params: unknown): Promise<unknown>;
  /** What the owner knows of a ref or an actor that waits. */
  explain(target: { readonly seq: Seq } | { readonly actor: number }): Promise<Explanation>;
  /** Something begins (1) or ceases (-1) to be awaited: the process stays alive while anything is. */
  awaiting(change: 1 | -1): void;
  /** What was asked leaves now, not at the end of the turn. */
  flush(): void;
}
