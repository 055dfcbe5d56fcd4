/**
 * Filters of tasks, made into scans of columns. A filter on what a dictionary has is decided for each entry once, and is a
 * look into a table of bytes for each row then. They mean what `filters.ts` says, which filters rows that are objects.
 */
import { InvalidOptionError } from "../base/errors.ts";
import { OWNER_HEX, type ProcessId, type Seq, taskIdHex } from "../base/ids.ts";
import { type AttemptChunk, type EntryColumn, kindOf, outcomeOf, STATE_OF } from "./attempt-chunk.ts";
import type { Dictionaries } from "./attempts.ts";
import type { Filter, TaskRow } from "./rows.ts";

export type Value = string | number | null;
/** Keeps of the first `count` rows in `selected` those that pass, and returns how many they are. */
type Scan = (chunk: AttemptChunk, selected: Uint32Array, count: number) => number;

export interface CompiledFilters {
  /** Writes the rows that pass, in order, and returns how many they are. */
  select(chunk: AttemptChunk, selected: Uint32Array): number;
}

type Column =
  | { readonly by: EntryColumn; value(dictionaries: Dictionaries, id: number): Value }
  | { readonly by: "flags"; value(flags: number): Value }
  /** NaN for null. */
  | { readonly by: "row"; value(chunk: AttemptChunk, row: number): number }
  | { readonly by: "id"; readonly id: IdColumn };

/** Ids of tasks, which are made only of rows that a whole one cannot tell by their numbers. */
interface IdColumn {
  /** NaN where it is no id of a task. */
  number(chunk: AttemptChunk, row: number): number;
  value(dictionaries: Dictionaries, chunk: AttemptChunk, row: number): string | null;
}

const TASK_ID: IdColumn = {
  number: (chunk, row) => chunk.seq[row] ?? Number.NaN,
  value: taskIdOf,
};
const PARENT_ID: IdColumn = { number: (chunk, row) => chunk.parentSeq[row] || Number.NaN, value: parentIdOf };

/** As which process the id of a task begins; of the making of an actor it is the actor's own id. */
export function ownerInIdOf({ owner, actor }: Dictionaries, chunk: AttemptChunk, row: number): string {
  const isMaking = kindOf(chunk.flags[row] ?? 0) === "actor-creation";
  const made = isMaking ? actor.get(chunk.actor[row] ?? 0) : undefined;
  return made ?? owner.get(chunk.owner[row] ?? 0)?.processId ?? "";
}

export function taskIdOf(dictionaries: Dictionaries, chunk: AttemptChunk, row: number): string {
  const job = dictionaries.owner.get(chunk.owner[row] ?? 0)?.job;
  if (job === undefined) return "";
  const owner = ownerInIdOf(dictionaries, chunk, row).slice(0, OWNER_HEX) as ProcessId;
  return taskIdHex(owner, chunk.seq[row] as Seq, job);
}

/** The task or call in which it was submitted, or the process; null when that is not known. */
export function parentIdOf(dictionaries: Dictionaries, chunk: AttemptChunk, row: number): string | null {
  const owner = dictionaries.owner.get(chunk.owner[row] ?? 0);
  const parent = dictionaries.parentOwner.get(chunk.parentOwner[row] ?? 0);
  const seq = chunk.parentSeq[row] ?? Number.NaN;
  if (!owner) return null;
  if (parent !== undefined) return seq > 0 ? taskIdHex(parent, seq as Seq, owner.job) : parent;
  // Releases before this one named the function only.
  return Number.isNaN(seq) && chunk.parentName[row] !== 0 ? null : owner.processId || null;
}

export const COLUMNS: { readonly [K in keyof TaskRow]: Column } = {
  taskId: { by: "id", id: TASK_ID },
  attempt: { by: "row", value: (chunk, row) => chunk.attemptOf(row) },
  name: { by: "name", value: ({ name }, id) => name.get(id) ?? "" },
  kind: { by: "flags", value: kindOf },
  state: { by: "flags", value: (flags) => STATE_OF[outcomeOf(flags)] },
  jobId: { by: "owner", value: ({ owner }, id) => owner.get(id)?.job ?? "" },
  actorId: { by: "actor", value: ({ actor }, id) => actor.get(id) ?? null },
  nodeId: { by: "worker", value: ({ worker }, id) => worker.get(id)?.nodeId ?? null },
  workerId: { by: "worker", value: ({ worker }, id) => worker.get(id)?.workerId ?? null },
  workerPid: { by: "worker", value: ({ worker }, id) => worker.get(id)?.pid ?? null },
  ownerPid: { by: "owner", value: ({ owner }, id) => owner.get(id)?.pid || null },
  parentId: { by: "id", id: PARENT_ID },
  parentName: { by: "parentName", value: ({ parentName }, id) => parentName.get(id) ?? null },
  submittedAtMs: { by: "row", value: (chunk, row) => chunk.submittedAt(row) },
  readyAtMs: { by: "row", value: (chunk, row) => chunk.readyAt(row) },
  sentAtMs: { by: "row", value: (chunk, row) => chunk.sentAt(row) },
  startedAtMs: { by: "row", value: (chunk, row) => chunk.startedAt(row) },
  finishedAtMs: { by: "row", value: (chunk, row) => chunk.finishedAt(row) },
  ranMs: { by: "row", value: (chunk, row) => chunk.ranMs(row) },
  error: { by: "error", value: ({ error }, id) => error.get(id) ?? null },
};

