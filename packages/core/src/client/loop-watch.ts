/**
 * Notices a program that waits for each task before it submits the next, so that its tasks run one after the other.
 * Only a tight loop counts: a server that handles a request now and then looks the same but for the pauses. Some
 * pauses a loop may have, since a busy machine makes them too.
 */
import { monotonicMs } from "../base/clock.ts";

const LOOP_MS = 2;
const ROUNDS = 200;
/** What a pause takes back: a loop of which a third pauses is none. */
const ROUNDS_PER_PAUSE = 3;

export class LoopWatch {
  private readonly onLoop: (rounds: number) => void;
  private rounds = 0;
  private lastSeq = -1;
  private settledAtMs = 0;
  private isTold = false;

  constructor(onLoop: (rounds: number) => void) {
    this.onLoop = onLoop;
  }

  /** @param isAlone nothing else was pending. */
  submitted(seq: number, isAlone: boolean): void {
    if (this.isTold) return;
    if (!isAlone) this.rounds = 0;
    else if (monotonicMs() - this.settledAtMs > LOOP_MS) this.rounds = Math.max(0, this.rounds - ROUNDS_PER_PAUSE);
    this.lastSeq = seq;
  }

  /** The program waits for this result alone. */
  waitsFor(seq: number): void {
    if (this.isTold || seq !== this.lastSeq || ++this.rounds < ROUNDS) return;
    this.isTold = true;
    this.onLoop(this.rounds);
  }

  settled(): void {
    if (!this.isTold) this.settledAtMs = monotonicMs();
  }
}
