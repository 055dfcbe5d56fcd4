import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type CachedUnit, type EnvironmentCommand, EnvironmentEngine, type EnvironmentEvent } from "./engine.ts";

const unit = (name: string, bytes: number, usedAtMs: number, isUsed = false): CachedUnit => ({
  name,
  bytes,
  usedAtMs,
  isUsed,
});
const needed = (key: string, timeoutMs = 1_000): EnvironmentEvent => ({ kind: "needed", key, timeoutMs });

describe("builds", () => {
  test("two at a time, in order, and one that nobody needs any more is not begun", () => {
    const engine = new EnvironmentEngine(100);
    expect(engine.step(needed("a"), 0)).toEqual([{ kind: "build", key: "a" }]);
    expect(engine.step(needed("a"), 0)).toEqual([]);
    expect(engine.step(needed("b"), 0)).toEqual([{ kind: "build", key: "b" }]);
    expect([engine.step(needed("c"), 0), engine.step(needed("d"), 0)]).toEqual([[], []]);
    expect(engine.ahead("d")).toBe(1);
    expect(engine.step({ kind: "released", key: "c" }, 0)).toEqual([]);
    expect(engine.step({ kind: "built", key: "a" }, 1)).toEqual([
      { kind: "ready", key: "a" },
      { kind: "build", key: "d" },
    ]);
    expect(engine.step({ kind: "failed", key: "b", message: "no" }, 1)).toEqual([
      { kind: "failed", key: "b", message: "no" },
    ]);
  });

  test("one that takes too long is stopped, and has failed with what it says then", () => {
    const engine = new EnvironmentEngine(100);
    engine.step(needed("a", 500), 0);
    expect(engine.nextDeadlineMs()).toBe(500);
    expect(engine.step({ kind: "tick" }, 499)).toEqual([]);
    const [stop] = engine.step({ kind: "tick" }, 500);
    expect(stop).toMatchObject({ kind: "stop", key: "a", reason: expect.stringMatching(/not ready within 0\.5 s/) });
    expect(engine.step({ kind: "tick" }, 600)).toEqual([]);
    const message = "npm ci was ended; its last lines";
    expect(engine.step({ kind: "failed", key: "a", message }, 601)).toEqual([{ kind: "failed", key: "a", message }]);
  });

  test("one that is needed again while it is being stopped begins anew when it has ended", () => {
    const engine = new EnvironmentEngine(100);
    engine.step(needed("a"), 0);
    expect(engine.step({ kind: "released", key: "a" }, 1)).toMatchObject([{ kind: "stop", key: "a" }]);
    expect(engine.step(needed("a"), 2)).toEqual([]);
    expect(engine.step({ kind: "failed", key: "a", message: "stopped" }, 3)).toEqual([{ kind: "build", key: "a" }]);
    expect(engine.step({ kind: "built", key: "a" }, 4)).toEqual([{ kind: "ready", key: "a" }]);
  });
});

describe("the cache", () => {
  test("beyond its limit the longest unused goes, down to nine tenths; what is used never does", () => {
    const engine = new EnvironmentEngine(100);
    const counted = (...units: CachedUnit[]) => engine.step({ kind: "counted", units }, 0);
    expect(counted(unit("a", 50, 1), unit("b", 50, 2))).toEqual([]);
    expect(counted(unit("b", 40, 2), unit("c", 40, 3), unit("a", 30, 1))).toEqual([{ kind: "remove", name: "a" }]);
    expect(counted(unit("a", 60, 1, true), unit("b", 60, 2), unit("c", 60, 3))).toEqual([
      { kind: "remove", name: "b" },
      { kind: "remove", name: "c" },
    ]);
    expect(counted(unit("a", 600, 1, true))).toEqual([]);
  });
});

/** What happens around the engine: builds that end or fail, demands that come and go, time. */
type Step =
  | { readonly kind: "need" | "release" | "end" | "fail"; readonly key: string }
  | { readonly kind: "wait"; readonly ms: number };

const key = fc.constantFrom("a", "b", "c", "d", "e");
const steps = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constantFrom("need", "need", "release", "end", "fail"), key }),
    fc.record({ kind: fc.constant("wait"), ms: fc.integer({ min: 1, max: 700 }) }),
  ),
  { maxLength: 60 },
) as fc.Arbitrary<Step[]>;

test("whatever comes: never more than two at a time, each in its time, and whoever needs one is answered once", () => {
  fc.assert(
    fc.property(steps, (list) => {
      const engine = new EnvironmentEngine(100);
      let nowMs = 0;
      const building = new Map<string, { sinceMs: number; isStopping: boolean }>();
      const waiting = new Set<string>();
      const send = (event: EnvironmentEvent): void => {
        for (const command of engine.step(event, nowMs)) obey(command);
      };
      const obey = (command: EnvironmentCommand): void => {
        switch (command.kind) {
          case "build":
            expect(building.has(command.key)).toBe(false);
            building.set(command.key, { sinceMs: nowMs, isStopping: false });
            expect(building.size).toBeLessThanOrEqual(2);
            return;
          case "stop": {
            const build = building.get(command.key);
            expect(build?.isStopping).toBe(false);
            if (build) build.isStopping = true;
            return;
          }
          case "ready":
          case "failed":
            expect(waiting.delete(command.key)).toBe(true);
            return;
          case "remove":
            return;
        }
      };
      const finish = (of: string, isBuilt: boolean): void => {
        const build = building.get(of);
        if (!build) return;
        building.delete(of);
        send(isBuilt && !build.isStopping ? { kind: "built", key: of } : { kind: "failed", key: of, message: "no" });
      };
      for (const step of list) {
        if (step.kind === "wait") {
          nowMs += step.ms;
          send({ kind: "tick" });
          for (const { sinceMs, isStopping } of building.values())
            expect(isStopping || nowMs - sinceMs < 1_000).toBe(true);
        } else if (step.kind === "need") {
          // The scheduler asks once until it is answered or has released it.
          if (waiting.has(step.key)) continue;
          waiting.add(step.key);
          send(needed(step.key));
        } else if (step.kind === "release") {
          waiting.delete(step.key);
          send({ kind: "released", key: step.key });
        } else finish(step.key, step.kind === "end");
      }
      for (let rounds = 0; building.size > 0; rounds++) {
        expect(rounds).toBeLessThan(50);
        for (const of of [...building.keys()]) finish(of, true);
      }
      expect([...waiting]).toEqual([]);
    }),
    { numRuns: 1_000 },
  );
});
