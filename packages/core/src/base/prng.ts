/**
 * Random numbers that repeat from a seed, for simulations and tests: sfc32 (Chris Doty-Humphrey, PractRand). Not for
 * secrets.
 */

export interface Prng {
  /** 0 to 1, without 1. */
  float(): number;
  /** A whole number from 0 to `below` - 1. */
  below(below: number): number;
  /** From `min` to `max`, both included. */
  between(min: number, max: number): number;
  chance(probability: number): boolean;
  /** One of them; undefined when there is none. */
  pick<T>(items: readonly T[]): T | undefined;
  hex(bytes: number): string;
}

export function createPrng(seed: number): Prng {
  let a = 0x9e3779b9;
  let b = 0x243f6a88;
  let c = seed >>> 0;
  let counter = 1;
  const next = (): number => {
    const sum = (a + b + counter++) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  // The first numbers of similar seeds are similar.
  for (let round = 0; round < 16; round++) next();
  const float = (): number => next() / 0x1_0000_0000;
  const below = (limit: number): number => Math.floor(float() * limit);
  return {
    float,
    below,
    between: (min, max) => min + below(max - min + 1),
    chance: (probability) => float() < probability,
    pick: (items) => (items.length === 0 ? undefined : items[below(items.length)]),
    hex: (bytes) => Array.from({ length: bytes }, () => below(256).toString(16).padStart(2, "0")).join(""),
  };
}
