import { afterEach, expect, test, vi } from "vitest";
import type { LeaseEngine } from "../scheduler/mod.ts";
import { LeaseLoop } from "./lease-loop.ts";

afterEach(() => vi.restoreAllMocks());

test("the engine's time goes on when the machine's clock is set back", () => {
  const times: number[] = [];
  const engine = {
    step(_event: unknown, nowMs: number) {
      times.push(nowMs);
      return [];
    },
    nextTickMs: () => undefined,
  } as unknown as LeaseEngine; // What the loop needs of it.
  const loop = new LeaseLoop(engine, () => {});
  loop.feed({ kind: "tick" });
  const set = Date.now() - 3_600_000;
  vi.spyOn(Date, "now").mockReturnValue(set);
  loop.feed({ kind: "tick" });
  loop.close();
  const [before = 0, after = 0] = times;
  expect(after).toBeGreaterThanOrEqual(before);
});
