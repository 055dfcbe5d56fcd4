/** Why a task ended as it did, from what was recorded of its attempts: for those whose owner has ended too, which knew more. Pure. */
import type { Explanation } from "../wire/explanation.ts";
import { countText, spanText } from "./detectors/words.ts";
import type { TaskRow, TaskSummaryRow } from "./rows.ts";

/** Of more the last ones. */
const ATTEMPTS_MAX = 5;
/** Slower than the mean by so much is worth a word, and so long a wait. */
const SLOW_TIMES = 2;
const WAIT_MS = 10;

/** @param attempts of one task, the first one first; at least one. @param others of its function, as far as that is known. */
export function whyEnded(
  attempts: readonly TaskRow[],
  others: TaskSummaryRow | undefined,
  nodeName: (nodeId: string) => string,
): Explanation {
  const last = attempts.at(-1) as TaskRow; // There is one.
  const shown = attempts.slice(-ATTEMPTS_MAX);
  return {
    state: last.state,
    since: last.finishedAtMs ?? last.submittedAtMs ?? 0,
    sentences: [
      ...shown.map((attempt) => attemptSentence(attempt, attempts.length, nodeName)),
      ...waitSentences(last),
      ...slowSentences(last, others),
      "This is what was recorded of it; who owned it cannot be asked.",
    ],
    waitsFor: [],
  };
}

function attemptSentence(attempt: TaskRow, count: number, nodeName: (nodeId: string) => string): string {
  const { name, nodeId, workerPid, ranMs, state, error } = attempt;
  const which = count === 1 ? name : `${name}, attempt ${attempt.attempt + 1},`;
  const where = `${workerPid === null ? "" : ` in process ${workerPid}`}${nodeId === null ? "" : ` on node ${nodeName(nodeId)}`}`;
  const ran = ranMs === null ? `${which} did not run` : `${which} ran for ${spanText(ranMs)}${where}`;
  const end = state === "failed" ? `failed: ${error ?? "why was not recorded"}` : `was ${state}`;
  return `${ran} and ${state === "finished" ? "finished" : end}.`;
}

function waitSentences({ submittedAtMs, readyAtMs, sentAtMs }: TaskRow): string[] {
  if (submittedAtMs === null) return [];
  const ready = readyAtMs ?? submittedAtMs;
  const waits = [
    [ready - submittedAtMs, "for its arguments"],
    [(sentAtMs ?? ready) - ready, "for a worker"],
  ] as const;
  const long = waits.filter(([ms]) => ms >= WAIT_MS).map(([ms, what]) => `${spanText(ms)} ${what}`);
  return long.length > 0 ? [`It had waited ${long.join(" and ")}.`] : [];
}

function slowSentences({ name, ranMs }: TaskRow, others: TaskSummaryRow | undefined): string[] {
  const { meanRunMs = null, p95RunMs = null, counts = {} } = others ?? {};
  if (ranMs === null || meanRunMs === null || meanRunMs <= 0 || ranMs < SLOW_TIMES * meanRunMs) return [];
  const p95 = p95RunMs === null ? "" : `, ${spanText(p95RunMs)} at most in 95 of 100`;
  const times = (ranMs / meanRunMs).toFixed(ranMs < 10 * meanRunMs ? 1 : 0);
  return [
    `That is ${times} times the mean of ${name}: ${spanText(meanRunMs)}${p95}, over ${countText(counts.finished ?? 0)} that finished.`,
  ];
}
