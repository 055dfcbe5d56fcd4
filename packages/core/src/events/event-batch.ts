/**
 * A batch of events, as its owner sends it: MessagePack of {@link EventBatch} with its version. The attempts are
 * `columns`, little-endian doubles, {@link FIELDS} for each; strings that repeat are in tables, and named by their index.
 *
 * `tallies` count every attempt that ended while the batch was gathered, also those that sampling left out.
 */
import {
  type ActorId,
  creationTaskId,
  type JobId,
  type NodeId,
  OWNER_HEX,
  type ProcessId,
  type Seq,
  taskIdHex,
} from "../base/ids.ts";
import { pack, unpack } from "../wire/mod.ts";

export const ATTEMPT_OUTCOMES = ["ok", "error", "lost", "preempted", "cancelled"] as const;
export type AttemptOutcome = (typeof ATTEMPT_OUTCOMES)[number];
export const ATTEMPT_KINDS = ["task", "actor-call", "actor-creation"] as const;
export type AttemptKind = (typeof ATTEMPT_KINDS)[number];

/** How many attempts of a function ended in each way, and how long those ran together that gave a result or an error. */
export interface Tally {
  readonly name: string;
  /** The function in which they were submitted; null: in the program itself, or it is not known. */
  readonly parent: string | null;
  readonly kind: AttemptKind;
  /** In the order of {@link ATTEMPT_OUTCOMES}. */
  readonly counts: readonly number[];
  readonly runMicros: number;
}

export interface BatchWorker {
  readonly workerId: string;
  readonly nodeId: NodeId;
  readonly pid: number;
}

/** The attempts of a batch are read by {@link attemptsOf}. */
export interface EventBatch {
  /** The process that submitted them; empty for counts of attempts that are not kept any more. */
  readonly owner: ProcessId;
  readonly pid: number;
  readonly job: JobId;
  readonly names: readonly string[];
  readonly workers: readonly BatchWorker[];
  readonly actors: readonly ActorId[];
  /** What was thrown, or how it ended otherwise. */
  readonly errors: readonly string[];
  readonly tallies: readonly Tally[];
  /** Functions that were packed with much in them. */
  readonly code: readonly PackedCodeTally[];
  /** Places in the program that put many small values. */
  readonly puts: readonly PutTally[];
  readonly columns: Float64Array;
  /**
   * The tasks and calls in which they were submitted, and of each attempt which of them, plus one; 0: none. Undefined when nothing was
   * submitted in a function, or a release before this one does not say in which.
   */
  readonly parents?: { readonly table: readonly BatchParent[]; readonly of: Uint16Array } | undefined;
}

/** A task or call; `seq` 0: nothing but its process. */
export interface BatchParent {
  readonly owner: ProcessId;
  readonly seq: number;
  /** Of the owner, in which an actor was asked for: its host tells of its making. */
  readonly pid?: number | undefined;
}

/** How often a function was packed anew with large values that it had captured, and how many bytes that made together. */
export interface PackedCodeTally {
  readonly name: string;
  readonly times: number;
  readonly bytes: number;
}

/** How many small values were put at `file:line`, and how many bytes that made together; taken from a sample of them. */
export interface PutTally {
  readonly site: string;
  readonly times: number;
  readonly bytes: number;
}

/** One attempt of a task or call. Times are milliseconds since the epoch. */
export interface RecordedAttempt {
  /** These name entries of the batch's tables; -1: none. */
  readonly name: number;
  readonly parent: number;
  /** Of `parents`. */
  readonly parentTask: number;
  /** None for an attempt that never ran. */
  readonly worker: number;
  readonly actor: number;
  readonly error: number;
  readonly kind: AttemptKind;
  readonly outcome: AttemptOutcome;
  /** Nothing else of its kind ran in its worker at the same time. */
  readonly isSerial: boolean;
  readonly seq: number;
  readonly attempt: number;
  readonly submittedAtMs: number;
  /** NaN when it ended before that. */
  readonly readyAtMs: number;
  readonly sentAtMs: number;
  readonly finishedAtMs: number;
  readonly runMicros: number;
}

/** Order of an event's numbers in `columns`. A table has less than 2^16 entries: the recorder sees to that. */
export const FIELD = {
  /** name + 2^16 · (parent + 1) + 2^32 · (outcome + 8 · kind + 32 · isSerial + 64 · attempt) */
  what: 0,
  /** worker + 1 + 2^16 · (actor + 1) + 2^32 · (error + 1) */
  where: 1,
  seq: 2,
  submittedAtMs: 3,
  readyAtMs: 4,
  sentAtMs: 5,
  finishedAtMs: 6,
  runMicros: 7,
} as const;
export const FIELDS = 8;
const ATTEMPT_MAX = 2 ** 14 - 1;

