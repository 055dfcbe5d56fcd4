/** A node's object store: nearly full, or busy with moving objects to the disk and back. */
import type { NodeRow } from "../rows.ts";
import type { Detector, Finding, Observation, SiteSeen } from "./detector.ts";
import { Rates } from "./rates.ts";
import { bytesText, listText, rateText, shareText, spanText } from "./words.ts";

/** From 80 % on a store makes room by itself, and mostly stays below this. */
const FULL_SHARE = 0.9;

export const isNearlyFull = ({ state, storeUsedBytes, storeCapacityBytes }: NodeRow): boolean =>
  state !== "dead" && storeCapacityBytes > 0 && storeUsedBytes / storeCapacityBytes >= FULL_SHARE;

const SITES_SHOWN = 3;
const takenBytes = ({ sizeBytes, freedBytes }: SiteSeen): number => sizeBytes + freedBytes;

const largestSites = ({ sites }: Observation): { readonly words: string; readonly names: readonly string[] } => {
  const largest = sites
    .filter((site) => takenBytes(site) > 0)
    .sort((a, b) => takenBytes(b) - takenBytes(a))
    .slice(0, SITES_SHOWN);
  const words = largest.map(({ callSite, objects, sizeBytes, freedBytes }) => {
    const held = sizeBytes > 0 ? [`${bytesText(sizeBytes)} in ${objects}`] : [];
    const read = freedBytes > 0 ? [`${bytesText(freedBytes)} without a ref, which are only read`] : [];
    return `${callSite} (${[...held, ...read].join(", ")})`;
  });
  return {
    words: words.length === 0 ? "" : `; most of what is stored was made at ${listText(words)}`,
    names: largest.map(({ callSite }) => callSite),
  };
};

export class StorePressure implements Detector {
  readonly kind = "store-pressure";
  readonly pace = "control";
  /** A batch is written to disk within two. */
  readonly raiseAfterMs = 5_000;
  readonly clearAfterMs = 10_000;

  *look(observation: Observation): Generator<Finding> {
    for (const { nodeId, name, storeUsedBytes, storeCapacityBytes } of observation.nodes.filter(isNearlyFull)) {
      const { words, names } = largestSites(observation);
      yield {
        key: nodeId,
        severity: "warning",
        message: `the object store of node ${name} is full to ${shareText(storeUsedBytes / storeCapacityBytes)} (${bytesText(storeUsedBytes)} of ${bytesText(storeCapacityBytes)}), and what is read by processes now cannot go to the disk${words}`,
        remedy:
          "let go of refs and of arrays that were read (a view keeps its object in memory), read fewer at once, or give the store more: init({ objectStoreBytes }), mobula start --object-store-bytes",
        subjects: [nodeId, ...names],
      };
    }
  }
}

const WINDOW_MS = 10_000;
/** Of the store, within the window, written and read together. */
const MOVED_TIMES = 1;
/** Small stores do that within no time, and it costs nobody anything. */
const MOVED_BYTES = 64 * 2 ** 20;

export class SpillStorm implements Detector {
  readonly kind = "spill-storm";
  readonly pace = "control";
  /** Of the window before it, so 20 s in all. */
  readonly raiseAfterMs = 10_000;
  readonly clearAfterMs = 15_000;
  private readonly rates = new Rates<"spilledBytes" | "restoredBytes">(WINDOW_MS);

  *look(observation: Observation): Generator<Finding> {
    const { atMs, nodes, diskTraffic } = observation;
    const moved = this.rates.add(
      atMs,
      diskTraffic as ReadonlyMap<string, Record<"spilledBytes" | "restoredBytes", number>>,
    );
    if (!moved) return;
    for (const { nodeId, name, storeCapacityBytes, storeSpilledBytes } of nodes) {
      const spilled = moved.of(nodeId, "spilledBytes");
      const restored = moved.of(nodeId, "restoredBytes");
      // Looks may be further apart than the window is long.
      const inWindow = WINDOW_MS / moved.ms;
      if ((spilled + restored) * inWindow < Math.max(MOVED_BYTES, storeCapacityBytes * MOVED_TIMES)) continue;
      // What is written once and never read again is a large result, and no storm.
      if (restored < spilled / 10 && spilled * inWindow < 4 * storeCapacityBytes) continue;
      const { words, names } = largestSites(observation);
      const perSecond = (bytes: number): string => `${bytesText((bytes / moved.ms) * 1_000)} a second`;
      yield {
        key: nodeId,
        severity: "warning",
        message: `the object store of node ${name} (${bytesText(storeCapacityBytes)}) has written ${perSecond(spilled)} to disk and read ${perSecond(restored)} back for ${spanText(moved.ms)}: ${rateText((spilled + restored) / storeCapacityBytes)} times its size; ${bytesText(storeSpilledBytes)} are on disk${words}`,
        remedy:
          "what is used again and again does not fit: work through it in pieces that fit, let go of refs sooner, start fewer tasks at once, or give the store more (objectStoreBytes)",
        subjects: [nodeId, ...names],
      };
    }
  }
}
