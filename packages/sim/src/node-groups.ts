/** Placement groups at a node: those that it places by itself, those that control orders, and what its processes ask of them. */
import { answerTo } from "../../core/src/node/asks.ts";
import { answerOf, BundleAnswers, eventOf } from "../../core/src/node/bundles.ts";
import { LocalGroups } from "../../core/src/node/local-groups.ts";
import { askAboutGroup } from "../../core/src/node/node-queries.ts";
import type { ResourcePool, SchedulerEvent } from "../../core/src/scheduler/mod.ts";
import type { BundlesOrder, GroupsNoted } from "../../core/src/wire/cluster-messages.ts";
import type { Answer, Query } from "../../core/src/wire/mod.ts";
import type { GroupRequest } from "../../core/src/wire/queries.ts";
import { SimBundles } from "./bundles.ts";
import type { SimNode } from "./node.ts";

const REFUSAL_CHANCE = 0.1;

export interface NodeGroupsEffects {
  readonly pool: ResourcePool;
  mayPlace(): boolean;
  feed(event: SchedulerEvent): void;
}

export class NodeGroups {
  readonly bundles = new SimBundles();
  readonly local: LocalGroups;
  /** Placed here, and control has not said that it is written down. */
  readonly unwritten = new Set<string>();
  /** Removed here, of which the same is true. */
  readonly unwrittenRemovals = new Set<string>();
  private readonly node: SimNode;
  private readonly feed: (event: SchedulerEvent) => void;
  private readonly answers: BundleAnswers;

  constructor(node: SimNode, { pool, mayPlace, feed }: NodeGroupsEffects) {
    this.node = node;
    this.feed = feed;
    this.answers = new BundleAnswers({
      say: (answer) => node.cluster?.say(answer),
      report: () => node.cluster?.report(),
    });
    this.local = new LocalGroups({
      labels: {},
      pool,
      mayPlace: () => node.cluster?.isOfVersion(2) === true && mayPlace(),
      isLimited: () => false,
      feed: (event) => {
        if (event.kind === "prepare-bundles") this.bundles.prepares(event);
        feed(event);
      },
      isConnected: () => node.cluster?.isConnected === true,
      report: (isAll) => node.cluster?.report(isAll),
      say: (message) => node.cluster?.say(message),
      later: (ms, run) => node.laterAwake(ms, run),
      nowMs: () => node.world.clock.nowMs,
    });
  }

  /** By the head. */
  ordered(order: BundlesOrder): void {
    if (order.t === "prepare-bundles" && !this.bundles.has(order)) {
      // It refuses what would fit: something took the room that control does not know of.
      if (this.node.world.prng.chance(REFUSAL_CHANCE)) {
        const { groupId, attempt } = order;
        this.node.cluster?.say({ t: "bundles-refused", groupId, attempt, reason: "there is too little room" });
        return;
      }
      this.bundles.prepares(order);
    }
    this.local.order(order);
    this.feed(eventOf(order));
  }

  /** What the lease engine says. */
  take(command: Parameters<typeof answerOf>[0]): void {
    const answer = answerOf(command);
    this.node.checkRoom(answer.groupId, this.bundles.answered(answer));
    this.node.world.wake();
    this.local.take(answer) || this.answers.add(answer);
  }

  noted(noted: GroupsNoted): void {
    for (const groupId of noted.placed) this.unwritten.delete(groupId);
    for (const groupId of noted.removed) this.unwrittenRemovals.delete(groupId);
    this.local.noted(noted);
  }

  /** As a process of this node asks. */
  answer(query: Query): Promise<Answer> {
    return answerTo(query.id, () => this.result(query));
  }

  private async result(query: Query): Promise<boolean> {
    const { node, local, bundles } = this;
    const { groupId } = query.params as { readonly groupId: string };
    if (!node.cluster) throw new RangeError("programs of these runs ask for groups in clusters only");
    const isHere = local.has(groupId);
    const answered = askAboutGroup(local, node.cluster, query);
    const isPlaced = !isHere && query.method === "create-group" && local.has(groupId);
    if (isPlaced) {
      this.unwritten.add(groupId);
      const request = query.params as GroupRequest;
      const missing = request.bundles.findIndex((_, index) => !bundles.isCommitted(groupId, index));
      if (missing >= 0)
        node.world.failSoon("a group is ready only when all of it is reserved", `${groupId}, bundle ${missing}`);
      node.world.groups?.placedBy(node, groupId);
    }
    const isDone = await answered;
    if (query.method === "remove-group" && isHere && isDone) {
      this.unwritten.delete(groupId);
      this.unwrittenRemovals.add(groupId);
      if (bundles.isReserved(groupId)) node.world.failSoon("a removed group goes", `${groupId} at ${node.nodeId}`);
    }
    return isDone;
  }
}
