/** Objects of one place in a program become more and more and are never let go of. */
import type { Detector, Finding, Observation, SiteSeen } from "./detector.ts";
import { bytesText, countText, listText, rateText, spanText } from "./words.ts";

/** It has grown at each look of so long a time. */
const WINDOW_MS = 60_000;
const LOOKS_MIN = 5;
/** Of what a program fills once, little is left after a minute: it must have grown by so much, and by half. */
const OBJECTS = 50;
const BYTES = 8 * 2 ** 20;
const GROWN_TIMES = 1.5;
const SITES_MAX = 2_000;

interface History {
  readonly samples: { readonly atMs: number; readonly objects: number; readonly sizeBytes: number }[];
}

export class LeakingRefs implements Detector {
  readonly kind = "leaking-refs";
  readonly pace = "objects";
  /** The window is long enough. */
  readonly raiseAfterMs = 0;
  readonly clearAfterMs = 30_000;
  private histories = new Map<string, History>();

  *look({ atMs, sites }: Observation): Generator<Finding> {
    const histories = new Map<string, History>();
    for (const site of sites.slice(0, SITES_MAX)) {
      const { samples } = this.histories.get(site.callSite) ?? { samples: [] };
      const last = samples.at(-1);
      // It never falls, and never rests.
      if (last && (site.objects <= last.objects || site.sizeBytes < last.sizeBytes)) samples.length = 0;
      samples.push({ atMs, objects: site.objects, sizeBytes: site.sizeBytes });
      while (samples.length > LOOKS_MIN && atMs - (samples[1]?.atMs ?? atMs) >= WINDOW_MS) samples.shift();
      histories.set(site.callSite, { samples });
      const first = samples[0];
      if (!first || samples.length < LOOKS_MIN || atMs - first.atMs < WINDOW_MS) continue;
      const finding = leak(site, first, atMs);
      if (finding) yield finding;
    }
    this.histories = histories;
  }
}

function leak(site: SiteSeen, first: History["samples"][number], atMs: number): Finding | undefined {
  const { callSite, objects, sizeBytes, ownerPids } = site;
  const [more, bytes, ms] = [objects - first.objects, sizeBytes - first.sizeBytes, atMs - first.atMs];
  if (more < OBJECTS || bytes < BYTES || objects < first.objects * GROWN_TIMES) return undefined;
  const who = ownerPids.length === 0 ? "" : `, owned by process ${listText(ownerPids.map(String))}`;
  return {
    key: callSite,
    severity: "warning",
    message: `objects made at ${callSite}${who} have grown from ${countText(first.objects)} to ${countText(objects)} (${bytesText(first.sizeBytes)} to ${bytesText(sizeBytes)}) in ${spanText(ms)} and were never fewer: ${rateText((more / ms) * 1_000)} more a second`,
    remedy:
      "somebody keeps their refs: take them out of arrays, maps and actors' fields when they have been used, or free() them; mobula memory shows who holds what",
    subjects: [callSite],
  };
}
