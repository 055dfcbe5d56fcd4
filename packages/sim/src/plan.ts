/** What a call will do when it runs, drawn when it is submitted: it is the same in each attempt. */
import type { Prng } from "../../core/src/base/mod.ts";

export interface Plan {
  readonly runMs: number;
  readonly outcome: "inline" | "stored" | "throws";
  /** Tasks that it submits itself. */
  readonly children: number;
  /** Waits for them before it ends. */
  readonly waits: boolean;
  /** Keeps refs from its arguments in its process. */
  readonly keeps: boolean;
  /** Puts refs into its result. */
  readonly returnsRefs: boolean;
  /** Puts the refs of its children into its result. */
  readonly returnsChildren: boolean;
  /** Of a call: the actor puts its own handle into its result and the arguments of what it submits. */
  readonly passesSelf: boolean;
  /** Of a call: by which of its handles the caller made it. Two of them may turn out to be of one actor. */
  readonly handle?: number;
}

export function randomPlan(prng: Prng, mayHaveChildren: boolean): Plan {
  return {
    runMs: prng.chance(0.1) ? prng.float() * 400 : prng.float() * 5,
    outcome: prng.chance(0.1) ? "throws" : prng.chance(0.5) ? "stored" : "inline",
    children: mayHaveChildren && prng.chance(0.25) ? prng.between(1, 2) : 0,
    waits: prng.chance(0.5),
    keeps: prng.chance(0.3),
    returnsRefs: prng.chance(0.4),
    returnsChildren: prng.chance(0.3),
    passesSelf: prng.chance(0.5),
  };
}

/** One that makes more of others: tasks, and values that lead to them. */
export const busyPlan = (prng: Prng): Plan => ({
  ...randomPlan(prng, true),
  runMs: prng.float() * (prng.chance(0.1) ? 2_000 : 200),
  children: prng.below(3),
  keeps: prng.chance(0.5),
  returnsRefs: prng.chance(0.7),
});

/** One whose result leads nowhere, and that may outlive the process that it belongs to. */
export const leafPlan = (prng: Prng): Plan => ({
  ...randomPlan(prng, false),
  runMs: prng.float() * 400,
  keeps: false,
  returnsRefs: false,
  returnsChildren: false,
  passesSelf: false,
});

/** The size of an object: a page at least, and seldom many. */
export const someBytes = (prng: Prng): number => WORD_BYTES * prng.between(1, prng.chance(0.2) ? 8_192 : 1_024);
const WORD_BYTES = 4;

export const encodePlan = (plan: Plan): Uint8Array => Buffer.from(JSON.stringify(plan));
/** Only ever our own bytes. */
export const decodePlan = (bytes: Uint8Array): Plan => JSON.parse(Buffer.from(bytes).toString()) as Plan;
