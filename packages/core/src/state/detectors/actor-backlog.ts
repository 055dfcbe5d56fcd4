/** Calls come to an actor faster than it ends them. */
import type { Detector, Finding, Observation } from "./detector.ts";
import { Rates } from "./rates.ts";
import { actorText, countText, rateText, spanText } from "./words.ts";

/** Fewer are worked off within moments, whoever looks. */
const CALLS = 1_000;
/** The last one waits longer than anybody expects of a call. */
const WAIT_MS = 5_000;
const WINDOW_MS = 10_000;
/** A backlog that is worked off falls faster than this. */
const FALLING_SHARE = 0.8;

export class ActorBacklog implements Detector {
  readonly kind = "actor-backlog";
  readonly pace = "tasks";
  readonly raiseAfterMs = 10_000;
  readonly clearAfterMs = 20_000;
  private readonly rates = new Rates<"ended">(WINDOW_MS);
  /** The most that each had. */
  private peaks = new Map<string, number>();

  *look({ atMs, live, functions, actors }: Observation): Generator<Finding> {
    const byClass = new Map<string, { ended: number }>();
    for (const { name, kind, ended } of functions) {
      if (kind !== "actor-call") continue;
      const className = name.slice(0, name.indexOf("."));
      byClass.set(className, { ended: (byClass.get(className)?.ended ?? 0) + ended });
    }
    const grown = this.rates.add(atMs, byClass);
    const peaks = new Map<string, number>();
    for (const [actorId, calls] of live.backlogs) {
      const peak = Math.max(calls, this.peaks.get(actorId) ?? 0);
      peaks.set(actorId, peak);
      const actor = actors.get(actorId);
      if (!actor || !grown || calls < CALLS || calls < peak * FALLING_SHARE) continue;
      // Calls are counted by class: they are this actor's as far as its class has no other that is alive.
      let sameClass = 0;
      for (const other of actors.all) if (other.className === actor.className && other.state === "alive") sameClass++;
      const rate = (grown.of(actor.className, "ended") / grown.ms) * 1_000;
      const waitMs = (calls / (rate / Math.max(1, sameClass))) * 1_000;
      if (waitMs < WAIT_MS) continue;
      const ends =
        sameClass > 1
          ? `the ${sameClass} actors of its class end ${rateText(rate)} a second`
          : `it ends ${rateText(rate)} a second`;
      yield {
        key: actorId,
        severity: "warning",
        message: `actor ${actorText(actor)} has ${countText(calls)} calls that have not begun, and ${ends}: the last one waits ${spanText(waitMs)}`,
        remedy:
          "spread the calls over an ActorPool of several actors, raise maxConcurrency if its methods await, send fewer and larger calls, or limit callers with maxPendingCalls",
        subjects: [actorId, ...(actor.nodeId === null ? [] : [actor.nodeId])],
      };
    }
    this.peaks = peaks;
  }
}
