import { availableResources, get, init, remote, runtimeContext, shutdown } from "mobula";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";
import { blockUntil, note, notes, raise } from "./helpers.ts";

beforeAll(async () => {
  await init({ objectStoreBytes: 64 * 2 ** 20, resources: { cpu: 4, gpu: 2 } });
});
afterAll(() => shutdown());

/** What it sees of the GPUs once `count` of its kind run at once. */
const devices = remote(function devices(folder: string, count: number) {
  if (note(folder, "runs") === count) raise(folder, "all");
  blockUntil(folder, "all");
  const { accelerators, resources } = runtimeContext();
  return { visible: process.env.CUDA_VISIBLE_DEVICES, gpu: accelerators.gpu, held: resources.gpu, pid: process.pid };
});

describe("declared GPUs", () => {
  test("fractions share a device, and each worker sees its own only", async () => {
    const folder = newFolder();
    const half = devices.options({ numCpus: 0, numGpus: 0.5 });
    const whole = devices.options({ numCpus: 0, numGpus: 1 });
    const seen = await get([half.remote(folder, 3), half.remote(folder, 3), whole.remote(folder, 3)] as const);
    const [first, second, third] = seen;
    expect(first.visible).toBe(second.visible);
    expect(new Set([first.visible, third.visible])).toEqual(new Set(["0", "1"]));
    for (const { visible, gpu } of seen) expect(gpu).toEqual([visible]);
    expect(seen.map(({ held }) => held)).toEqual([0.5, 0.5, 1]);
    expect(notes(folder).length).toBe(3);
  });

  test("a task without GPUs sees none", async () => {
    expect(await get(devices.remote(newFolder(), 1))).toMatchObject({ visible: "", gpu: [] });
  });

  test("the worker ends with its task, so that the device's memory is free, unless maxCalls says otherwise", async () => {
    const one = devices.options({ numGpus: 1 });
    const pids = new Set<number>();
    for (let run = 0; run < 3; run++) pids.add((await get(one.remote(newFolder(), 1))).pid);
    expect(pids.size).toBe(3);
    const keeps = devices.options({ numGpus: 1, maxCalls: 0 });
    const kept = [await get(keeps.remote(newFolder(), 1)), await get(keeps.remote(newFolder(), 1))];
    expect(kept[0]?.pid).toBe(kept[1]?.pid);
  });

  test("an actor holds its devices until it ends", async () => {
    class Holder {
      visible(): readonly (string | undefined)[] {
        return [process.env.CUDA_VISIBLE_DEVICES, ...runtimeContext().accelerators.gpu];
      }
    }
    const holder = remote(Holder, { numGpus: 2 }).remote();
    expect(await get(holder.visible.remote())).toEqual(["0,1", "0", "1"]);
    expect((await availableResources()).gpu).toBe(0);
    holder[Symbol.dispose]();
    await eventually(async () => (await availableResources()).gpu === 2, "its devices are free");
  });
});
