/**
 * Runs random operations side by side for a while, and then looks for what they left behind.
 *
 * 1. A warm-up without kills, in which every result must be right; after it everything rests and is measured.
 * 2. The load itself, while workers are killed, and in a cluster nodes, the head and links fail (`faults.ts`): a result may
 *    be lost where losing it is what was asked for.
 * 3. Everything rests again: the store must be empty, and memory and open files as before.
 * 4. After the end no process, folder or shared memory may be left.
 *
 * The seed decides which operations each lane runs and with which sizes; how they meet, and when workers are killed,
 * is the machine's.
 */
import { setTimeout as delay } from "node:timers/promises";
import { type State, startCluster } from "./cluster.ts";
import { createKiller } from "./killer.ts";
import { growth, rest, SETTLED_MS } from "./leaks.ts";
import { type LoadContext, operations } from "./operations.ts";
import { type Place, startMachine } from "./place.ts";
import { createRandom } from "./random.ts";
import { watchState } from "./state-watch.ts";

const LANES = 6;
const WARM_UP_SHARE = 0.25;
/** An operation that takes longer hangs; with kills some start over many times, and more often where nodes die. */
const OPERATION_MS_MAX = { machine: 60_000, cluster: 120_000 };
const REPORT_MS = 10_000;
const LAG_EVERY_MS = 60_000;
const GONE_MS_MAX = 3_000;
const LONG_RUN_SECONDS = 120;

export interface LoadOptions {
  readonly seconds: number;
  readonly seed: number;
  /** How often a worker is killed during an operation, its own or another's. */
  readonly killsPerOperation: number;
  /** Of a cluster, which has other {@link createFaults faults} besides; 0: this machine by itself. */
  readonly nodes: number;
  /** Where control of the cluster keeps its state. */
  readonly state: State;
  /** Its engines are. */
  readonly isRecorded: boolean;
  /** The state service runs beside it, and its detectors may find nothing. */
  readonly withAlarms: boolean;
  readonly print: (line: string) => void;
}

/** @throws Error with the first thing that was wrong. */
export async function runLoad(options: LoadOptions): Promise<void> {
  const { seconds, seed, killsPerOperation, nodes, state, isRecorded, withAlarms, print } = options;
  const where = state === "sqlite" ? "" : `, with state in ${state}`;
  const on = nodes > 0 ? ` on ${nodes} nodes${where}` : "";
  print(`seed ${seed}, ${seconds} s, ${killsPerOperation} kills of workers per operation${on}`);
  const random = createRandom(seed);
  let startedAtMs = performance.now();
  const tell = (line: string): void => print(`${((performance.now() - startedAtMs) / 1_000).toFixed(0)} s: ${line}`);
  const place = nodes > 0 ? await startCluster(nodes, state, random.fork(1_001), tell) : await startMachine();
  const watch = withAlarms ? await watchState(place.dashboardUrl ?? "") : undefined;
  startedAtMs = performance.now();
  const killer = createKiller(random.fork(1_000), killsPerOperation, place);
  const counts: Counts = new Map();
  let refused = 0;
  const mayBeRefused = (error: unknown): boolean => {
    if (place.faults?.mayRefuse(error) !== true) return false;
    refused++;
    return true;
  };
  // Short runs have no time for it, and grow by less than what is let pass, unless engines are recorded, which makes garbage.
  const settleMs = seconds < LONG_RUN_SECONDS ? 0 : SETTLED_MS;
  const settleAfterMs = isRecorded ? SETTLED_MS : settleMs;
  const began = (): void => {
    killer.began();
    place.faults?.began();
  };
  const phase = async (number: number, untilMs: number, withKills: boolean): Promise<void> => {
    const lanes = Array.from({ length: LANES }, (_, lane) =>
      runLane({
        context: { random: random.fork(number * LANES + lane), withKills },
        untilMs: startedAtMs + untilMs,
        msMax: OPERATION_MS_MAX[nodes > 0 ? "cluster" : "machine"],
        counts,
        began: withKills ? began : undefined,
        mayBeRefused,
        hangs: async () => {
          try {
            for (const line of (await watch?.unfinished()) ?? []) tell(line);
          } catch (error) {
            tell(`what has not ended is not known: ${(error as Error).message}`);
          }
        },
      }),
    );
    await Promise.all(lanes);
  };
  const report = (what = ""): void => tell(`${total(counts)} operations${what}`);
  const reporting = setInterval(() => report(), REPORT_MS);
  const lags: number[] = [];
  const asking = setInterval(() => {
    void place.headLag?.().then((lag) => lag !== undefined && lags.push(lag));
  }, LAG_EVERY_MS);
  try {
    await phase(0, seconds * 1_000 * WARM_UP_SHARE, false);
    report("; resting, to be measured");
    const warm = await rest(place, settleMs);
    place.faults?.begin();
    await Promise.race([phase(1, seconds * 1_000, true), place.faults?.failed].filter((one) => one !== undefined));
    killer.stop();
    await place.faults?.stop();
    report("; resting, to be measured");
    const grown = growth(warm, await rest(place, settleAfterMs));
    // Both are told: what has grown says nothing of alarms.
    const raised = (await watch?.raised()) ?? [];
    if (watch && raised.length === 0) tell("no alarm was raised");
    const wrong = [...grown, ...raised.map((alarm) => `a false alarm: ${alarm}`)];
    if (wrong.length > 0) throw new Error(wrong.join("; "));
  } finally {
    clearInterval(reporting);
    clearInterval(asking);
    killer.stop();
    await place.stop();
  }
  await nothingLeft(place);
  for (const [name, { count, totalMs, maxMs }] of [...counts].sort(([a], [b]) => a.localeCompare(b))) {
    print(`  ${name}: ${count}, ${(totalMs / count).toFixed(0)} ms each, at most ${maxMs.toFixed(0)}`);
  }
  if (refused > 0) print(`  refused for want of room on the disk: ${refused}`);
  for (const [name, count] of place.faults?.counts ?? []) print(`  ${name}: ${count} times`);
  if (lags.length > 0) {
    const ms = lags.sort((a, b) => a - b).map((lag) => lag.toFixed(0));
    print(
      `  the head's loop was late by at most, in ms, looked at each minute (it stood still in some): ${ms.join(" ")}`,
    );
  }
  const faults = sum([...(place.faults?.counts.values() ?? [])]);
  const broken = [`${killer.kills} workers killed`, ...(place.faults ? [`${faults} other faults`] : [])].join(", ");
  print(`${total(counts)} operations with the right result, ${broken}; nothing was left behind`);
}

