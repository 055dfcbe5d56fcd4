/** Bars that programs of a job have made, asked of all nodes when somebody looks. */
import type { BarOfJob } from "../wire/queries.ts";
import { Cached } from "./cached.ts";
import type { Links } from "./links.ts";
import type { BarRow, Progress } from "./rows.ts";

/** Several who look at once share an answer. */
const FRESH_MS = 250;
/** Jobs whose last answer is kept. */
const JOBS_MAX = 100;
/** In an answer, of a job. */
const BARS_MAX = 200;
/** Sooner a pace says nothing. */
const PACE_LEAST_MS = 1_000;

type Told = Pick<Progress, "bars" | "barsTotal" | "partial">;

export class ProgressBars {
  private readonly links: Pick<Links, "askAll">;
  private readonly answers = new Map<string, Cached<Told>>();

  constructor(links: Pick<Links, "askAll">) {
    this.links = links;
  }

  of(job: string): Promise<Told> {
    let answer = this.answers.get(job);
    if (!answer) {
      if (this.answers.size >= JOBS_MAX) this.answers.clear();
      answer = new Cached(FRESH_MS, () => this.ask(job));
      this.answers.set(job, answer);
    }
    return answer.get();
  }

  private async ask(job: string): Promise<Told> {
    const { answers, partial } = await this.links.askAll("progress-bars", { job });
    const bars = answers
      .flatMap(([nodeId, told]) => told.map((bar) => barRow(nodeId, bar)))
      .sort((a, b) => Number(a.isClosed) - Number(b.isClosed) || b.startedAtMs - a.startedAtMs);
    return { bars: bars.slice(0, BARS_MAX), barsTotal: bars.length, partial };
  }
}

function barRow(nodeId: string, { tookMs, ...bar }: BarOfJob): BarRow {
  const { done, total, isClosed } = bar;
  const perSecond = tookMs < PACE_LEAST_MS ? null : Math.max(0, done) / (tookMs / 1_000);
  const isTold = !isClosed && total !== null && perSecond !== null && perSecond > 0;
  return { ...bar, nodeId, perSecond, leftMs: isTold ? (Math.max(0, total - done) / perSecond) * 1_000 : null };
}
