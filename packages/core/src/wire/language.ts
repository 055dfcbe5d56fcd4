/** What language a process, a function, a class or an error is of: workers of other languages may join one day. */
import { InfeasibleError } from "../base/errors.ts";

export type Language = "js" | "python";

/** This runtime's. */
export const LANGUAGE: Language = "js";

/** @throws InfeasibleError for a function or class that this process cannot run. */
export function checkLanguage(what: string, language: string): void {
  if (language !== LANGUAGE)
    throw new InfeasibleError(`${what} is of the language "${language}"; this worker runs "${LANGUAGE}"`);
}