/** @throws InvalidOptionError for a key that rows do not have, or a number that is none. */
export function compileFilters(filters: readonly Filter[], dictionaries: Dictionaries): CompiledFilters {
  const scans = filters.map((filter) => scanOf(filter, dictionaries)).sort((a, b) => a.cost - b.cost);
  return {
    select(chunk, selected) {
      let count = chunk.size;
      for (let row = 0; row < count; row++) selected[row] = row;
      for (const { scan } of scans) {
        if (count === 0) return 0;
        count = scan(chunk, selected, count);
      }
      return count;
    },
  };
}

function scanOf(filter: Filter, dictionaries: Dictionaries): { readonly scan: Scan; readonly cost: number } {
  const column = Object.hasOwn(COLUMNS, filter.key) ? COLUMNS[filter.key as keyof TaskRow] : undefined;
  if (!column) {
    const keys = Object.keys(COLUMNS).join(", ");
    throw new InvalidOptionError(`rows have no "${filter.key}" to filter by; they have ${keys}`);
  }
  const passes = predicateOf(filter);
  switch (column.by) {
    case "id":
      return { scan: scanIds(column.id, filter, passes, dictionaries), cost: 2 };
    case "row": {
      const { value } = column;
      const scan: Scan = (chunk, selected, count) => {
        let kept = 0;
        for (let at = 0; at < count; at++) {
          const row = selected[at] ?? 0;
          if (passes.number(value(chunk, row))) selected[kept++] = row;
        }
        return kept;
      };
      return { scan, cost: 1 };
    }
    case "flags": {
      const allowed = Uint8Array.from({ length: 256 }, (_, flags) => Number(passes.value(column.value(flags))));
      return { scan: (chunk, ...rows) => scanTable(chunk.flags, allowed, ...rows), cost: 0 };
    }
    default: {
      const { by } = column;
      const allowed = new Uint8Array(dictionaries[by].end);
      let any = 0;
      for (let id = 0; id < allowed.length; id++) {
        allowed[id] = Number(passes.value(column.value(dictionaries, id)));
        any |= allowed[id] ?? 0;
      }
      const none: Scan = () => 0;
      return { scan: any === 0 ? none : (chunk, ...rows) => scanTable(chunk[by], allowed, ...rows), cost: 0 };
    }
  }
}

function scanTable(
  column: Uint32Array | Uint8Array,
  allowed: Uint8Array,
  selected: Uint32Array,
  count: number,
): number {
  let kept = 0;
  for (let at = 0; at < count; at++) {
    const row = selected[at] ?? 0;
    // Written always, and kept when it passes: a branch that goes either way costs more.
    selected[kept] = row;
    kept += allowed[column[row] ?? 0] ?? 0;
  }
  return kept;
}

function scanIds(id: IdColumn, { op, value }: Filter, passes: Predicate, dictionaries: Dictionaries): Scan {
  const isWhole = (op === "=" || op === "!=") && /^[0-9a-f]{48}$/i.test(value);
  const seq = isWhole ? Number.parseInt(value.slice(24, 40), 16) : undefined;
  return (chunk, selected, count) => {
    let kept = 0;
    for (let at = 0; at < count; at++) {
      const row = selected[at] ?? 0;
      let isKept = op === "!=";
      if (seq === undefined || id.number(chunk, row) === seq) isKept = passes.value(id.value(dictionaries, chunk, row));
      if (isKept) selected[kept++] = row;
    }
    return kept;
  };
}

interface Predicate {
  value(value: Value): boolean;
  /** NaN for null. */
  number(value: number): boolean;
}

/** @throws InvalidOptionError */
function predicateOf({ key, op, value: wanted }: Filter): Predicate {
  if (op === "<" || op === ">") {
    const bound = Number(wanted);
    if (wanted.trim() === "" || Number.isNaN(bound)) {
      throw new InvalidOptionError(`the filter on ${key} compares with "${wanted}", which is no number`);
    }
    const number = op === "<" ? (value: number) => value < bound : (value: number) => value > bound;
    return { number, value: (value) => typeof value === "number" && number(value) };
  }
  const lower = wanted.toLowerCase();
  if (op === "~") {
    const value = (text: Value): boolean => textOf(text).toLowerCase().includes(lower);
    return { value, number: (number) => value(Number.isNaN(number) ? null : number) };
  }
  const isEqual = op === "=";
  const exact = String(Number(lower)) === lower ? Number(lower) : undefined;
  return {
    value: (value) => (textOf(value).toLowerCase() === lower) === isEqual,
    number: (value) => (Number.isNaN(value) ? lower === "" : value === exact) === isEqual,
  };
}

const textOf = (value: Value): string => (value === null ? "" : String(value));
