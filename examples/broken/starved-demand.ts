/**
 * The large task needs both CPUs at once. Small ones with a higher priority come all the time, so that both are never free
 * for it.
 *
 * Fixed: the same priority for all, or a placement group that reserves its CPUs.
 */
import { get, init, remote } from "mobula";

const { dashboardUrl } = await init({ resources: { cpu: 2 } });
console.log(dashboardUrl);

const small = remote(
  async function small() {
    await new Promise((resolve) => setTimeout(resolve, 100));
  },
  { priority: 10 },
);
const large = remote(
  function large() {
    return "at last";
  },
  { numCpus: 2 },
);

const keepBusy = async (): Promise<void> => {
  for (;;) await get(Array.from({ length: 8 }, () => small.remote()));
};
void Promise.all([keepBusy(), keepBusy(), keepBusy()]);
console.log(await get(large.remote()));