export const packWhat = (
  name: number,
  parent: number,
  outcome: AttemptOutcome,
  kind: AttemptKind,
  isSerial: boolean,
  attempt: number,
): number =>
  name +
  2 ** 16 * (parent + 1) +
  2 ** 32 *
    (ATTEMPT_OUTCOMES.indexOf(outcome) +
      8 * ATTEMPT_KINDS.indexOf(kind) +
      (isSerial ? 32 : 0) +
      64 * Math.min(attempt, ATTEMPT_MAX));

export const packWhere = (worker: number, actor: number, error: number): number =>
  worker + 1 + 2 ** 16 * (actor + 1) + 2 ** 32 * (error + 1);

const VERSION = 2;

interface PackedBatch {
  readonly v: typeof VERSION;
  readonly owner: ProcessId;
  readonly pid: number;
  readonly job: JobId;
  readonly names: readonly string[];
  readonly workers: readonly (readonly [workerId: string, nodeId: NodeId, pid: number])[];
  readonly actors: readonly ActorId[];
  readonly errors: readonly string[];
  /** Of each: name, parent + 1 (both of `names`), kind, microseconds, then the counts. */
  readonly tallies: readonly (readonly number[])[];
  /** Of each: name, times, bytes; left out when there is none. */
  readonly code?: readonly (readonly [name: string, times: number, bytes: number])[];
  /** Of each: site, times, bytes; left out when there is none. */
  readonly puts?: readonly (readonly [site: string, times: number, bytes: number])[];
  readonly columns: Uint8Array;
  /** Of each 12 bytes for its owner, and its number as a double; left out when there is none. */
  readonly parents?: Uint8Array;
  /** Two bytes for each attempt. */
  readonly parentOf?: Uint8Array;
  /** 0 for none; left out when none has one. */
  readonly parentPids?: readonly number[];
}

/** @param names those that the columns name by index; more are added for tallies. */
export function packBatch(batch: EventBatch): Uint8Array {
  const { owner, pid, job, actors, errors, columns } = batch;
  const indices = new Map(batch.names.map((name, index) => [name, index]));
  const indexOf = (name: string): number => {
    let index = indices.get(name);
    if (index === undefined) {
      index = indices.size;
      indices.set(name, index);
    }
    return index;
  };
  const tallies = batch.tallies.map(({ name, parent, kind, counts, runMicros }) => [
    indexOf(name),
    parent === null ? 0 : indexOf(parent) + 1,
    ATTEMPT_KINDS.indexOf(kind),
    runMicros,
    ...counts,
  ]);
  return pack({
    ...{ v: VERSION, owner, pid, job, actors, errors, tallies },
    ...(batch.code.length > 0 && { code: batch.code.map(({ name, times, bytes }) => [name, times, bytes] as const) }),
    ...(batch.puts.length > 0 && { puts: batch.puts.map(({ site, times, bytes }) => [site, times, bytes] as const) }),
    names: [...indices.keys()],
    workers: batch.workers.map(({ workerId, nodeId, pid }) => [workerId, nodeId, pid]),
    columns: new Uint8Array(columns.buffer, columns.byteOffset, columns.byteLength),
    ...(batch.parents && {
      parents: packParents(batch.parents.table),
      parentOf: new Uint8Array(batch.parents.of.buffer, batch.parents.of.byteOffset, batch.parents.of.byteLength),
      ...(batch.parents.table.some(({ pid }) => pid !== undefined) && {
        parentPids: batch.parents.table.map(({ pid = 0 }) => pid),
      }),
    }),
  } satisfies PackedBatch);
}

