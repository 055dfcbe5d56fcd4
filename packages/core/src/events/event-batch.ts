/**
 * A batch of events, as its process sends it: MessagePack { v, pid, seen, names, workers, columns }, where `columns` is
 * little-endian doubles, {@link FIELDS} for each event.
 */
import { pack, unpack } from "../wire/mod.ts";

export type AttemptOutcome = "ok" | "error" | "lost" | "preempted";
const OUTCOMES: readonly AttemptOutcome[] = ["ok", "error", "lost", "preempted"];

/** One attempt of a task or call. Times are milliseconds since the epoch. */
export interface RecordedAttempt {
  readonly name: string;
  /** The process that submitted it. */
  readonly ownerPid: number;
  readonly seq: number;
  readonly attempt: number;
  readonly outcome: AttemptOutcome;
  readonly isCall: boolean;
  /** Nothing else of its kind ran in its worker at the same time. */
  readonly isSerial: boolean;
  readonly workerId: string;
  readonly workerPid: number;
  readonly submittedAtMs: number;
  readonly readyAtMs: number;
  readonly sentAtMs: number;
  readonly finishedAtMs: number;
  readonly runMicros: number;
}

export interface EventBatchContent {
  readonly ownerPid: number;
  /** Attempts that ended while the batch was gathered; those not among `attempts` were left out by sampling. */
  readonly seen: number;
  readonly attempts: readonly RecordedAttempt[];
}

/** Order of an event's numbers in `columns`. */
export const FIELD = {
  name: 0,
  worker: 1,
  /** outcome + 4 · isCall + 8 · isSerial + 16 · attempt */
  kind: 2,
  seq: 3,
  submittedAtMs: 4,
  readyAtMs: 5,
  sentAtMs: 6,
  finishedAtMs: 7,
  runMicros: 8,
} as const;
export const FIELDS = 9;

export function kindOf(outcome: AttemptOutcome, isCall: boolean, isSerial: boolean, attempt: number): number {
  return OUTCOMES.indexOf(outcome) + (isCall ? 4 : 0) + (isSerial ? 8 : 0) + 16 * attempt;
}

interface PackedBatch {
  readonly v: 1;
  readonly pid: number;
  readonly seen: number;
  readonly names: readonly string[];
  readonly workers: readonly (readonly [id: string, pid: number])[];
  readonly columns: Uint8Array;
}

export function packBatch(batch: Omit<PackedBatch, "v" | "columns">, numbers: Float64Array): Uint8Array {
  const columns = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  return pack({ v: 1, ...batch, columns } satisfies PackedBatch);
}

/** @throws RangeError for bytes of another version. */
export function readBatch(bytes: Uint8Array): EventBatchContent {
  const { v, pid, seen, names, workers, columns } = unpack(bytes) as PackedBatch; // Checked by its version.
  if (v !== 1) throw new RangeError(`an event batch of version ${String(v)} cannot be read`);
  // A copy of their own, so that they begin at a multiple of eight.
  const numbers = new Float64Array(Uint8Array.from(columns).buffer);
  const attempts: RecordedAttempt[] = [];
  for (let at = 0; at + FIELDS <= numbers.length; at += FIELDS) {
    const field = (index: number): number => numbers[at + index] ?? 0;
    const kind = field(FIELD.kind);
    const [workerId, workerPid] = workers[field(FIELD.worker)] ?? ["", 0];
    attempts.push({
      name: names[field(FIELD.name)] ?? "",
      ownerPid: pid,
      seq: field(FIELD.seq),
      attempt: Math.floor(kind / 16),
      outcome: OUTCOMES[kind & 3] ?? "lost",
      isCall: (kind & 4) !== 0,
      isSerial: (kind & 8) !== 0,
      workerId,
      workerPid,
      submittedAtMs: field(FIELD.submittedAtMs),
      readyAtMs: field(FIELD.readyAtMs),
      sentAtMs: field(FIELD.sentAtMs),
      finishedAtMs: field(FIELD.finishedAtMs),
      runMicros: field(FIELD.runMicros),
    });
  }
  return { ownerPid: pid, seen, attempts };
}
