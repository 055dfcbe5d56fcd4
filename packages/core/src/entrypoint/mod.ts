export type { DriverEnvironment } from "./command.ts";
export { findOutput, type KeptOutput, OUTPUT_PREFIX, outputKey } from "./kept-output.ts";
export { waitsSinceMs } from "./life.ts";
export { type LogPiece, readJobLog, removeJobLog } from "./log.ts";
export {
  DRIVER_PREFIX,
  type DriverLink,
  decodeLink,
  decodeRecord,
  driverKey,
  encodeLink,
  isEnded,
  type JobRecord,
  type JobSpec,
  NO_RETRIES,
  RECORD_PREFIX,
  type RetryPolicy,
  SUBMISSION_ID,
} from "./record.ts";
export { type AskKv, Records } from "./records.ts";
export { type CommandEnvironment, Supervision } from "./supervision.ts";
export type { WorkingDir } from "./working-dirs.ts";
