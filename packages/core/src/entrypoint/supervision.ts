/**
 * Looks after the command of one job, beside it on its node: starts it, keeps what it prints, ends it when that is asked, starts it again
 * when it may, and writes each step down at control. The actor that hosts this is detached and is made again when its worker or its node
 * dies; what is done then follows from the record alone (life.ts).
 */
import { appendFile, truncate } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { wallMs } from "../base/clock.ts";
import { MobulaError } from "../base/errors.ts";
import { randomBytes } from "../base/random.ts";
import { packageFolder } from "../bin/entries.ts";
import type { JoinInfo } from "../wire/queries.ts";
import { Command, markOf } from "./command.ts";
import { encodeOutput, KEPT_BYTES_MAX, outputKey } from "./kept-output.ts";
import type { JobEvent } from "./life.ts";
import { JobLog, type LogPiece, readJobLog } from "./log.ts";
import { endProcesses } from "./processes.ts";
import { isEnded, type JobRecord, type JobSpec } from "./record.ts";
import { type AskKv, Records } from "./records.ts";
import { type WorkingDir, WorkingDirs } from "./working-dirs.ts";

/** The environment of a job on its node, for its command. */
export interface CommandEnvironment extends Disposable {
  /** Where the command is started. */
  readonly folder: string;
}

export interface SupervisionPort {
  readonly ask: AskKv;
  readonly nodeId: string;
  readonly joinInfo: () => Promise<JoinInfo | null>;
  /** Has npm install what the spec says beside a package. @throws what npm says; or when the signal is aborted. */
  readonly prepare: (spec: JobSpec, dir: WorkingDir, signal: AbortSignal) => Promise<CommandEnvironment>;
  /** It is over. */
  readonly exit: () => void;
}

/** From SIGTERM to SIGKILL. */
const STOP_GRACE_MS = 3_000;
/** Control is asked again so often while it is away. */
const AGAIN_MS = 250;
/** A package that nobody brings. */
const PACKAGE_MS = 10 * 60_000;
const PIECE_BYTES_MAX = 1 << 20;
/** Who follows the log has read its end by then. */
const LAST_READERS_MS = 2_000;
/** A drain of its node waits until the actor's calls have ended. */
const FOLLOW_MS = 2_000;
/** Of a command that ends because its node does. */
const LAST_LINES_MS = 1_000;
/** The last that it has printed is kept elsewhere too, while it prints: soon after its first line, and then twice as late each time. */
const KEEP_MS = { first: 1_000, max: 15_000 };

export class Supervision {
  private readonly submissionId: string;
  private readonly port: SupervisionPort;
  private readonly records: Records;
  /** Names this process in the record. */
  private readonly name = randomBytes(8).toString("hex");
  /** Aborted when the job's end is asked for. */
  private readonly stopping = new AbortController();
  private readonly ended = new AbortController();
  private readonly wanted = Promise.withResolvers<string | null>();
  private readonly obtained = Promise.withResolvers<WorkingDir>();
  private readonly ready = Promise.withResolvers<JobLog>();
  private dirs: WorkingDirs | undefined;
  private arriving: { readonly hash: string; readonly path: string; bytes: number } | undefined;
  private hasJobEnded = false;
  /** Another supervisor goes on from the record: what follows here is not written down. */
  private isLeaving = false;
  private readonly supervised = Promise.withResolvers<void>();
  private log: JobLog | undefined;
  private keptUntil = 0;
  private keepAfterMs = KEEP_MS.first;
  private keeping: NodeJS.Timeout | undefined;
  private readers = 0;
  private onReaderLeft: (() => void) | undefined;

  constructor(submissionId: string, port: SupervisionPort) {
    this.submissionId = submissionId;
    this.port = port;
    this.records = new Records(port.ask, wallMs);
    for (const { promise } of [this.wanted, this.obtained, this.ready]) promise.catch(() => {});
  }

  /** To the end of the job; then the actor ends too. */
  async run(): Promise<void> {
    try {
      await this.supervise();
    } finally {
      this.supervised.resolve();
      clearTimeout(this.keeping);
      this.ended.abort();
      this.wanted.resolve(null);
      this.ready.reject(new MobulaError("JOB_ENDED", "unavailable", `job ${this.submissionId} has ended`));
      await this.lastReaders();
      if (!this.isLeaving) this.port.exit();
    }
  }

  // ── orders, from whoever serves people ─────────────────────────────────────────────────────────────────────────────

  /** Ends the command, whose record says that this was asked for. Resolves when nothing of it is left. */
  async stop(): Promise<void> {
    this.stopping.abort();
    await endProcesses(markOf(this.submissionId), STOP_GRACE_MS);
  }

  /** Its node ends, or is drained: the command ends, and the last that it has printed is kept elsewhere. */
  async leave(): Promise<void> {
    this.isLeaving = true;
    await this.stop();
    await Promise.race([this.supervised.promise, delay(LAST_LINES_MS, undefined, { ref: false })]);
    await this.keepOutput();
  }

