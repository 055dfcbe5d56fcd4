/**
 * The function is made anew for each request, and takes the whole table along each time.
 *
 * Fixed: `const tableRef = put(table)` once, and `remote((table, key) => table[key])` once, outside of the loop.
 */
import { setTimeout as delay } from "node:timers/promises";
import { get, init, remote } from "mobula";

const { dashboardUrl } = await init({ resources: { cpu: 1 } });
console.log(dashboardUrl);

const table = Array.from({ length: 100_000 }, (_, key) => `value of ${key}`);
for (let key = 0; ; key++) {
  const lookUp = remote(function lookUp(wanted: number) {
    return table[wanted % table.length];
  });
  await get(lookUp.remote(key));
  await delay(100);
}
