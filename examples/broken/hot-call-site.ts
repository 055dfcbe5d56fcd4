/**
 * A task for each number: submitting one costs a hundred times as much as squaring a number.
 *
 * Fixed: a task for a thousand numbers: `remote((numbers: number[]) => numbers.map((n) => n * n))`.
 */
import { get, init, remote } from "mobula";

const { dashboardUrl } = await init({ resources: { cpu: 1 } });
console.log(dashboardUrl);

const square = remote(function square(n: number) {
  return n * n;
});
for (let first = 0; ; first += 500) await get(Array.from({ length: 500 }, (_, n) => square.remote(first + n)));
