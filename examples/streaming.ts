/** Results that come one by one. */
import { asCompleted, get, init, map, remote, shutdown } from "mobula";

await init();

// A generator gives a stream. Its producer pauses when it is streamBufferItems ahead of its reader.
const countdown = remote(
  function* (from: number) {
    for (let n = from; n > 0; n--) yield n;
  },
  { streamBufferItems: 4 },
);
const seen: number[] = [];
for await (const n of countdown.remote(5).values()) seen.push(n);
console.log("counted", seen);

// Leaving the loop cancels the producer, however long it would have gone on.
for await (const ref of countdown.remote(1_000_000_000)) {
  console.log("first of a thousand million", await get(ref));
  break;
}

// A stream of refs can be passed on without its values coming here.
const half = remote((n: number) => n / 2);
const halves: number[] = [];
for await (const ref of countdown.remote(4)) halves.push(await get(half.remote(ref)));
console.log("halves", halves);

// map keeps a bounded number of tasks in flight, so its source may be endless.
function* naturals() {
  for (let n = 0; ; n++) yield n;
}
const isPrime = (n: number): [number, boolean] => {
  for (let divisor = 2; divisor * divisor <= n; divisor++) if (n % divisor === 0) return [n, false];
  return [n, n > 1];
};
const primes: number[] = [];
for await (const [n, prime] of map(isPrime, naturals(), { concurrency: 16 })) {
  if (prime) primes.push(n);
  if (primes.length === 10) break;
}
console.log("primes", primes);

// asCompleted yields refs as they finish: the first can be used while the slowest runs.
const later = remote(async (ms: number) => {
  await new Promise((resolve) => setTimeout(resolve, ms));
  return ms;
});
let slept = 0;
for await (const ref of asCompleted([300, 1, 20].map((ms) => later.remote(ms)))) slept += await get(ref);
console.log("slept", slept, "ms in all");

await shutdown();
