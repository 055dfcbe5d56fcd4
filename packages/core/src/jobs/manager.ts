/**
 * Submitted jobs: takes them, tells of them, and sees to it that each has its supervisor. What lasts is at control; several of these may be
 * at work at once, and one that is killed has taken nothing with it.
 */
import { setTimeout as delay } from "node:timers/promises";
import { wallMs } from "../base/clock.ts";
import { InvalidOptionError, isError, MobulaError } from "../base/errors.ts";
import { randomBytes } from "../base/random.ts";
import {
  type AskKv,
  findOutput,
  isEnded,
  type JobRecord,
  type JobSpec,
  type KeptOutput,
  type LogPiece,
  NO_RETRIES,
  OUTPUT_PREFIX,
  outputKey,
  Records,
  type RetryPolicy,
  SUBMISSION_ID,
  waitsSinceMs,
} from "../entrypoint/mod.ts";
import type { Explanation } from "../wire/explanation.ts";
import type { ActorInfo } from "../wire/queries.ts";
import { type Ask, type KnownJob, KnownJobs } from "./known-jobs.ts";
import { Packages } from "./packages.ts";
import { readRuntimeEnv } from "./runtime-env.ts";
import { SharedPackages } from "./shared-packages.ts";
import { Starts, spanOf } from "./starts.ts";
import { Supervisors } from "./supervisors.ts";

export interface JobManagerOptions {
  /** Asks control. */
  readonly ask: Ask;
  /** Makes this process a driver in the namespace "mobula-jobs"; called when a job is to be reached for the first time. */
  readonly join: () => Promise<void>;
  /** Why no job can be taken here. */
  readonly refusal?: string | undefined;
  /** Where uploaded packages are kept. */
  readonly packagesFolder: string;
  readonly onProblem: (message: string) => void;
  /** Told of what people have done, for the audit log. */
  readonly onAudit?: (
    kind: "job-submitted" | "job-stopped" | "job-deleted",
    message: string,
    subjects: readonly string[],
  ) => void;
}

export interface JobRequest {
  readonly entrypoint: string;
  readonly submissionId?: string | undefined;
  readonly runtimeEnv?: Readonly<Record<string, unknown>> | undefined;
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** Held while the command runs; memory in bytes. */
  readonly resources?: Readonly<Record<string, number>> | undefined;
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** How long it may wait until it is started; left out: see starts.ts. */
  readonly startTimeoutMs?: number | undefined;
  readonly retry?: { readonly [K in keyof RetryPolicy]?: RetryPolicy[K] | undefined } | undefined;
}

/** Some of what a job has printed, and where what follows begins, in bytes. */
export interface Printed {
  readonly text: string;
  readonly next: number;
}

/** Of ended jobs so many are remembered, the last ones. */
const ENDED_MAX = 10_000;
/** Of so many of them the last output is kept beside that on their nodes: 8 MiB. */
const OUTPUTS_MAX = 500;
/** How often those are counted. */
const COUNT_MS = 60_000;
/** So many are forgotten at once when there are more. */
const FORGOTTEN_AT_ONCE = 100;
/** How often what goes on is looked at. */
const LOOK_MS = 1_000;
/** A supervisor that was just asked for is not known everywhere yet. */
const YOUNG_MS = 5_000;
const PIECE_BYTES = 1 << 20;
const AGAIN_MS = 50;
const ENTRYPOINT_CHARS_MAX = 32_768;
const METADATA_CHARS_MAX = 65_536;

export class JobManager implements AsyncDisposable {
  readonly packages: Packages;
  private readonly options: JobManagerOptions;
  private readonly records: Records;
  private readonly known: KnownJobs;
  private readonly supervisors: Supervisors;
  private readonly starts: Starts;
  /** Jobs whose supervisor is being made, told to stop or given a package. */
  private readonly underWay = new Map<string, Promise<void>>();
  private readonly ending = new AbortController();
  private readonly looking: Promise<void>;
  private countedMs = Number.NEGATIVE_INFINITY;

  constructor(options: JobManagerOptions) {
    this.options = options;
    this.records = new Records(options.ask as AskKv, wallMs);
    this.known = new KnownJobs(options.ask, wallMs);
    this.supervisors = new Supervisors(options.ask, options.join);
    this.starts = new Starts(options.ask, this.records);
    const isNeeded = (uri: string): boolean =>
      this.known.last.some(({ record }) => record.spec.workingDir === uri && !isEnded(record));
    const shared = new SharedPackages(options.ask, isNeeded);
    this.packages = new Packages(options.packagesFolder, isNeeded, undefined, shared);
    this.looking = this.look();
  }

