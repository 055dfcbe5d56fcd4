/**
 * The life of a submitted job: `pending → running → succeeded | failed | stopped`, and from a failed attempt back to `pending` while
 * there are retries. Pure: a record and an event give the next record, or say why the event does not count.
 *
 * Several processes change a record (the service that takes orders, and the supervisor beside the command, which may be made again on
 * another node while the one before it still believes that it is in charge). Each change is written by compare-and-set, and
 * everything that a supervisor says names it: what one says that was replaced does not count.
 */
import { unreachable } from "../base/assert.ts";
import { isEnded, type JobRecord, type JobStatus } from "./record.ts";

export type JobEvent =
  /** A process looks after the command from now on. */
  | {
      readonly kind: "taken-over";
      readonly supervisor: string;
      readonly nodeId: string;
      readonly address: string | null;
    }
  /** The command is about to be started: written down before it is, so that none runs that nobody knows of. */
  | { readonly kind: "starting"; readonly supervisor: string }
  | { readonly kind: "started"; readonly supervisor: string; readonly pid: number }
  | ({ readonly kind: "exited"; readonly supervisor: string } & Exit)
  /** What it needs could not be had, or there is no such command. */
  | { readonly kind: "not-startable"; readonly supervisor: string; readonly errorType: ErrorType; readonly why: string }
  /** No process looks after it any more, nor will again. */
  | { readonly kind: "lost"; readonly errorType: ErrorType; readonly why: string }
  /** No node that there is could ever take it. */
  | { readonly kind: "unplaceable"; readonly why: string }
  /** It has waited for too long. */
  | { readonly kind: "start-timed-out"; readonly why: string }
  | { readonly kind: "stop-asked" };

export interface Exit {
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** The last that it printed. */
  readonly tail: string;
}

/** Ray's names, for its tools. */
export type ErrorType =
  | "RUNTIME_ENV_SETUP_FAILURE"
  | "JOB_SUPERVISOR_ACTOR_START_FAILURE"
  | "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE"
  | "JOB_SUPERVISOR_ACTOR_DIED"
  | "JOB_ENTRYPOINT_COMMAND_START_ERROR"
  | "JOB_ENTRYPOINT_COMMAND_ERROR";

export type Step =
  | { readonly kind: "changed"; readonly record: JobRecord }
  /** Nothing is to be written. */
  | { readonly kind: "unchanged"; readonly why: "ended" | "replaced" | "too-early" | "known" };

/** Since when it has waited for its start: that of its attempt, if it is tried again. */
export const waitsSinceMs = ({ submittedAtMs, startedAtMs, notBeforeMs }: JobRecord): number =>
  Math.max(submittedAtMs, startedAtMs ?? 0, notBeforeMs);

const unchanged = (why: Extract<Step, { kind: "unchanged" }>["why"]): Step => ({ kind: "unchanged", why });
const changed = (record: JobRecord): Step => ({ kind: "changed", record });

export function step(record: JobRecord, event: JobEvent, nowMs: number): Step {
  if (isEnded(record)) return unchanged("ended");
  if ("supervisor" in event && event.kind !== "taken-over" && event.supervisor !== record.supervisor) {
    return unchanged("replaced");
  }
  switch (event.kind) {
    case "taken-over":
      return changed(takenOver(record, event, nowMs));
    case "starting":
      if (record.status !== "pending") return unchanged("known");
      if (record.isStopAsked) return changed(end(record, "stopped", nowMs));
      if (nowMs < record.notBeforeMs) return unchanged("too-early");
      return changed({ ...record, status: "running", startedAtMs: nowMs, message: null, errorType: null });
    case "started":
      return record.status === "running" ? changed({ ...record, pid: event.pid }) : unchanged("known");
    case "exited":
      if (record.status !== "running") return unchanged("known");
      return changed(exited(record, event, nowMs));
    case "not-startable": {
      const { errorType, why: message } = event;
      if (record.isStopAsked) return changed(end(record, "stopped", nowMs));
      return changed({ ...end(record, "failed", nowMs), errorType, message });
    }
    case "lost": {
      const { errorType, why: message } = event;
      if (record.isStopAsked) return changed(end(record, "stopped", nowMs));
      return changed({ ...end(record, "failed", nowMs), errorType, message });
    }
    case "unplaceable":
      return unplaceable(record, event.why, nowMs);
    case "start-timed-out":
      if (record.status !== "pending") return unchanged("known");
      if (record.isStopAsked) return changed(end(record, "stopped", nowMs));
      return changed({
        ...end(record, "failed", nowMs),
        errorType: "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE",
        message: event.why,
      });
    case "stop-asked":
      // Nobody has begun with it, so nobody has to be waited for.
      if (record.supervisor === null) return changed({ ...end(record, "stopped", nowMs), isStopAsked: true });
      return record.isStopAsked ? unchanged("known") : changed({ ...record, isStopAsked: true });
    default:
      return unreachable(event);
  }
}

