/** The store, as far as its contract with the engines goes: which objects there are, and who still may read them. */
import type { StoreKey } from "../../core/src/wire/messages.ts";
import type { SimNode } from "./node.ts";
import type { SimProcess } from "./process.ts";
import type { World } from "./world.ts";

export class SimStore {
  private readonly world: World;
  private readonly live = new Map<StoreKey, { readonly owner: SimProcess }>();
  private readonly freed = new Set<StoreKey>();
  private nextKey = 1;

  constructor(world: World) {
    this.world = world;
  }

  /** Seals a new object, whose owner is the process that will be told of it. */
  seal(owner: SimProcess): StoreKey {
    const key = this.nextKey++;
    this.live.set(key, { owner });
    return key;
  }

  free(key: StoreKey): void {
    if (this.freed.has(key)) this.world.fail("an object is freed once", `store key ${key}`);
    this.live.delete(key);
    this.freed.add(key);
  }

  isLive(key: StoreKey): boolean {
    return this.live.has(key);
  }

  /** Objects left whose owner lives; those of dead owners are the node's to sweep, by owner. */
  leaked({ nodeId }: SimNode): readonly StoreKey[] {
    return [...this.live].filter(([, { owner }]) => owner.isAlive && owner.node.nodeId === nodeId).map(([key]) => key);
  }

  get sealedCount(): number {
    return this.nextKey - 1;
  }
}
