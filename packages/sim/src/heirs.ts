/** What heirs have been sent of the objects of other nodes, and whether any of it is lost while they have it. */
import { nodeTag, nodeTagOf, type ObjectKey, objectKeyOwner } from "../../core/src/base/mod.ts";
import type { ForHeir, HeirDrops, HeirKeeps } from "../../core/src/wire/cluster-messages.ts";
import type { ValueRecord } from "../../core/src/wire/mod.ts";
import type { SimNode } from "./node.ts";
import type { World } from "./world.ts";

export class Heirs {
  private readonly world: World;
  private readonly kept = new Map<ObjectKey, { readonly heir: SimNode; readonly value: ValueRecord }>();

  constructor(world: World) {
    this.world = world;
  }

  /** Of nodes that are lost, what heirs had. */
  get inherited(): number {
    let count = 0;
    for (const key of this.kept.keys()) if (this.world.lostTags.has(nodeTagOf(objectKeyOwner(key)))) count++;
    return count;
  }

  hears(heir: SimNode, message: HeirKeeps | HeirDrops | ForHeir): void {
    const keeps = message.t === "for-heir" ? message.message : message;
    if (keeps.t === "heir-keeps") for (const { key, value } of keeps.objects) this.kept.set(key, { heir, value });
    else if (message.t === "heir-drops")
      for (const key of message.keys) if (this.kept.get(key)?.heir === heir) this.kept.delete(key);
  }

  /** A program is told that it is. */
  isLost(key: ObjectKey, message: string): void {
    const { kept, world } = this;
    const { heir, value } = kept.get(key) ?? {};
    if (!heir || !value || heir.isOver || world.lostTags.has(nodeTag(heir.nodeId))) return;
    if (value.at === "error") return;
    if (value.at === "stored" && !world.stored.holderOf(value.name)) {
      world.stored.checkLosses(value.name);
      return;
    }
    world.fail("no object is lost that an heir has", `${key}, which ${heir.place.name} was sent: ${message}`);
  }
}
