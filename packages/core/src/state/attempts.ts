/**
 * The attempts that ended, newest first, and what became of all.
 *
 * 1. Attempts lie in chunks of columns; when there are too many, the oldest chunk is dropped and its arrays used again.
 * 2. Strings are in dictionaries, so a filter on one is decided once for each distinct string (task-filters.ts).
 * 3. A row is named by how many were added before it. That is what a cursor says, so pages stay as they are while rows come.
 * 4. Counts are exact, also of attempts that sampling left out and of rows that were dropped (events/tally-book.ts).
 */
import { InvalidOptionError } from "../base/errors.ts";
import { type JobId, OWNER_HEX, type ProcessId } from "../base/ids.ts";
import {
  attemptsOf,
  type BatchWorker,
  type EventBatch,
  type RecordedAttempt,
  readBatch,
  submitterOf,
  TallyBook,
} from "../events/mod.ts";
import { AttemptChunk, ENTRY_COLUMNS, kindOf, outcomeOf, STATE_OF } from "./attempt-chunk.ts";
import { Dictionary } from "./dictionary.ts";
import type { LiveTasks } from "./live-tasks.ts";
import { Paces, progressOf } from "./progress.ts";
import type { AttemptProgress, Listed, ListQuery, Sort, TaskGraph, TaskRow, TaskSummaryRow } from "./rows.ts";
import { compileFilters, ownerInIdOf, parentIdOf, taskIdOf } from "./task-filters.ts";
import { compileOrder, FirstRows, isBefore, tieOfEnded } from "./task-order.ts";
import { graphOf, RunTimes, summaryOf, totalsOf } from "./task-summary.ts";
import { Throughput } from "./throughput.ts";

export interface Owner {
  readonly processId: ProcessId;
  readonly pid: number;
  readonly job: JobId;
}

/** What the columns name by index. */
export interface Dictionaries {
  readonly name: Dictionary<string>;
  readonly worker: Dictionary<BatchWorker>;
  readonly owner: Dictionary<Owner>;
  readonly actor: Dictionary<string>;
  readonly error: Dictionary<string>;
  readonly parentName: Dictionary<string>;
  /** Of the tasks and calls in which others were submitted. */
  readonly parentOwner: Dictionary<ProcessId>;
}

export interface AttemptStoreLimits {
  readonly rowsMax?: number;
  readonly chunkRows?: number;
}

const ROWS_MAX = 1_000_000;
const CHUNK_ROWS = 50_000;
/** Names of functions that were packed with much in them, or places that put many small values. */
const NAMES_MAX = 1_000;

type Sums = Map<string, { readonly times: number; readonly bytes: number }>;

function addTo(sums: Sums, name: string, times: number, bytes: number): void {
  const known = sums.get(name) ?? { times: 0, bytes: 0 };
  if (known.times === 0 && sums.size >= NAMES_MAX) return;
  sums.set(name, { times: known.times + times, bytes: known.bytes + bytes });
}

export class AttemptStore {
  readonly dictionaries: Dictionaries = {
    name: new Dictionary(),
    worker: new Dictionary(),
    owner: new Dictionary(),
    actor: new Dictionary(),
    error: new Dictionary(),
    parentName: new Dictionary(),
    parentOwner: new Dictionary(),
  };
  private readonly rowsMax: number;
  private readonly chunkRows: number;
  /** Oldest first; all but the last one full. */
  private readonly chunks: AttemptChunk[] = [];
  private nextChunk = 0;
  /** Of rows, before the oldest that there is. */
  private dropped = 0;
  private readonly book = new TallyBook();
  private readonly codes: Sums = new Map();
  private readonly putSites: Sums = new Map();
  private readonly rates = new Throughput();
  private readonly paces = new Paces();
  private readonly runTimes = new RunTimes();
  /** Rows of a chunk that pass. */
  private readonly selected: Uint32Array;

  constructor({ rowsMax = ROWS_MAX, chunkRows = CHUNK_ROWS }: AttemptStoreLimits = {}) {
    this.rowsMax = rowsMax;
    this.chunkRows = chunkRows;
    this.selected = new Uint32Array(chunkRows);
  }

  get size(): number {
    const last = this.chunks.at(-1);
    return last ? (this.chunks.length - 1) * this.chunkRows + last.size : 0;
  }

