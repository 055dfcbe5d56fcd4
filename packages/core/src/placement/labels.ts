/** Which nodes a label selector admits: `{ zone: "a", tier: "!spot", gpu: "in(h100,h200)", rack: "!in(r1,r2)" }`. */
import { InvalidOptionError } from "../base/errors.ts";

export type Labels = Readonly<Record<string, string>>;

interface Requirement {
  readonly key: string;
  readonly values: readonly string[];
  /** A node without the label meets it too. */
  readonly isNegated: boolean;
}

/** All requirements must be met. */
export interface Selector {
  /** Equal for selectors that say the same. */
  readonly key: string;
  readonly requirements: readonly Requirement[];
}

export const ANY_NODE: Selector = { key: "", requirements: [] };

const LIST = /^in\(([^()]*)\)$/;

/** @throws InvalidOptionError when a value is none of the four forms. */
export function parseSelector(selector: Labels): Selector {
  const requirements = Object.entries(selector)
    .map(([key, text]) => parseRequirement(key, text))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
  if (requirements.length === 0) return ANY_NODE;
  return { key: JSON.stringify(requirements.map((one) => [one.key, one.isNegated, one.values])), requirements };
}

function parseRequirement(key: string, text: string): Requirement {
  const isNegated = text.startsWith("!");
  const body = isNegated ? text.slice(1) : text;
  const list = LIST.exec(body)?.[1];
  const values = list === undefined ? [body] : list.split(",").map((value) => value.trim());
  if (values.some((value) => !isValue(value))) {
    throw new InvalidOptionError(
      `labelSelector.${key} is ${JSON.stringify(text)}; it must be "v", "!v", "in(a,b)" or "!in(a,b)"`,
    );
  }
  return { key, values: [...new Set(values)].sort(), isNegated };
}

/** Whether it is one of the four forms. */
export function isSelectorValue(text: string): boolean {
  const body = text.startsWith("!") ? text.slice(1) : text;
  const list = LIST.exec(body)?.[1];
  return (list === undefined ? [body] : list.split(",").map((value) => value.trim())).every(isValue);
}

const isValue = (text: string): boolean => text.length > 0 && !/[!(),\s]/.test(text);

export function admits(selector: Selector, labels: Labels): boolean {
  for (const requirement of selector.requirements) if (!isMet(requirement, labels)) return false;
  return true;
}

/** Why the node is not admitted, to follow its name; undefined when it is. */
export function mismatch(selector: Selector, labels: Labels): string | undefined {
  const failed = selector.requirements.find((requirement) => !isMet(requirement, labels));
  if (!failed) return undefined;
  const has = labels[failed.key];
  const wanted = failed.values.map((value) => JSON.stringify(value)).join(" or ");
  if (has === undefined) return `has no label ${failed.key}, and ${wanted} is wanted`;
  return `has the label ${failed.key} "${has}", and ${failed.isNegated ? `not ${wanted}` : wanted} is wanted`;
}

function isMet({ key, values, isNegated }: Requirement, labels: Labels): boolean {
  const has = labels[key];
  return (has !== undefined && values.includes(has)) !== isNegated;
}
