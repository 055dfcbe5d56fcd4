import { describe, expect, it } from "vitest";
import { createGcPolicy, createGcPressure } from "./gc-pressure.ts";

const CAPACITY = 1_000;

describe("garbage collection for the store's sake", () => {
  it("is due when what is held has grown by a twentieth of the store since the last one", () => {
    const policy = createGcPolicy(CAPACITY);
    policy.active(0);
    policy.changed(50);
    expect(policy.due(0)).toBeUndefined();
    policy.changed(1);
    expect(policy.due(0)).toBe("growth");
    policy.collected(0, 0);
    policy.settled();
    expect(policy.due(0)).toBeUndefined();
    policy.changed(51);
    expect(policy.due(0)).toBe("growth");
  });

  it("is not due because of a view that has just been made, however large, but with the next one", () => {
    const policy = createGcPolicy(CAPACITY);
    policy.active(0);
    policy.changed(800, true);
    expect(policy.due(0)).toBeUndefined();
    expect(policy.nextCheckMs(0)).toBe(300);
    policy.changed(1);
    expect(policy.due(0)).toBeUndefined();
    policy.changed(800, true);
    expect(policy.due(0)).toBe("growth");
  });

  it("measures growth from what finalisers have left, so that live data does not cause it again and again", () => {
    const policy = createGcPolicy(CAPACITY);
    policy.active(0);
    policy.changed(500);
    policy.collected(0, 0);
    policy.changed(-300);
    policy.settled();
    policy.changed(50);
    expect(policy.due(0)).toBeUndefined();
    policy.changed(1);
    expect(policy.due(0)).toBe("growth");
  });

  it("is due when the node asks, unless nothing is held", () => {
    const policy = createGcPolicy(CAPACITY);
    policy.active(0);
    policy.asked();
    expect(policy.due(0)).toBeUndefined();
    policy.changed(1);
    expect(policy.due(0)).toBeUndefined();
    policy.asked();
    expect(policy.due(0)).toBe("asked");
  });

  it("is due once in idleness while anything is held, and again only after something new", () => {
    const policy = createGcPolicy(CAPACITY);
    policy.active(0);
    policy.changed(5);
    policy.active(100);
    expect(policy.due(399)).toBeUndefined();
    expect(policy.nextCheckMs(100)).toBe(400);
    expect(policy.due(400)).toBe("idle");
    policy.collected(400, 400);
    expect(policy.due(10_000)).toBeUndefined();
    expect(policy.nextCheckMs(10_000)).toBe(Number.POSITIVE_INFINITY);
    policy.changed(5);
    policy.active(20_000);
    expect(policy.due(20_300)).toBe("idle");
  });

  it("is due in idleness also after one that growth caused, and again when something ran that may have let go", () => {
    const policy = createGcPolicy(CAPACITY);
    policy.changed(60);
    policy.active(0);
    expect(policy.due(0)).toBe("growth");
    policy.collected(0, 0);
    policy.settled();
    expect(policy.nextCheckMs(0)).toBe(300);
    expect(policy.due(300)).toBe("idle");
    policy.collected(300, 300);
    expect(policy.nextCheckMs(300)).toBe(Number.POSITIVE_INFINITY);
    policy.active(5_000);
    expect(policy.due(5_300)).toBe("idle");
    policy.collected(5_300, 5_300);
    policy.changed(-60);
    policy.active(6_000);
    expect(policy.nextCheckMs(6_000)).toBe(Number.POSITIVE_INFINITY);
  });

  it("never takes more than a tenth of the time, whoever asks", () => {
    const policy = createGcPolicy(CAPACITY);
    policy.active(0);
    policy.changed(500);
    policy.collected(1_000, 1_010);
    policy.changed(500);
    policy.asked();
    expect(policy.due(1_099)).toBeUndefined();
    expect(policy.nextCheckMs(1_011)).toBe(1_100);
    expect(policy.due(1_100)).toBe("asked");
  });

  it("really collects: finalisers of dropped objects run, and an idle holder lets go within a second", async () => {
    const pressure = createGcPressure({ capacityBytes: CAPACITY });
    const finalised = new Promise<void>((resolve) => {
      const registry = new FinalizationRegistry<number>((bytes) => {
        pressure.changed(-bytes);
        resolve();
      });
      (() => registry.register({ dropped: true }, 10))();
      pressure.changed(10);
      // The registry itself must outlive the wait.
      setTimeout(() => registry, 2_000).unref();
    });
    const startMs = performance.now();
    const keepAlive = setInterval(() => {}, 100);
    await finalised;
    clearInterval(keepAlive);
    expect(performance.now() - startMs).toBeLessThan(1_000);
    expect(pressure).toMatchObject({ heldBytes: 0, collections: 1 });
    pressure.close();
  });
});
