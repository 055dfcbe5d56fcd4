/**
 * One actor counts for everybody, and is called far more often than it can answer: callers wait longer and longer.
 *
 * Fixed: an `ActorPool` of several actors, each with a part of the keys; one call for many words; or `maxPendingCalls`, so that
 * callers are told to slow down.
 */
import { setTimeout as delay } from "node:timers/promises";
import { init, remote } from "mobula";

const { dashboardUrl } = await init({ resources: { cpu: 2 } });
console.log(dashboardUrl);

class Counter {
  private readonly counts = new Map<string, number>();
  async add(word: string): Promise<void> {
    await delay(5); // As long as the disk takes for a line.
    this.counts.set(word, (this.counts.get(word) ?? 0) + 1);
  }
}
const counter = remote(Counter).remote();

for (;;) {
  for (const word of ["to", "be", "or", "not", "to", "be"]) for (let i = 0; i < 10; i++) counter.add.remote(word);
  await delay(100);
}
