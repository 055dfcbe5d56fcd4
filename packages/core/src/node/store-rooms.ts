/** Which other nodes have room in their stores: what control says, or, while that is away, only which nodes there are. */
import { setTimeout as delay } from "node:timers/promises";
import { nodeTag } from "../base/ids.ts";
import type { StoreRoom } from "../pull/mod.ts";
import type { NodeStanding } from "../wire/cluster-messages.ts";
import type { StoreRoomInfo } from "../wire/queries.ts";

export interface StoreRoomsEffects {
  /** Control's answer; undefined in no cluster. */
  ask(): Promise<readonly StoreRoomInfo[]> | undefined;
  others(): Iterable<readonly [tag: string, NodeStanding]>;
  /** This node. */
  own(): StoreRoom;
}

/** Control is not waited for longer. */
const PATIENCE_MS = 1_000;

/** This node is among them. Those with the most room come first. */
export async function findStoreRooms({ ask, others, own }: StoreRoomsEffects): Promise<readonly StoreRoom[]> {
  const asked = ask();
  // A head before wire version 2 does not know the question.
  const answer = await Promise.race([asked?.catch(() => undefined), delay(PATIENCE_MS, undefined, { ref: false })]);
  if (answer) return [...answer.map(roomOf), own()];
  return [...[...others()].map(([node]) => ({ node, freeBytes: 0, capacityBytes: 0, labels: {} })), own()];
}

const roomOf = ({ nodeId, ...room }: StoreRoomInfo): StoreRoom => ({ node: nodeTag(nodeId), ...room });
