/** What the engine asks of the world. The runtime carries it out; the simulator and the tests write it down. */
import type { ObjectKey, Seq } from "../base/ids.ts";
import type { AttemptOutcome } from "../events/mod.ts";
import type { StoredValue, StorePinned, ToNode, ValueRecord, WorkerAddress } from "../wire/mod.ts";
import type { Lease, TaskRecord, WorkerLink } from "./records.ts";

/** The program's side: what it is told. */
export interface ProgramEffects {
  /** The value that `want` asked for. */
  value(seq: Seq, value: ValueRecord): void;
  /** The same for a value in the store, resident and pinned once for the program. */
  pinned(seq: Seq, pinned: StorePinned, nested: readonly ObjectKey[]): void;
  /** What `watch` asked for. */
  ready(seq: Seq): void;
  /** The next item of a stream is there (or will be: it has a value at once). */
  streamItem(stream: Seq, item: Seq): void;
  /**
   * The next item of a stream is a small value with no refs in it: the program has it, and this owner does not keep it.
   *
   * @param bytes valid only during the call.
   */
  streamValue(stream: Seq, bytes: Uint8Array): void;
  /** The stream has `count` items and no more. */
  streamEnd(stream: Seq, count: number): void;
  /** A failed task whose error nobody has asked for was let go. */
  unreadFailure(name: string, bytes: Uint8Array): void;
  /** The same for one that others may still ask for: who sees their holds go says whether somebody has. */
  escapedFailure?(key: ObjectKey, name: string): void;
  warn(code: string, message: string): void;
  /** How much of the object store is kept for refs of this process; told when it has changed, at most once a turn. */
  kept(bytes: number): void;
}

export interface OwnerEffects extends ProgramEffects {
  toNode(message: ToNode): void;
  /** Opens, or finds open, the connection to a worker. Frames may be written at once. */
  link(address: WorkerAddress): WorkerLink;
  /** Nothing leads there any more from this owner. */
  unlink(link: WorkerLink): void;
  /** Makes a stored object resident and pins it for this process; answered through `engine.onPinned`. */
  pin(value: StoredValue): void;
  /** Ends a worker process that still works under the lease: cancelled by force, or past its deadline. */
  killWorker(lease: Pick<Lease, "idThere" | "link">, reason: string): void;
  /** Breaks what a worker runs, if it is this task: for one whose claim words are not to be had here. */
  interrupt?(address: WorkerAddress, seq: Seq): void;
  /** The program has packed a function with what it captured, as so many bytes. */
  codePacked?(name: string, bytes: number): void;
  /**
   * An attempt ended: told once of each. Times are milliseconds of the engine's clock.
   *
   * @param worker undefined when it never ran.
   * @param failure packed, of one that failed or was cancelled.
   */
  taskEvent(
    task: TaskRecord,
    worker: WorkerAddress | undefined,
    runMicros: number,
    finishedAtMs: number,
    outcome: AttemptOutcome,
    failure?: Uint8Array,
  ): void;
}
