/**
 * Taking a node out of its cluster while its work goes on elsewhere.
 *
 * 1. Control says so, and places nothing here any more. Each step begins: it keeps new work away, or moves off what is here.
 * 2. What is under way goes on. When all steps say that they are done, the node ends.
 * 3. At the deadline it ends all the same, and what is still here is lost as if it had died.
 */
import { later as laterByClock } from "../base/clock.ts";

/** Something that is to be gone from the node before it ends. What moves off by itself is a step of its own. */
export interface DrainStep {
  /** For people: "tasks". */
  readonly what: string;
  begin?(): void;
  isDone(): boolean;
}

export interface DrainOptions {
  readonly steps: readonly DrainStep[];
  /** Called once. */
  end(): void;
  log(message: string): void;
  /** Calls it after so long, unless that is taken back. Left out: by the clock of the machine. */
  later?(ms: number, run: () => void): () => void;
}

export class Drain {
  private readonly options: DrainOptions;
  private cancelDeadline: (() => void) | undefined;
  private endsAtMs = Number.POSITIVE_INFINITY;
  private hasEnded = false;

  constructor(options: DrainOptions) {
    this.options = options;
  }

  get hasBegun(): boolean {
    return this.cancelDeadline !== undefined;
  }

  /** A second time only an earlier deadline counts. */
  begin(deadlineMs: number, nowMs: number): void {
    const { steps, log, later = laterByClock } = this.options;
    if (nowMs + deadlineMs >= this.endsAtMs) return;
    const isFirst = !this.hasBegun;
    this.endsAtMs = nowMs + deadlineMs;
    this.cancelDeadline?.();
    this.cancelDeadline = later(deadlineMs, () => this.end());
    if (isFirst) {
      log(`this node is drained: what is under way has ${Math.ceil(deadlineMs / 1_000)} s`);
      for (const step of steps) step.begin?.();
    }
    this.look();
  }

  /** Something has ended or left. */
  look(): void {
    if (this.hasBegun && this.left.length === 0) this.end();
  }

  close(): void {
    this.cancelDeadline?.();
    this.hasEnded = true;
  }

  private get left(): DrainStep[] {
    return this.options.steps.filter((step) => !step.isDone());
  }

  private end(): void {
    if (this.hasEnded) return;
    const { left } = this;
    this.close();
    const lost =
      left.length === 0 ? "nothing is left" : `its time is over with ${left.map(({ what }) => what).join(", ")} left`;
    this.options.log(`this node ends, drained: ${lost}`);
    this.options.end();
  }
}
