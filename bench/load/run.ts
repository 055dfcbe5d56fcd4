/**
 * Runs random operations side by side for a while, and then looks for what they left behind.
 *
 * 1. A warm-up without kills, in which every result must be right; after it everything rests and is measured.
 * 2. The load itself, while workers are killed: a result may be lost where losing it is what was asked for.
 * 3. Everything rests again: the store must be empty, and memory and open files as before.
 * 4. After `shutdown()` no process, folder or shared memory may be left.
 *
 * The seed decides which operations each lane runs and with which sizes; how they meet, and when workers are killed,
 * is the machine's.
 */
import { setTimeout as delay } from "node:timers/promises";
import { init, shutdown } from "mobula";
import { createKiller, type Killer } from "./killer.ts";
import { growth, left, rest, SETTLED_MS, type Traces, tracesOf } from "./leaks.ts";
import { type LoadContext, type Operation, operations } from "./operations.ts";
import { createRandom } from "./random.ts";

const LANES = 6;
const WARM_UP_SHARE = 0.25;
/** An operation that takes longer hangs; with kills some start over many times. */
const OPERATION_MS_MAX = 60_000;
const REPORT_MS = 10_000;
const GONE_MS_MAX = 3_000;
const LONG_RUN_SECONDS = 120;
const STORE_BYTES = 128 * 2 ** 20;

export interface LoadOptions {
  readonly seconds: number;
  readonly seed: number;
  /** How often a worker is killed during an operation, its own or another's. */
  readonly killsPerOperation: number;
  readonly print: (line: string) => void;
}

/** @throws Error with the first thing that was wrong. */
export async function runLoad({ seconds, seed, killsPerOperation, print }: LoadOptions): Promise<void> {
  print(`seed ${seed}, ${seconds} s, ${killsPerOperation} kills of workers per operation`);
  const random = createRandom(seed);
  const { address } = await init({ objectStoreBytes: STORE_BYTES });
  const traces = tracesOf(address);
  const killer = createKiller(random.fork(1_000), killsPerOperation);
  const counts: Counts = new Map();
  // Short runs have no time for it, and grow by less than what is let pass.
  const settleMs = seconds < LONG_RUN_SECONDS ? 0 : SETTLED_MS;
  const startedAtMs = performance.now();
  const warmMs = seconds * 1_000 * WARM_UP_SHARE;
  const phase = async (number: number, untilMs: number, withKills: boolean): Promise<void> => {
    const lanes = Array.from({ length: LANES }, (_, lane) => {
      const context = { random: random.fork(number * LANES + lane), withKills };
      return runLane(context, startedAtMs + untilMs, counts, withKills ? killer : undefined);
    });
    await Promise.all(lanes);
  };
  const report = (what = ""): void =>
    print(`${((performance.now() - startedAtMs) / 1_000).toFixed(0)} s: ${total(counts)} operations${what}`);
  const reporting = setInterval(() => report(), REPORT_MS);
  try {
    await phase(0, warmMs, false);
    report("; resting, to be measured");
    const warm = await rest(settleMs);
    await phase(1, seconds * 1_000, true);
    killer.stop();
    report("; resting, to be measured");
    const grown = growth(warm, await rest(settleMs));
    if (grown.length > 0) throw new Error(grown.join("; "));
  } finally {
    clearInterval(reporting);
    killer.stop();
    await shutdown();
  }
  await nothingLeft(traces);
  for (const [name, { count, totalMs, maxMs }] of [...counts].sort(([a], [b]) => a.localeCompare(b))) {
    print(`  ${name}: ${count}, ${(totalMs / count).toFixed(0)} ms each, at most ${maxMs.toFixed(0)}`);
  }
  print(`${total(counts)} operations with the right result, ${killer.kills} workers killed; nothing was left behind`);
}

type Counts = Map<string, { count: number; totalMs: number; maxMs: number }>;

const total = (counts: Counts): number => [...counts.values()].reduce((sum, { count }) => sum + count, 0);

async function runLane(
  context: LoadContext,
  untilMs: number,
  counts: Counts,
  killer: Killer | undefined,
): Promise<void> {
  const names = Object.keys(operations);
  while (performance.now() < untilMs) {
    const name = context.random.pick(names);
    const startedAtMs = performance.now();
    killer?.began();
    await withDeadline(name, operations[name], context);
    const ms = performance.now() - startedAtMs;
    const known = counts.get(name) ?? { count: 0, totalMs: 0, maxMs: 0 };
    counts.set(name, {
      count: known.count + 1,
      totalMs: known.totalMs + ms,
      maxMs: Math.max(known.maxMs, ms),
    });
  }
}

async function withDeadline(name: string, operation: Operation | undefined, context: LoadContext): Promise<void> {
  const deadline = new AbortController();
  try {
    await Promise.race([
      operation?.(context),
      delay(OPERATION_MS_MAX, undefined, { signal: deadline.signal }).then(() => {
        throw new Error(`nothing happened for ${OPERATION_MS_MAX / 1_000} s`);
      }),
    ]);
  } catch (cause) {
    throw new Error(`"${name}" went wrong: ${(cause as Error).message}`, { cause });
  } finally {
    deadline.abort();
  }
}

/** Killed processes take a moment to go. */
async function nothingLeft(traces: Traces): Promise<void> {
  const deadline = performance.now() + GONE_MS_MAX;
  for (;;) {
    const found = left(traces);
    if (found.length === 0) return;
    if (performance.now() > deadline) throw new Error(`left behind: ${found.join(", ")}`);
    await delay(50);
  }
}

export function pickSeed(): number {
  return Math.floor(Math.random() * 2 ** 31);
}
