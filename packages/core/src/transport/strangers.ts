/**
 * Who has connected and not said yet who it is. Strangers have little time and there are few of them at once, so that
 * nobody can use up a process' descriptors or memory.
 *
 * When all places are taken, the one that has been there longest goes if it has had time enough to say hello: who holds
 * places and says nothing keeps nobody out. Otherwise the new one goes: when thousands connect at once, those that are in the
 * middle of their hello are let finish.
 */
import { monotonicMs } from "../base/clock.ts";
import { ConnectionLostError } from "../base/errors.ts";
import { HANDSHAKE_TIMEOUT_MS } from "../base/limits.ts";

const STRANGERS_MAX = 256;
const TIME_ENOUGH_MS = 1_000;

export interface Stranger {
  /** It has said who it is, or its connection has closed; may be called again. */
  part(): void;
}

interface Waiting {
  readonly sinceMs: number;
  end(why: Error): void;
}

export class Strangers {
  private readonly waiting = new Set<Waiting>();
  private readonly timeoutMs: number;
  private readonly nowMs: () => number;

  /** @param timeoutMs milliseconds until a stranger's connection is ended; tests shorten it. */
  constructor(timeoutMs = HANDSHAKE_TIMEOUT_MS, nowMs: () => number = monotonicMs) {
    this.timeoutMs = timeoutMs;
    this.nowMs = nowMs;
  }

  /** @param end ends its connection: when its time is over, or when there are too many. */
  meet(end: (why: Error) => void): Stranger {
    const { waiting } = this;
    const one: Waiting = { sinceMs: this.nowMs(), end };
    const timer = setTimeout(() => end(new ConnectionLostError("no hello in time")), this.timeoutMs);
    const part = (): void => {
      waiting.delete(one);
      clearTimeout(timer);
    };
    if (waiting.size >= STRANGERS_MAX) {
      const [oldest = one] = waiting;
      const isLate = one.sinceMs - oldest.sinceMs >= TIME_ENOUGH_MS;
      (isLate ? oldest : one).end(new ConnectionLostError("too many connections that have not said who they are"));
      if (isLate) waiting.delete(oldest);
    }
    waiting.add(one);
    return { part };
  }
}
