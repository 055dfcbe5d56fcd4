/** Where a driver of a test cluster joins it: what the test kit says beside the options that a program may give. */
import type { StandingNode } from "../node/mod.ts";

/** The key under which it lies among the options of `init`; no program comes by it. */
export const PLACE = Symbol("mobula.place");

export interface Place {
  /** The node that it joins; left out, it has one of its own, with what follows. */
  readonly node?: StandingNode;
  /** Where its session lies. */
  readonly base?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** The network by which it reaches other machines; see transport/network.ts. */
  readonly network?: string;
}
