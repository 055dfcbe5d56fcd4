/** Nothing is wrong here: tasks and actor calls of some milliseconds, objects that come and go, and a queue that is worked off. */
import { setTimeout as delay } from "node:timers/promises";
import { get, init, put, remote } from "mobula";

const { dashboardUrl } = await init({ resources: { cpu: 2 }, objectStoreBytes: 128 * 2 ** 20 });
console.log(dashboardUrl);

const sum = remote(async function sum(numbers: Float64Array) {
  await delay(5);
  return numbers.reduce((a, b) => a + b, 0);
});
class Totals {
  private total = 0;
  add(amount: number): number {
    this.total += amount;
    return this.total;
  }
}
const totals = remote(Totals).remote();
for (;;) {
  const blocks = Array.from({ length: 20 }, (_, n) => put(new Float64Array(16_384).fill(n)));
  for (const amount of await get(blocks.map((block) => sum.remote(block)))) totals.add.remote(amount);
  await delay(50);
}
