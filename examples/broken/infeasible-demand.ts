/**
 * The task asks for a GPU of a machine that has none, so it waits for ever, and with it who waits for its result.
 *
 * Fixed: ask for what there is (`numGpus: 0`), or start a node that has one: `mobula start --address …` on it.
 */
import { get, init, remote } from "mobula";

const { dashboardUrl } = await init({ resources: { cpu: 2, gpu: 0 } });
console.log(dashboardUrl);

const train = remote(
  function train(epochs: number) {
    return `trained for ${epochs} epochs`;
  },
  { numGpus: 1 },
);
console.log(await get(train.remote(3)));
