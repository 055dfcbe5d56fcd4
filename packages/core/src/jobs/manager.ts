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
  isEnded,
  type JobRecord,
  type JobSpec,
  type LogPiece,
  NO_RETRIES,
  Records,
  type RetryPolicy,
  SUBMISSION_ID,
} from "../entrypoint/mod.ts";
import type { ActorInfo } from "../wire/queries.ts";
import { type Ask, type KnownJob, KnownJobs } from "./known-jobs.ts";
import { Packages } from "./packages.ts";
import { readRuntimeEnv } from "./runtime-env.ts";
import { Supervisors } from "./supervisors.ts";

export interface JobManagerOptions {
  /** Asks control. */
  readonly ask: Ask;
  /** Makes this process a driver in the namespace "mobula-jobs"; called when a job is to be reached for the first time. */
  readonly join: () => Promise<void>;
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
  readonly retry?: { readonly [K in keyof RetryPolicy]?: RetryPolicy[K] | undefined } | undefined;
}

/** Some of what a job has printed, and where what follows begins, in bytes. */
export interface Printed {
  readonly text: string;
  readonly next: number;
}

/** Of ended jobs so many are remembered, the last ones. */
const ENDED_MAX = 10_000;
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
  /** Jobs whose supervisor is being made, told to stop or given a package. */
  private readonly underWay = new Map<string, Promise<void>>();
  private readonly ending = new AbortController();
  private readonly looking: Promise<void>;

  constructor(options: JobManagerOptions) {
    this.options = options;
    this.records = new Records(options.ask as AskKv, wallMs);
    this.known = new KnownJobs(options.ask, wallMs);
    this.supervisors = new Supervisors(options.ask, options.join);
    this.packages = new Packages(options.packagesFolder, (uri) =>
      this.known.last.some(({ record }) => record.spec.workingDir === uri && !isEnded(record)),
    );
    this.looking = this.look();
  }

  /** @throws InvalidOptionError for what is wrong, also an id that is taken. */
  async submit(request: JobRequest, newId: () => string = newSubmissionId): Promise<JobRecord> {
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
  async whyPending({ spec: { submissionId, resources } }: JobRecord): Promise<string | undefined> {
    const actor = (await this.supervisors.all()).get(submissionId);
    if (actor?.state !== "pending") return undefined;
    const { sentences } = await this.options.ask("explain-id", { id: actor.actorId });
    const wanted = Object.entries(resources).map(([name, amount]) => `${name} ${amount}`);
    return [...(wanted.length > 0 ? [`it waits for ${wanted.join(", ")}`] : []), ...sentences].join("; ") || undefined;
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
      if (!piece) throw new JobLogLostError(record);
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
      if (!piece) throw new JobLogLostError(record);
      if (piece.bytes.length === 0) return;
      yield take(piece);
    }
  }

  // ── what goes on ───────────────────────────────────────────────────────────────────────────────────────────────────

  private begin(submissionId: string, spec: JobSpec): void {
    this.inBackground(submissionId, async () => {
      const uploaded = spec.npm && spec.workingDir !== null ? await this.packages.find(spec.workingDir) : undefined;
      await this.supervisors.create(spec, uploaded?.path);
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
    if (going.length === 0) return;
    const actors = await this.supervisors.all();
    for (const { record } of going) {
      if (!this.underWay.has(record.spec.submissionId)) await this.lookAt(record, actors.get(record.spec.submissionId));
    }
  }

  private async lookAt(record: JobRecord, actor: ActorInfo | undefined): Promise<void> {
    const { spec, supervisor, isStopAsked } = record;
    const { submissionId } = spec;
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
    const isUnmade = supervisor === null;
    const causes = actor && isUnmade ? (await this.options.ask("explain-id", { id: actor.actorId })).sentences : [];
    await this.records.apply(submissionId, {
      kind: "lost",
      errorType: isUnmade ? unmadeType(spec) : "JOB_SUPERVISOR_ACTOR_DIED",
      why: isUnmade
        ? ["the actor beside its command could not be made", ...causes].join(": ")
        : "the actor beside its command was ended, and is not made again",
    });
  }

  private async forgetOldest(count: number): Promise<void> {
    const ended = (await this.known.all()).filter(({ record }) => isEnded(record)).slice(-count);
    for (const { record } of ended) await this.records.remove(record.spec.submissionId);
  }
}

/** With npm the node makes the folder ready itself. */
const isBrought = ({ workingDir, npm }: JobSpec): boolean => workingDir?.includes("://") === true && npm === null;
const unmadeType = ({ npm }: JobSpec) =>
  npm === null ? "JOB_SUPERVISOR_ACTOR_START_FAILURE" : "RUNTIME_ENV_SETUP_FAILURE";

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
  const { env, workingDir, npm, shown } = readRuntimeEnv(runtimeEnv);
  const held = Object.fromEntries(Object.entries(resources).filter(([, amount]) => amount > 0));
  const asked = Object.entries(request.retry ?? {}).filter(([, value]) => value !== undefined);
  const retry = { ...NO_RETRIES, ...Object.fromEntries(asked) };
  const needs = { resources: held, labels, env, workingDir, npm };
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
    super("JOB_LOG_LOST", "lost", `what job ${submissionId} printed was on node ${nodeId}, which is gone`);
  }
}
