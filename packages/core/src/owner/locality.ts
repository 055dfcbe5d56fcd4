/**
 * Tasks go to their large arguments. What a task asks for by a lease says nothing of its arguments, so tasks whose arguments lie
 * on another node ask by a shape of their own, which names that node: one for each function and node, at most.
 */
import { storedNameTag } from "../base/ids.ts";
import { LARGE_ARGUMENTS_BYTES } from "../base/limits.ts";
import type { Demand } from "../wire/messages.ts";
import type { ObjectRecord } from "./records.ts";

/** The node that has the most bytes of these, when it is another one and they are large; by its tag. */
export function nodeOfLarge(deps: readonly ObjectRecord[], here: string): string | undefined {
  const bytesAt = new Map<string, number>();
  for (const { value } of deps) {
    if (value?.at !== "stored") continue;
    const tag = storedNameTag(value.name);
    bytesAt.set(tag, (bytesAt.get(tag) ?? 0) + value.size);
  }
  let most: string | undefined;
  for (const [tag, bytes] of bytesAt) if (bytes > (bytesAt.get(most ?? "") ?? 0)) most = tag;
  return most !== undefined && most !== here && (bytesAt.get(most) ?? 0) >= LARGE_ARGUMENTS_BYTES ? most : undefined;
}

export const nearTo = (demand: Demand, tag: string): Demand => ({ ...demand, key: `${demand.key}@${tag}`, near: tag });