function takenOver(
  record: JobRecord,
  { supervisor, nodeId, address }: Extract<JobEvent, { kind: "taken-over" }>,
  nowMs: number,
): JobRecord {
  const mine = { supervisor, nodeId, address, unplaceableSinceMs: null };
  if (record.status === "pending") {
    return record.isStopAsked ? end({ ...record, ...mine }, "stopped", nowMs) : { ...record, ...mine };
  }
  // It ran under another supervisor, which is gone with it. Where it ran is the more useful to know of one that has ended.
  const message = `node ${record.nodeId} or the process beside the command died while attempt ${record.attempt} ran`;
  const errorType: ErrorType = "JOB_SUPERVISOR_ACTOR_DIED";
  if (record.isStopAsked) return end(record, "stopped", nowMs);
  if (!mayRetry(record, null)) return { ...end(record, "failed", nowMs), errorType, message };
  return { ...again(record, nowMs), ...mine, errorType, message: `${message}; ${nextAttempt(record)}` };
}

function unplaceable(record: JobRecord, why: string, nowMs: number): Step {
  if (record.isStopAsked) return changed(end(record, "stopped", nowMs));
  if (record.status === "pending") {
    const unplaceableSinceMs = record.unplaceableSinceMs ?? nowMs;
    if (record.message === why && record.unplaceableSinceMs === unplaceableSinceMs) return unchanged("known");
    return changed({ ...record, unplaceableSinceMs, message: why });
  }
  // Its node died while it ran, and no other can take it.
  const message = `node ${record.nodeId} died while attempt ${record.attempt} ran`;
  const errorType: ErrorType = "JOB_SUPERVISOR_ACTOR_DIED";
  if (!mayRetry(record, null)) return changed({ ...end(record, "failed", nowMs), errorType, message });
  return changed({ ...again(record, nowMs), errorType, message: why, unplaceableSinceMs: nowMs });
}

function exited(record: JobRecord, { exitCode, signal, tail }: Exit, nowMs: number): JobRecord {
  const known = { ...record, exitCode, signal };
  if (record.isStopAsked) return end(known, "stopped", nowMs);
  if (exitCode === 0) return end(known, "succeeded", nowMs);
  const how = exitCode === null ? `was ended by ${signal}` : `failed with exit code ${exitCode}`;
  const errorType: ErrorType = "JOB_ENTRYPOINT_COMMAND_ERROR";
  if (mayRetry(record, exitCode)) {
    return { ...again(known, nowMs), errorType, message: `attempt ${record.attempt} ${how}; ${nextAttempt(record)}` };
  }
  return { ...end(known, "failed", nowMs), errorType, message: `the command ${how}`, tail };
}

const mayRetry = ({ attempt, spec: { retry } }: JobRecord, exitCode: number | null): boolean =>
  (retry.maxRetries === -1 || attempt < retry.maxRetries) &&
  !(exitCode !== null && retry.notOnExitCodes.includes(exitCode));

function again(record: JobRecord, nowMs: number): JobRecord {
  const { retry } = record.spec;
  const delayMs = Math.min(retry.maxDelayMs, retry.delayMs * retry.multiplier ** record.attempt);
  return { ...record, status: "pending", attempt: record.attempt + 1, notBeforeMs: nowMs + delayMs, pid: null };
}

const nextAttempt = ({ attempt, spec: { retry } }: JobRecord): string =>
  `retry ${attempt + 1}${retry.maxRetries === -1 ? "" : ` of ${retry.maxRetries}`} follows`;

function end(record: JobRecord, status: JobStatus, nowMs: number): JobRecord {
  return { ...record, status, endedAtMs: nowMs, message: null, tail: null, errorType: null, unplaceableSinceMs: null };
}