  /** @throws InvalidOptionError for what is wrong, also an id that is taken. */
  async submit(request: JobRequest, newId: () => string = newSubmissionId): Promise<JobRecord> {
    if (this.options.refusal !== undefined) throw new InvalidOptionError(this.options.refusal);
    const spec = specOf(request, newId);
    if (spec.workingDir?.startsWith("gcs://") && !(await this.packages.find(spec.workingDir))) {
      throw new InvalidOptionError(`the package ${spec.workingDir} was not uploaded; PUT it to /api/packages first`);
    }
    const isNew = await this.records.add(spec).catch(async (error: MobulaError) => {
      if (error.code !== "KV_FULL") throw error;
      await this.forgetOldest(FORGOTTEN_AT_ONCE);
      return this.records.add(spec);
    });
    const { submissionId } = spec;
    this.known.changed();
    if (!isNew) throw new JobExistsError(submissionId);
    this.options.onAudit?.("job-submitted", `job ${submissionId} was submitted: ${spec.entrypoint.slice(0, 200)}`, [
      submissionId,
    ]);
    this.begin(submissionId, spec);
    return (await this.find(submissionId)).record;
  }

  /** The newest first. */
  all(): Promise<readonly KnownJob[]> {
    return this.known.all();
  }

  /** @param id of the submission, or of the job of its driver. @throws JobNotFoundError */
  async find(id: string): Promise<KnownJob> {
    const found = await this.known.one(id);
    if (found) return found;
    const byDriver = (await this.known.all()).find(({ record, driver }) => (driver?.jobId ?? record.jobId) === id);
    if (!byDriver) throw new JobNotFoundError(id);
    return byDriver;
  }

  /** Why one waits, in words; undefined when that is not known. */
  async whyPending(record: JobRecord): Promise<string | undefined> {
    const { submissionId } = record.spec;
    if (record.message !== null) return this.withDeadline(record, record.message);
    const why = await this.starts.why(record, await this.supervisors.beside(submissionId));
    return why && this.withDeadline(record, why);
  }

  private withDeadline(record: JobRecord, why: string): string {
    const deadlineMs = this.starts.deadlineMs(record);
    return deadlineMs === undefined
      ? why
      : `${why}; it fails in ${spanOf(Math.max(0, deadlineMs - wallMs()))} otherwise`;
  }

  /** As `why` answers for tasks and actors; undefined when there is no such job. */
  async explain(id: string): Promise<Explanation | undefined> {
    const known = await this.find(id).catch((error: Error) => {
      if (isError(error, "JOB_NOT_FOUND")) return undefined;
      throw error;
    });
    if (!known) return undefined;
    const { record } = known;
    const { status, message, tail, attempt, nodeId, pid } = record;
    const since = record.endedAtMs ?? (status === "running" ? record.startedAtMs : undefined) ?? waitsSinceMs(record);
    const say = async (): Promise<readonly (string | null)[]> => {
      if (status === "pending")
        return [
          `It waits to be started: ${(await this.whyPending(record)) ?? "its supervisor has just been asked for"}.`,
        ];
      if (status === "running")
        return [`Attempt ${attempt} runs on node ${nodeId}${pid === null ? "" : `, as process ${pid}`}.`];
      return [message ?? `It ${status === "stopped" ? "was stopped" : "has succeeded"}.`, tail];
    };
    const actors = status === "pending" ? await this.supervisors.beside(record.spec.submissionId) : [];
    return {
      ...{ state: status, since },
      sentences: (await say()).filter((words) => words !== null),
      waitsFor: actors.filter(({ state }) => state === "pending").map(({ actorId }) => actorId),
    };
  }

  /** Has it end; false when it had ended before. @throws JobNotFoundError */
  async stop(id: string): Promise<boolean> {
    const { record } = await this.find(id);
    const { submissionId } = record.spec;
    const applied = await this.records.apply(submissionId, { kind: "stop-asked" });
    if (!applied) throw new JobNotFoundError(id);
    this.known.changed();
    if (applied.step.kind === "unchanged") return applied.step.why === "known";
    this.options.onAudit?.("job-stopped", `the end of job ${submissionId} was asked for`, [submissionId]);
    this.inBackground(submissionId, () => this.endIt(applied.record));
    return true;
  }

