import { randomInt } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";
import { attack } from "./attack.ts";
import { Client, Listeners } from "./listeners.ts";

// The long form, with 100,000 frames for each listener: npm run hostile -- --full
const FRAMES = 2_000;

let listeners: Listeners;
beforeAll(async () => {
  listeners = await Listeners.start(newFolder());
});
afterAll(() => listeners.stop());

test.each(["tcp", "unix"] as const)(
  "hostile frames on a %s socket harm nobody and leave nothing behind",
  async (kind) => {
    const seed = randomInt(2 ** 31);
    const client = await Client.join(listeners, kind);
    // What is made at first use is there before.
    await attack(listeners, { kind, frames: 500, seed: 1, client });
    await eventually(async () => (await listeners.holdings()).known === 1, "the first attackers are forgotten");
    const before = await listeners.holdings();
    const { frames, trips } = await attack(listeners, { kind, frames: FRAMES, seed, client });
    expect(frames, `seed ${seed}`).toBeGreaterThanOrEqual(FRAMES);
    expect(trips, `seed ${seed}`).toBeGreaterThan(20);
    await eventually(async () => {
      const { known, fds } = await listeners.holdings();
      return known === 1 && fds <= before.fds;
    }, `seed ${seed}: the attackers' connections and sessions are gone`);
    const after = await listeners.holdings();
    expect(after.heapBytes - before.heapBytes, `seed ${seed}`).toBeLessThan(2_000_000);
    const late = await Client.join(listeners, kind);
    await late.trip();
    late.leave();
    client.leave();
    expect(listeners.isRunning).toBe(true);
    await eventually(async () => (await listeners.holdings()).known === 0, "the clients have left");
  },
);
