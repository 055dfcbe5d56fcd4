/** What placement groups have reserved on one node: prepared, then committed, as the node's process will keep it. */
import type { NodeId } from "../../core/src/base/mod.ts";
import type { GroupCommand, GroupEvent, GroupId } from "../../core/src/placement/mod.ts";

export type BundleOrder = Extract<GroupCommand, { readonly attempt: number }>;
export type BundleReply = Extract<GroupEvent, { readonly attempt: number }>;

/** The resource that only groups use in these runs. */
export const BUNDLE_RESOURCE = "bundle";

export interface Reserved {
  readonly groupId: GroupId;
  readonly attempt: number;
  readonly indexes: readonly number[];
  readonly units: number;
  isCommitted: boolean;
  /** Since when nothing was heard of it. */
  heardMs: number;
}

/** A reservation that was prepared and hears nothing for so long asks. */
const ASK_MS = 30_000;

export class SimBundles {
  readonly total: number;
  readonly reserved = new Map<string, Reserved>();
  private readonly nodeId: NodeId;

  /** Refuses what would fit: something took the room that control does not know of. */
  private readonly refuses: () => boolean;

  constructor(nodeId: NodeId, total: number, refuses: () => boolean) {
    this.nodeId = nodeId;
    this.total = total;
    this.refuses = refuses;
  }

  get free(): number {
    let used = 0;
    for (const { units } of this.reserved.values()) used += units;
    return this.total - used;
  }

  obey(order: BundleOrder, nowMs: number): BundleReply | undefined {
    const { groupId, attempt } = order;
    const { nodeId } = this;
    const at = { groupId, attempt, nodeId };
    const key = `${groupId} ${attempt}`;
    const known = this.reserved.get(key);
    switch (order.kind) {
      case "prepare-bundles": {
        if (!known) {
          const units = order.bundles.reduce((sum, bundle) => sum + (bundle.units[BUNDLE_RESOURCE] ?? 0), 0);
          if (units > this.free || this.refuses())
            return { kind: "bundles-refused", reason: "there is too little room", ...at };
          const indexes = order.bundles.map(({ index }) => index);
          this.reserved.set(key, { groupId, attempt, indexes, units, isCommitted: order.commit, heardMs: nowMs });
        }
        return (known?.isCommitted ?? order.commit)
          ? { kind: "bundles-committed", ...at }
          : { kind: "bundles-prepared", ...at };
      }
      case "commit-bundles":
        if (!known) return { kind: "bundles-refused", reason: "it is not known here", ...at };
        known.isCommitted = true;
        return { kind: "bundles-committed", ...at };
      case "return-bundles":
        this.reserved.delete(key);
        return { kind: "bundles-returned", ...at };
      default:
        return undefined;
    }
  }

  /** After joining again: all of it. */
  *report(): Generator<BundleReply> {
    for (const { groupId, attempt, isCommitted } of this.reserved.values()) {
      yield { kind: "bundles-reported", groupId, attempt, nodeId: this.nodeId, isCommitted };
    }
  }

  *asks(nowMs: number): Generator<BundleReply> {
    for (const one of this.reserved.values()) {
      if (one.isCommitted || nowMs - one.heardMs < ASK_MS) continue;
      one.heardMs = nowMs;
      yield {
        kind: "bundles-reported",
        groupId: one.groupId,
        attempt: one.attempt,
        nodeId: this.nodeId,
        isCommitted: false,
      };
    }
  }
}
