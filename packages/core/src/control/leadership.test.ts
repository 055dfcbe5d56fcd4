import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { createPrng, MobulaError, monotonicMs, type Prng } from "../base/mod.ts";
import { bytes, commit } from "./fixtures/suite.ts";
import { campaign, type LeaderStatus, type Leadership } from "./leadership.ts";
import { MemoryLog } from "./log-memory.ts";
import type { AppendOutcome, LogRecord, ReplicatedLog } from "./replicated-log.ts";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval", "hrtime"] });
});
afterEach(() => {
  vi.useRealTimers();
});

const cut = new MobulaError("STATE_UNAVAILABLE", "unavailable", "cut off");

/** One candidate's way to the log, which may be cut, slow, or lose answers. */
class Way implements ReplicatedLog {
  readonly name = "a way to the log";
  readonly recordBytesMax = 1 << 20;
  isCut = false;
  delayMs: () => number = () => 1;
  losesAnswer: () => boolean = () => false;
  private readonly log: MemoryLog;

  constructor(log: MemoryLog) {
    this.log = log;
  }

  async read(from: number): Promise<readonly LogRecord[]> {
    await this.pass();
    return this.log.read(from);
  }

  async append(data: Uint8Array, after: number): Promise<AppendOutcome> {
    try {
      await this.pass();
    } catch {
      return { kind: "unknown", error: cut };
    }
    const outcome = await this.log.append(data, after);
    await this.sleep(this.delayMs());
    return this.losesAnswer() || this.isCut ? { kind: "unknown", error: cut } : outcome;
  }

  trim(before: number): Promise<void> {
    return this.log.trim(before);
  }

  async close(): Promise<void> {}

  private async pass(): Promise<void> {
    await this.sleep(this.isCut ? 1_000 : this.delayMs());
    if (this.isCut) throw cut;
  }

  private sleep(ms: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }
}

/** Lets time pass until it is done. */
async function done(work: Promise<unknown>): Promise<void> {
  let isDone = false;
  const end = work.finally(() => {
    isDone = true;
  });
  while (!isDone) await vi.advanceTimersByTimeAsync(10);
  await end;
}

async function leading(
  log: ReplicatedLog,
  leader: string,
): Promise<{ leadership: Leadership; statuses: LeaderStatus[] }> {
  let leadership: Leadership | undefined;
  const won = campaign(log, { leader }).then((one) => {
    leadership = one;
  });
  await done(won);
  if (leadership === undefined) throw new Error("it does not lead");
  const statuses: LeaderStatus[] = [];
  leadership.onStatus((status) => statuses.push(status));
  return { leadership, statuses };
}

test("a leader that can write keeps leading, and a standby waits and knows who leads", async () => {
  const log = new MemoryLog();
  const { leadership, statuses } = await leading(new Way(log), "a");
  const heard: string[] = [];
  const stopped = new AbortController();
  const standby = campaign(new Way(log), {
    leader: "b",
    signal: stopped.signal,
    onLeader: ({ leader, epoch }) => heard.push(`${leader} ${epoch}`),
  });
  standby.catch(() => {});
  await vi.advanceTimersByTimeAsync(60_000);
  expect([leadership.isLeading(), statuses, heard]).toEqual([true, [], ["a 1"]]);
  stopped.abort(new Error("enough"));
  await expect(standby).rejects.toThrow("enough");
  await done(leadership.resign());
});

test("a leader that cannot write is suspended before a standby leads, and then lost", async () => {
  const log = new MemoryLog();
  const way = new Way(log);
  const { leadership, statuses } = await leading(way, "a");
  let second: Leadership | undefined;
  const standby = campaign(new Way(log), { leader: "b" }).then((won) => {
    second = won;
  });
  await vi.advanceTimersByTimeAsync(5_000);
  way.isCut = true;
  const cutMs = monotonicMs();
  while (leadership.isLeading()) await vi.advanceTimersByTimeAsync(10);
  expect(second).toBeUndefined();
  expect(monotonicMs() - cutMs).toBeLessThanOrEqual(2_010);
  await done(standby);
  expect(monotonicMs() - cutMs).toBeLessThan(3_000);
  way.isCut = false;
  await vi.advanceTimersByTimeAsync(1_000);
  expect(statuses).toMatchObject([{ kind: "suspended" }, { kind: "lost", error: { code: "STATE_FENCED" } }]);
  expect([leadership.isLeading(), (second as Leadership).isLeading(), (second as Leadership).epoch]).toEqual([
    false,
    true,
    2,
  ]);
  await done((second as Leadership).resign());
});