  /** @throws RangeError for bytes that are no batch of this version. */
  add(bytes: Uint8Array, nowMs: number): void {
    const batch = readBatch(bytes);
    this.book.add(batch.job, batch.tallies);
    for (const { name, times, bytes } of batch.code) addTo(this.codes, name, times, bytes);
    for (const { site, times, bytes } of batch.puts) addTo(this.putSites, site, times, bytes);
    // Without an owner they are counts of batches that a node dropped long ago.
    if (batch.owner === "") return;
    const endedAtMs = this.addRows(batch) ?? nowMs;
    this.rates.add(batch.tallies, endedAtMs);
    this.paces.add(batch.job, batch.tallies, endedAtMs, nowMs);
  }

  /** @returns when the last of them finished. */
  private addRows(batch: EventBatch): number | undefined {
    const { dictionaries } = this;
    let [chunk, at] = [this.chunks.at(-1), indexTables(batch)];
    let finishedAtMs: number | undefined;
    for (const attempt of attemptsOf(batch)) {
      if (!chunk || chunk.size === this.chunkRows) [chunk, at] = [this.newChunk(), indexTables(batch)];
      const { number } = chunk;
      const row = chunk.add(attempt);
      finishedAtMs = attempt.finishedAtMs;
      // Actors of one batch may have been asked for by several processes, and by one that is not known (-1).
      const submitter = attempt.kind === "actor-creation" ? attempt.parentTask + 2 : 0;
      at.owner[submitter] ||= this.internOwner(batch, attempt, number);
      chunk.owner[row] = at.owner[submitter] ?? 0;
      for (const column of ["name", "actor", "error"] as const) {
        const index = attempt[column];
        const text = batch[TABLES[column]][index];
        if (text !== undefined) at[column][index] ||= dictionaries[column].intern(text, text, number);
        chunk[column][row] = at[column][index] ?? 0;
      }
      const parent = batch.names[attempt.parent];
      if (parent !== undefined)
        at.parentName[attempt.parent] ||= dictionaries.parentName.intern(parent, parent, number);
      chunk.parentName[row] = at.parentName[attempt.parent] ?? 0;
      const origin = batch.parents?.table[attempt.parentTask];
      if (origin) {
        const place = at.parentOwner[attempt.parentTask];
        at.parentOwner[attempt.parentTask] =
          place || dictionaries.parentOwner.intern(origin.owner, origin.owner, number);
      }
      chunk.parentOwner[row] = at.parentOwner[attempt.parentTask] ?? 0;
      chunk.parentSeq[row] = origin ? origin.seq : Number.NaN;
      const worker = batch.workers[attempt.worker];
      if (worker) at.worker[attempt.worker] ||= dictionaries.worker.intern(worker.workerId, worker, number);
      chunk.worker[row] = at.worker[attempt.worker] ?? 0;
    }
    return finishedAtMs;
  }

  private internOwner(batch: EventBatch, attempt: RecordedAttempt, chunk: number): number {
    const { processId = "" as ProcessId, pid = 0 } = submitterOf(batch, attempt) ?? {};
    const { job } = batch;
    return this.dictionaries.owner.intern(`${processId} ${job} ${pid}`, { processId, pid, job }, chunk);
  }

  private newChunk(): AttemptChunk {
    const oldest = this.size + this.chunkRows > this.rowsMax ? this.chunks.shift() : undefined;
    if (oldest) {
      for (const column of ENTRY_COLUMNS) this.dictionaries[column].dropped(oldest[column], oldest.number);
      this.dropped += oldest.size;
      oldest.size = 0;
    }
    const chunk = oldest ?? new AttemptChunk(this.chunkRows);
    chunk.number = this.nextChunk++;
    this.chunks.push(chunk);
    return chunk;
  }

  /** @throws InvalidOptionError for a key that rows do not have, a number that is none, or a cursor that is none. */
  list(query: ListQuery, nowMs: number): Listed<TaskRow> {
    const before = readCursor(query.cursor);
    const filters = compileFilters(query.filters, this.dictionaries);
    const rows: TaskRow[] = [];
    let [total, eligible] = [0, 0];
    let last = 0;
    for (let index = this.chunks.length - 1; index >= 0; index--) {
      const chunk = this.chunks[index];
      if (!chunk) continue;
      const first = this.dropped + index * this.chunkRows;
      const count = filters.select(chunk, this.selected);
      total += count;
      for (let at = count - 1; at >= 0; at--) {
        const row = this.selected[at] ?? 0;
        if (first + row >= before) continue;
        // All below are before the cursor too.
        if (rows.length === query.limit) {
          eligible += at + 1;
          break;
        }
        eligible++;
        rows.push(this.rowOf(chunk, row));
        last = first + row;
      }
    }
    const next = eligible > rows.length ? last.toString(36) : null;
    return { rows, total, next, partial: [], asOfMs: nowMs };
  }

