import assert from "node:assert/strict";
import { get, type ObjectRef, remote, wait } from "mobula";
import { assertExecutions, stamp } from "../harness/evidence.ts";
import type { Measurement, Workload } from "../harness/protocol.ts";
import { nowSeconds, repeat } from "../harness/timing.ts";
import { openMobula } from "./runtime.ts";

export const runOnce = remote(() => stamp());

/** `step` returns the stamps of what it ran; all of them are checked after the clock has stopped. */
export async function repeatAndCheck(seconds: number, step: () => Promise<number[]>): Promise<Measurement> {
  const stamps: number[][] = [];
  const outcome = await repeat(seconds, async () => {
    const values = await step();
    stamps.push(values);
    return values.length;
  });
  const all = stamps.flat();
  assertExecutions(all, all.length);
  return outcome;
}

const submitMany = (count: number): ObjectRef<number>[] => Array.from({ length: count }, () => runOnce.remote());

class TaskClient {
  #stamps: number[] = [];

  async submit(count: number): Promise<void> {
    const stamps = await get(Array.from({ length: count }, () => runOnce.remote()));
    this.#stamps = this.#stamps.concat(stamps);
  }

  takeStamps(): number[] {
    return this.#stamps;
  }
}
const RemoteTaskClient = remote(TaskClient);

const CLIENTS = 4;

export const taskWorkloads: Record<string, Workload> = {
  async start(_sizes, options) {
    const start = nowSeconds();
    await openMobula(options);
    const value = await get(runOnce.remote());
    const seconds = nowSeconds() - start;
    assertExecutions([value], 1);
    return { seconds, count: 1, bytes: 0 };
  },

  "tasks-sync": ({ seconds, count }) =>
    repeatAndCheck(seconds, async () => {
      const values: number[] = [];
      for (let index = 0; index < count; index += 1) values.push(await get(runOnce.remote()));
      return values;
    }),

  "tasks-async": ({ seconds, count }) => repeatAndCheck(seconds, () => get(submitMany(count))),

  async "tasks-multi-client"({ seconds, count }) {
    const clients = Array.from({ length: CLIENTS }, () => RemoteTaskClient.remote());
    await get(clients.map((client) => client.submit.remote(1)));
    let submitted = CLIENTS;
    const outcome = await repeat(seconds, async () => {
      await get(clients.map((client) => client.submit.remote(count)));
      submitted += CLIENTS * count;
      return CLIENTS * count;
    });
    const stamps = await get(clients.map((client) => client.takeStamps.remote()));
    assertExecutions(stamps.flat(), submitted);
    return outcome;
  },

  async wait({ seconds, count }) {
    const submitted: ObjectRef<number>[][] = [];
    const outcome = await repeat(seconds, async () => {
      const refs = submitMany(count);
      submitted.push(refs);
      let pending = refs;
      for (let index = 0; index < count; index += 1) {
        const result = await wait(pending);
        assert.equal(result.ready.length, 1);
        pending = result.pending;
      }
      assert.equal(pending.length, 0);
      return 1;
    });
    const stamps = await get(submitted.flat());
    assertExecutions(stamps, submitted.length * count);
    return outcome;
  },

  async queued({ count }) {
    assertExecutions(await get(submitMany(100)), 100);
    const start = nowSeconds();
    const stamps = await get(submitMany(count));
    const seconds = nowSeconds() - start;
    assertExecutions(stamps, count);
    return { seconds, count, bytes: 0 };
  },
};
