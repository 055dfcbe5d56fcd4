export { timelineChunks } from "./chrome-trace.ts";
export { type AttemptKind, type AttemptOutcome, type EventBatch, packBatch, readBatch } from "./event-batch.ts";
export { EventRecorder } from "./event-recorder.ts";
export { type FinishedRun, RunHistory } from "./run-history.ts";
export { TallyBook } from "./tally-book.ts";
