/**
 * Tasks go to their large arguments. What a task asks for by a lease says nothing of its arguments, so tasks whose arguments lie
 * on another node ask by a shape of their own, which names that node: one for each function and node, at most.
 */
import { type Demand, nodeOfLarge } from "../wire/mod.ts";
import type { ObjectRecord } from "./records.ts";

/** The node on which most of the large arguments lie, when it is another one. */
export function nodeOfArguments(deps: readonly ObjectRecord[], here: string): string | undefined {
  if (deps.length === 0) return undefined;
  const tag = nodeOfLarge(deps.map(({ value }) => value));
  return tag === here ? undefined : tag;
}

export const nearTo = (demand: Demand, tag: string): Demand => ({ ...demand, key: `${demand.key}@${tag}`, near: tag });
