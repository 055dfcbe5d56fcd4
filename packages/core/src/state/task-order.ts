/**
 * Orders of tasks. Each row is compared by a number: what a column has, or, of what a dictionary has, its place among all that
 * there is, which is decided once for each entry. So the first of a million rows are found in one look at a column.
 *
 * Rows that are equal are told apart by how many were added before them, the newest first, and what lives comes before what has
 * ended. A cursor is the place in that order after which a page begins, whatever has come meanwhile.
 */
import { InvalidOptionError } from "../base/errors.ts";
import type { AttemptChunk } from "./attempt-chunk.ts";
import type { Dictionaries } from "./attempts.ts";
import type { Sort, TaskRow } from "./rows.ts";
import { COLUMNS, type Value } from "./task-filters.ts";
import { TASK_STATES } from "./task-states.ts";

/** To sort more distinct texts than this takes longer than 100 ms. */
const DISTINCT_MAX = 50_000;
/** Ids are made for each row when somebody asks: to make a million of them takes 0.2 s. */
export const TASK_SORT_KEYS: readonly string[] = Object.entries(COLUMNS).flatMap(([key, { by }]) =>
  by === "id" ? [] : [key],
);

/** Where a row is in an order: smaller ones come first. */
export interface Place {
  /** Infinite of rows that have no value. */
  readonly rank: number;
  readonly tie: number;
  /** Of a row that lives, which has no number. */
  readonly id: string;
}

export interface TaskOrder {
  rankOf(chunk: AttemptChunk, row: number): number;
  placeOfLive(row: TaskRow): Place;
  readonly after: Place | undefined;
  /** Rows are best looked at from the oldest on: of those looked at later few are among the first. */
  readonly isOldestFirst: boolean;
  cursorOf(row: TaskRow, place: Place): string;
}

export const tieOfEnded = (number: number): number => -number;
/** Before all that have ended, the newest first. */
const tieOfLive = ({ submittedAtMs, startedAtMs }: TaskRow): number => -1e15 - (submittedAtMs ?? startedAtMs ?? 0);

export const isBefore = (a: Place, b: Place): boolean =>
  a.rank !== b.rank ? a.rank < b.rank : a.tie !== b.tie ? a.tie < b.tie : a.id < b.id;

/**
 * @param live rows that are put among them.
 * @throws InvalidOptionError for a field that cannot be sorted by, or a cursor of another order.
 */
export function compileOrder(
  sort: Sort,
  dictionaries: Dictionaries,
  live: readonly TaskRow[],
  cursor: string | undefined,
): TaskOrder {
  const { key, isDown } = sort;
  const last = cursor === undefined ? undefined : readCursor(cursor, sort);
  const signed = (rank: number): number => (Number.isNaN(rank) ? Number.POSITIVE_INFINITY : isDown ? -rank : rank);
  const { rankOf, rankOfValue } = ranksOf(key as keyof TaskRow, dictionaries, [
    ...live.map((row) => row[key as keyof TaskRow] ?? null),
    ...(last ? [last.value] : []),
  ]);
  return {
    rankOf: (chunk, row) => signed(rankOf(chunk, row)),
    placeOfLive: (row) => ({
      rank: signed(rankOfValue(row[key as keyof TaskRow] ?? null)),
      tie: tieOfLive(row),
      id: `${row.taskId} ${row.attempt}`,
    }),
    after: last && { rank: signed(rankOfValue(last.value)), tie: last.tie, id: last.id },
    isOldestFirst: !isDown && key.endsWith("AtMs"),
    cursorOf: (row, { tie, id }) =>
      Buffer.from(JSON.stringify([sortText(sort), row[key as keyof TaskRow] ?? null, tie, id])).toString("base64url"),
  };
}

const sortText = ({ key, isDown }: Sort): string => `${isDown ? "-" : ""}${key}`;

function readCursor(cursor: string, sort: Sort): { readonly value: Value; readonly tie: number; readonly id: string } {
  let parts: unknown;
  try {
    parts = JSON.parse(Buffer.from(cursor, "base64url").toString());
  } catch {
    // What is no JSON is no cursor either.
  }
  const [text, value, tie, id] = Array.isArray(parts) ? (parts as unknown[]) : [];
  const isValue = value === null || typeof value === "string" || typeof value === "number";
  if (text !== sortText(sort) || !isValue || typeof tie !== "number" || typeof id !== "string")
    throw new InvalidOptionError(`"${cursor}" is no cursor of an earlier page that was sorted by ${sortText(sort)}`);
  return { value, tie, id };
}

