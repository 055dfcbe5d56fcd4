/** Where large values lie, so that what takes them as arguments can go there. */
import { storedNameTag } from "../base/ids.ts";
import { LARGE_ARGUMENTS_BYTES } from "../base/limits.ts";
import type { ValueRecord } from "./messages.ts";

/** The node that has the most bytes of these, when they are large; by its tag. */
export function nodeOfLarge(values: Iterable<ValueRecord | undefined>): string | undefined {
  const bytesAt = new Map<string, number>();
  for (const value of values) {
    if (value?.at !== "stored") continue;
    const tag = storedNameTag(value.name);
    bytesAt.set(tag, (bytesAt.get(tag) ?? 0) + value.size);
  }
  let most: string | undefined;
  for (const [tag, bytes] of bytesAt) if (bytes > (bytesAt.get(most ?? "") ?? 0)) most = tag;
  return most !== undefined && (bytesAt.get(most) ?? 0) >= LARGE_ARGUMENTS_BYTES ? most : undefined;
}
