/**
 * Amounts of resources. A program writes decimals; the runtime counts in whole steps of 0.0001, so that sums are exact.
 */

/** What a program writes: `{ cpu: 1, gpu: 0.5, memory: 2 ** 30, disk: 3 }`; memory in bytes. */
export type Resources = Readonly<Record<string, number>>;

/** The same in whole steps of 1/10,000; made only by {@link toUnits}. */
export type ResourceUnits = Readonly<Record<string, number>>;

export const UNITS_PER_ONE = 10_000;

export function toUnits(resources: Resources): ResourceUnits {
  const units: Record<string, number> = {};
  for (const [name, amount] of Object.entries(resources)) {
    const value = Math.round(amount * UNITS_PER_ONE);
    if (value !== 0) units[name] = value;
  }
  return units;
}

export function sumOfUnits(all: readonly ResourceUnits[]): ResourceUnits {
  const sum: Record<string, number> = {};
  for (const units of all) for (const name in units) sum[name] = (sum[name] ?? 0) + (units[name] ?? 0);
  return sum;
}

export function fromUnits(units: ResourceUnits): Resources {
  return Object.fromEntries(Object.entries(units).map(([name, value]) => [name, value / UNITS_PER_ONE]));
}
