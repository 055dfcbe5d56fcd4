export { timelineChunks } from "./chrome-trace.ts";
export { type AttemptOutcome, type EventBatchContent, type RecordedAttempt, readBatch } from "./event-batch.ts";
export {
  type AttemptWorker,
  EventRecorder,
  type EventRecorderOptions,
  type FinishedAttempt,
} from "./event-recorder.ts";
export { type FinishedRun, RunHistory } from "./run-history.ts";
