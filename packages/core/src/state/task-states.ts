/** What becomes of an attempt; apart from the schemas, so that the dashboard's build takes nothing else along. */

/** In the order of a life; the last five are ends. */
export const TASK_STATES = [
  "waiting",
  "queued",
  "running",
  "finished",
  "failed",
  "lost",
  "preempted",
  "cancelled",
] as const;
export type TaskState = (typeof TASK_STATES)[number];
