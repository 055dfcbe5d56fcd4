import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { createPrng, MobulaError, type Prng } from "../base/mod.ts";
import { bytes, commit } from "./fixtures/suite.ts";
import type { CommitOutcome, StateStore } from "./kv.ts";
import { catchUp } from "./log-append.ts";
import { MemoryLog } from "./log-memory.ts";
import { encodeBody, encodeRecord } from "./log-record.ts";
import { LogView } from "./log-view.ts";
import type { AppendOutcome, LogRecord } from "./replicated-log.ts";
import { openLogState } from "./state-log.ts";

async function viewOf(log: MemoryLog): Promise<LogView> {
  const view = new LogView();
  await catchUp(log, view);
  return view;
}

const contentOf = (view: LogView): [string, string, number][] =>
  [...view.entries()]
    .map(({ key, value, revision }): [string, string, number] => [key, Buffer.from(value).toString(), revision])
    .sort(([a], [b]) => (a < b ? -1 : 1));

test("opening for writing begins an epoch, and the writer before is refused from then on", async () => {
  const log = new MemoryLog();
  const old = await openLogState(log);
  await commit(old, { key: "k", value: bytes("1") });
  const next = await openLogState(log);
  expect([old.epoch, next.epoch]).toEqual([1, 2]);
  expect(await commit(old, { key: "k", value: bytes("stale") })).toMatchObject({
    kind: "failed",
    error: { code: "STATE_FENCED" },
  });
  expect(await commit(next, { key: "k", value: bytes("2"), expect: 1 })).toEqual({ kind: "committed", revision: 2 });
  await expect(old.list("")).rejects.toMatchObject({ code: "STATE_FENCED" });
});

test("what a stale writer gets past the server's check, readers pass over, and the new writer goes on", async () => {
  const log = new MemoryLog();
  const old = await openLogState(log);
  await commit(old, { key: "k", value: bytes("1") });
  const state = await openLogState(log);
  await commit(state, { key: "k", value: bytes("2") });
  const stale = { epoch: 1, base: 1, revision: 9, writer: "w", leader: "old" };
  const body = encodeBody({
    kind: "commits",
    commits: [{ revision: 9, changes: [{ key: "k", value: bytes("stale") }] }],
    carried: [],
  });
  // Once as the old writer would send it, and once as if it knew the place but not the epoch.
  log.add(encodeRecord({ ...stale, after: 2 }, body));
  log.add(encodeRecord({ ...stale, after: 5 }, body));
  const view = await viewOf(log);
  expect(contentOf(view)).toEqual([["k", "2", 2]]);
  expect(view).toMatchObject({ epoch: 2, ignored: 2 });
  // It has lost its place, though nobody else began: it must open again, and nothing is lost.
  expect(await commit(state, { key: "k", value: bytes("3") })).toMatchObject({ error: { code: "STATE_FENCED" } });
  const again = await openLogState(log);
  expect(again.epoch).toBe(3);
  expect(await commit(again, { key: "k", value: bytes("3"), expect: 2 })).toMatchObject({ kind: "committed" });
});

test("a change too large for a record counts whole or not at all", async () => {
  const log = new MemoryLog(8 << 10);
  const state = await openLogState(log);
  await commit(state, { key: "large", value: new Uint8Array(100_000).fill(1) }, { key: "other", value: bytes("1") });
  const whole = await viewOf(log);
  expect(whole.get("large")?.value).toHaveLength(100_000);
  const last = log.records.pop() as LogRecord;
  const partly = await viewOf(log);
  expect([...partly.entries()]).toEqual([]);
  // A writer that comes then begins after the pieces, and they never count.
  log.records.push({ seq: last.seq, data: encodeRecord({ ...header(last.seq, 2) }, encodeBody({ kind: "begin" })) });
  expect(contentOf(await viewOf(log))).toEqual([]);
});

const header = (seq: number, epoch: number) => ({
  epoch,
  after: seq - 1,
  base: 1,
  revision: 0,
  writer: "w",
  leader: "l",
});

test("the log stays about twice as long as what it holds, and whoever reads what is left knows everything", async () => {
  const log = new MemoryLog();
  const state = await openLogState(log);
  const expected = new Map<string, string>();
  const random = createPrng(7);
  for (let round = 0; round < 30; round++) {
    const changes = Array.from({ length: 400 }, () => {
      const key = `k${random.below(random.chance(0.5) ? 50 : 2_000)}`;
      const value = random.chance(0.2) ? null : `${random.hex(200)}`;
      if (value === null) expected.delete(key);
      else expected.set(key, value);
      return commit(state, { key, value: value === null ? null : bytes(value) });
    });
    await Promise.all(changes);
  }
  for (let beat = 0; beat < 20_000; beat++) {
    state.beat();
    await commit(state);
  }
  const view = await viewOf(log);
  expect(new Map(contentOf(view).map(([key, value]) => [key, value]))).toEqual(expected);
  expect(log.records[0]?.seq).toBeGreaterThan(1);
  expect(log.records.length).toBeLessThan(2 * view.entryCount + 2 * 4_096);
  expect(view.logBytes).toBeLessThan(2 * view.liveBytes + (5 << 20));
});