test("a suspended leader leads again when it can write and nobody else has begun", async () => {
  const way = new Way(new MemoryLog());
  const { leadership, statuses } = await leading(way, "a");
  way.isCut = true;
  await vi.advanceTimersByTimeAsync(8_000);
  expect(leadership.isLeading()).toBe(false);
  way.isCut = false;
  await vi.advanceTimersByTimeAsync(2_000);
  expect([leadership.isLeading(), statuses.map(({ kind }) => kind)]).toEqual([true, ["suspended", "leading"]]);
  await done(leadership.resign());
});

test("a leader that gets no answer for long is lost, and what it wrote last is not known", async () => {
  const way = new Way(new MemoryLog());
  const { leadership, statuses } = await leading(way, "a");
  way.isCut = true;
  const outcome = commit(leadership.state, { key: "k", value: bytes("v") });
  await vi.advanceTimersByTimeAsync(40_000);
  expect(await outcome).toMatchObject({ kind: "failed", error: { code: "STATE_OUTCOME_UNKNOWN" } });
  expect(statuses.map(({ kind }) => kind)).toEqual(["suspended", "lost"]);
});

test("who resigns is followed at once, and stops acting before others can know", async () => {
  const log = new MemoryLog();
  const { leadership } = await leading(new Way(log), "a");
  let second: Leadership | undefined;
  void campaign(new Way(log), { leader: "b" }).then((won) => {
    second = won;
  });
  await vi.advanceTimersByTimeAsync(1_000);
  const resigned = leadership.resign();
  expect(leadership.isLeading()).toBe(false);
  await vi.advanceTimersByTimeAsync(300);
  await resigned;
  expect(second?.epoch).toBe(2);
  await done((second as unknown as Leadership).resign());
});

test.each(Array.from({ length: 60 }, (_, n) => n + 1))(
  "of three candidates on bad ways never two lead at a time, and in the end one does (seed %d)",
  async (seed) => {
    const random: Prng = createPrng(seed);
    const log = new MemoryLog();
    const ways = Array.from({ length: 3 }, () => new Way(log));
    const leaders: (Leadership | undefined)[] = [];
    const stopped = new AbortController();
    let isOver = false;
    const candidate = async (way: Way, n: number): Promise<void> => {
      while (!isOver) {
        const leadership = await campaign(way, { leader: `c${n}`, giveUpMs: 6_000, signal: stopped.signal });
        leaders[n] = leadership;
        await new Promise<void>((resolve) => {
          leadership.onStatus(({ kind }) => kind === "lost" && resolve());
          stopped.signal.addEventListener("abort", () => void leadership.resign().then(resolve));
        });
      }
    };
    const ended = Promise.allSettled(ways.map(candidate));
    let mostEpochs = 0;
    for (let step = 0; step < 3_000; step++) {
      if (random.chance(0.02)) {
        const way = random.pick(ways) as Way;
        way.isCut = random.chance(0.5);
        const slowest = random.pick([2, 50, 700, 2_100]) as number;
        way.delayMs = () => random.below(slowest);
        const lost = random.pick([0, 0.1, 0.8]) as number;
        way.losesAnswer = () => random.chance(lost);
      }
      await vi.advanceTimersByTimeAsync(random.below(60));
      const leadingNow = leaders.filter((one) => one?.isLeading());
      expect(leadingNow.length, `seed ${seed}, step ${step}`).toBeLessThanOrEqual(1);
      mostEpochs = Math.max(mostEpochs, ...leadingNow.map((one) => one?.epoch ?? 0));
    }
    for (const way of ways) {
      way.isCut = false;
      way.delayMs = () => 1;
      way.losesAnswer = () => false;
    }
    await vi.advanceTimersByTimeAsync(20_000);
    expect(leaders.filter((one) => one?.isLeading())).toHaveLength(1);
    expect(mostEpochs).toBeGreaterThan(1);
    isOver = true;
    stopped.abort(new Error("over"));
    await done(ended);
  },
);
