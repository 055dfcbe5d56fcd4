/** Columns of so many attempts, 71 bytes for each. Indices of dictionaries are 0 for none, and times NaN. */
import {
  ATTEMPT_KINDS,
  ATTEMPT_OUTCOMES,
  type AttemptKind,
  type AttemptOutcome,
  type RecordedAttempt,
} from "../events/mod.ts";
import type { TaskRow } from "./rows.ts";

/** Columns that are indices of dictionaries. */
export const ENTRY_COLUMNS = ["name", "worker", "owner", "actor", "error", "parentName", "parentOwner"] as const;
export type EntryColumn = (typeof ENTRY_COLUMNS)[number];

export const STATE_OF = {
  ok: "finished",
  error: "failed",
  lost: "lost",
  preempted: "preempted",
  cancelled: "cancelled",
} as const satisfies Readonly<Record<AttemptOutcome, TaskRow["state"]>>;

export class AttemptChunk {
  /** Grows with each chunk. */
  number = 0;
  size = 0;
  readonly name: Uint32Array;
  readonly worker: Uint32Array;
  readonly owner: Uint32Array;
  readonly actor: Uint32Array;
  readonly error: Uint32Array;
  readonly parentName: Uint32Array;
  readonly parentOwner: Uint32Array;
  /** NaN where there is none. */
  readonly parentSeq: Float64Array;
  readonly seq: Float64Array;
  private readonly attempt: Uint16Array;
  /** outcome + 8 · kind */
  readonly flags: Uint8Array;
  private readonly submittedAtMs: Float64Array;
  /** These count from the submission: four bytes have a tenth of a millisecond of half an hour. */
  private readonly readyMs: Float32Array;
  private readonly sentMs: Float32Array;
  private readonly finishedMs: Float32Array;
  readonly runMicros: Float32Array;

  constructor(rows: number) {
    [this.name, this.worker, this.owner] = [new Uint32Array(rows), new Uint32Array(rows), new Uint32Array(rows)];
    [this.actor, this.error] = [new Uint32Array(rows), new Uint32Array(rows)];
    [this.parentName, this.parentOwner] = [new Uint32Array(rows), new Uint32Array(rows)];
    this.parentSeq = new Float64Array(rows);
    [this.seq, this.submittedAtMs] = [new Float64Array(rows), new Float64Array(rows)];
    [this.attempt, this.flags] = [new Uint16Array(rows), new Uint8Array(rows)];
    [this.readyMs, this.sentMs] = [new Float32Array(rows), new Float32Array(rows)];
    [this.finishedMs, this.runMicros] = [new Float32Array(rows), new Float32Array(rows)];
  }

  /** The indices of the entries are the caller's to write. */
  add(attempt: RecordedAttempt): number {
    const row = this.size++;
    const { submittedAtMs } = attempt;
    this.seq[row] = attempt.seq;
    this.attempt[row] = attempt.attempt;
    this.flags[row] = ATTEMPT_OUTCOMES.indexOf(attempt.outcome) + 8 * ATTEMPT_KINDS.indexOf(attempt.kind);
    this.submittedAtMs[row] = submittedAtMs;
    this.readyMs[row] = attempt.readyAtMs - submittedAtMs;
    this.sentMs[row] = attempt.sentAtMs - submittedAtMs;
    this.finishedMs[row] = attempt.finishedAtMs - submittedAtMs;
    this.runMicros[row] = hasRunTime(attempt) ? attempt.runMicros : Number.NaN;
    return row;
  }

  attemptOf(row: number): number {
    return this.attempt[row] ?? 0;
  }

  submittedAt(row: number): number {
    return this.submittedAtMs[row] ?? Number.NaN;
  }

  readyAt(row: number): number {
    return this.submittedAt(row) + (this.readyMs[row] ?? Number.NaN);
  }

  sentAt(row: number): number {
    return this.submittedAt(row) + (this.sentMs[row] ?? Number.NaN);
  }

  finishedAt(row: number): number {
    return this.submittedAt(row) + (this.finishedMs[row] ?? Number.NaN);
  }

  /** Results of short runs arrive together; a run cannot have begun before it was sent. NaN when it is not known. */
  startedAt(row: number): number {
    const finishedAtMs = this.finishedAt(row);
    return Math.max(finishedAtMs - this.ranMs(row), Math.min(this.sentAt(row), finishedAtMs));
  }

  ranMs(row: number): number {
    return (this.runMicros[row] ?? Number.NaN) / 1000;
  }
}

export const outcomeOf = (flags: number): AttemptOutcome => ATTEMPT_OUTCOMES[flags & 7] ?? "lost";
export const kindOf = (flags: number): AttemptKind => ATTEMPT_KINDS[flags >> 3] ?? "task";

/** How long an attempt ran that did not come to its end nobody knows. */
const hasRunTime = ({ outcome, worker }: RecordedAttempt): boolean =>
  worker >= 0 && (outcome === "ok" || outcome === "error");