test("a reader that is overtaken by trimming begins anew; one that finds records lost says so", async () => {
  const log = new MemoryLog();
  const state = await openLogState(log);
  const slow = new LogView();
  await commit(state, { key: "gone", value: bytes("1") });
  await catchUp(log, slow);
  await commit(state, { key: "gone", value: null });
  for (let n = 0; n < 600; n++) await commit(state, { key: "k", value: bytes(String(n)) });
  expect(log.records[0]?.seq).toBeGreaterThan(slow.lastSeq + 1);
  await catchUp(log, slow);
  expect(contentOf(slow)).toEqual([["k", "599", 602]]);

  log.records = log.records.slice(-2);
  expect(contentOf(await viewOf(log))).toEqual([["k", "599", 602]]);
  await commit(state, { key: "other", value: bytes("1") });
  log.records = log.records.slice(-1);
  await expect(viewOf(log)).rejects.toMatchObject({ code: "STATE_CORRUPT" });
});

test("a log of a newer version is refused", async () => {
  const log = new MemoryLog();
  const { Packr } = await import("msgpackr");
  log.add(new Packr().pack([2, 1, 0]));
  await expect(openLogState(log)).rejects.toMatchObject({ code: "VERSION_MISMATCH" });
});

test("a full disk fails the commit in a sentence, and may pass", async () => {
  const log = new MemoryLog();
  const state = await openLogState(log);
  const error = new MobulaError("DISK_FULL", "exhausted", "full");
  const refusing = vi.spyOn(log, "append").mockResolvedValue({ kind: "failed", error });
  expect(await commit(state, { key: "k", value: bytes("1") })).toEqual({ kind: "failed", error });
  refusing.mockRestore();
  expect(await commit(state, { key: "k", value: bytes("1"), expect: 0 })).toMatchObject({ kind: "committed" });
});

/** Loses requests and answers, sends some again much later, lets stale ones through, and shows readers old states. */
class FaultyLog extends MemoryLog {
  private readonly random: Prng;
  private late: { readonly data: Uint8Array; readonly after: number }[] = [];
  isFaulty = true;

  constructor(random: Prng) {
    super(2 << 10);
    this.random = random;
  }

  override async read(from: number): Promise<readonly LogRecord[]> {
    await this.pause();
    const records = await super.read(from);
    return this.isFaulty && this.random.chance(0.3) ? records.slice(0, this.random.below(records.length + 1)) : records;
  }

  override async append(data: Uint8Array, after: number): Promise<AppendOutcome> {
    await this.pause();
    const unknown = {
      kind: "unknown",
      error: new MobulaError("STATE_UNAVAILABLE", "unavailable", "no answer"),
    } as const;
    if (!this.isFaulty) return super.append(data, after);
    while (this.late.length > 0 && this.random.chance(0.3)) {
      const { data: old, after: place } = this.late.shift() as { data: Uint8Array; after: number };
      if (this.random.chance(0.3)) this.add(old);
      else await super.append(old, place);
    }
    const fate = this.random.float();
    if (fate < 0.1) return unknown;
    if (fate < 0.2) {
      await super.append(data, after);
      return unknown;
    }
    if (fate < 0.3) {
      this.late.push({ data, after });
      return unknown;
    }
    // The check was made before another record got in.
    if (fate < 0.33) return { kind: "appended", seq: this.add(data) };
    return super.append(data, after);
  }

  private async pause(): Promise<void> {
    if (this.isFaulty && this.random.chance(0.3))
      await new Promise((resolve) => setTimeout(resolve, this.random.below(400)));
  }
}

describe("over a log that loses, repeats and delays", () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "hrtime"] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  test.each(Array.from({ length: 60 }, (_, n) => n + 1))(
    "three writers that take over from each other lose nothing that was acknowledged (seed %d)",
    async (seed) => {
      const random = createPrng(seed);
      const log = new FaultyLog(random);
      /** For each key the values that may be there: the one acknowledged last, and those whose outcome is not known. */
      const possible = new Map<string, Set<string>>();
      let written = 0;
      let acknowledged = 0;

      const write = async (state: StateStore): Promise<void> => {
        const key = `k${random.below(8)}`;
        const value = `${written++}`.padEnd(random.chance(0.1) ? 5_000 : 1, ".");
        const outcome: CommitOutcome = await commit(state, { key, value: bytes(value) });
        if (outcome.kind === "committed") {
          acknowledged++;
          possible.set(key, new Set([value]));
        } else if (outcome.kind === "failed" && outcome.error.code === "STATE_OUTCOME_UNKNOWN") {
          possible.set(key, (possible.get(key) ?? new Set([""])).add(value));
        }
      };
      const run = async (): Promise<void> => {
        for (let round = 0; round < 6; round++) {
          const state = await openLogState(log, { giveUpMs: 2_000 }).catch(() => undefined);
          if (state === undefined) continue;
          // One after the other: two at once on a key could be acknowledged in either order here.
          for (let n = random.below(12); n > 0; n--) await write(state);
          // Left as it is, as a process that was killed or is cut off: what it has sent may still arrive.
        }
      };
      let isDone = false;
      const done = (async () => {
        await run();
        log.isFaulty = false;
        const last = await openLogState(log);
        await commit(last, { key: "end", value: bytes("end") });
      })().finally(() => {
        isDone = true;
      });
      while (!isDone) await vi.advanceTimersByTimeAsync(500);
      await done;

      const views = [await viewOf(log), await viewOf(log)];
      expect(contentOf(views[0] as LogView)).toEqual(contentOf(views[1] as LogView));
      for (const [key, values] of possible) {
        const value = Buffer.from(views[0]?.get(key)?.value ?? []).toString();
        expect([...values], `${key} of seed ${seed}`).toContain(value);
      }
      expect(acknowledged).toBeGreaterThan(0);
    },
  );
});
