/**
 * One of the inputs is a thousand times as large as the others, and all wait for it.
 *
 * Fixed: large inputs in pieces (`split` below), so that no task is much longer than others; and a `timeoutMs`.
 */
import { get, init, remote } from "mobula";

const { dashboardUrl } = await init({ resources: { cpu: 2 } });
console.log(dashboardUrl);

const parse = remote(async function parse(kilobytes: number) {
  await new Promise((resolve) => setTimeout(resolve, kilobytes));
  return kilobytes;
});
const sizes = [...Array.from({ length: 100 }, (_, n) => 20 + (n % 10)), 300_000];
console.log(await get(sizes.map((size) => parse.remote(size))));
// Fixed: const split = (size: number) => Array.from({ length: Math.ceil(size / 30) }, () => 30);