  /**
   * In another order, with rows that live put among them.
   *
   * @param live those that pass the filters. @throws InvalidOptionError as {@link list}.
   */
  sorted(
    query: ListQuery & { readonly sort: Sort },
    live: readonly TaskRow[],
  ): Pick<Listed<TaskRow>, "rows" | "total" | "next"> {
    const { limit } = query;
    const order = compileOrder(query.sort, this.dictionaries, live, query.cursor);
    const { after } = order;
    const filters = compileFilters(query.filters, this.dictionaries);
    const first = new FirstRows(limit);
    let [total, eligible] = [live.length, 0];
    const chunks = [...this.chunks.entries()];
    for (const [index, chunk] of order.isOldestFirst ? chunks : chunks.reverse()) {
      const count = filters.select(chunk, this.selected);
      total += count;
      const before = this.dropped + index * this.chunkRows;
      for (let step = 0; step < count; step++) {
        const row = this.selected[order.isOldestFirst ? step : count - 1 - step] ?? 0;
        const rank = order.rankOf(chunk, row);
        const tie = tieOfEnded(before + row);
        if (after && (rank < after.rank || (rank === after.rank && tie <= after.tie))) continue;
        eligible++;
        first.add(rank, tie);
      }
    }
    const living = live
      .map((row) => ({ place: order.placeOfLive(row), row: () => row }))
      .filter(({ place }) => !after || isBefore(after, place));
    const ended = first.take().map(({ rank, tie }) => ({ place: { rank, tie, id: "" }, row: () => this.rowAt(-tie) }));
    const page = [...living, ...ended].sort((a, b) => (isBefore(a.place, b.place) ? -1 : 1)).slice(0, limit);
    const rows = page.map(({ row }) => row());
    const [lastRow, lastPlace] = [rows.at(-1), page.at(-1)?.place];
    const hasMore = living.length + eligible > page.length && lastRow && lastPlace;
    return { rows, total, next: hasMore ? order.cursorOf(lastRow, lastPlace) : null };
  }

  private rowAt(number: number): TaskRow {
    const at = number - this.dropped;
    const chunk = this.chunks[Math.floor(at / this.chunkRows)];
    if (!chunk) throw new Error(`there is no row ${number}`);
    return this.rowOf(chunk, at % this.chunkRows);
  }

  /** The attempts of a task that are kept, the first one first; the job in the id is not looked at. */
  find(taskId: string): TaskRow[] {
    const found: TaskRow[] = [];
    if (!/^[0-9a-f]{48}$/.test(taskId)) return found;
    const prefix = taskId.slice(0, OWNER_HEX);
    const seq = seqOf(taskId);
    for (const chunk of this.chunks) {
      const { seq: seqs, size } = chunk;
      for (let row = 0; row < size; row++) {
        if (seqs[row] === seq && ownerInIdOf(this.dictionaries, chunk, row).startsWith(prefix))
          found.push(this.rowOf(chunk, row));
      }
    }
    return found.sort((a, b) => a.attempt - b.attempt);
  }

  /** These attempts but for those that are rows here: they have ended since then. */
  withoutEnded(live: readonly TaskRow[], sinceMs: number): readonly TaskRow[] {
    // Numbers first: an id is made only of what may be one of them.
    const seqs = new Set(live.map(({ taskId }) => seqOf(taskId)));
    const ended = new Set<string>();
    for (let index = this.chunks.length - 1; index >= 0 && seqs.size > 0; index--) {
      const chunk = this.chunks[index];
      if (!chunk) continue;
      let isNewer = false;
      for (let row = chunk.size - 1; row >= 0; row--) {
        if (chunk.finishedAt(row) < sinceMs) continue;
        isNewer = true;
        if (!seqs.has(chunk.seq[row] ?? 0)) continue;
        ended.add(attemptKey(taskIdOf(this.dictionaries, chunk, row), chunk.attemptOf(row)));
      }
      // Owners report within a second of each other, so one chunk does not lie among newer ones.
      if (!isNewer && chunk.size > 0) break;
    }
    if (ended.size === 0) return live;
    return live.filter(({ taskId, attempt }) => !ended.has(attemptKey(taskId, attempt)));
  }

