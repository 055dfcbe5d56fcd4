/** What can be held: objects, by their key, and actors, by their id. Both are strings and never collide. */
import { type ActorId, isObjectKey, type ObjectKey } from "../base/mod.ts";

export type HeldKey = ObjectKey | ActorId;

export const isActorId = (key: HeldKey): key is ActorId => !isObjectKey(key as ObjectKey);
