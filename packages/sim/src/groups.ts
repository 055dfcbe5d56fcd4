/** Who asks for placement groups: makes them, has them for a while, and removes them; and looks whether they are whole. */
import type { JobId } from "../../core/src/base/mod.ts";
import type { GroupRequest } from "../../core/src/wire/queries.ts";
import { BUNDLE_RESOURCE } from "./bundles.ts";
import type { HeadLife } from "./head.ts";
import type { World } from "./world.ts";

interface Wish {
  readonly request: GroupRequest;
  /** Of heads that it was asked of, those that are to say when it is ready. */
  readonly awaited: Set<HeadLife>;
  isUnwanted: boolean;
  /** Told that it was removed. */
  isOver: boolean;
}

/** By then a node that is lost is known to be dead, and what that led to is done. */
const SOON_MS = 6_500;
/** A node says of what it has prepared for so long that it hears nothing, and is told to give it back: so it is no longer. */
const SETTLED_MS = 3_000;
/** Asked for while nothing fails, so that a part which stays can be told from one that must. */
const LATE = 6;
/** Between what the engine says and who is told lies a write. */
const LOST_LATELY_MS = 1_000;
const LATE_MS = 3_000;
const STRATEGIES = ["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] as const;

export class SimGroups {
  private readonly world: World;
  private readonly wishes = new Map<string, Wish>();
  /** Groups that were ready, in the whole run. */
  ready = 0;
  /** It is yet to be seen whether parts of groups stay. */
  isWatching = false;

  constructor(world: World) {
    this.world = world;
    this.ask();
  }

  create(): void {
    const { prng, clock } = this.world;
    const count = prng.between(1, 4);
    const request: GroupRequest = {
      groupId: prng.hex(16),
      bundles: Array.from({ length: count }, () => ({ [BUNDLE_RESOURCE]: prng.between(1, 3) * 10_000 })),
      strategy: prng.pick(STRATEGIES) ?? "PACK",
      selectors: [],
      jobId: "00000001" as JobId,
      namespace: "",
      lifetime: "detached",
    };
    const { groupId } = request;
    this.wishes.set(groupId, { request, awaited: new Set(), isUnwanted: false, isOver: false });
    clock.schedule(prng.float() * 8_000, () => this.remove(groupId));
  }

  /** What was not acknowledged is said again, for control may have been away. */
  private ask(): void {
    const { world } = this;
    const life = world.head?.life;
    if (life) for (const wish of this.wishes.values()) if (!wish.isOver) this.askOf(life, wish);
    world.wake();
    world.clock.schedule(500, () => this.ask());
  }

  private askOf(life: HeadLife, wish: Wish): void {
    const { host } = life.runtime.groups;
    const { request, awaited } = wish;
    const { groupId } = request;
    // What it says leaves it as all that a head says.
    const said = (then: () => void) => (): void => life.gate.pass(then);
    if (wish.isUnwanted) {
      host.remove(
        groupId,
        said(() => {
          wish.isOver = true;
        }),
      );
      return;
    }
    host.create(request);
    if (awaited.has(life)) return;
    awaited.add(life);
    host.whenReady(groupId, (refusal) => {
      if (!refusal) said(() => this.isReady(life, request))();
    });
  }

  private remove(groupId: string): void {
    const wish = this.wishes.get(groupId);
    if (wish) wish.isUnwanted = true;
  }

  removeAll(): void {
    for (const groupId of this.wishes.keys()) this.remove(groupId);
  }

  /** One that is to be removed and is not. */
  get left(): string | undefined {
    for (const [groupId, { isOver }] of this.wishes) if (!isOver) return groupId;
    return undefined;
  }

  private isReady(life: HeadLife, { groupId, bundles }: GroupRequest): void {
    const { clock } = this.world;
    this.ready++;
    this.world.note("groups", `${groupId} is ready`);
    bundles.forEach((units, index) => {
      const places = life.runtime.groups.host.placesFor(groupId, index, units);
      const nodeId = places.kind === "places" ? places.places[0]?.nodeId : undefined;
      const node = nodeId && this.world.nodes.get(nodeId);
      // A node may have died since, and others have been asked for what it had; what is on one that is drained is moved.
      const { members, divisions } = life.runtime;
      const isMoving = [...members.all()].some(
        ({ state, description }) =>
          // Until it is written down that it has left nobody knows of that, and what it had is being moved.
          state === "draining" ||
          (state === "dead" && divisions.view.node(description.nodeId)?.state.status === "draining"),
      );
      const hasChanged = isMoving || clock.nowMs - life.watch.lostNodesAtMs < LOST_LATELY_MS;
      if (places.kind === "waits" && !hasChanged)
        this.world.fail("a group is ready only when all of it is reserved", `${groupId}, bundle ${index} is nowhere`);
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
    const found = new Map<string, { readonly groupId: string; readonly indexes: number[] }>();
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
      const count = wish && !wish.isOver ? wish.request.bundles.length : 0;
      const isWhole = indexes.length === count && new Set(indexes).size === count;
      if (!isWhole)
        halves.set(`${groupId} ${indexes.join(", ")}`, `${groupId} has bundles ${indexes.join(", ")} of ${count}`);
    }
    return halves;
  }

  /** Faults are over: soon no group has a part of what it needs. */
  watchHalves(): void {
    this.isWatching = true;
    const { clock, prng } = this.world;
    for (let count = 0; count < LATE; count++) clock.schedule(SOON_MS - prng.float() * LATE_MS, () => this.create());
    clock.schedule(SOON_MS, () => {
      const before = this.halves();
      clock.schedule(SETTLED_MS, () => {
        this.isWatching = false;
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
