/** Filters, limits and pages of lists, for rows that are objects. */
import { InvalidOptionError } from "../base/errors.ts";
import type { Filter, Listed, ListQuery, Sort } from "./rows.ts";

export const ROWS_MAX = 10_000;
const ROWS_DEFAULT = 100;
const FILTERS_MAX = 32;
const FILTER = /^([A-Za-z][A-Za-z0-9]*)(!=|=|~|<|>)(.*)$/s;

/** @throws InvalidOptionError that says how one is written. */
function parseFilter(text: string): Filter {
  const [, key = "", op = "=", value = ""] = FILTER.exec(text) ?? [];
  if (key === "") {
    throw new InvalidOptionError(
      `the filter "${text}" is none: write key=value, key!=value, key~part, key<number or key>number`,
    );
  }
  return { key, op: op as Filter["op"], value };
}

/** @throws InvalidOptionError */
export function parseListQuery(params: {
  readonly filter?: readonly string[] | undefined;
  readonly limit?: number | undefined;
  readonly cursor?: string | undefined;
  readonly sort?: string | undefined;
}): ListQuery {
  const { filter = [], limit = ROWS_DEFAULT, cursor, sort } = params;
  if (filter.length > FILTERS_MAX) throw new InvalidOptionError(`at most ${FILTERS_MAX} filters are taken`);
  return { filters: filter.map(parseFilter), limit: Math.min(limit, ROWS_MAX), cursor, sort: parseSort(sort) };
}

/** `ranMs`, or `-ranMs` for the largest first. */
function parseSort(sort: string | undefined): Sort | undefined {
  if (sort === undefined || sort === "") return undefined;
  const isDown = sort.startsWith("-");
  return { key: isDown ? sort.slice(1) : sort, isDown };
}

/** @throws InvalidOptionError that names what rows can be sorted by. */
export function checkSort(sort: Sort | undefined, kind: string, keys: readonly string[]): void {
  if (sort === undefined || keys.includes(sort.key)) return;
  throw new InvalidOptionError(`${kind} cannot be sorted by "${sort.key}"; they can by ${keys.join(", ")}`);
}

/** Whether a value passes. Texts are compared without regard to case; null is the empty text. */
function passes(value: unknown, { key, op, value: wanted }: Filter): boolean {
  if (op === "<" || op === ">") {
    const bound = Number(wanted);
    if (wanted.trim() === "" || Number.isNaN(bound)) {
      throw new InvalidOptionError(`the filter on ${key} compares with "${wanted}", which is no number`);
    }
    return typeof value === "number" && (op === "<" ? value < bound : value > bound);
  }
  const text = textOf(value).toLowerCase();
  const other = wanted.toLowerCase();
  return op === "~" ? text.includes(other) : (text === other) === (op === "=");
}

const textOf = (value: unknown): string =>
  value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);

/**
 * The rows that pass, a page of them, sorted or in their order. A cursor is the place among them, so rows that come and go meanwhile may be seen twice or not.
 *
 * @param keys that can be filtered by.
 * @throws InvalidOptionError for a key that rows do not have, or a cursor that is none.
 */
export function pageOf<R extends object>(
  rows: Iterable<R>,
  { filters, limit, cursor = "0", sort }: ListQuery,
  keys: readonly string[],
): Pick<Listed<R>, "rows" | "total" | "next"> {
  for (const { key } of filters) checkKey(key, keys);
  const from = Number(cursor);
  if (!Number.isInteger(from) || from < 0) throw new InvalidOptionError(`"${cursor}" is no cursor of an earlier page`);
  const page: R[] = [];
  const passed: R[] = [];
  let total = 0;
  for (const row of rows) {
    if (!filters.every((filter) => passes(row[filter.key as keyof R], filter))) continue;
    if (sort) passed.push(row);
    else if (total >= from && page.length < limit) page.push(row);
    total++;
  }
  if (sort) page.push(...sorted(passed, sort).slice(from, from + limit));
  const next = from + page.length;
  return { rows: page, total, next: next < total ? String(next) : null };
}

/** Rows that are equal stay in their order; those that have no value come last, either way. */
function sorted<R extends object>(rows: readonly R[], { key, isDown }: Sort): R[] {
  const sign = isDown ? -1 : 1;
  return rows
    .map((row) => ({ row, by: comparable(row[key as keyof R]) }))
    .sort((a, b) =>
      a.by === null || b.by === null
        ? Number(a.by === null) - Number(b.by === null)
        : a.by < b.by
          ? -sign
          : a.by > b.by
            ? sign
            : 0,
    )
    .map(({ row }) => row);
}

/** Of one field all are numbers, or all are texts. */
const comparable = (value: unknown): string | number | null =>
  typeof value === "string" || typeof value === "number"
    ? value
    : typeof value === "boolean"
      ? Number(value)
      : Array.isArray(value)
        ? value.length
        : null;

/** @throws InvalidOptionError that names those that there are. */
function checkKey(key: string, keys: readonly string[]): void {
  if (!keys.includes(key))
    throw new InvalidOptionError(`rows have no "${key}" to filter by; they have ${keys.join(", ")}`);
}