interface Ranks {
  /** NaN for none. */
  rankOf(chunk: AttemptChunk, row: number): number;
  rankOfValue(value: Value): number;
}

function ranksOf(key: keyof TaskRow, dictionaries: Dictionaries, others: readonly Value[]): Ranks {
  const column = COLUMNS[key];
  const number = (value: Value): number => (typeof value === "number" ? value : Number.NaN);
  switch (column.by) {
    case "id":
      throw new InvalidOptionError(`tasks cannot be sorted by ${key}; they can by ${TASK_SORT_KEYS.join(", ")}`);
    case "row":
      return { rankOf: (chunk, row) => column.value(chunk, row), rankOfValue: number };
    case "flags": {
      // States in the order of a life.
      const rankOfValue =
        key === "state"
          ? (value: Value) => TASK_STATES.indexOf(value as TaskRow["state"])
          : (value: Value) => KINDS.indexOf(String(value));
      const ranks = Float64Array.from({ length: 256 }, (_, flags) => rankOfValue(column.value(flags)));
      return { rankOf: ({ flags }, row) => ranks[flags[row] ?? 0] ?? Number.NaN, rankOfValue };
    }
    default: {
      const { by } = column;
      const ids = dictionaries[by].end;
      const values = Array.from({ length: ids }, (_, id) => column.value(dictionaries, id));
      const distinct = [...new Set([...values, ...others])].filter((value) => value !== null);
      if (distinct.length > DISTINCT_MAX) {
        throw new InvalidOptionError(
          `tasks have ${distinct.length} different values of ${key}, and can be sorted by ${DISTINCT_MAX} at most; sort them by a time or a number, or by ${SMALL}`,
        );
      }
      distinct.sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
      const places = new Map<Value, number>(distinct.map((value, rank) => [value, rank]));
      const rankOfValue = (value: Value): number => places.get(value) ?? Number.NaN;
      const ranks = Float64Array.from(values, rankOfValue);
      return { rankOf: (chunk, row) => ranks[chunk[by][row] ?? 0] ?? Number.NaN, rankOfValue };
    }
  }
}

const KINDS: readonly string[] = ["task", "actor-call", "actor-creation"] satisfies TaskRow["kind"][];
const SMALL = "name, state, kind, jobId, nodeId";

/** The first so many of rows in an order: a heap with the last of them on top, so that most rows cost one comparison. */
export class FirstRows {
  size = 0;
  private readonly max: number;
  private readonly ranks: Float64Array;
  private readonly ties: Float64Array;

  constructor(max: number) {
    this.max = max;
    this.ranks = new Float64Array(max);
    this.ties = new Float64Array(max);
  }

  add(rank: number, tie: number): void {
    const { ranks, ties } = this;
    if (this.size < this.max) {
      this.up(this.size++, rank, tie);
      return;
    }
    const top = ranks[0] ?? Number.NEGATIVE_INFINITY;
    if (rank < top || (rank === top && tie < (ties[0] ?? 0))) this.down(rank, tie);
  }

  /** In order; empty afterwards. */
  take(): { readonly rank: number; readonly tie: number }[] {
    const rows: { rank: number; tie: number }[] = [];
    while (this.size > 0) {
      const [rank = 0, tie = 0] = [this.ranks[0], this.ties[0]];
      rows.push({ rank, tie });
      this.size--;
      if (this.size > 0) this.down(this.ranks[this.size] ?? 0, this.ties[this.size] ?? 0);
    }
    return rows.reverse();
  }

  private up(from: number, rank: number, tie: number): void {
    const { ranks, ties } = this;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = ranks[parent] ?? 0;
      if (above > rank || (above === rank && (ties[parent] ?? 0) > tie)) break;
      ranks[at] = above;
      ties[at] = ties[parent] ?? 0;
      at = parent;
    }
    ranks[at] = rank;
    ties[at] = tie;
  }

  /** In place of the one on top. */
  private down(rank: number, tie: number): void {
    const { ranks, ties, size } = this;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      const other = child + 1;
      if (other < size && isLater(ranks[other], ties[other], ranks[child], ties[child])) child = other;
      if (!isLater(ranks[child], ties[child], rank, tie)) break;
      ranks[at] = ranks[child] ?? 0;
      ties[at] = ties[child] ?? 0;
      at = child;
    }
    ranks[at] = rank;
    ties[at] = tie;
  }
}

const isLater = (rankA = 0, tieA = 0, rankB = 0, tieB = 0): boolean =>
  rankA > rankB || (rankA === rankB && tieA > tieB);
