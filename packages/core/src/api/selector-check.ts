/** Label selectors, as options take them. */
import { isSelectorValue } from "../placement/mod.ts";
import { type Check, isRecord, refuse } from "./option-checks.ts";

const A_SELECTOR = 'an object from label to "v", "!v", "in(a,b)" or "!in(a,b)", or a list of such objects';

export const labelSelector: Check<readonly Readonly<Record<string, string>>[]> = (value, at) => {
  const selectors: readonly unknown[] = Array.isArray(value) ? value : [value];
  return selectors.map((selector) => {
    if (!isRecord(selector)) return refuse(at, value, A_SELECTOR);
    for (const [label, text] of Object.entries(selector)) {
      const place = { ...at, option: `${at.option}.${label}` };
      if (typeof text !== "string" || !isSelectorValue(text)) {
        return refuse(place, text, '"v", "!v", "in(a,b)" or "!in(a,b)"');
      }
    }
    return selector as Readonly<Record<string, string>>; // As was just seen.
  });
};