type Counts = Map<string, { count: number; totalMs: number; maxMs: number }>;

const sum = (numbers: readonly number[]): number => numbers.reduce((one, other) => one + other, 0);
const total = (counts: Counts): number => sum([...counts.values()].map(({ count }) => count));

interface Lane {
  readonly context: LoadContext;
  readonly untilMs: number;
  readonly msMax: number;
  readonly counts: Counts;
  readonly began: (() => void) | undefined;
  /** An operation that failed with this has not gone wrong. */
  mayBeRefused(error: unknown): boolean;
  /** Says what is known of an operation that takes too long. */
  hangs(): Promise<void>;
}

async function runLane({ context, untilMs, msMax, counts, began, mayBeRefused, hangs }: Lane): Promise<void> {
  const names = Object.keys(operations);
  while (performance.now() < untilMs) {
    const name = context.random.pick(names);
    const startedAtMs = performance.now();
    began?.();
    try {
      await withDeadline(name, msMax, hangs, () => operations[name]?.(context));
    } catch (error) {
      if (!mayBeRefused((error as Error).cause)) throw error;
      continue;
    }
    const ms = performance.now() - startedAtMs;
    const known = counts.get(name) ?? { count: 0, totalMs: 0, maxMs: 0 };
    counts.set(name, {
      count: known.count + 1,
      totalMs: known.totalMs + ms,
      maxMs: Math.max(known.maxMs, ms),
    });
  }
}

async function withDeadline(
  name: string,
  ms: number,
  hangs: Lane["hangs"],
  operation: () => Promise<void> | undefined,
): Promise<void> {
  const deadline = new AbortController();
  try {
    await Promise.race([
      operation(),
      delay(ms, undefined, { signal: deadline.signal }).then(async () => {
        await hangs();
        throw new Error(`nothing happened for ${ms / 1_000} s`);
      }),
    ]);
  } catch (cause) {
    throw new Error(`"${name}" went wrong: ${(cause as Error).message}`, { cause });
  } finally {
    deadline.abort();
  }
}

/** Killed processes take a moment to go. */
async function nothingLeft(place: Place): Promise<void> {
  const deadline = performance.now() + GONE_MS_MAX;
  for (;;) {
    const found = place.left();
    if (found.length === 0) return;
    if (performance.now() > deadline) throw new Error(`left behind: ${found.join(", ")}`);
    await delay(50);
  }
}

export function pickSeed(): number {
  return Math.floor(Math.random() * 2 ** 31);
}
