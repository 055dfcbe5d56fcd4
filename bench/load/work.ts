/** What runs in workers under load. Everything is a function of its arguments, so that every result can be checked. */
import { get, type ObjectRef, put, putAsync, remote, runtimeContext } from "mobula";

export const sum = (...numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

/** Bytes that follow from their number and a seed. */
export function pattern(bytes: number, seed: number): Uint8Array {
  const array = new Uint8Array(bytes);
  for (let at = 0; at < bytes; at++) array[at] = (at * 31 + seed) & 0xff;
  return array;
}

/** Changes with any byte and any swap. */
export function checksum(bytes: Uint8Array): number {
  let hash = bytes.length;
  for (let at = 0; at < bytes.length; at++) hash = (Math.imul(hash, 31) + (bytes[at] ?? 0)) | 0;
  return hash;
}

/** Returns what it was given, after writing to it: nobody else may see that. */
export function scribble(bytes: Uint8Array): number {
  const before = checksum(bytes);
  bytes.fill(0xee);
  return before;
}

/** A tree of tasks; the number of its leaves. */
export async function tree(depth: number, width: number): Promise<number> {
  if (depth === 0) return 1;
  const self = remote(tree, { maxRetries: -1 });
  const leaves = await get(Array.from({ length: width }, () => self.remote(depth - 1, width)));
  return sum(...leaves);
}

export function* countTo(items: number, bytesEach: number): Generator<Uint8Array> {
  for (let item = 0; item < items; item++) yield pattern(bytesEach, item);
}

export class ExpectedError extends Error {
  readonly number: number;
  constructor(number: number) {
    super(`number ${number} was expected to fail`);
    this.number = number;
  }
}

export function fail(number: number): never {
  throw new ExpectedError(number);
}

/** Ends when it is cancelled. */
export function sleepUntilCancelled(): Promise<never> {
  const { signal } = runtimeContext();
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

export function spinForever(): never {
  for (;;);
}

/** Refs inside a container are not fetched for it. */
export async function sumOfRefs(refs: readonly ObjectRef<number>[]): Promise<number> {
  return sum(...(await get([...refs])));
}

/** A ref of the worker's own, which outlives the task. */
/** @param copies on so many nodes, when it has ended. */
export async function putInside(bytes: number, seed: number, copies: number): Promise<ObjectRef<Uint8Array>[]> {
  return [copies === 1 ? put(pattern(bytes, seed)) : await putAsync(pattern(bytes, seed), { copies })];
}

export class Ledger {
  #entries: number[] = [];
  #kept: ObjectRef<Uint8Array> | undefined;

  add(entry: number): number {
    this.#entries.push(entry);
    return this.#entries.length;
  }

  entries(): readonly number[] {
    return this.#entries;
  }

  keep(refs: readonly ObjectRef<Uint8Array>[]): void {
    this.#kept = refs[0];
  }

  async checksumOfKept(): Promise<number> {
    return this.#kept === undefined ? 0 : checksum(await get(this.#kept));
  }

  *stream(items: number): Generator<number> {
    for (let item = 0; item < items; item++) yield item;
  }
}
