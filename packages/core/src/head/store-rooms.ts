/** Nodes whose stores have room, for those that look for a place to keep a copy, or for what they have no room for. */
import type { NodeId } from "../base/ids.ts";
import type { Member } from "../control/mod.ts";
import type { StoreRoomInfo } from "../wire/queries.ts";

/** Of so many taken at random at most half are named: many that ask at the same moment do not all hear of the same ones. */
const SAMPLE = 64;
const NAMED_MAX = 32;

/** @param random as `Math.random`. */
export function storeRooms(
  members: Iterable<Member>,
  asking: NodeId,
  random: () => number = Math.random,
): readonly StoreRoomInfo[] {
  const sample: StoreRoomInfo[] = [];
  let seen = 0;
  for (const { description, state, use } of members) {
    const { nodeId, address, objectStoreBytes: capacityBytes, labels } = description;
    // One without an address ends with its driver.
    if (state !== "alive" || address === null || nodeId === asking) continue;
    const room = { nodeId, labels, capacityBytes, freeBytes: Math.max(0, capacityBytes - use.storeUsedBytes) };
    const at = seen++ < SAMPLE ? sample.length : Math.floor(random() * seen);
    if (at < SAMPLE) sample[at] = room;
  }
  return sample.sort((a, b) => b.freeBytes - a.freeBytes).slice(0, NAMED_MAX);
}