  /** Which package is to be brought; null: none, or none any more. */
  missing(): Promise<string | null> {
    return this.wanted.promise;
  }

  /** False when the package with this hash is here already. */
  async offer(hash: string): Promise<boolean> {
    await this.ready.promise;
    const found = await this.dirs?.find(hash);
    if (found === undefined) return true;
    this.obtained.resolve(found);
    return false;
  }

  /** A piece of it, in order; from the beginning again if somebody else goes on with bringing it. */
  async bring(hash: string, offset: number, total: number, bytes: Uint8Array): Promise<void> {
    const { dirs } = this;
    if (!dirs) throw new MobulaError("JOB_ENDED", "unavailable", `job ${this.submissionId} waits for no package`);
    if (offset === 0) this.arriving = { hash, path: await dirs.newFile(), bytes: 0 };
    const { arriving } = this;
    if (arriving?.hash !== hash || arriving.bytes !== offset) {
      throw new MobulaError("JOB_PIECE_LOST", "unavailable", `a piece of package ${hash} came out of order`);
    }
    if (offset === 0) await truncate(arriving.path).catch(() => {});
    await appendFile(arriving.path, bytes, { mode: 0o600 });
    arriving.bytes += bytes.length;
    if (arriving.bytes < total) return;
    this.arriving = undefined;
    await dirs.add(hash, arriving.path).then(this.obtained.resolve, this.obtained.reject);
  }

  /** It could not be had. */
  notToBeHad(why: string): void {
    this.obtained.reject(new MobulaError("PACKAGE_UNAVAILABLE", "unavailable", why));
  }

  /** What was printed from an offset on, and what will be, to the end of the job or for some time: whoever follows asks again. */
  async *follow(from: number): AsyncGenerator<LogPiece, void> {
    this.readers++;
    try {
      const log = await this.ready.promise;
      const { logFolder } = (await this.port.joinInfo()) as JoinInfo; // There is a log, so there was one.
      const over = AbortSignal.any([this.ended.signal, AbortSignal.timeout(FOLLOW_MS)]);
      for (let offset = from; ; ) {
        const piece = readJobLog(logFolder, this.submissionId, offset, PIECE_BYTES_MAX);
        if (piece.bytes.length > 0) {
          yield piece;
          if (over.aborted && !this.ended.signal.aborted) return;
        } else if (this.ended.signal.aborted) {
          if (this.hasJobEnded) yield { ...piece, isLast: true };
          return;
        } else if (over.aborted) return;
        else await log.moreThan(piece.end, over);
        offset = piece.from + piece.bytes.length;
      }
    } finally {
      this.readers--;
      this.onReaderLeft?.();
    }
  }

  // ── the command ────────────────────────────────────────────────────────────────────────────────────────────────────

  private async supervise(): Promise<void> {
    const { nodeId } = this.port;
    let record = await this.say({ kind: "taken-over", supervisor: this.name, nodeId, address: null });
    if (!record || isEnded(record)) return;
    const info = await this.port.joinInfo();
    if (!info) {
      const why = "its node is one that ends with its driver, and no program can join it";
      await this.say(this.failed("JOB_SUPERVISOR_ACTOR_START_FAILURE", why));
      return;
    }
    this.dirs = new WorkingDirs(join(info.logFolder, "..", "job-packages"), packageFolder());
    using log = new JobLog(info.logFolder, this.submissionId);
    this.log = log;
    this.ready.resolve(log);
    const place = await this.prepare(record).catch((error: Error) => error);
    if (place instanceof Error) {
      await this.say(this.failed("RUNTIME_ENV_SETUP_FAILURE", place.message));
      return;
    }
    using _held = place.environment;
    while (record && record.status === "pending") {
      await pause(record.notBeforeMs - wallMs(), this.stopping.signal);
      if (this.isLeaving) return;
      record = await this.say({ kind: "starting", supervisor: this.name });
      if (record?.status === "running") record = await this.attempt(record, info, place, log);
    }
  }

  /** Where the command is started, and what keeps that there. @throws what could not be had. */
  private async prepare({ spec }: JobRecord): Promise<Place> {
    const dir = await this.workingDir(spec).catch((cause: Error) => {
      throw new Error(`its working directory could not be had: ${cause.message}`, { cause });
    });
    if (dir === undefined || typeof dir === "string") return { cwd: dir, zip: undefined, environment: undefined };
    const { folder, zip } = dir;
    if (spec.npm === null || this.stopping.signal.aborted) return { cwd: folder, zip, environment: undefined };
    const environment = await this.port.prepare(spec, dir, this.stopping.signal).catch((error: Error) => {
      if (this.stopping.signal.aborted) return undefined;
      throw error;
    });
    return { cwd: environment?.folder ?? folder, zip, environment };
  }

