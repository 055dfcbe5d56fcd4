export { type TracedRun, timelineChunks, traceChunks } from "./chrome-trace.ts";
export {
  ATTEMPT_KINDS,
  ATTEMPT_OUTCOMES,
  type AttemptKind,
  type AttemptOutcome,
  attemptsOf,
  type BatchWorker,
  type EventBatch,
  type PutTally,
  packBatch,
  type RecordedAttempt,
  readBatch,
  submitterOf,
  type Tally,
} from "./event-batch.ts";
export { EventRecorder, type FinishedAttempt } from "./event-recorder.ts";
export { type FinishedRun, RunHistory } from "./run-history.ts";
export { TallyBook } from "./tally-book.ts";
