import { setImmediate } from "node:timers/promises";
import { expect, test } from "vitest";
import { type ProcessId, storedName } from "../base/ids.ts";
import type { OpenObject } from "../store/mod.ts";
import type { StoreKey } from "../wire/messages.ts";
import { PRIORITY, Pulls, type PullsOptions } from "./pulls.ts";

const HERE = "aaaaaaaa";
const THERE = "bbbbbbbb";
const KEY = 7 as StoreKey;
const name = storedName(THERE, 3 as StoreKey);
const process = (number: number): ProcessId => `${HERE}${String(number).padStart(16, "0")}` as ProcessId;

/** One object of another node, whose bytes come when the test lets them. */
function onePull(opened: Promise<OpenObject> = new Promise(() => {})) {
  const arrival = Promise.withResolvers<void>();
  const pins: ProcessId[] = [];
  const events: string[] = [];
  const sealed = Promise.withResolvers<void>();
  const place = { fd: 0, position: 0 };
  const store = {
    makeRoom: async () => ({
      place,
      seal: () => ({ key: KEY, unpin: () => events.push("unpinned") }),
      abandon: () => {},
    }),
    pin: (who: ProcessId) => {
      pins.push(who);
      events.push("pinned");
    },
    open: () => {
      events.push("opened");
      return opened;
    },
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
  return { pulls, pins, events, arrive };
}

test("a copy is pinned for all that wait for it, but not for one that is gone when it comes", async () => {
  const { pulls, pins, arrive } = onePull();
  for (const number of [1, 2, 3]) pulls.pin(process(number), { name, size: 10, home: THERE }, PRIORITY.get);
  pulls.processGone(process(2));
  await arrive();
  expect(pins).toEqual([process(1), process(3)]);
});

test("a copy stays until those who wait for it, and those who read it as it comes, have it pinned", async () => {
  const { pulls, events, arrive } = onePull();
  pulls.pin(process(1), { name, size: 10, home: THERE }, PRIORITY.get);
  await setImmediate(); // There is room for it now.
  expect(await pulls.open(name)).toBeDefined();
  await arrive();
  expect(events).toEqual(["opened", "pinned", "unpinned"]);
});

test("who reads a copy as it comes is told when it is gone all the same", async () => {
  const opened = Promise.withResolvers<OpenObject>();
  const { pulls, arrive } = onePull(opened.promise);
  pulls.pin(process(1), { name, size: 10, home: THERE }, PRIORITY.get);
  await setImmediate();
  const reading = await pulls.open(name);
  const failed = new Promise<void>((resolve) => {
    if (reading) reading.whenFailed = resolve;
  });
  await arrive();
  opened.reject(new Error("gone"));
  await failed;
  reading?.close();
});

test("what a home was asked that has died is asked of its heir", async () => {
  const asked: string[] = [];
  const pulls = new Pulls({
    ...({
      here: HERE,
      self: process(0),
      capacityBytes: 1_000,
      links: {},
      onFailed() {},
      nowMs: () => 0,
    } as unknown as PullsOptions),
    store: {
      makeRoom: async () => ({ place: { fd: 0, position: 0 }, seal() {}, abandon() {} }),
    } as unknown as PullsOptions["store"],
    isHomeDead: () => false,
    send: (to, message) => asked.push(`${message.t} ${to}`),
  });
  pulls.pin(process(1), { name, size: 8, home: THERE }, PRIORITY.get);
  await setImmediate();
  expect(asked).toEqual([`copy-locate ${THERE}`]);
  pulls.homesInherited(new Set(["cccccccc"]));
  expect(asked).toHaveLength(1);
  pulls.homesInherited(new Set([THERE]));
  expect(asked).toEqual([`copy-locate ${THERE}`, `copy-locate ${THERE}`]);
});
