/**
 * How far the bars are that programs of this node have made (`progressBar`): the last state of each, for whoever asks. Nothing is
 * sent and no timer runs while nobody does.
 */
import type { JobId } from "../base/ids.ts";
import type { BarState } from "../wire/mod.ts";
import type { BarOfJob } from "../wire/queries.ts";

/** Of a node; past it those make room of which was heard the longest ago. */
const BARS_MAX = 1_000;
/** So long one that was closed is still told of, so that a person sees it full. */
const CLOSED_MS = 60_000;

/** Whose bar it is. `process` is what {@link ProgressBars.processGone} names. */
export interface BarMaker {
  readonly process: string;
  readonly pid: number;
  readonly jobId: JobId;
  readonly taskId: string | null;
}

interface Kept extends BarMaker {
  readonly state: BarState;
  readonly startedAtMs: number;
  readonly updatedAtMs: number;
}

export class ProgressBars {
  private readonly nowMs: () => number;
  /** In the order in which they were heard of last. */
  private readonly kept = new Map<string, Kept>();

  constructor(nowMs: () => number) {
    this.nowMs = nowMs;
  }

  update({ process, pid, jobId, taskId }: BarMaker, state: BarState): void {
    const key = `${process} ${state.id}`;
    const before = this.kept.get(key);
    const updatedAtMs = this.nowMs();
    // Whatever task it moves in, it belongs to the one that has made it.
    const maker = before ? { jobId: before.jobId, taskId: before.taskId } : { jobId, taskId };
    this.kept.delete(key);
    this.kept.set(key, { process, pid, ...maker, state, startedAtMs: before?.startedAtMs ?? updatedAtMs, updatedAtMs });
    const [stalest] = this.kept.keys();
    if (this.kept.size > BARS_MAX && stalest !== undefined) this.kept.delete(stalest);
  }

  /** Those that it has not closed go with it, as nobody will move them any more. */
  processGone(process: string): void {
    for (const [key, bar] of this.kept) if (bar.process === process && !bar.state.closed) this.kept.delete(key);
  }

  /** Of a job: those that are open first, and of these the newest first. */
  list(job: string): BarOfJob[] {
    const nowMs = this.nowMs();
    for (const [key, { state, updatedAtMs }] of this.kept)
      if (state.closed && nowMs - updatedAtMs >= CLOSED_MS) this.kept.delete(key);
    return [...this.kept.values()]
      .filter(({ jobId }) => jobId === job)
      .map((bar) => {
        const { id: barId, label, total, done, closed } = bar.state;
        const { pid, taskId, startedAtMs, updatedAtMs } = bar;
        const tookMs = (closed ? updatedAtMs : nowMs) - startedAtMs;
        return { barId, label, total, done, isClosed: closed, pid, taskId, startedAtMs, updatedAtMs, tookMs };
      })
      .toSorted((a, b) => Number(a.isClosed) - Number(b.isClosed) || b.startedAtMs - a.startedAtMs);
  }
}
