/**
 * Every round reads three times as much as the store holds, so each block goes to the disk and comes back in each round.
 *
 * Fixed: all rounds for a group of blocks that fits, then the next group; or a larger store.
 */
import { get, init, put } from "mobula";

const { dashboardUrl } = await init({ resources: { cpu: 1 }, objectStoreBytes: 32 * 2 ** 20 });
console.log(dashboardUrl);

const blocks = Array.from({ length: 24 }, (_, block) => put(new Float64Array(512 * 1024).fill(block))); // 4 MiB each
let sum = 0;
for (;;) {
  for (const block of blocks) sum += (await get(block))[0] ?? 0;
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  if (sum < 0) break;
}
