/** Placement groups on one machine: the same calls as in a cluster, with processes and inline. */

import {
  availableResources,
  explain,
  get,
  getPlacementGroup,
  init,
  placementGroup,
  remote,
  runtimeContext,
  shutdown,
} from "mobula";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";

describe.each(["processes", "inline"] as const)("%s", (mode) => {
  beforeAll(() => init({ resources: { cpu: 4, disk: 2 }, ...(mode === "inline" && { address: "inline" }) }));
  afterAll(() => shutdown());

  const free = async (name: string): Promise<number> => (await availableResources())[name] ?? 0;

  test("a group is reserved, runs what names it, and gives everything back", async () => {
    const group = placementGroup([{ cpu: 1 }, { cpu: 1, disk: 1 }]);
    expect(await get(group.ready())).toBeUndefined();
    expect(await group.wait(5_000)).toBe(true);
    expect(await free("disk")).toBe(1);
    const held = remote(() => runtimeContext().resources).options({
      resources: { disk: 1 },
      schedulingStrategy: { placementGroup: group },
    });
    expect(await get(held.remote())).toEqual({ cpu: 1, disk: 1 });
    await group.remove();
    await group.remove();
    expect(await free("disk")).toBe(2);
    await expect(get(held.remote())).rejects.toMatchObject({ code: "GROUP_REMOVED" });
  });

  test("an actor lives in a bundle, and ends with the group", async () => {
    const group = placementGroup([{ cpu: 2 }], { name: "home" });
    class Counter {
      count = 0;
      add(): number {
        return ++this.count;
      }
    }
    const counter = remote(Counter, {
      numCpus: 2,
      schedulingStrategy: { placementGroup: await getPlacementGroup("home"), bundleIndex: 0 },
    }).remote();
    expect(await get(counter.add.remote())).toBe(1);
    await group.remove();
    await expect(get(counter.add.remote())).rejects.toMatchObject({
      code: "ACTOR_DIED",
      cause: { code: "GROUP_REMOVED" },
    });
    await expect(getPlacementGroup("home")).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });

  test("two gangs that fit only one after the other both run", async () => {
    const run = async (): Promise<number> => {
      const group = placementGroup([{ cpu: 2 }, { cpu: 2 }]);
      await get(group.ready());
      const sum = await get(
        [0, 1].map((bundleIndex) =>
          remote((index: number) => index)
            .options({ numCpus: 2, schedulingStrategy: { placementGroup: group, bundleIndex } })
            .remote(bundleIndex),
        ),
      );
      await group.remove();
      return sum.reduce((a, b) => a + b, 0);
    };
    expect(await Promise.all([run(), run(), run()])).toEqual([1, 1, 1]);
    await eventually(async () => (await free("cpu")) === 4, "all CPUs are free");
  });

  test("what no bundle can hold is infeasible, and a bundle that is not there an invalid option", async () => {
    const group = placementGroup([{ cpu: 1 }]);
    const task = remote(() => 1);
    const strategy = { placementGroup: group };
    const large = task.options({ numCpus: 2, schedulingStrategy: strategy });
    await expect(get(large.remote())).rejects.toMatchObject({ code: "INFEASIBLE" });
    expect(() => task.options({ schedulingStrategy: { ...strategy, bundleIndex: 1 } })).toThrow(/bundleIndex/);
    await group.remove();
  });

  test("what runs in a group knows it, and is joined there by what it submits, if it captures that", async () => {
    const group = placementGroup([{ cpu: 1 }, { cpu: 1 }, { cpu: 1, disk: 1 }]);
    const here = remote(() => runtimeContext().placementGroup?.id ?? null).options({ numCpus: 0 });
    class Home {
      id(): string | null {
        return runtimeContext().placementGroup?.id ?? null;
      }
    }
    const RemoteHome = remote(Home);
    const parent = remote(async () => {
      const own = runtimeContext().placementGroup;
      const child = await get(here.remote());
      const free = await get(here.options({ schedulingStrategy: "default" }).remote());
      const actor = await get(RemoteHome.remote().id.remote());
      return { bundles: own?.bundles, child, free, actor };
    });
    const strategy = { placementGroup: group };
    const outside = parent.options({ numCpus: 0 });
    for (const captureChildTasks of [true, false]) {
      const inside = parent.options({ schedulingStrategy: { ...strategy, captureChildTasks } });
      const captured = captureChildTasks ? group.id : null;
      expect(await get(inside.remote())).toEqual({
        bundles: group.bundles,
        child: captured,
        free: null,
        actor: captured,
      });
      // The same functions in the same processes, where nothing captures them.
      expect(await get(outside.remote())).toEqual({ bundles: undefined, child: null, free: null, actor: null });
    }
    // Children may run in any bundle, however full that of their parent is, and so may their own.
    const nested = remote(
      async (depth: number): Promise<number> => (depth === 0 ? 0 : 1 + (await get(nested.remote(depth - 1)))),
    );
    const inFirst = { ...strategy, bundleIndex: 0, captureChildTasks: true };
    expect(await get(nested.options({ schedulingStrategy: inFirst }).remote(2))).toBe(2);
    await group.remove();
  });

  test("explain says why it waits, where it is, and that it is gone", async () => {
    const large = placementGroup([{ cpu: 3 }]);
    await get(large.ready());
    const second = placementGroup([{ cpu: 2 }]);
    const why = await explain(second);
    expect(why).toMatchObject({ state: "waiting", sentences: expect.arrayContaining([expect.stringMatching(/cpu/i)]) });
    expect(why.considered).toHaveLength(1);
    // What waits for it says the same.
    expect((await explain(second.ready())).sentences.join(" ")).toMatch(/waits for room/);
    await large.remove();
    await get(second.ready());
    expect(await explain(second)).toMatchObject({ state: "ready" });
    await second.remove();
    expect(await explain(second)).toMatchObject({ state: "failed", sentences: [expect.stringMatching(/removed/)] });
  });

  test("a name is taken once", async () => {
    const first = placementGroup([{ cpu: 1 }], { name: "one" });
    await get(first.ready());
    const second = placementGroup([{ cpu: 1 }], { name: "one" });
    await expect(second.wait(1_000)).rejects.toMatchObject({ code: "NAME_TAKEN" });
    await expect(get(second.ready())).rejects.toMatchObject({ code: "NAME_TAKEN" });
    await first.remove();
  });

  test("one that can never be is infeasible", async () => {
    const group = placementGroup([{ cpu: 3 }, { cpu: 3 }]);
    expect(await group.wait(100)).toBe(false);
    await expect(get(group.ready())).rejects.toMatchObject({ code: "INFEASIBLE" });
    await group.remove();
  }, 20_000);
});
