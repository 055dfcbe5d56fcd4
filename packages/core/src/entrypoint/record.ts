/** What is kept of a submitted job, as control keeps it: a key for each job, and one for the driver that its command has started. */
import { InternalError } from "../base/errors.ts";

/** In the order of a life; the last three are ends, and never change. */
export type JobStatus = "pending" | "running" | "stopped" | "succeeded" | "failed";

/** When an attempt that failed is followed by another one. */
export interface RetryPolicy {
  /** After the first attempt; 0: none, -1: for ever. */
  readonly maxRetries: number;
  /** Before the first retry; each further one waits `multiplier` times as long, up to `maxDelayMs`. */
  readonly delayMs: number;
  readonly maxDelayMs: number;
  readonly multiplier: number;
  /** Exit codes after which there is none. */
  readonly notOnExitCodes: readonly number[];
}

export const NO_RETRIES: RetryPolicy = {
  maxRetries: 0,
  delayMs: 0,
  maxDelayMs: 60_000,
  multiplier: 2,
  notOnExitCodes: [],
};

export interface JobNpm {
  /** A folder in the working directory; left out, that itself. */
  readonly path?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly dev?: boolean;
  readonly allowScripts?: boolean;
}

/** What was asked for; never changes. */
export interface JobSpec {
  readonly submissionId: string;
  /** A command, for the shell. */
  readonly entrypoint: string;
  /** Held while the command runs; memory in bytes. */
  readonly resources: Readonly<Record<string, number>>;
  readonly labels: Readonly<Record<string, string>>;
  /** Added to the environment of the command. */
  readonly env: Readonly<Record<string, string>>;
  /** A package (`gcs://….zip`), or a folder of the node; null: where the node itself runs. */
  readonly workingDir: string | null;
  /** Packages that npm installs beside it, for the command and for its workers. */
  readonly npm: JobNpm | null;
  /** Of Node.js, for the command and for its workers. Records of earlier versions have none of what follows. */
  readonly nodeOptions?: readonly string[];
  /** What each worker of its program runs first. */
  readonly setup?: { readonly module: string; readonly timeoutMs: number } | null;
  /** For making its environment ready. */
  readonly environmentTimeoutMs?: number | null;
  /** From when it waits until its command is started; null: without an end while some node could ever take it. */
  readonly startTimeoutMs?: number | null;
  /** As it was given, to be shown. */
  readonly runtimeEnv: Readonly<Record<string, unknown>>;
  readonly metadata: Readonly<Record<string, string>>;
  readonly retry: RetryPolicy;
}

export interface JobRecord {
  readonly spec: JobSpec;
  readonly status: JobStatus;
  /** From 0. */
  readonly attempt: number;
  /** Which process looks after the command, named anew each time that one takes it over; null: none yet. */
  readonly supervisor: string | null;
  readonly nodeId: string | null;
  readonly address: string | null;
  /** Of the command's process. */
  readonly pid: number | null;
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** Somebody has asked for its end. */
  readonly isStopAsked: boolean;
  /** A retry does not begin before; milliseconds since 1970. */
  readonly notBeforeMs: number;
  /** For people: why it is as it is. */
  readonly message: string | null;
  /** Of a command that failed: the last that it printed. */
  readonly tail: string | null;
  /** By which programs tell failures apart, see life.ts. */
  readonly errorType: string | null;
  readonly submittedAtMs: number;
  /** Since when it waits for a node that could take it, and there is none; left out, or null: it does not. */
  readonly unplaceableSinceMs?: number | null;
  /** Of the last attempt. */
  readonly startedAtMs: number | null;
  readonly endedAtMs: number | null;
  /** The job of the last driver that joined from within, 4 bytes. */
  readonly jobId: string | null;
}

/** The driver that a command has started: written by itself when it has joined. */
export interface DriverLink {
  readonly jobId: string;
  readonly pid: number;
  readonly nodeId: string;
  readonly namespace: string;
}

/** An id is part of names of files and of actors. */
export const SUBMISSION_ID = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
export const RECORD_PREFIX = "job/";
export const recordKey = (submissionId: string): string => RECORD_PREFIX + submissionId;
export const DRIVER_PREFIX = "job-driver/";
export const driverKey = (submissionId: string): string => DRIVER_PREFIX + submissionId;

export const newRecord = (spec: JobSpec, nowMs: number): JobRecord => ({
  spec,
  status: "pending",
  attempt: 0,
  supervisor: null,
  nodeId: null,
  address: null,
  pid: null,
  exitCode: null,
  signal: null,
  isStopAsked: false,
  notBeforeMs: 0,
  message: null,
  tail: null,
  errorType: null,
  submittedAtMs: nowMs,
  startedAtMs: null,
  endedAtMs: null,
  jobId: null,
});

export const isEnded = ({ status }: Pick<JobRecord, "status">): boolean =>
  status === "stopped" || status === "succeeded" || status === "failed";

/** What is kept says which layout it has: a newer one may be read by an older process while a cluster is upgraded. */
const LAYOUT = 1;

export const encodeRecord = (record: JobRecord): Uint8Array =>
  new TextEncoder().encode(JSON.stringify({ layout: LAYOUT, ...record }));

export function decodeRecord(bytes: Uint8Array): JobRecord {
  const { layout, ...record } = JSON.parse(new TextDecoder().decode(bytes)) as JobRecord & { readonly layout: number };
  if (layout !== LAYOUT)
    throw new InternalError(`a job's record has layout ${layout}, and this version knows ${LAYOUT}`);
  return record;
}

export const encodeLink = (link: DriverLink): Uint8Array => new TextEncoder().encode(JSON.stringify(link));
/** Written by `encodeLink` of this package. */
export const decodeLink = (bytes: Uint8Array): DriverLink => JSON.parse(new TextDecoder().decode(bytes)) as DriverLink;
