/**
 * The program reads all blocks at once and keeps the arrays. What is read stays in memory, so that nothing can go to the disk.
 *
 * Fixed: read one block after another, and keep the sums instead of the arrays.
 */
import { get, init, put } from "mobula";

const { dashboardUrl } = await init({ resources: { cpu: 1 }, objectStoreBytes: 64 * 2 ** 20 });
console.log(dashboardUrl);

const blocks: Float64Array[] = [];
for (let block = 0; block < 15; block++) {
  blocks.push(await get(put(new Float64Array(512 * 1024).fill(block)))); // 4 MiB
}
await new Promise((resolve) => setTimeout(resolve, 600_000)); // The rest of the program.
console.log(blocks.map((block) => block.length));
