/** Reading a replicated log to its end, and appending to it until it is known what became of the record. */
import { type Clock, MobulaError, pause } from "../base/mod.ts";
import type { LogView } from "./log-view.ts";
import type { ReplicatedLog } from "./replicated-log.ts";

export type SureOutcome =
  | { readonly kind: "appended" }
  /** Another record is in its place, so it was not written and never will be. */
  | { readonly kind: "overtaken" }
  | { readonly kind: "failed"; readonly error: MobulaError }
  /** Given up: it may have been written, or may yet be. */
  | { readonly kind: "unknown"; readonly error: MobulaError };

const FIRST_PAUSE_MS = 20;
const LONGEST_PAUSE_MS = 250;

/** Reads to the end. */
export async function catchUp(log: ReplicatedLog, view: LogView): Promise<void> {
  for (;;) {
    const records = await log.read(view.lastSeq + 1);
    if (records.length === 0) break;
    for (const record of records) view.apply(record);
  }
  if (!view.isWhole) {
    throw new MobulaError(
      "STATE_CORRUPT",
      "internal",
      `${log.name} lacks records that were acknowledged; put back a backup, or give it another name to start anew`,
    );
  }
}

/**
 * Sends the record again and again until it is there, or something else is in its place. That can be done without
 * care, since its place can only be taken once.
 */
export async function appendSurely(
  log: ReplicatedLog,
  data: Uint8Array,
  after: number,
  mayGoOn: () => boolean,
  clock: Clock,
): Promise<SureOutcome> {
  let trouble: MobulaError | undefined;
  for (let pauseMs = FIRST_PAUSE_MS; ; pauseMs = Math.min(2 * pauseMs, LONGEST_PAUSE_MS)) {
    const outcome = await log.append(data, after);
    switch (outcome.kind) {
      case "appended":
      case "refused": {
        if (outcome.kind === "appended" && outcome.seq === after + 1) return { kind: "appended" };
        // Refused, or let through in the wrong place: the right one is taken, maybe by what we sent before.
        const [next] = await log.read(after + 1).catch((error: MobulaError) => {
          trouble = error;
          return [];
        });
        // The replica that we asked may not have come so far.
        if (next === undefined) break;
        if (next.seq === after + 1) return { kind: Buffer.compare(next.data, data) === 0 ? "appended" : "overtaken" };
        return { kind: "unknown", error: unanswered(log, "another leader has trimmed what became of a record") };
      }
      case "failed":
        // If an earlier try went unanswered, this one may have failed for a record that is there already.
        if (trouble === undefined) return outcome;
        trouble = outcome.error;
        break;
      case "unknown":
        trouble = outcome.error;
        break;
    }
    if (!mayGoOn()) return { kind: "unknown", error: trouble ?? unanswered(log, "it did not answer") };
    await pause(pauseMs, undefined, clock);
  }
}

const unanswered = (log: ReplicatedLog, why: string): MobulaError =>
  new MobulaError("STATE_UNAVAILABLE", "unavailable", `${log.name} cannot be used: ${why}`);