/** @throws RangeError for bytes of another version. */
export function readBatch(bytes: Uint8Array): EventBatch {
  const packed = unpack(bytes) as PackedBatch; // Checked by its version.
  if (packed?.v !== VERSION) throw new RangeError(`an event batch of version ${String(packed?.v)} cannot be read`);
  const { owner, pid, job, names, actors, errors } = packed;
  return {
    ...{ owner, pid, job, names, actors, errors },
    workers: packed.workers.map(([workerId, nodeId, pid]) => ({ workerId, nodeId, pid })),
    tallies: packed.tallies.map(([name = 0, parent = 0, kind = 0, runMicros = 0, ...counts]) => ({
      name: names[name] ?? "",
      parent: names[parent - 1] ?? null,
      kind: ATTEMPT_KINDS[kind] ?? "task",
      counts,
      runMicros,
    })),
    code: (packed.code ?? []).map(([name, times, bytes]) => ({ name, times, bytes })),
    puts: (packed.puts ?? []).map(([site, times, bytes]) => ({ site, times, bytes })),
    // A copy of their own, so that they begin at a multiple of eight.
    columns: new Float64Array(Uint8Array.from(packed.columns).buffer),
    parents: packed.parents &&
      packed.parentOf && {
        table: readParents(packed.parents, packed.parentPids),
        of: new Uint16Array(Uint8Array.from(packed.parentOf).buffer),
      },
  };
}

const OWNER_BYTES = OWNER_HEX / 2;
const PARENT_BYTES = OWNER_BYTES + 8;

function packParents(parents: readonly BatchParent[]): Uint8Array {
  const bytes = Buffer.allocUnsafe(parents.length * PARENT_BYTES);
  for (const [index, { owner, seq }] of parents.entries()) {
    bytes.write(owner, index * PARENT_BYTES, "hex");
    bytes.writeDoubleLE(seq, index * PARENT_BYTES + OWNER_BYTES);
  }
  return bytes;
}

function readParents(packed: Uint8Array, pids: readonly number[] = []): BatchParent[] {
  const bytes = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength);
  const parents: BatchParent[] = [];
  for (let at = 0; at + PARENT_BYTES <= bytes.length; at += PARENT_BYTES) {
    const owner = bytes.toString("hex", at, at + OWNER_BYTES) as ProcessId;
    const pid = pids[parents.length] || undefined;
    parents.push({ owner, seq: bytes.readDoubleLE(at + OWNER_BYTES), ...(pid !== undefined && { pid }) });
  }
  return parents;
}

export interface Submitter {
  readonly processId: ProcessId;
  readonly pid: number;
}

/** Which process asked for it: the one of whose batch it is, but for the making of an actor. Undefined when that is not known. */
export function submitterOf({ owner, pid, parents }: EventBatch, attempt: RecordedAttempt): Submitter | undefined {
  if (attempt.kind !== "actor-creation") return { processId: owner, pid };
  const creator = parents?.table[attempt.parentTask];
  return creator && { processId: creator.owner, pid: creator.pid ?? 0 };
}

/** The 24 bytes of its id. */
export function taskIdOf({ owner, job, actors }: EventBatch, { kind, actor, seq }: RecordedAttempt): string {
  const made = kind === "actor-creation" ? actors[actor] : undefined;
  return made === undefined ? taskIdHex(owner, seq as Seq, job) : creationTaskId(made, job);
}

export function* attemptsOf({ columns, parents }: EventBatch): Generator<RecordedAttempt> {
  for (let at = 0; at + FIELDS <= columns.length; at += FIELDS) {
    const field = (index: number): number => columns[at + index] ?? 0;
    const what = field(FIELD.what);
    const where = field(FIELD.where);
    const names = what % 2 ** 32;
    const flags = Math.floor(what / 2 ** 32);
    const places = where % 2 ** 32;
    yield {
      name: names % 2 ** 16,
      parent: Math.floor(names / 2 ** 16) - 1,
      parentTask: (parents?.of[at / FIELDS] ?? 0) - 1,
      worker: (places % 2 ** 16) - 1,
      actor: Math.floor(places / 2 ** 16) - 1,
      error: Math.floor(where / 2 ** 32) - 1,
      outcome: ATTEMPT_OUTCOMES[flags & 7] ?? "lost",
      kind: ATTEMPT_KINDS[(flags >> 3) & 3] ?? "task",
      isSerial: (flags & 32) !== 0,
      attempt: flags >> 6,
      seq: field(FIELD.seq),
      submittedAtMs: field(FIELD.submittedAtMs),
      readyAtMs: field(FIELD.readyAtMs),
      sentAtMs: field(FIELD.sentAtMs),
      finishedAtMs: field(FIELD.finishedAtMs),
      runMicros: field(FIELD.runMicros),
    };
  }
}

/** Attempts that ended, also those that are not in the batch. */
export const seenIn = ({ tallies }: EventBatch): number =>
  tallies.reduce((sum, { counts }) => sum + counts.reduce((a, b) => a + b, 0), 0);
