/**
 * Checks of single option values. Each takes what was given and returns it in the form the runtime uses, or throws
 * `InvalidOptionError` with the option, what was given and what is allowed.
 */
import { InvalidOptionError } from "../base/errors.ts";
import { type Resources, UNITS_PER_ONE } from "../base/resources.ts";

/** Where a value stands: `remote() option "resources.disk"`. */
export interface OptionPlace {
  readonly call: string;
  readonly option: string;
}

export type Check<T> = (value: unknown, at: OptionPlace) => T;
export type CheckTable = Readonly<Record<string, Check<unknown>>>;
/** What {@link readOptions} gives: each option that was given, checked. */
export type Checked<Table extends CheckTable> = { readonly [K in keyof Table]?: ReturnType<Table[K]> };

/** The longest delay that a timer of Node.js can hold: about 24.8 days. */
const TIMER_MS_MAX = 2 ** 31 - 1;
const QUOTED_CHARS_MAX = 60;

export function refuse(at: OptionPlace, given: unknown, allowed: string): never {
  throw new InvalidOptionError(`${at.call} option "${at.option}" is ${describe(given)}; it must be ${allowed}`);
}

/** For what the types already have and one machine cannot do. */
export function refuseWithoutCluster(at: OptionPlace, given: unknown, instead: string): never {
  throw new InvalidOptionError(
    `${at.call} option "${at.option}" is ${describe(given)}, which needs a cluster of several machines, and this version runs on one; ${instead}`,
  );
}

/** A short form of any value for messages. */
function describe(value: unknown): string {
  switch (typeof value) {
    case "string": {
      const short = value.length > QUOTED_CHARS_MAX ? `${value.slice(0, QUOTED_CHARS_MAX)}…` : value;
      return JSON.stringify(short);
    }
    case "bigint":
      return `${value}n`;
    case "function":
      return /^class\b/.test(Function.prototype.toString.call(value))
        ? `class ${value.name || "(anonymous)"}`
        : `function ${value.name || "(anonymous)"}`;
    case "object": {
      if (value === null) return "null";
      if (Array.isArray(value)) return value.length === 0 ? "[]" : `an array of ${value.length}`;
      const keys = Object.keys(value);
      const name: unknown = value.constructor?.name;
      if (typeof name === "string" && name !== "Object") return `a ${name}`;
      return keys.length === 0 ? "{}" : `an object with ${keys.slice(0, 5).join(", ")}${keys.length > 5 ? ", …" : ""}`;
    }
    default:
      return String(value);
  }
}

// ── whole records ────────────────────────────────────────────────────────────────────────────────────────────────────

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Checks every given option against its table; `undefined` counts as not given. */
export function readOptions<Table extends CheckTable>(call: string, table: Table, options: unknown): Checked<Table> {
  if (options === undefined) return {};
  if (!isRecord(options)) {
    throw new InvalidOptionError(`${call} options are ${describe(options)}; they must be an object`);
  }
  return readFields({ call, option: "" }, table, options);
}

function readFields<Table extends CheckTable>(
  at: OptionPlace,
  table: Table,
  options: Readonly<Record<string, unknown>>,
): Checked<Table> {
  const read: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(options)) {
    const check = Object.hasOwn(table, name) ? table[name] : undefined;
    const option = at.option === "" ? name : `${at.option}.${name}`;
    if (check === undefined) throw unknownOption({ call: at.call, option }, name, Object.keys(table));
    if (value !== undefined) read[name] = check(value, { call: at.call, option });
  }
  // Only names of the table were written, each with what its own check returned.
  return read as Checked<Table>;
}

function unknownOption(at: OptionPlace, name: string, known: readonly string[]): Error {
  const near = nearest(name, known);
  return new InvalidOptionError(
    `${at.call} has no option "${at.option}"; ${near === undefined ? `allowed are ${known.join(", ")}` : `did you mean "${near}"?`}`,
  );
}

