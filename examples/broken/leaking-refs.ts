/**
 * A cache keeps the ref of every result, and nothing ever leaves it: the objects can never be let go of.
 *
 * Fixed: `cache.delete(key)` for the oldest once there are enough, or no cache of refs at all.
 */
import { setTimeout as delay } from "node:timers/promises";
import { get, init, type ObjectRef, put } from "mobula";

const { dashboardUrl } = await init({ resources: { cpu: 1 }, objectStoreBytes: 256 * 2 ** 20 });
console.log(dashboardUrl);

const cache = new Map<number, ObjectRef<Float64Array>>();
for (let request = 0; ; request++) {
  const features = put(new Float64Array(32_768).fill(request)); // 256 KiB
  cache.set(request, features);
  await get(features);
  await delay(250);
}
