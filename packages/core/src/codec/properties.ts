/**
 * Own properties of objects: which of them are data that must travel, and how they are written.
 */
import { inspect } from "node:util";
import type { Encoder } from "./encoder.ts";
import { HIDDEN_BY_SYMBOL, hiddenStateWords } from "./obstacles.ts";
import { symbolStep } from "./path.ts";
import { WELL_KNOWN_SYMBOLS } from "./symbols.ts";

export interface Property {
  readonly key: string | symbol;
  readonly isEnumerable: boolean;
}

/** Flag of a property that is not enumerable. */
export const PROPERTY_HIDDEN = 1;

/** Whether an object has own properties besides the `known` number that every object of its kind has. */
export const hasExtraProperties = (value: object, known: number): boolean =>
  Object.getOwnPropertyNames(value).length > known || Object.getOwnPropertySymbols(value).length > 0;

/**
 * Own properties that are data: enumerable ones (accessors are evaluated later), and data that is not enumerable. An
 * accessor that is not enumerable is behaviour, not data. Undefined when one was refused and noted.
 */
export function listProperties(
  encoder: Encoder,
  value: object,
  depth: number,
  skipped?: ReadonlySet<string>,
): Property[] | undefined {
  const listed: Property[] = [];
  for (const key of Reflect.ownKeys(value)) {
    if (typeof key === "string" && skipped?.has(key)) continue;
    const descriptor = Object.getOwnPropertyDescriptor(value, key);
    if (!descriptor) continue;
    const isEnumerable = descriptor.enumerable === true;
    if (!isEnumerable && descriptor.get) continue;
    if (!isEnumerable && descriptor.set) continue;
    if (typeof key === "symbol" && Symbol.keyFor(key) === undefined && WELL_KNOWN_SYMBOLS.nameOf(key) === undefined) {
      const words = hiddenStateWords(value);
      if (words) {
        encoder.refuse(words, depth);
      } else {
        encoder.at(depth, symbolStep(key));
        encoder.refuse(HIDDEN_BY_SYMBOL, depth + 1);
      }
      return undefined;
    }
    listed.push({ key, isEnumerable });
  }
  return listed;
}

/** Own properties of a typed array besides its elements, which only a long list could show for a long array. */
export function listIndexed(encoder: Encoder, value: ArrayBufferView, depth: number): Property[] | undefined {
  const length = "length" in value && typeof value.length === "number" ? value.length : 0;
  if (length > 64 && Object.getOwnPropertySymbols(value).length === 0) {
    const text = inspect(value, INSPECT_EXTRAS);
    if (text.endsWith(`[ ... ${length} more items ]`)) return [];
  }
  return listProperties(encoder, value, depth)?.filter(
    (one) => typeof one.key === "symbol" || String(Number(one.key) >>> 0) !== one.key,
  );
}

/** Options under which `inspect` shows an array's extra properties and none of its elements, in constant time. */
const INSPECT_EXTRAS = {
  maxArrayLength: 0,
  maxStringLength: 0,
  depth: 0,
  customInspect: false,
  breakLength: Infinity,
  compact: 3,
  colors: false,
  showHidden: false,
  showProxy: false,
  sorted: false,
  numericSeparator: false,
} as const;

/**
 * Writes properties as a map, or, when some are not enumerable or not under strings, as a list of key, value and flags.
 * `withIndices` writes array indices as numbers.
 */
export function writeProperties(
  encoder: Encoder,
  holder: object,
  properties: readonly Property[],
  depth: number,
  withIndices = false,
): void {
  // Reading by key is what is meant here, whatever the class.
  const values = holder as Readonly<Record<string | symbol, unknown>>;
  const { out } = encoder;
  if (!withIndices && properties.every((one) => one.isEnumerable && typeof one.key === "string")) {
    encoder.map(
      values,
      properties.map((one) => one.key as string),
      depth,
    );
    return;
  }
  out.arrayHeader(properties.length * 3);
  for (const { key, isEnumerable } of properties) {
    if (typeof key === "symbol") {
      encoder.at(depth, symbolStep(key));
      encoder.symbol(key, depth + 1);
    } else {
      const index = Number(key) >>> 0;
      const isIndex = withIndices && String(index) === key;
      encoder.at(depth, isIndex ? index : key);
      if (isIndex) out.number(index);
      else encoder.string(key);
    }
    encoder.write(encoder.readOrNote(values, key), depth + 1);
    out.number(isEnumerable ? 0 : PROPERTY_HIDDEN);
  }
}

/** Up to this length the keys of an array are listed to see whether it has holes or extra properties. */
const LISTED_ARRAY_MAX = 64;

/**
 * Whether an array has no properties besides its elements, and few enough holes to be written element by element. Only
 * `inspect` can tell without listing every index, in a constant microsecond; short arrays are listed.
 */
export function isDense(value: readonly unknown[]): boolean {
  const { length } = value;
  if (length <= LISTED_ARRAY_MAX) {
    return Object.keys(value).length === length && Object.getOwnPropertySymbols(value).length === 0;
  }
  return inspect(value, INSPECT_EXTRAS).endsWith(`[ ... ${length} more items ]`) && !isSparse(value);
}

/** A long array of mostly holes: probing finds it without reading every index, listing the keys confirms it. */
function isSparse(value: readonly unknown[]): boolean {
  const { length } = value;
  const step = Math.ceil(length / 32);
  let holes = 0;
  for (let i = 0; i < length; i += step) if (!(i in value)) holes++;
  return holes > 8 && Object.keys(value).length < length / 2;
}

/** Sets a property whatever the prototype says about it. */
export function define(target: object, key: string | symbol, value: unknown, enumerable: boolean): void {
  Object.defineProperty(target, key, { value, writable: true, enumerable, configurable: true });
}