  /** Forgets one that has ended, and what it printed. @throws JobNotFoundError; JobNotEndedError */
  async remove(id: string): Promise<void> {
    const { record } = await this.find(id);
    const { submissionId } = record.spec;
    if (!isEnded(record)) throw new JobNotEndedError(record);
    if (!(await this.records.remove(submissionId))) throw new JobNotFoundError(id);
    this.known.changed();
    this.options.onAudit?.("job-deleted", `job ${submissionId} was deleted`, [submissionId]);
    await this.options.ask("kv-commit", { changes: [{ key: outputKey(submissionId), value: null }] });
    const { nodeId } = record;
    if (nodeId !== null) await this.supervisors.removeOutput(submissionId, nodeId);
  }

  /** What it has printed: at most the last `bytesMax` bytes. @throws JobNotFoundError; JobLogLostError */
  async output(id: string, bytesMax: number): Promise<string> {
    const { record } = await this.find(id);
    const { nodeId, spec } = record;
    if (nodeId === null) return "";
    const chunks: Uint8Array[] = [];
    for (let offset = -bytesMax; ; ) {
      const piece = await this.supervisors.read(spec.submissionId, nodeId, offset, PIECE_BYTES);
      if (!piece) return Buffer.concat([...chunks, ...(await this.keptOf(record))]).toString("utf8");
      chunks.push(piece.bytes);
      offset = piece.from + piece.bytes.length;
      // What comes meanwhile is not waited for.
      if (piece.bytes.length === 0 || offset >= piece.end) return Buffer.concat(chunks).toString("utf8");
    }
  }

