/** Which thrown errors a program wants tried again: `retryExceptions` as it arrives in a worker. */

/** `false`, `true`, error classes, or a function. */
export type RetryRule = unknown;

/** A rule that throws decides against trying again. */
export function isRetryable(rule: RetryRule, error: unknown): boolean {
  if (rule === true) return true;
  if (Array.isArray(rule)) return rule.some((type) => typeof type === "function" && isInstance(error, type));
  if (typeof rule !== "function") return false;
  try {
    return rule(error) === true;
  } catch {
    return false;
  }
}

/** By identity, or by name: a class that was captured twice is two classes, but one to the program. */
function isInstance(error: unknown, type: { readonly name: string } & object): boolean {
  if (typeof type === "function" && error instanceof (type as unknown as new () => Error)) return true;
  for (let at = error; at instanceof Object; at = Object.getPrototypeOf(at)) {
    if ((at as { constructor?: { name?: string } }).constructor?.name === type.name) return true;
  }
  return false;
}
