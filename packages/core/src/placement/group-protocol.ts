/**
 * What the group engine is told, and what it orders. Groups are reserved on all nodes or none: nodes prepare, and where
 * something of the group may wait already all commit when all have; any refusal or death returns everything. A reservation is
 * (group, attempt, node): the bundles of a group that one attempt puts on one node. Attempts are numbered upwards for ever, so an
 * answer that comes late is known as late.
 */
import type { JobId, NodeId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import type { Ending } from "../wire/cluster-messages.ts";
import type { GangStrategy } from "./gang.ts";
import type { Bundle } from "./gang-kinds.ts";

/** The attempt of a node that places a group by itself: below all of control's, which go on from epoch to epoch. */
export const OWN_ATTEMPT = 1;

/** A name that its creator chose; 16 bytes, hex. */
export type GroupId = string;

export interface GroupSpec {
  readonly groupId: GroupId;
  readonly bundles: readonly Bundle[];
  readonly strategy: GangStrategy;
  /** A label key: one value of it if the group fits, else the fewest. */
  readonly topology?: string;
  /** Higher goes first. */
  readonly priority: number;
  readonly jobId: JobId;
  readonly namespace: string;
  readonly name?: string;
  /** "owner" ends with the job. */
  readonly lifetime: "owner" | "detached";
}

/** What control keeps of a group, to go on after a restart. */
export interface GroupRecord {
  readonly spec: GroupSpec;
  readonly createdMs: number;
  /** Those that were committed, or are to be. */
  readonly reservations: readonly {
    readonly attempt: number;
    readonly nodeId: NodeId;
    readonly indexes: readonly number[];
  }[];
}

interface AtNode {
  readonly groupId: GroupId;
  readonly attempt: number;
  readonly nodeId: NodeId;
}

/** Events. The same one twice, late or about something that is gone changes nothing. */
export type GroupEvent =
  | { readonly kind: "group-created"; readonly spec: GroupSpec }
  /** After a restart of control, before nodes are heard. */
  | { readonly kind: "group-restored"; readonly record: GroupRecord }
  /** A node has placed it on itself, whole. */
  | { readonly kind: "group-adopted"; readonly spec: GroupSpec; readonly nodeId: NodeId }
  /** `by`: the node that had placed it has removed it; what it had there is free. */
  | { readonly kind: "group-removed"; readonly groupId: GroupId; readonly by?: NodeId }
  | { readonly kind: "job-ended"; readonly jobId: JobId }
  | ({ readonly kind: "bundles-prepared" } & AtNode)
  /** The node has too little room, or did not get as far. It holds none of it. */
  | ({ readonly kind: "bundles-refused"; readonly reason: string } & AtNode)
  | ({ readonly kind: "bundles-committed" } & AtNode)
  /** What they had is free. */
  | ({ readonly kind: "bundles-returned" } & AtNode)
  /** What a node holds that joins again, or that has prepared and not heard for long. */
  | ({ readonly kind: "bundles-reported"; readonly isCommitted: boolean } & AtNode)
  /** Of an earmark with an `ending`: whether the room is free there or may be. */
  | { readonly kind: "earmark-answered"; readonly groupId: GroupId; readonly nodeId: NodeId; readonly canEnd: boolean }
  /** It has joined, for the first time or again: what it was told last may be lost, and so may its answers. */
  | { readonly kind: "node-joined"; readonly nodeId: NodeId }
  | { readonly kind: "node-died"; readonly nodeId: NodeId }
  /** Its bundles move to other nodes, if they can. */
  | { readonly kind: "node-draining"; readonly nodeId: NodeId }
  /** Jobs may have more than before. */
  | { readonly kind: "quotas-changed" }
  /** The view was changed: something may fit now. */
  | { readonly kind: "view-changed" }
  | { readonly kind: "tick" };

/** Commands. Those for nodes may come twice: what a node has done it says again. */
export type GroupCommand =
  /** `commit`: it is usable at once. Otherwise the node waits for the second phase. */
  | ({
      readonly kind: "prepare-bundles";
      readonly bundles: readonly { readonly index: number; readonly units: ResourceUnits }[];
      readonly commit: boolean;
    } & AtNode)
  | ({ readonly kind: "commit-bundles" } & AtNode)
  /** What runs in them ends, or may go on until its node does when they have `moved`; answered by `bundles-returned`, also when the node has nothing of the kind. */
  | ({ readonly kind: "return-bundles"; readonly moved?: true } & AtNode)
  /**
   * To be durable before the commands of this group that come after it are carried out; but nodes may be asked to prepare or to
   * return before.
   */
  | { readonly kind: "save-group"; readonly groupId: GroupId; readonly record: GroupRecord }
  | { readonly kind: "forget-group"; readonly groupId: GroupId }
  /** All resources are reserved: the node of each bundle. */
  | { readonly kind: "group-ready"; readonly groupId: GroupId; readonly nodes: readonly NodeId[] }
  /** Bundles died with their node; `group-ready` follows when they have another. */
  | { readonly kind: "group-lost-bundles"; readonly groupId: GroupId; readonly indexes: readonly number[] }
  | { readonly kind: "group-infeasible"; readonly groupId: GroupId; readonly message: string }
  | {
      readonly kind: "group-refused";
      readonly groupId: GroupId;
      readonly code: "NAME_TAKEN" | "INVALID_OPTION";
      readonly message: string;
    }
  /** Its resources are free. */
  | { readonly kind: "group-removed"; readonly groupId: GroupId }
  /** The node grants no new leases that would leave less than this free, for so long; see `earmark.ts`. */
  | {
      readonly kind: "earmark";
      readonly nodeId: NodeId;
      readonly groupId: GroupId;
      readonly units: ResourceUnits;
      readonly forMs: number;
      /** What runs there ends for it, or it is asked whether it might. */
      readonly ending?: Ending;
    }
  | { readonly kind: "clear-earmark"; readonly nodeId: NodeId; readonly groupId: GroupId };
