/** Who asks for placement groups: makes them, has them for a while, and removes them; and looks whether they are whole. */
import type { JobId } from "../../core/src/base/mod.ts";
import type { GroupCommand, GroupId, GroupSpec } from "../../core/src/placement/mod.ts";
import { BUNDLE_RESOURCE } from "./bundles.ts";
import type { World } from "./world.ts";

interface Wish {
  readonly spec: GroupSpec;
  isUnwanted: boolean;
  /** Told that it was removed. */
  isOver: boolean;
}

/** By then a node that is lost is known to be dead, and what that led to is done. */
const SOON_MS = 8_000;
const SETTLED_MS = 3_000;
const STRATEGIES = ["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] as const;

export class SimGroups {
  private readonly world: World;
  private readonly wishes = new Map<GroupId, Wish>();
  /** Groups that were ready, in the whole run. */
  ready = 0;

  constructor(world: World) {
    this.world = world;
    this.ask();
  }

  create(): void {
    const { prng, clock } = this.world;
    const count = prng.between(1, 4);
    const spec: GroupSpec = {
      groupId: prng.hex(16),
      bundles: Array.from({ length: count }, () => ({
        units: { [BUNDLE_RESOURCE]: prng.between(1, 3) * 10_000 },
        selectors: [],
      })),
      strategy: prng.pick(STRATEGIES) ?? "PACK",
      priority: prng.below(3),
      jobId: "00000001" as JobId,
      namespace: "",
      lifetime: "detached",
    };
    this.wishes.set(spec.groupId, { spec, isUnwanted: false, isOver: false });
    clock.schedule(prng.float() * 8_000, () => this.remove(spec.groupId));
  }

  /** What was not acknowledged is said again, for control may have been away. */
  private ask(): void {
    const { head, clock } = this.world;
    const life = head?.life;
    if (life?.isAlive && !head?.place.isPaused) {
      for (const { spec, isUnwanted, isOver } of this.wishes.values()) {
        if (isOver) continue;
        if (isUnwanted) life.feed({ kind: "group-removed", groupId: spec.groupId });
        else life.feed({ kind: "group-created", spec });
      }
    }
    clock.schedule(500, () => this.ask());
  }

  private remove(groupId: GroupId): void {
    const wish = this.wishes.get(groupId);
    if (wish) wish.isUnwanted = true;
  }

  removeAll(): void {
    for (const groupId of this.wishes.keys()) this.remove(groupId);
  }

  /** One that is to be removed and is not. */
  get left(): GroupId | undefined {
    for (const [groupId, { isOver }] of this.wishes) if (!isOver) return groupId;
    return undefined;
  }

  told(command: GroupCommand): void {
    if (command.kind === "group-removed") {
      const wish = this.wishes.get(command.groupId);
      if (wish?.isUnwanted) wish.isOver = true;
      return;
    }
    if (command.kind !== "group-ready") return;
    this.ready++;
    const { groupId, nodes } = command;
    this.world.note("head", "has a group ready", command);
    nodes.forEach((nodeId, index) => {
      const node = this.world.nodes.get(nodeId);
      if (!node || node.isOver || node.place.isLost) return;
      const isThere = [...node.bundles.reserved.values()].some(
        (one) => one.groupId === groupId && one.isCommitted && one.indexes.includes(index),
      );
      if (!isThere)
        this.world.fail("a group is ready only when all of it is reserved", `${groupId}, bundle ${index} at ${nodeId}`);
    });
  }

  /** Attempts of groups of which nodes have a part, and not the whole. */
  private halves(): Map<string, string> {
    const found = new Map<string, { readonly groupId: GroupId; readonly indexes: number[] }>();
    for (const node of this.world.nodes.values()) {
      if (node.isOver) continue;
      for (const { groupId, indexes } of node.bundles.reserved.values()) {
        const one = found.get(groupId) ?? { groupId, indexes: [] };
        one.indexes.push(...indexes);
        found.set(groupId, one);
      }
    }
    const halves = new Map<string, string>();
    for (const { groupId, indexes } of found.values()) {
      const wish = this.wishes.get(groupId);
      const count = wish && !wish.isOver ? wish.spec.bundles.length : 0;
      const isWhole = indexes.length === count && new Set(indexes).size === count;
      if (!isWhole)
        halves.set(`${groupId} ${indexes.join(", ")}`, `${groupId} has bundles ${indexes.join(", ")} of ${count}`);
    }
    return halves;
  }

  /** Faults are over: soon no group has a part of what it needs. */
  watchHalves(): void {
    const { clock } = this.world;
    clock.schedule(SOON_MS, () => {
      const before = this.halves();
      clock.schedule(SETTLED_MS, () => {
        for (const [half, detail] of this.halves()) {
          if (before.has(half)) this.world.fail("a group is reserved whole or not at all", detail);
        }
      });
    });
  }

  checkWhole(): void {
    for (const detail of this.halves().values()) this.world.fail("a group is reserved whole or not at all", detail);
  }
}