  /** Exact counts by function; p95 is of the rows that are kept. */
  summary(): TaskSummaryRow[] {
    return summaryOf(this.book, this.runTimes.p95s(this.chunks, this.dictionaries.name, this.dropped + this.size));
  }

  /** Exact counts, without p95: what all attempts have added up to, so it takes no time. */
  sums(): TaskSummaryRow[] {
    return summaryOf(this.book, new Map());
  }

  /** By function: how often it was packed with large values, and with how many bytes. */
  get packed(): Readonly<Sums> {
    return new Map(this.codes);
  }

  /** By place in a program: how many small values were put there, and their bytes; from a sample. */
  get puts(): Readonly<Sums> {
    return new Map(this.putSites);
  }

  /** Exact counts of all attempts. */
  totals(): Partial<Record<TaskRow["state"], number>> {
    return totalsOf(this.book);
  }

  /** Of attempts that ended in each of the last 120 whole seconds, exactly; the newest last. */
  throughput(nowMs: number): readonly { atMs: number; finished: number; failed: number }[] {
    return this.rates.read(nowMs);
  }

  /** Undefined when nothing is known of the job, or not by itself any more. */
  graph(job: JobId): TaskGraph | undefined {
    return graphOf(this.book, job);
  }

  /** How far these jobs are, with what lives. */
  progress(
    jobs: Iterable<string>,
    live: Pick<LiveTasks, "counts" | "partial">,
    nowMs: number,
  ): Map<string, AttemptProgress> {
    return progressOf(jobs, live, (job) => this.book.of(job), this.paces, nowMs);
  }

  private rowOf(chunk: AttemptChunk, row: number): TaskRow {
    const { dictionaries } = this;
    const owner = dictionaries.owner.get(chunk.owner[row] ?? 0);
    const worker = dictionaries.worker.get(chunk.worker[row] ?? 0);
    const flags = chunk.flags[row] ?? 0;
    return {
      taskId: taskIdOf(this.dictionaries, chunk, row),
      attempt: chunk.attemptOf(row),
      name: dictionaries.name.get(chunk.name[row] ?? 0) ?? "",
      kind: kindOf(flags),
      state: STATE_OF[outcomeOf(flags)],
      jobId: owner?.job ?? "",
      actorId: dictionaries.actor.get(chunk.actor[row] ?? 0) ?? null,
      nodeId: worker?.nodeId ?? null,
      workerId: worker?.workerId ?? null,
      workerPid: worker?.pid ?? null,
      // None is known of an actor whose host is of a release before this one.
      ownerPid: owner?.pid || null,
      parentId: parentIdOf(dictionaries, chunk, row),
      parentName: dictionaries.parentName.get(chunk.parentName[row] ?? 0) ?? null,
      submittedAtMs: chunk.submittedAt(row),
      readyAtMs: known(chunk.readyAt(row)),
      sentAtMs: known(chunk.sentAt(row)),
      startedAtMs: known(chunk.startedAt(row)),
      finishedAtMs: known(chunk.finishedAt(row)),
      ranMs: known(chunk.ranMs(row)),
      error: dictionaries.error.get(chunk.error[row] ?? 0) ?? null,
    };
  }
}

const seqOf = (taskId: string): number => Number.parseInt(taskId.slice(OWNER_HEX, OWNER_HEX + 16), 16);
const attemptKey = (taskId: string, attempt: number): string => `${taskId} ${attempt}`;

const known = (value: number): number | null => (Number.isNaN(value) ? null : value);

const TABLES = { name: "names", actor: "actors", error: "errors" } as const;

/** Where the entries of a batch's tables are in the dictionaries, as far as rows have named them. */
function indexTables(batch: EventBatch) {
  return {
    /** Of the batch, and of those who asked for actors. */
    owner: new Uint32Array(2 + (batch.parents?.table.length ?? 0)),
    name: new Uint32Array(batch.names.length),
    actor: new Uint32Array(batch.actors.length),
    error: new Uint32Array(batch.errors.length),
    parentName: new Uint32Array(batch.names.length),
    parentOwner: new Uint32Array(batch.parents?.table.length ?? 0),
    worker: new Uint32Array(batch.workers.length),
  };
}

function readCursor(cursor: string | undefined): number {
  if (cursor === undefined) return Number.POSITIVE_INFINITY;
  const row = /^[0-9a-z]{1,10}$/.test(cursor) ? Number.parseInt(cursor, 36) : Number.NaN;
  if (Number.isNaN(row)) throw new InvalidOptionError(`"${cursor}" is no cursor of an earlier page`);
  return row;
}
