/**
 * Assertions state what must be true if our own code is right; they stay on in production. Input is never asserted:
 * it is validated.
 */
import { InternalError } from "./errors.ts";

export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new InternalError(`assertion failed: ${message}`);
}

/** Ends a switch over a tagged union; the compiler proves that no case is missing. */
export function unreachable(value: never): never {
  throw new InternalError(`unreachable: ${JSON.stringify(value)}`);
}