/** The known name that a person most likely meant: the same but for case and underscores, or a few letters away. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const plain = (text: string) => text.replaceAll(/[_-]/g, "").toLowerCase();
  const wanted = plain(name);
  const lettersMax = Math.ceil(wanted.length / 3);
  let best: string | undefined;
  let bestDistance = lettersMax + 1;
  for (const candidate of known) {
    const distance = editDistance(wanted, plain(candidate));
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein's distance, with one row of the table kept. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substitution, (previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}

// ── single values ────────────────────────────────────────────────────────────────────────────────────────────────────

export const aBoolean: Check<boolean> = (value, at) =>
  typeof value === "boolean" ? value : refuse(at, value, "true or false");

export const aText: Check<string> = (value, at) =>
  typeof value === "string" && value !== "" ? value : refuse(at, value, "a string that is not empty");

/** A whole number in a range; `extra` is one more allowed value, such as -1 for "no limit". */
export function wholeNumber(
  min: number,
  max: number = Number.MAX_SAFE_INTEGER,
  extra?: { readonly value: number; readonly means: string },
): Check<number> {
  return (value, at) => {
    if (typeof value === "number" && Number.isSafeInteger(value)) {
      if ((value >= min && value <= max) || value === extra?.value) return value;
    }
    const isTooLarge = typeof value === "number" && value > max;
    const range = max === Number.MAX_SAFE_INTEGER && !isTooLarge ? `of at least ${min}` : `from ${min} to ${max}`;
    const or = extra === undefined ? "" : `, or ${extra.value} ${extra.means}`;
    return refuse(at, value, `a whole number ${range}${or}`);
  };
}

export const bytes = wholeNumber(0);

/** Milliseconds; zero where `min` allows it. */
export function milliseconds(min: 0 | 1): Check<number> {
  return (value, at) =>
    typeof value === "number" && value >= min && value <= TIMER_MS_MAX
      ? value
      : refuse(
          at,
          value,
          `a number of milliseconds from ${min} to ${TIMER_MS_MAX}${min === 1 ? " (leave it out for no limit)" : ""}`,
        );
}

/** Not a whole number of steps, allowing for what decimals such as 0.1 + 0.2 are in binary. */
function isFinerThanStep(value: number): boolean {
  const units = value * UNITS_PER_ONE;
  return Math.abs(units - Math.round(units)) > Math.max(1e-6, units * 4 * Number.EPSILON);
}

export const amount: Check<number> = (value, at) => {
  if (typeof value !== "number" || !(value >= 0 && value <= Number.MAX_SAFE_INTEGER / UNITS_PER_ONE)) {
    return refuse(at, value, "a number of at least 0");
  }
  return isFinerThanStep(value) ? refuse(at, value, "a multiple of 0.0001") : value;
};

/** A fraction shares one device; devices are given whole above that. */
export const gpus: Check<number> = (value, at) => {
  const number = amount(value, at);
  return number > 1 && !Number.isInteger(number) ? refuse(at, value, "whole when it is above 1") : number;
};

export function oneOf<const T extends string>(...allowed: readonly T[]): Check<T> {
  return (value, at) => {
    const found = allowed.find((each) => each === value);
    return found ?? refuse(at, value, allowed.map((each) => JSON.stringify(each)).join(" or "));
  };
}

/** A record with any names, each value checked alike. */
export function recordOf<T>(check: Check<T>, what: string): Check<Readonly<Record<string, T>>> {
  return (value, at) => {
    if (!isRecord(value)) return refuse(at, value, what);
    const read: [string, T][] = [];
    for (const [name, each] of Object.entries(value)) {
      if (name === "") return refuse(at, value, "without an empty name");
      if (each !== undefined) read.push([name, check(each, { call: at.call, option: `${at.option}.${name}` })]);
    }
    return Object.fromEntries(read);
  };
}

/** A record with known names. */
export function fieldsOf<Table extends CheckTable>(table: Table): Check<Checked<Table>> {
  return (value, at) =>
    isRecord(value)
      ? readFields(at, table, value)
      : refuse(at, value, `an object with ${Object.keys(table).join(", ")}`);
}

export function listOf<T>(check: Check<T>, what: string): Check<readonly T[]> {
  return (value, at) =>
    Array.isArray(value)
      ? value.map((each: unknown, index) => check(each, { call: at.call, option: `${at.option}[${index}]` }))
      : refuse(at, value, what);
}

const OWN_OPTION: Readonly<Record<string, string>> = { cpu: "numCpus", gpu: "numGpus", memory: "memory" };

/** Custom resources of a task or actor: cpu, gpu and memory have options of their own. */
export const customResources: Check<Resources> = (value, at) => {
  const read = recordOf(amount, "an object of amounts, such as { disk: 1 }")(value, at);
  for (const name of Object.keys(read)) {
    const own = OWN_OPTION[name.toLowerCase()];
    if (own !== undefined) {
      const place = { call: at.call, option: `${at.option}.${name}` };
      refuse(place, read[name], `left out: use the option "${own}"`);
    }
  }
  return read;
};
