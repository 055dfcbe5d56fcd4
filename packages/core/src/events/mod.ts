export { timelineChunks } from "./chrome-trace.ts";
export { EventRecorder } from "./event-recorder.ts";
export { type FinishedRun, RunHistory } from "./run-history.ts";
