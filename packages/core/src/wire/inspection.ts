/** What `inspect-begin` finds out of a process: its stack and what its executions wait for, or the kernel's view of it; files for DevTools. */
import type { NodeId, WorkerId } from "../base/ids.ts";

/**
 * Profiles are files of Chrome's DevTools: `.cpuprofile` and `.heapprofile`; and so is a snapshot of the heap. "suspended" says
 * where functions of such a snapshot wait ({@link SuspendedPlaces}).
 */
export type InspectedThing = "stack" | "cpu" | "heap" | "snapshot" | "suspended";

/** Of a snapshot that is being taken. */
export interface SnapshotProgress {
  readonly heapBytes: number;
  /** At most, of a heap of small objects. */
  readonly stillMsMax: number;
  /** Beside the heap, while it is taken; at most. */
  readonly neededBytesMax: number;
  /** Of the heap; 100: it is being written. */
  readonly percent: number;
  readonly writtenBytes: number;
}

/** An async function in a heap snapshot, by V8's id of it, and where it was written: from 0 on, as V8 has it. */
export interface SuspendedAsked {
  readonly objectId: number;
  readonly url: string;
  readonly line: number;
  readonly column: number;
}

/** What `what: "suspended"` gives, as JSON. */
export interface SuspendedPlaces {
  /** In the order in which they were asked for; its name is left empty. */
  readonly frames: readonly StackFrame[];
  /** So many of them are where the function waits; the others where it begins: there was no time to ask for them all. */
  readonly exact: number;
  /** Ids of the executions that were asked for; null: it has ended, or there was no time. */
  readonly taskIds: readonly (string | null)[];
  /** The process stood still for so long, in all. */
  readonly stillMs: number;
}

/** As the id of "find-process": every worker and driver. */
export const ALL_PROCESSES = "*";

/** A process that a node can look into: one of its workers or drivers. */
export interface FoundProcess {
  readonly nodeId: NodeId;
  /** For people. */
  readonly nodeName: string;
  readonly pid: number;
  readonly role: "worker" | "driver";
  readonly workerId: WorkerId | null;
}

export interface StackFrame {
  /** Empty for code outside of any function. */
  readonly name: string;
  /** A path, `node:internal/timers` and the like, or empty for code that came as text. */
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly of: "program" | "runtime" | "node";
  /** It awaits the frame before it. */
  readonly isAsync?: true;
}

/** A task, or a call of an actor, that has begun and not ended. */
export interface RunningView {
  readonly name: string;
  readonly taskId: string;
  readonly actorId: string | null;
  /** Milliseconds. */
  readonly forMs: number | null;
  /** Pending waits of it for results of others. */
  readonly waits: number;
}

/** A pending `get`, `wait` or next ref of a stream. */
export interface WaitView {
  readonly call: "get" | "wait" | "stream";
  readonly sinceMs: number;
  /** Which of {@link RunningView} waits; null: the program itself. */
  readonly taskId: string | null;
  /** Of a `wait`, which may need only some of them. */
  readonly refs: number;
  readonly missing: number;
  /** The first of those that are missing, for `mobula why`. */
  readonly ids: readonly string[];
  /** Where the program waits; empty when that was not noted. */
  readonly at: readonly StackFrame[];
}

/** What a process says of itself. */
export interface ProgramView {
  /** The innermost first; empty when nothing runs: then it waits in its event loop. */
  readonly stack: readonly StackFrame[];
  /** To which execution the stack belongs. */
  readonly current: { readonly name: string; readonly taskId: string; readonly actorId: string | null } | null;
  readonly running: readonly RunningView[];
  readonly runningTotal: number;
  /** The oldest first. */
  readonly waits: readonly WaitView[];
  readonly waitsTotal: number;
  /** What keeps the event loop alive, by kind: `{ Timeout: 2, TCPSocketWrap: 1 }`. */
  readonly handles: Readonly<Record<string, number>>;
}

/** What Linux says of a thread of it. */
export interface ThreadView {
  readonly id: number;
  readonly name: string;
  /** One letter, as in /proc. */
  readonly state: string;
  /** Where in the kernel it waits; empty when it does not, or that is not said. */
  readonly waitsIn: string;
  /** Of a processor, in the time that it was watched: 0 to 100. */
  readonly cpuPercent: number;
}

export interface KernelView {
  /** The most important first. */
  readonly sentences: readonly string[];
  readonly threads: readonly ThreadView[];
  readonly residentBytes: number | null;
  readonly swappedBytes: number | null;
}

/** What `what: "stack"` gives, as JSON. */
export interface InspectedStack extends FoundProcess {
  readonly atMs: number;
  readonly program: ProgramView | null;
  /** Set when the program did not answer, with why. */
  readonly kernel: (KernelView & { readonly why: string }) | null;
}
