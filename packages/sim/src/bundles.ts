/** What placement groups have reserved on one node, by a count of the simulation's own. */
import type { BundlesAnswer, BundlesOrder } from "../../core/src/wire/cluster-messages.ts";

/** The resource that only groups use in these runs. */
export const BUNDLE_RESOURCE = "bundle";

export interface Reserved {
  readonly groupId: string;
  readonly indexes: readonly number[];
  isCommitted: boolean;
}

type Prepare = BundlesOrder & { readonly t: "prepare-bundles" };

export class SimBundles {
  readonly reserved = new Map<string, Reserved>();
  private readonly wanted = new Map<string, Prepare>();

  prepares(order: Prepare): void {
    this.wanted.set(nameOf(order), order);
  }

  has(order: Prepare): boolean {
    return this.wanted.has(nameOf(order));
  }

  answered(answer: BundlesAnswer): void {
    if (answer.t === "earmark-answered") return;
    const name = nameOf(answer);
    const wanted = this.wanted.get(name);
    switch (answer.t) {
      case "bundles-prepared":
      case "bundles-committed": {
        if (!wanted) return;
        const isCommitted = answer.t === "bundles-committed";
        const indexes = wanted.bundles.map(({ index }) => index);
        this.reserved.set(name, { groupId: answer.groupId, indexes, isCommitted });
        return;
      }
      case "bundles-refused":
      case "bundles-returned":
        this.wanted.delete(name);
        this.reserved.delete(name);
    }
  }
}

const nameOf = ({ groupId, attempt }: { readonly groupId: string; readonly attempt: number }): string =>
  `${groupId} ${attempt}`;
