/** A placement group that needs whole nodes gets them beside a stream of small tasks that would keep every CPU busy. */
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  get,
  type ObjectRef,
  type PlacementGroupOptions,
  placementGroup,
  type Resources,
  remote,
  wait,
} from "../../src/api/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";

const CPUS = 2;
const NODES = ["one", "two", "three"];
/** Earmarks begin after one second, and the longest task takes 0.7: a group needs about two on an idle machine. */
const WITHIN_MS = 15_000;
let cluster: LocalCluster;
beforeAll(async () => {
  process.env.MOBULA_EARMARK_AFTER_MS = "1000";
  cluster = await LocalCluster.start({ nodes: NODES.map((name) => ({ name, resources: { cpu: CPUS } })) });
  delete process.env.MOBULA_EARMARK_AFTER_MS;
  await cluster.connect();
});
afterAll(() => cluster.stop());

const small = remote((ms: number) => new Promise((resolve) => setTimeout(resolve, ms)));

/** More tasks than there are CPUs, at all times. */
class Stream {
  readonly full: Promise<void>;
  private readonly done: Promise<void>;
  private readonly inFlight = Array.from({ length: 3 * CPUS * NODES.length }, (_, index) => this.next(index));
  private isOver = false;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.full = promise;
    this.done = this.go(resolve);
  }

  private next(index: number): ObjectRef<unknown> {
    return small.remote(100 + ((index * 370) % 601));
  }

  private async go(isFull: () => void): Promise<void> {
    for (let index = 1; !this.isOver; index++) {
      const { ready, pending } = await wait(this.inFlight);
      this.inFlight.splice(0, this.inFlight.length, ...pending, ...ready.map(() => this.next(index++)));
      if (index > this.inFlight.length) isFull();
    }
    await get(this.inFlight);
  }

  async end(): Promise<void> {
    this.isOver = true;
    await this.done;
  }
}

async function isReadyBesideTasks(bundles: readonly Resources[], options: PlacementGroupOptions): Promise<void> {
  const stream = new Stream();
  try {
    await stream.full;
    const group = placementGroup([...bundles], options);
    await get(group.ready(), { timeoutMs: WITHIN_MS });
    const apart = remote(() => "ran").options({ schedulingStrategy: { placementGroup: group } });
    expect(await get(apart.remote())).toBe("ran");
    await group.remove();
  } finally {
    await stream.end();
  }
}

test("a whole node", async () => {
  await isReadyBesideTasks([{ cpu: 1 }, { cpu: 1 }], { strategy: "STRICT_PACK" });
}, 60_000);

test("each node, and all of it", async () => {
  await isReadyBesideTasks(
    NODES.map(() => ({ cpu: CPUS })),
    { strategy: "STRICT_SPREAD" },
  );
}, 60_000);
