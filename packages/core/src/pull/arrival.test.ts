import { setImmediate as othersTurn } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { storedName } from "../base/ids.ts";
import type { CopyFrom, CopyLocate } from "../wire/cluster-messages.ts";
import { Arrival } from "./arrival.ts";
import { type Fetch, GoneError } from "./bulk-links.ts";

const name = storedName("aaaaaaaa", 7);
const SIZE = 16_384;
const HALF = SIZE / 2;

interface Fetching extends Fetch {
  readonly source: string;
  end(): void;
  fail(error: Error): void;
}

/** An object of two pages for each stripe; the test is its home and its sources, and says what time it is. */
function arriving(stripedBytesMin = 0) {
  const asked: CopyLocate[] = [];
  const fetches: Fetching[] = [];
  const sleepers: (() => void)[] = [];
  const ended = new AbortController();
  const clock = { nowMs: 0 };
  const arrival: Arrival = new Arrival({
    ...{ name, size: SIZE, stripedBytesMin, ended },
    links: {
      fetch: (source, what) =>
        new Promise((resolve, reject) => {
          what.signal.addEventListener("abort", () => reject(what.signal.reason));
          fetches.push({ ...what, source, end: resolve, fail: reject });
        }),
    },
    isHomeDead: () => false,
    ask: (message) => void asked.push(message),
    onBytes: () => {},
    nowMs: () => clock.nowMs,
    sleep: (_ms, signal) =>
      new Promise((resolve, reject) => {
        sleepers.push(resolve);
        signal.addEventListener("abort", () => reject(signal.reason));
      }),
  });
  const complete = arrival.complete({ memory: new Uint8Array(SIZE) });
  complete.catch(() => {});
  return {
    ...{ arrival, complete, asked, ended },
    async answer(answer: Partial<CopyFrom>): Promise<void> {
      asked.shift();
      arrival.answered({ t: "copy-from", name, source: null, ...answer });
      await othersTurn();
    },
    /** The fetch that is under way of this source. */
    of(source: string): Fetching {
      const found = fetches.findLast((one) => one.source === source);
      if (!found) throw new Error(`nothing is fetched of ${source}`);
      return found;
    },
    async wake(nowMs: number): Promise<void> {
      clock.nowMs = nowMs;
      for (const wake of sleepers.splice(0)) wake();
      await othersTurn();
    },
  };
}

const part = ({ from, to }: Fetch): readonly number[] => [from, to];

describe("an object in stripes", () => {
  test("comes of a source for each at the same time, and is there as far as its bytes follow each other", async () => {
    const { arrival, asked, answer, of, complete } = arriving();
    expect(asked).toEqual([{ t: "copy-locate", name, stripes: 2 }]);
    await answer({ source: "b", sources: ["b", "c"] });
    expect([part(of("b")), part(of("c"))]).toEqual([
      [0, HALF],
      [HALF, SIZE],
    ]);
    of("b").onBytes(100);
    of("c").onBytes(200);
    expect([0, 50, 100, 101, HALF, HALF + 250].map((at) => arrival.availableFrom(at))).toEqual([
      ...[100, 100, 100, 101, HALF + 200, HALF + 250],
    ]);
    of("b").onBytes(HALF - 100);
    expect(arrival.availableFrom(0)).toBe(HALF + 200);
    of("c").onBytes(HALF - 200);
    for (const source of ["b", "c"]) of(source).end();
    await complete;
    expect(arrival.availableFrom(0)).toBe(SIZE);
  });

  test("goes on where a stripe stopped, of another source; the other stripe does not stop", async () => {
    const { asked, answer, of, complete } = arriving();
    await answer({ source: "b", sources: ["b", "c"] });
    of("c").onBytes(200);
    of("c").fail(new Error("it died"));
    await othersTurn();
    expect(asked).toEqual([{ t: "copy-locate", name, stripes: 2, stripe: 1, failed: { source: "c", isGone: false } }]);
    await answer({ source: "d", stripe: 1 });
    expect(part(of("d"))).toEqual([HALF + 200, SIZE]);
    of("d").fail(new GoneError("it has none"));
    await othersTurn();
    expect(asked[0]?.failed).toEqual({ source: "d", isGone: true });
    await answer({ source: "e", stripe: 1 });
    of("e").onBytes(HALF - 200);
    of("e").end();
    expect(of("b").signal.aborted).toBe(false);
    of("b").onBytes(HALF);
    of("b").end();
    await complete;
  });

  test("is lost when one stripe is, and nothing is written any more by then", async () => {
    const { answer, of, complete } = arriving();
    await answer({ source: "b", sources: ["b", "c"] });
    of("c").fail(new GoneError("it has none"));
    await othersTurn();
    await answer({ source: null, stripe: 1 });
    expect(of("b").signal.aborted).toBe(true);
    await expect(complete).rejects.toMatchObject({
      code: "OBJECT_LOST",
      message: expect.stringContaining("it has none"),
    });
  });

  test("leaves a source that is much slower than that of the other stripe, if there is a better one", async () => {
    const { asked, answer, of, wake, complete } = arriving();
    await answer({ source: "b", sources: ["b", "c"] });
    of("c").onBytes(HALF / 4);
    await wake(1_000);
    expect(asked, "as long as neither has come").toEqual([]);
    of("b").onBytes(HALF);
    of("b").end();
    await othersTurn();
    await wake(1_125);
    expect(asked).toEqual([
      { t: "copy-locate", name, stripes: 2, stripe: 1, failed: { source: "c", isGone: false, isSlow: true } },
    ]);
    await answer({ source: "c", stripe: 1 });
    expect(of("c").signal.aborted, "there is no better one").toBe(false);
    await wake(1_250);
    await answer({ source: "d", stripe: 1 });
    expect(of("c").signal.aborted).toBe(true);
    expect(part(of("d"))).toEqual([HALF + HALF / 4, SIZE]);
    expect(asked, "nothing has failed").toEqual([]);
    of("d").onBytes(HALF - HALF / 4);
    of("d").end();
    await complete;
  });

  test("stays with a source that is nearly as fast", async () => {
    const { asked, answer, of, wake, complete } = arriving();
    await answer({ source: "b", sources: ["b", "c"] });
    of("c").onBytes(HALF * 0.75);
    await wake(1_000);
    of("b").onBytes(HALF);
    of("b").end();
    await othersTurn();
    await wake(1_125);
    expect(asked).toEqual([]);
    of("c").onBytes(HALF * 0.25);
    of("c").end();
    await complete;
  });
});

test("what is small, and what a home of an older release names one source for, comes whole", async () => {
  for (const stripes of [1, 2]) {
    const { asked, answer, of, complete } = arriving(stripes === 1 ? SIZE + 1 : SIZE);
    expect(asked[0]?.stripes).toBe(stripes);
    await answer({ source: "b" });
    expect(part(of("b"))).toEqual([0, SIZE]);
    of("b").onBytes(SIZE);
    of("b").end();
    await complete;
  }
});

test("an older home that has come to be asked says nothing of stripes: each answer is for the one that waits", async () => {
  const { answer, of, complete } = arriving();
  await answer({ source: "b", sources: ["b", "c"] });
  of("c").fail(new Error("it died"));
  await othersTurn();
  await answer({ source: "d" });
  expect(part(of("d"))).toEqual([HALF, SIZE]);
  for (const source of ["b", "d"]) {
    of(source).onBytes(HALF);
    of(source).end();
  }
  await complete;
});
