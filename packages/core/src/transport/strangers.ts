/**
 * Who has connected and not said yet who it is. Strangers have little time and there are few of them at once, so that
 * nobody can use up a process' descriptors or memory.
 */
import { ConnectionLostError } from "../base/errors.ts";
import { HANDSHAKE_TIMEOUT_MS } from "../base/limits.ts";

const STRANGERS_MAX = 256;

export interface Stranger {
  /** It has said who it is, or its connection has closed; may be called again. */
  part(): void;
}

export class Strangers {
  private count = 0;
  private readonly timeoutMs: number;

  /** @param timeoutMs milliseconds until a stranger's connection is ended; tests shorten it. */
  constructor(timeoutMs = HANDSHAKE_TIMEOUT_MS) {
    this.timeoutMs = timeoutMs;
  }

  /** @param end ends the connection: at once when there are too many strangers, or when the time is over. */
  meet(end: (why: Error) => void): Stranger {
    const timer = setTimeout(() => end(new ConnectionLostError("no hello in time")), this.timeoutMs);
    let isHere = true;
    const stranger = {
      part: () => {
        if (!isHere) return;
        isHere = false;
        this.count--;
        clearTimeout(timer);
      },
    };
    if (++this.count > STRANGERS_MAX)
      end(new ConnectionLostError("too many connections that have not said who they are"));
    return stranger;
  }
}
