/** Of all values. */
export function sum(numbers: ReadonlyMap<unknown, number>): number {
  let total = 0;
  for (const number of numbers.values()) total += number;
  return total;
}
