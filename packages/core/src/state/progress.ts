/**
 * How far jobs are: the exact counts of attempts that have ended, with those of attempts that live, by function; how many end a
 * second, and when the rest will have ended, where that can be told.
 *
 * It can when the pace of the last seconds says something of the rest: enough have ended, hardly any are submitted meanwhile,
 * and everybody has answered. Of a job it can when it can of each of its functions that has something left: the mean over
 * functions of different length would not be the end of any of them.
 */
import type { JobId } from "../base/ids.ts";
import { ATTEMPT_OUTCOMES, type Tally } from "../events/mod.ts";
import { STATE_OF } from "./attempt-chunk.ts";
import type { LiveTasks } from "./live-tasks.ts";
import type { AttemptProgress, FunctionProgress, TaskRow } from "./rows.ts";

const SLOT_MS = 5_000;
const SLOTS = 6;
const WINDOW_MS = SLOT_MS * SLOTS;
/** What an owner reports first has ended since so long, about. */
const REPORT_MS = 250;
/** Of functions whose attempts end at the same time; the rest have no rate. */
const PACES_MAX = 5_000;
/** Fewer say nothing of the rest. */
const ENDED_LEAST = 5;
/** Submissions are watched at least so long. */
const WATCHED_LEAST_MS = 5_000;
/** So many of those that end may be submitted anew: then the rest still grows smaller nearly as fast as they end. */
const GROWTH_MOST = 0.1;
/** In an answer, of a job: those with most left. */
const FUNCTIONS_MAX = 200;

type Counts = Partial<Record<TaskRow["state"], number>>;
type Kind = TaskRow["kind"];

interface Pace {
  /** Of the last slots, by number of slot modulo how many there are. */
  readonly ended: number[];
  newestSlot: number;
  firstMs: number;
  /** How many had been submitted when somebody looked, the oldest first. */
  readonly totals: { readonly atMs: number; readonly total: number }[];
}

const keyOf = (job: string, kind: Kind, name: string): string => `${job}\0${kind}\0${name}`;

/** How many attempts of each function have ended lately. */
export class Paces {
  private readonly paces = new Map<string, Pace>();

  /** @param atMs when the last of them ended. */
  add(job: JobId, tallies: readonly Tally[], atMs: number, nowMs: number): void {
    if (atMs <= nowMs - WINDOW_MS) return;
    const slot = Math.floor(atMs / SLOT_MS);
    for (const { kind, name, counts } of tallies) {
      const pace = this.paceOf(keyOf(job, kind, name), atMs, nowMs);
      if (!pace) continue;
      for (let at = Math.max(pace.newestSlot, slot - SLOTS) + 1; at <= slot; at++) pace.ended[at % SLOTS] = 0;
      if (slot <= pace.newestSlot - SLOTS) continue;
      pace.newestSlot = Math.max(pace.newestSlot, slot);
      pace.ended[slot % SLOTS] = (pace.ended[slot % SLOTS] ?? 0) + counts.reduce((sum, count) => sum + count, 0);
    }
  }

  private paceOf(key: string, atMs: number, nowMs: number): Pace | undefined {
    const known = this.paces.get(key);
    if (known) return known;
    if (this.paces.size >= PACES_MAX) this.forget(nowMs);
    if (this.paces.size >= PACES_MAX) return undefined;
    const made: Pace = {
      ended: Array.from({ length: SLOTS }, () => 0),
      newestSlot: Math.floor(atMs / SLOT_MS),
      firstMs: atMs - REPORT_MS,
      totals: [],
    };
    this.paces.set(key, made);
    return made;
  }

  private forget(nowMs: number): void {
    for (const [key, { newestSlot }] of this.paces)
      if ((newestSlot + 1) * SLOT_MS < nowMs - WINDOW_MS) this.paces.delete(key);
  }