  private async attempt(
    record: JobRecord,
    info: JoinInfo,
    { cwd, zip }: Place,
    log: JobLog,
  ): Promise<JobRecord | undefined> {
    const { spec } = record;
    const onOutput = (chunk: Buffer): void => {
      try {
        log.append(chunk);
        this.keepSoon();
      } catch (error) {
        // The command is not to fail because its log does; there is nobody to be told but who reads the worker's output.
        console.error(`mobula: the log of job ${this.submissionId} cannot be written: ${(error as Error).message}`);
      }
    };
    const { submissionId } = this;
    let command: Command;
    try {
      command = await Command.start({ spec, zip, cwd, join: info, onOutput });
    } catch (error) {
      return this.say(
        this.failed("JOB_ENTRYPOINT_COMMAND_START_ERROR", `it cannot be started: ${(error as Error).message}`),
      );
    }
    const told = this.say({ kind: "started", supervisor: this.name, pid: command.pid });
    // Asked for while it was being started, its end found nothing; and when another supervisor has its place, it must not go on.
    const isToEnd = told.then((now) => this.stopping.signal.aborted || now === undefined || now.isStopAsked);
    void isToEnd.then((isSo) => (isSo ? this.stop() : undefined));
    const exit = await command.exited;
    await told;
    // What it has left behind would run beside the next attempt, or for ever.
    await endProcesses(markOf(submissionId), 0);
    await this.keepOutput();
    if (this.isLeaving) return undefined;
    return this.say({ kind: "exited", supervisor: this.name, ...exit });
  }

  private async workingDir({ workingDir }: JobSpec): Promise<WorkingDir | string | undefined> {
    if (workingDir === null || !workingDir.includes("://")) return workingDir ?? undefined;
    this.wanted.resolve(workingDir);
    const late = delay(PACKAGE_MS, undefined, { ref: false }).then(() => {
      throw new MobulaError("PACKAGE_UNAVAILABLE", "unavailable", `nobody has brought it within ${PACKAGE_MS} ms`);
    });
    const { promise: stopped, resolve: onStopped } = Promise.withResolvers<undefined>();
    this.stopping.signal.addEventListener("abort", () => onStopped(undefined));
    try {
      return await Promise.race([this.obtained.promise, late, stopped]);
    } finally {
      late.catch(() => {});
    }
  }

  private readonly failed = (
    errorType: Extract<JobEvent, { kind: "not-startable" }>["errorType"],
    why: string,
  ): JobEvent => ({ kind: "not-startable", supervisor: this.name, errorType, why });

  /** Written down, however long control is away. The record as it is then; undefined when there is none, or it is not ours any more. */
  private async say(event: JobEvent): Promise<JobRecord | undefined> {
    for (;;) {
      try {
        const applied = await this.records.apply(this.submissionId, event);
        if (!applied || (applied.step.kind === "unchanged" && applied.step.why === "replaced")) return undefined;
        this.hasJobEnded = isEnded(applied.record);
        return applied.record;
      } catch (error) {
        if ((error as MobulaError).kind !== "unavailable" && (error as MobulaError).kind !== "exhausted") throw error;
        await delay(AGAIN_MS);
      }
    }
  }

  private keepSoon(): void {
    if (this.keeping) return;
    this.keeping = setTimeout(() => {
      this.keeping = undefined;
      void this.keepOutput();
    }, this.keepAfterMs).unref();
    this.keepAfterMs = Math.min(KEEP_MS.max, this.keepAfterMs * 2);
  }

  /** Where it is when this node is not any more. What cannot be kept now is the next time. */
  private async keepOutput(): Promise<void> {
    const { log, submissionId } = this;
    if (!log || log.end <= this.keptUntil) return;
    const { nodeId, ask } = this.port;
    try {
      const { logFolder } = (await this.port.joinInfo()) as JoinInfo; // There is a log, so there was one.
      const { bytes, from, end } = readJobLog(logFolder, submissionId, -KEPT_BYTES_MAX, KEPT_BYTES_MAX);
      const value = encodeOutput({ bytes, from, atMs: wallMs(), nodeId });
      await ask("kv-commit", { changes: [{ key: outputKey(submissionId), value }] });
      this.keptUntil = end;
    } catch (error) {
      // Of use only when its node dies; there is nobody to be told but who reads the worker's output.
      console.error(`mobula: the output of job ${submissionId} is not kept elsewhere: ${(error as Error).message}`);
    }
  }

  private async lastReaders(): Promise<void> {
    if (this.readers === 0) return;
    await new Promise<void>((resolve) => {
      const late = setTimeout(resolve, LAST_READERS_MS);
      this.onReaderLeft = () => {
        if (this.readers > 0) return;
        clearTimeout(late);
        resolve();
      };
    });
  }
}

interface Place {
  /** Undefined: where the node itself runs. */
  readonly cwd: string | undefined;
  /** Its package. */
  readonly zip: string | undefined;
  readonly environment: CommandEnvironment | undefined;
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0) return;
  await delay(ms, undefined, { signal }).catch(() => {
    // Its end is asked for: it goes on at once, to be told so.
  });
}
