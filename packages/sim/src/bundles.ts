/** What placement groups have reserved on one node, by a count of the simulation's own. */
import { type ResourceUnits, sumOfUnits } from "../../core/src/base/mod.ts";
import type { BundlesAnswer, BundlesOrder } from "../../core/src/wire/cluster-messages.ts";

/** The resource that only groups use in these runs: so much of it has each node. */
export const BUNDLE_RESOURCE = "memory";
export const BUNDLE_UNITS = 60_000;

export interface Reserved {
  readonly groupId: string;
  readonly indexes: readonly number[];
  readonly units: ResourceUnits;
  isCommitted: boolean;
}

type Prepare = Omit<BundlesOrder & { readonly t: "prepare-bundles" }, "t">;

export class SimBundles {
  readonly reserved = new Map<string, Reserved>();
  private readonly wanted = new Map<string, Prepare>();
  /** That were committed here once. */
  private readonly had = new Set<string>();

  prepares(order: Prepare): void {
    this.wanted.set(nameOf(order), order);
  }

  has(order: Prepare): boolean {
    return this.wanted.has(nameOf(order));
  }

  /** Gives what it takes, which is nothing when it was reserved before. */
  answered(answer: BundlesAnswer): ResourceUnits {
    if (answer.t === "earmark-answered") return {};
    const name = nameOf(answer);
    const wanted = this.wanted.get(name);
    switch (answer.t) {
      case "bundles-prepared":
      case "bundles-committed": {
        if (!wanted) return {};
        const { groupId } = answer;
        const isCommitted = answer.t === "bundles-committed";
        const indexes = wanted.bundles.map(({ index }) => index);
        const units = sumOfUnits(wanted.bundles.map((bundle) => bundle.units));
        const isNew = !this.reserved.has(name);
        this.reserved.set(name, { groupId, indexes, units, isCommitted });
        if (isCommitted) for (const index of indexes) this.had.add(bundleOf(groupId, index));
        return isNew ? units : {};
      }
      case "bundles-refused":
      case "bundles-returned":
        this.wanted.delete(name);
        this.reserved.delete(name);
        return {};
      default:
        return {};
    }
  }

  /** All bundles of groups together, or nothing. */
  unitsOf(name: string): number {
    let sum = 0;
    for (const { units } of this.reserved.values()) sum += units[name] ?? 0;
    return sum;
  }

  isReserved(groupId: string): boolean {
    for (const one of this.reserved.values()) if (one.groupId === groupId) return true;
    return false;
  }

  isCommitted(groupId: string, index: number): boolean {
    for (const one of this.reserved.values())
      if (one.groupId === groupId && one.isCommitted && one.indexes.includes(index)) return true;
    return false;
  }

  /** Now, or once. */
  wasCommitted(groupId: string, index: number): boolean {
    return this.had.has(bundleOf(groupId, index));
  }
}

const nameOf = ({ groupId, attempt }: { readonly groupId: string; readonly attempt: number }): string =>
  `${groupId} ${attempt}`;
const bundleOf = (groupId: string, index: number): string => `${groupId} ${index}`;