  /** @param total that have been submitted. @returns 0 when none has ended lately; the growth is undefined until it was watched for long enough. */
  read(
    job: string,
    { kind, name, total }: Pick<FunctionProgress, "kind" | "name" | "total">,
    nowMs: number,
  ): { readonly ended: number; readonly perSecond: number; readonly submittedPerSecond: number | undefined } {
    const pace = this.paces.get(keyOf(job, kind, name));
    const nowSlot = Math.floor(nowMs / SLOT_MS);
    if (!pace || nowSlot - pace.newestSlot >= SLOTS) return { ended: 0, perSecond: 0, submittedPerSecond: undefined };
    let ended = 0;
    for (let slot = nowSlot - SLOTS + 1; slot <= pace.newestSlot; slot++)
      if (slot > pace.newestSlot - SLOTS) ended += pace.ended[slot % SLOTS] ?? 0;
    // Of a function that has just begun less than the window is known.
    const sinceMs = Math.max(pace.firstMs, (nowSlot - SLOTS + 1) * SLOT_MS);
    const perSecond = ended / Math.max(1, (nowMs - sinceMs) / 1_000);
    const { totals } = pace;
    while (totals[0] !== undefined && totals[0].atMs < nowMs - WINDOW_MS) totals.shift();
    const [oldest] = totals;
    const watchedMs = oldest ? nowMs - oldest.atMs : 0;
    if (nowMs - (totals.at(-1)?.atMs ?? 0) >= SLOT_MS) totals.push({ atMs: nowMs, total });
    const submittedPerSecond =
      oldest && watchedMs >= WATCHED_LEAST_MS ? ((total - oldest.total) * 1_000) / watchedMs : undefined;
    return { ended, perSecond, submittedPerSecond };
  }
}

/**
 * @param tallies of what has ended, by job; undefined for one of which nothing has, or nothing is kept.
 * @param jobs those to tell of.
 */
export function progressOf(
  jobs: Iterable<string>,
  { counts: living, partial }: Pick<LiveTasks, "counts" | "partial">,
  tallies: (job: JobId) => Iterable<Tally> | undefined,
  paces: Paces,
  nowMs: number,
): Map<string, AttemptProgress> {
  const progress = new Map<string, AttemptProgress>();
  for (const job of jobs) {
    const functions = new Map<string, { readonly name: string; readonly kind: Kind; readonly counts: Counts }>();
    const add = (name: string, kind: Kind, state: TaskRow["state"], count: number): void => {
      if (count === 0) return;
      const key = keyOf("", kind, name);
      const known = functions.get(key) ?? { name, kind, counts: {} };
      known.counts[state] = (known.counts[state] ?? 0) + count;
      functions.set(key, known);
    };
    for (const { name, kind, counts } of tallies(job as JobId) ?? [])
      for (const [index, outcome] of ATTEMPT_OUTCOMES.entries()) add(name, kind, STATE_OF[outcome], counts[index] ?? 0);
    for (const [name, kind, state, count, of] of living) if (of === job) add(name, kind, state, count);
    const rows = [...functions.values()].map((one) => functionProgress(job, one, partial.length === 0, paces, nowMs));
    progress.set(job, jobProgress(rows));
  }
  return progress;
}

function functionProgress(
  job: string,
  one: { readonly name: string; readonly kind: Kind; readonly counts: Counts },
  isWhole: boolean,
  paces: Paces,
  nowMs: number,
): FunctionProgress {
  const left = leftOf(one.counts);
  const total = Object.values(one.counts).reduce((sum, count) => sum + count, 0);
  const { ended, perSecond, submittedPerSecond } = paces.read(job, { ...one, total }, nowMs);
  const canTell =
    isWhole &&
    ended >= ENDED_LEAST &&
    submittedPerSecond !== undefined &&
    submittedPerSecond <= GROWTH_MOST * perSecond;
  return {
    ...one,
    total,
    ended: total - left,
    endedPerSecond: perSecond,
    leftMs: left === 0 ? 0 : canTell ? (left * 1_000) / perSecond : null,
  };
}

const leftOf = ({ waiting = 0, queued = 0, running = 0 }: Counts): number => waiting + queued + running;

function jobProgress(functions: readonly FunctionProgress[]): AttemptProgress {
  const counts: Counts = {};
  let [total, ended, endedPerSecond] = [0, 0, 0];
  let leftMs: number | null = 0;
  for (const one of functions) {
    for (const [state, count] of Object.entries(one.counts) as [TaskRow["state"], number][])
      counts[state] = (counts[state] ?? 0) + count;
    total += one.total;
    ended += one.ended;
    endedPerSecond += one.endedPerSecond;
    leftMs = leftMs === null || one.leftMs === null ? null : Math.max(leftMs, one.leftMs);
  }
  const shown = functions
    .toSorted((a, b) => b.total - b.ended - (a.total - a.ended) || b.total - a.total)
    .slice(0, FUNCTIONS_MAX);
  return { counts, total, ended, endedPerSecond, leftMs, functions: shown, functionsTotal: functions.length };
}
