/**
 * Two trainings have half of the CPUs each, in a placement group, and reserve another group for their evaluation while they keep
 * the first: each waits for what the other one has.
 *
 * Fixed: one group with the bundles of both, training and evaluation, so that a training has all that it needs or nothing; or
 * `remove()` the first group before the second is waited for.
 */
import { get, init, placementGroup, remote } from "mobula";

const { dashboardUrl } = await init({ resources: { cpu: 4 } });
console.log(dashboardUrl);

class Training {
  steps = 0;
  train(steps: number): number {
    this.steps += steps;
    return this.steps;
  }
  async evaluate(): Promise<string> {
    const evaluation = placementGroup([{ cpu: 1 }, { cpu: 1 }]);
    await get(evaluation.ready());
    return `after ${this.steps} steps it is good`;
  }
}
const trainings = await Promise.all(
  [1, 2].map(async () => {
    const group = placementGroup([{ cpu: 1 }, { cpu: 1 }]);
    await get(group.ready());
    return remote(Training, { numCpus: 1, schedulingStrategy: { placementGroup: group } }).remote();
  }),
);
await get(trainings.map((training) => training.train.remote(100)));
console.log(await get(trainings.map((training) => training.evaluate.remote())));
