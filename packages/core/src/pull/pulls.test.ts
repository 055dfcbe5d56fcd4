import { expect, test } from "vitest";
import { type ProcessId, storedName } from "../base/ids.ts";
import type { StoreKey } from "../wire/messages.ts";
import { PRIORITY, Pulls, type PullsOptions } from "./pulls.ts";

const HERE = "aaaaaaaa";
const THERE = "bbbbbbbb";
const KEY = 7 as StoreKey;
const name = storedName(THERE, 3 as StoreKey);
const process = (number: number): ProcessId => `${HERE}${String(number).padStart(16, "0")}` as ProcessId;

/** One object of another node, whose bytes come when the test lets them. */
function onePull() {
  const arrival = Promise.withResolvers<void>();
  const pins: ProcessId[] = [];
  const sealed = Promise.withResolvers<void>();
  const place = { fd: 0, position: 0 };
  const store = {
    makeRoom: async () => ({ place, seal: () => KEY, abandon: () => {} }),
    pin: (who: ProcessId) => pins.push(who),
  } as unknown as PullsOptions["store"]; // What one pull needs of it.
  const pulls: Pulls = new Pulls({
    here: HERE,
    self: process(0),
    store,
    links: {
      async fetch(_source, { size, onBytes }) {
        await arrival.promise;
        onBytes(size);
      },
    },
    capacityBytes: 1_000,
    isHomeDead: () => false,
    send(_to, message) {
      if (message.t === "copy-locate") queueMicrotask(() => pulls.from({ t: "copy-from", name, source: THERE }));
      if (message.t === "copy-held") sealed.resolve();
    },
    onFailed: (_who, { error }) => sealed.reject(new Error(error?.message)),
    nowMs: () => 0,
  });
  const arrive = async (): Promise<void> => {
    arrival.resolve();
    await sealed.promise;
  };
  return { pulls, pins, arrive };
}

test("a copy is pinned for all that wait for it, but not for one that is gone when it comes", async () => {
  const { pulls, pins, arrive } = onePull();
  for (const number of [1, 2, 3]) pulls.pin(process(number), { name, size: 10, home: THERE }, PRIORITY.get);
  pulls.processGone(process(2));
  await arrive();
  expect(pins).toEqual([process(1), process(3)]);
});
