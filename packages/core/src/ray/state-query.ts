/** What a request to Ray's State API asks for, and how rows are filtered and cut by it; pure. */
import { InvalidOptionError } from "../base/errors.ts";
import { COLUMNS, type RayKind } from "./state-columns.ts";

export type RayValue = string | number | boolean | null | object;
/** A row as Ray's tools read it, with all columns. */
export type RayRow = Readonly<Record<string, RayValue>>;

export interface RayFilter {
  readonly key: string;
  readonly isEqual: boolean;
  /** As the column's values are. */
  readonly value: string | number | boolean;
}

export interface RayQuery {
  readonly limit: number;
  readonly isDetailed: boolean;
  readonly filters: readonly RayFilter[];
}

/** What is told of a list, see `ListApiResponse`. */
export interface RayList {
  readonly total: number;
  readonly num_after_truncation: number;
  readonly num_filtered: number;
  readonly result: unknown;
  readonly partial_failure_warning: string;
  readonly warnings: readonly string[] | null;
}

export const ROWS_MAX = 10_000;
const ROWS_DEFAULT = 100;
const FILTERS_MAX = 32;
/** Ids of which Ray's tools are told when they are too long or too short, in bytes. */
const ID_BYTES: Readonly<Record<string, number>> = { actor_id: 16, task_id: 24, job_id: 4 };
const ID_KINDS: readonly RayKind[] = ["actors", "tasks"];

/** @throws InvalidOptionError in Ray's words, by which people and scripts know what is meant. */
export function parseRayQuery(kind: RayKind, params: URLSearchParams): RayQuery {
  const limit = integer(params.get("limit") ?? String(ROWS_DEFAULT));
  if (limit > ROWS_MAX) {
    throw new InvalidOptionError(`Given limit ${limit} exceeds the supported limit ${ROWS_MAX}. Use a lower limit.`);
  }
  const keys = params.getAll("filter_keys");
  const predicates = params.getAll("filter_predicates");
  const values = params.getAll("filter_values");
  if (keys.length !== values.length || keys.length !== predicates.length)
    throw new InvalidOptionError("filter_keys, filter_predicates and filter_values must be as many");
  if (keys.length > FILTERS_MAX) throw new InvalidOptionError(`at most ${FILTERS_MAX} filters are taken`);
  return {
    limit: Math.max(0, limit),
    isDetailed: boolean(params.get("detail") ?? "false"),
    filters: keys.map((key, at) => parseFilter(kind, key.toLowerCase(), predicates[at] ?? "", values[at] ?? "")),
  };
}

function parseFilter(kind: RayKind, key: string, predicate: string, value: string): RayFilter {
  if (predicate !== "=" && predicate !== "!=") {
    throw new InvalidOptionError(`Unsupported filter predicate ${predicate} is given. Available predicates: =, !=.`);
  }
  const column = COLUMNS[kind].find(({ name, filtered }) => name === key && filtered !== undefined);
  if (!column) {
    const names = COLUMNS[kind].filter(({ filtered }) => filtered !== undefined).map(({ name }) => `'${name}'`);
    throw new InvalidOptionError(
      `The given filter column ${key} is not supported. Enter filters with --filter key=value or --filter key!=value. Supported filter columns: {${names.join(", ")}}`,
    );
  }
  const isEqual = predicate === "=";
  if (isEqual && ID_KINDS.includes(kind)) checkId(key, value);
  const { filtered } = column;
  return {
    key,
    isEqual,
    value: filtered === "number" ? integer(value) : filtered === "boolean" ? boolean(value) : value,
  };
}

function checkId(key: string, value: string): void {
  const bytes = ID_BYTES[key];
  if (bytes === undefined) return;
  if (!/^[0-9a-f]*$/i.test(value))
    throw new InvalidOptionError(`non-hexadecimal number found in the ${key} "${value}"`);
  if (value.length !== 2 * bytes)
    throw new InvalidOptionError(`ID string needs to have length ${bytes}, got ${Math.ceil(value.length / 2)}`);
}

function integer(text: string): number {
  if (!/^\s*[-+]?\d+\s*$/.test(text)) {
    throw new InvalidOptionError(`Failed to convert a value ${text} of type <class 'str'> to <class 'int'>`);
  }
  return Number(text);
}

function boolean(text: string): boolean {
  if (["True", "true", "1"].includes(text)) return true;
  if (["False", "false", "0"].includes(text)) return false;
  throw new InvalidOptionError(`Failed to convert a value ${text} of type <class 'str'> to <class 'bool'>`);
}

/** Texts are compared without regard to case. */
export function passes(row: RayRow, { key, isEqual, value }: RayFilter): boolean {
  const own = row[key] ?? null;
  const same =
    typeof own === "string" && typeof value === "string" ? own.toLowerCase() === value.toLowerCase() : own === value;
  return same === isEqual;
}

/** With the columns that were asked for, in their order. */
export function shown(kind: RayKind, row: RayRow, isDetailed: boolean): RayRow {
  const told: Record<string, RayValue> = {};
  for (const { name, isDetail } of COLUMNS[kind]) if (isDetailed || !isDetail) told[name] = row[name] ?? null;
  return told;
}

/**
 * The rows that pass, in the order of their ids, at most as many as are wanted. Where nothing is filtered only those that are
 * shown are made from what they come of.
 */
export function listRows<R>(
  kind: RayKind,
  sources: Iterable<R>,
  {
    idOf,
    rowOf,
    partial,
  }: {
    idOf(source: R): string;
    rowOf(source: R): RayRow;
    readonly partial: readonly string[];
  },
  { limit, isDetailed, filters }: RayQuery,
): RayList {
  const all = [...sources];
  const kept = filters.length === 0 ? all : all.filter((source) => filters.every((one) => passes(rowOf(source), one)));
  const ids = new Map(kept.map((source) => [source, idOf(source)]));
  const order = (a: R, b: R): number => compare(ids.get(a) ?? "", ids.get(b) ?? "");
  return listOf(
    kept
      .sort(order)
      .slice(0, limit)
      .map((source) => shown(kind, rowOf(source), isDetailed)),
    { total: all.length, filtered: kept.length, partial },
  );
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

export const listOf = (
  result: unknown,
  {
    total,
    filtered,
    partial,
    warnings = null,
  }: {
    readonly total: number;
    readonly filtered: number;
    readonly partial: readonly string[];
    readonly warnings?: readonly string[] | null;
  },
): RayList => ({
  total,
  num_after_truncation: total,
  num_filtered: filtered,
  result,
  partial_failure_warning:
    partial.length === 0 ? "" : `The returned data may contain incomplete result. ${partial.join("; ")}`,
  warnings,
});
