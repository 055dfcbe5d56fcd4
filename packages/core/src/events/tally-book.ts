/**
 * Exact counts of attempts, by job, function and where they were submitted. When they are too many, those of the job of
 * which was heard first are added to one count for each function, of no job; and functions beyond a limit to
 * {@link OTHER_FUNCTIONS}.
 */
import type { JobId } from "../base/ids.ts";
import { ATTEMPT_OUTCOMES, type Tally } from "./event-batch.ts";

const TALLIES_MAX = 20_000;
const FUNCTIONS_MAX = 10_000;
export const OTHER_FUNCTIONS = "other";
const NO_JOB = "" as JobId;

interface Counted extends Tally {
  readonly counts: number[];
  runMicros: number;
}

export interface TallyLimits {
  readonly talliesMax?: number;
  readonly functionsMax?: number;
}

export class TallyBook {
  /** The oldest first. */
  private readonly jobs = new Map<JobId, Map<string, Counted>>();
  private readonly rest = new Map<string, Counted>();
  private readonly talliesMax: number;
  private readonly functionsMax: number;
  private size = 0;

  constructor({ talliesMax = TALLIES_MAX, functionsMax = FUNCTIONS_MAX }: TallyLimits = {}) {
    this.talliesMax = talliesMax;
    this.functionsMax = functionsMax;
  }

  add(job: JobId, tallies: Iterable<Tally>): void {
    for (const tally of tallies) {
      if (job === NO_JOB) this.addToRest(tally);
      else this.addToJob(job, tally);
    }
  }

  private addToJob(job: JobId, tally: Tally): void {
    let counted = this.jobs.get(job);
    if (!counted) {
      counted = new Map();
      this.jobs.set(job, counted);
    }
    const before = counted.size;
    addTo(counted, `${tally.kind}\0${tally.parent ?? ""}\0${tally.name}`, tally);
    this.size += counted.size - before;
    if (this.size > this.talliesMax) this.foldOldest();
  }

  private foldOldest(): void {
    for (const [job, counted] of this.jobs) {
      this.jobs.delete(job);
      this.size -= counted.size;
      for (const tally of counted.values()) this.addToRest(tally);
      return;
    }
  }

  private addToRest(tally: Tally): void {
    const { kind } = tally;
    const key = `${kind}\0${tally.name}`;
    if (this.rest.has(key) || this.rest.size < this.functionsMax) addTo(this.rest, key, { ...tally, parent: null });
    else addTo(this.rest, `${kind}\0${OTHER_FUNCTIONS}`, { ...tally, name: OTHER_FUNCTIONS, parent: null });
  }

  /** Undefined when its counts are not kept by themselves. */
  of(job: JobId): Iterable<Tally> | undefined {
    return this.jobs.get(job)?.values();
  }

  /** By job; the empty one for what is of none any more. */
  *all(): Generator<readonly [JobId, Iterable<Tally>]> {
    if (this.rest.size > 0) yield [NO_JOB, this.rest.values()];
    for (const [job, counted] of this.jobs) yield [job, counted.values()];
  }
}

function addTo(counted: Map<string, Counted>, key: string, { name, parent, kind, counts, runMicros }: Tally): void {
  let known = counted.get(key);
  if (!known) {
    known = { name, parent, kind, counts: ATTEMPT_OUTCOMES.map(() => 0), runMicros: 0 };
    counted.set(key, known);
  }
  for (const [index, count] of counts.entries()) known.counts[index] = (known.counts[index] ?? 0) + count;
  known.runMicros += runMicros;
}
