/** Why one node was not chosen for a demand. Verdicts of one kind about many nodes are told together. */
import type { ResourceUnits } from "../base/resources.ts";
import { describeUnits, type Free, fits, lacking, withMore } from "./amounts.ts";
import { ANY_NODE, admits, mismatch } from "./labels.ts";
import { type NodeState, offersNothing } from "./node-state.ts";
import type { Shape } from "./shape.ts";

export interface Verdict {
  /** Equal for verdicts that are told together. */
  readonly kind: string;
  /** How close the node came: the least is told first. */
  readonly rank: (typeof RANK)[keyof typeof RANK];
  /** It may be otherwise in a moment: it is about what is free. */
  readonly isOfMoment?: true;
  /** Follows the name of one node: "has 2 of 4 cpu free, and 3 are wanted". */
  readonly text: string;
  /** Follows "12 nodes": "have too little cpu free". */
  readonly plural: string;
  /** What is told of many as a range. */
  readonly amount?: { readonly of: string; readonly units: number };
}

export const RANK = { chosen: 0, room: 1, kept: 2, full: 3, small: 4, unfit: 5, draining: 6, gone: 7 } as const;

/** Undefined when it could take the demand now. */
export function obstacle(state: NodeState, shape: Shape): Verdict | undefined {
  if (state.status === "dead") return { kind: "dead", rank: RANK.gone, text: "is dead", plural: "are dead" };
  if (state.status === "draining") {
    return {
      kind: "draining",
      rank: RANK.draining,
      text: "is draining and takes nothing new",
      plural: "are draining and take nothing new",
    };
  }
  if (offersNothing(state)) {
    return {
      kind: "offers-nothing",
      rank: RANK.gone,
      text: "offers no resources",
      plural: "offer no resources",
    };
  }
  const selector = shape.selectors.find((one) => admits(one, state.labels));
  if (!selector) {
    const why = mismatch(shape.selectors[0] ?? ANY_NODE, state.labels) ?? "has other labels";
    return { kind: "labels", rank: RANK.unfit, text: why, plural: "do not have the labels that are wanted" };
  }
  const never = shortage(state.capacity, state.total, shape.units, "never");
  if (never) return never;
  const now = shortage(state.free, state.total, shape.units, "now");
  return now && fits(withMore(state.free, state.kept), shape.units) ? KEPT : now;
}

const KEPT: Verdict = {
  kind: "kept for a group",
  rank: RANK.full,
  isOfMoment: true,
  text: "keeps what it has free for a placement group that waits",
  plural: "keep what they have free for placement groups that wait",
};

function shortage(free: Free, total: ResourceUnits, units: ResourceUnits, when: "never" | "now"): Verdict | undefined {
  if (fits(free, units)) return undefined;
  const name = lacking(free, units) ?? "";
  const wanted = describeUnits(name, units[name] ?? 0);
  const has = Math.max(0, free.units[name] ?? 0);
  const are = units[name] === 10_000 ? "is" : "are";
  if (when === "never") {
    const text =
      has === 0 ? `has no ${name}` : `has ${describeUnits(name, has)} ${name} in all, and ${wanted} ${are} wanted`;
    return {
      kind: `never ${name}`,
      rank: RANK.small,
      text,
      plural: `can never offer ${wanted} ${name}`,
      amount: { of: `${name} in all`, units: has },
    };
  }
  const inPieces = name === "gpu" && has >= (units.gpu ?? 0) ? ", in pieces that are too small" : "";
  return {
    kind: `room ${name}`,
    rank: RANK.full,
    isOfMoment: true,
    text: `has ${describeUnits(name, has)} of ${describeUnits(name, total[name] ?? 0)} ${name} free${inPieces}, and ${wanted} ${are} wanted`,
    plural: `have too little ${name} free for ${wanted}`,
    amount: { of: `${name} free`, units: has },
  };
}