  /** What it prints, from an offset on, until it has ended. @throws JobNotFoundError; JobLogLostError */
  async *follow(id: string, signal: AbortSignal, from = 0): AsyncGenerator<Printed, void> {
    const { submissionId } = (await this.find(id)).record.spec;
    let decoder = new TextDecoder();
    let at: { readonly nodeId: string | null; offset: number } = { nodeId: null, offset: from };
    const take = ({ bytes, from: start }: LogPiece): Printed => {
      at.offset = start + bytes.length;
      return { text: decoder.decode(bytes, { stream: true }), next: at.offset };
    };
    while (!signal.aborted) {
      const { record } = await this.find(submissionId);
      if (record.nodeId !== at.nodeId) {
        // On another node it prints into another file.
        if (at.nodeId !== null) decoder = new TextDecoder();
        at = { nodeId: record.nodeId, offset: at.nodeId === null ? at.offset : 0 };
      }
      if (isEnded(record)) {
        yield* this.rest(record, () => at.offset, take);
        return;
      }
      for await (const piece of this.supervisors.follow(submissionId, at.offset, signal)) {
        if (piece.bytes.length > 0) yield take(piece);
        if (piece.isLast) return;
      }
      await delay(AGAIN_MS, undefined, { signal }).catch(() => {});
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.ending.abort();
    await this.looking;
    await Promise.all(this.underWay.values());
  }

  private async *rest(
    record: JobRecord,
    offset: () => number,
    take: (piece: LogPiece) => Printed,
  ): AsyncGenerator<Printed, void> {
    const { nodeId, spec } = record;
    if (nodeId === null) return;
    for (;;) {
      const piece = await this.supervisors.read(spec.submissionId, nodeId, offset(), PIECE_BYTES);
      if (!piece) {
        for (const bytes of await this.keptOf(record, offset())) {
          yield { text: Buffer.from(bytes).toString("utf8"), next: offset() };
        }
        return;
      }
      if (piece.bytes.length === 0) return;
      yield take(piece);
    }
  }

  /** What is left of a log whose node is gone, from an offset on, and that this is so. @throws JobLogLostError when nothing is. */
  private async keptOf(record: JobRecord, from = 0): Promise<readonly Uint8Array[]> {
    const { nodeId, spec } = record;
    const kept = await findOutput(this.options.ask as AskKv, spec.submissionId);
    if (!kept || kept.nodeId !== nodeId) throw new JobLogLostError(record);
    const bytes = kept.bytes.subarray(Math.max(0, from - kept.from));
    return [Buffer.from(noteOf(kept, bytes.length, from)), bytes];
  }

  // ── what goes on ───────────────────────────────────────────────────────────────────────────────────────────────────

  private begin(submissionId: string, spec: JobSpec): void {
    this.inBackground(submissionId, async () => {
      await this.supervisors.create(spec);
      if (isBrought(spec)) await this.supervisors.bring(submissionId, (uri) => this.packages.find(uri));
    });
  }

  /** One thing at a time for each job. */
  private inBackground(submissionId: string, act: () => Promise<void>): void {
    const before = this.underWay.get(submissionId) ?? Promise.resolve();
    const now = before.then(act).catch((error: Error) => {
      // It is looked at again.
      if (!this.ending.signal.aborted) this.options.onProblem(`job ${submissionId}: ${error.message}`);
    });
    this.underWay.set(submissionId, now);
    void now.then(() => this.underWay.get(submissionId) === now && this.underWay.delete(submissionId));
  }

  private async endIt(record: JobRecord): Promise<void> {
    const { submissionId } = record.spec;
    if (!isEnded(record)) {
      await this.supervisors.stop(submissionId);
      return;
    }
    // It had not begun: what was to look after it is not needed.
    await this.supervisors.kill(submissionId);
  }

  private async look(): Promise<void> {
    const { signal } = this.ending;
    while (!signal.aborted) {
      try {
        await this.lookOnce();
      } catch (error) {
        // Control is away for now, or says why not.
        if (!isError(error, "CONNECTION_LOST")) this.options.onProblem(`jobs: ${(error as Error).message}`);
      }
      await delay(LOOK_MS, undefined, { signal }).catch(() => {});
    }
  }

  private async lookOnce(): Promise<void> {
    const jobs = await this.known.all();
    const going = jobs.filter(({ record }) => !isEnded(record));
    const ended = jobs.length - going.length;
    if (ended > ENDED_MAX) await this.forgetOldest(ended - ENDED_MAX + FORGOTTEN_AT_ONCE);
    await this.forgetOutputs(jobs);
    this.starts.keepOnly(new Set(going.map(({ record }) => record.spec.submissionId)));
    if (going.length === 0) return;
    const actors = await this.supervisors.all();
    for (const { record } of going) {
      if (!this.underWay.has(record.spec.submissionId)) await this.lookAt(record, actors.get(record.spec.submissionId));
    }
  }

  private async lookAt(record: JobRecord, actor: ActorInfo | undefined): Promise<void> {
    const { spec, supervisor, isStopAsked } = record;
    const { submissionId } = spec;
    if (
      await this.starts.endLate(record, async () =>
        this.starts.why(record, await this.supervisors.beside(submissionId)),
      )
    ) {
      this.known.changed();
      this.inBackground(submissionId, () => this.supervisors.kill(submissionId));
      return;
    }
    if (actor && actor.state !== "dead") {
      if (isStopAsked && actor.state === "alive")
        this.inBackground(submissionId, () => this.supervisors.stop(submissionId));
      else if (record.status === "pending" && isBrought(spec) && actor.state === "alive") {
        this.inBackground(submissionId, () => this.supervisors.bring(submissionId, (uri) => this.packages.find(uri)));
      }
      return;
    }
    const isYoung = wallMs() - Math.max(record.submittedAtMs, record.startedAtMs ?? 0) < YOUNG_MS;
    if (isYoung && actor === undefined && supervisor !== null) return;
    if (supervisor === null && actor === undefined) {
      // Whoever took it was killed before it had asked for a supervisor.
      this.begin(submissionId, spec);
      return;
    }
    if (actor?.causeCode === "INFEASIBLE") {
      await this.starts.noNodeFor(record, actor, () => this.begin(submissionId, spec));
      this.known.changed();
      return;
    }
    const isUnmade = supervisor === null;
    const causes = actor && isUnmade ? (await this.options.ask("explain-id", { id: actor.actorId })).sentences : [];
    await this.records.apply(submissionId, {
      kind: "lost",
      errorType: isUnmade ? "JOB_SUPERVISOR_ACTOR_START_FAILURE" : "JOB_SUPERVISOR_ACTOR_DIED",
      why: isUnmade
        ? ["the actor beside its command could not be made", ...causes].join(": ")
        : "the actor beside its command was ended, and is not made again",
    });
  }

  private async forgetOldest(count: number): Promise<void> {
    const ended = (await this.known.all()).filter(({ record }) => isEnded(record)).slice(-count);
    for (const { record } of ended) await this.records.remove(record.spec.submissionId);
  }

  /** Of jobs that have ended long ago, or are forgotten. */
  private async forgetOutputs(jobs: readonly KnownJob[]): Promise<void> {
    if (wallMs() - this.countedMs < COUNT_MS) return;
    this.countedMs = wallMs();
    const ended = jobs.filter(({ record }) => isEnded(record));
    ended.sort((a, b) => (b.record.endedAtMs ?? 0) - (a.record.endedAtMs ?? 0));
    const over = new Set(ended.slice(OUTPUTS_MAX).map(({ record }) => record.spec.submissionId));
    const known = new Set(jobs.map(({ record }) => record.spec.submissionId));
    const { entries } = await this.options.ask("kv-list", { prefix: OUTPUT_PREFIX, keysOnly: true });
    for (const { key } of entries) {
      const id = key.slice(OUTPUT_PREFIX.length);
      // One that is not known may have been submitted since.
      const isForgotten = !known.has(id) && (await this.records.get(id)) === undefined;
      if (over.has(id) || isForgotten) await this.options.ask("kv-commit", { changes: [{ key, value: null }] });
    }
  }
}

const isBrought = ({ workingDir }: JobSpec): boolean => workingDir?.includes("://") === true;

/** Among the lines of a job: what of them is not there any more. */
function noteOf({ nodeId, from, atMs }: KeptOutput, bytes: number, asked: number): string {
  const missing = from > asked ? `; what it printed before that is lost (${from - asked} bytes)` : "";
  return `[mobula] node ${nodeId}, where this job ran, is gone: of its output the last ${bytes} bytes until ${new Date(atMs).toISOString()} were kept${missing}\n`;
}

const ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz123456789";
const randomId = (): string => [...randomBytes(16)].map((byte) => ALPHABET[byte % ALPHABET.length]).join("");
const newSubmissionId = (): string => `job_${randomId()}`;
/** As Ray's look. */
export const newRaySubmissionId = (): string => `raysubmit_${randomId()}`;

/** @throws InvalidOptionError that says what is wrong. */
function specOf(request: JobRequest, newId: () => string): JobSpec {
  const { entrypoint, submissionId = newId(), runtimeEnv = {}, metadata = {}, resources = {}, labels = {} } = request;
  if (entrypoint.trim() === "" || entrypoint.length > ENTRYPOINT_CHARS_MAX || entrypoint.includes("\0")) {
    throw new InvalidOptionError(`an entrypoint is a command of at most ${ENTRYPOINT_CHARS_MAX} characters`);
  }
  if (!SUBMISSION_ID.test(submissionId)) {
    throw new InvalidOptionError(
      `"${submissionId.slice(0, 200)}" is no submission id: at most 128 letters, digits, ".", "_" and "-", which begin with a letter, a digit or "_"`,
    );
  }
  if (JSON.stringify(metadata).length > METADATA_CHARS_MAX || JSON.stringify(runtimeEnv).length > METADATA_CHARS_MAX) {
    throw new InvalidOptionError(`metadata and runtime environment have at most ${METADATA_CHARS_MAX} characters each`);
  }
  for (const [name, amount] of Object.entries(resources)) {
    if (!(Number.isFinite(amount) && amount >= 0))
      throw new InvalidOptionError(`${name} is ${amount}; it must be at least 0`);
  }
  const { startTimeoutMs = null } = request;
  if (startTimeoutMs !== null && !(Number.isFinite(startTimeoutMs) && startTimeoutMs > 0)) {
    throw new InvalidOptionError(`startTimeoutMs is ${startTimeoutMs}; it must be more than 0`);
  }
  const { shown, ...environment } = readRuntimeEnv(runtimeEnv);
  const held = Object.fromEntries(Object.entries(resources).filter(([, amount]) => amount > 0));
  const asked = Object.entries(request.retry ?? {}).filter(([, value]) => value !== undefined);
  const retry = { ...NO_RETRIES, ...Object.fromEntries(asked) };
  const needs = { resources: held, labels, ...environment, startTimeoutMs };
  return { submissionId, entrypoint, ...needs, runtimeEnv: shown, metadata, retry };
}

class JobNotFoundError extends MobulaError {
  constructor(id: string) {
    super("JOB_NOT_FOUND", "invalid", `there is no job ${id}; \`mobula job list\` shows those that there are`);
  }
}

class JobExistsError extends MobulaError {
  constructor(id: string) {
    super(
      "JOB_EXISTS",
      "invalid",
      `Job with submission_id ${id} already exists. Please use a different submission_id.`,
    );
  }
}

class JobNotEndedError extends MobulaError {
  constructor({ spec: { submissionId }, status }: JobRecord) {
    super(
      "JOB_NOT_ENDED",
      "invalid",
      `job ${submissionId} is ${status}; stop it first: \`mobula job stop ${submissionId}\``,
    );
  }
}

class JobLogLostError extends MobulaError {
  constructor({ spec: { submissionId }, nodeId }: JobRecord) {
    super(
      "JOB_LOG_LOST",
      "lost",
      `what job ${submissionId} printed was on node ${nodeId}, which is gone, and nothing of it was kept elsewhere`,
    );
  }
}
