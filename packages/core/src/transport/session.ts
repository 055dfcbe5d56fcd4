/** What the two sides of a resumable connection say of their session in the handshake of each connection. */
import { AuthenticationError } from "../base/errors.ts";

export interface SessionRequest {
  /** 16 random bytes in hex, which the dialler chose. */
  readonly id: string;
  /** Counts the dialler's connections: one that was overtaken by a later one is not to replace it. */
  readonly attempt: number;
  /** How much of the listener's stream has arrived. */
  readonly received: number;
  /** The dialler has never been welcomed, so there need not be such a session. */
  readonly isNew: boolean;
}

export interface SessionAnswer {
  /** How much of the dialler's stream has arrived. */
  readonly received: number;
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** @throws AuthenticationError */
export function readRequest(session: unknown): SessionRequest {
  const { id, attempt, received, isNew } = (session ?? {}) as Partial<SessionRequest>;
  if (
    typeof id !== "string" ||
    !/^[0-9a-f]{32}$/.test(id) ||
    !isCount(attempt) ||
    !isCount(received) ||
    typeof isNew !== "boolean"
  ) {
    throw new AuthenticationError("hello names no valid session");
  }
  return { id, attempt, received, isNew };
}

export function readAnswer(session: unknown): SessionAnswer | undefined {
  const { received } = (session ?? {}) as Partial<SessionAnswer>;
  return isCount(received) ? { received } : undefined;
}
