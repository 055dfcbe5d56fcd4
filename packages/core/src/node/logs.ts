/**
 * Output of workers: into files of the session's folder, tagged by job, worker, task and actor, and to the drivers of
 * the job, identical lines of several workers collapsed.
 */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { JobId, WorkerId } from "../base/ids.ts";
import type { LogLines } from "../wire/messages.ts";
import { type BarState, barOfLine, isBarLine, PROGRESS_MARK } from "../wire/mod.ts";
import { LineCollapser, type LogLine } from "./log-collapse.ts";
import { RotatingFile } from "./log-file.ts";
import { LineSplitter, type NamedLine, Tail } from "./log-lines.ts";
import { type LogFormat, logFormat, logLine } from "./log-record.ts";
import type { BarMaker } from "./progress-bars.ts";
import { logFolderOf } from "./session-folder.ts";

type Stream = "stdout" | "stderr";

interface Source {
  readonly workerId: WorkerId;
  readonly pid: number;
  readonly file: RotatingFile;
  readonly splitters: Readonly<Record<Stream, LineSplitter>>;
  readonly tail: Tail;
  jobId: JobId | undefined;
  /** For the drivers of each job that it works for. */
  words: string | undefined;
}

interface Sink {
  readonly collapser: LineCollapser;
  pending: LogLine[];
  dropped: number;
}

export interface LogsOptions {
  readonly sessionDir: string;
  readonly nodeId: string;
  /** Default: what MOBULA_LOG_FORMAT says. */
  readonly format?: LogFormat;
  /** To the job's drivers; false when they do not take more now. */
  send(jobId: JobId, message: LogLines): boolean;
  /** A worker has told how far a bar is. */
  onBar(maker: BarMaker, bar: BarState): void;
  nowMs(): number;
}

/** Lines wait this long for company before they are sent. */
const FORWARD_MS = 30;
/** Lines kept for a driver that does not read; then they are dropped and counted. The files have them all. */
const PENDING_LINES_MAX = 10_000;
/** So many lines do not wait for more. */
const FULL_MESSAGE_LINES = 1_000;
/** How long an ending node tries to be rid of lines that a driver has not taken. */
const DRAIN_MS = 2_000;
const DRAIN_EVERY_MS = 10;

/** Bars are told of on standard output only. */
const isBar = (stream: Stream, text: string): boolean => stream === "stdout" && isBarLine(text);

/** What was written without a line end before a bar moved is a line of its own. */
const barsApart = (lines: readonly NamedLine[]): readonly NamedLine[] =>
  lines.flatMap((line) => {
    const at = line.text.indexOf(PROGRESS_MARK);
    return at <= 0
      ? line
      : [
          { ...line, text: line.text.slice(0, at) },
          { ...line, text: line.text.slice(at) },
        ];
  });

export class Logs {
  private readonly options: LogsOptions;
  private readonly format: LogFormat;
  private readonly sources = new Map<WorkerId, Source>();
  private readonly sinks = new Map<JobId, Sink>();
  private timer: NodeJS.Timeout | undefined;
  private timerAtMs = Number.POSITIVE_INFINITY;

  constructor(options: LogsOptions) {
    this.options = options;
    this.format = options.format ?? logFormat();
  }

  add(workerId: WorkerId, pid: number): void {
    this.sources.set(workerId, {
      workerId,
      pid,
      file: new RotatingFile(join(logFolderOf(this.options.sessionDir), `worker-${pid}.log`)),
      splitters: { stdout: new LineSplitter(), stderr: new LineSplitter() },
      tail: new Tail(),
      jobId: undefined,
      words: undefined,
    });
  }

  assign(workerId: WorkerId, jobId: JobId): void {
    const source = this.sources.get(workerId);
    if (!source) return;
    const isNew = source.jobId !== jobId;
    source.jobId = jobId;
    if (isNew && source.words !== undefined) this.say(source, source.words);
  }

  /** What the node itself has to say of it: to the drivers of the job that it works for, and of each that follows. */
  tell(workerId: WorkerId, words: string): void {
    const source = this.sources.get(workerId);
    if (!source) return;
    source.words = words;
    this.say(source, words);
  }

  private say({ jobId, pid }: Source, text: string): void {
    if (jobId !== undefined) this.keep(jobId, { stream: "stderr", name: "mobula", pid, text, repeated: 0 });
  }

  push(workerId: WorkerId, stream: Stream, chunk: Buffer): void {
    const source = this.sources.get(workerId);
    if (source) this.take(source, stream, source.splitters[stream].push(chunk));
  }

  /** The worker is gone; what it wrote last without a line end counts as a line. Returns the last lines of stderr. */
  remove(workerId: WorkerId): string {
    const source = this.sources.get(workerId);
    if (!source) return "";
    for (const stream of ["stdout", "stderr"] as const) this.take(source, stream, source.splitters[stream].finish());
    source.file.close();
    this.sources.delete(workerId);
    return source.tail.toString();
  }

  jobEnded(jobId: JobId): void {
    this.sinks.delete(jobId);
  }

  /** Sends what is kept, counts included. */
  flush(): void {
    this.forward(true);
    clearTimeout(this.timer);
    this.timerAtMs = Number.POSITIVE_INFINITY;
  }

  /** As `flush`, and resolves when the drivers have taken everything, or will not. */
  async drain(): Promise<void> {
    for (const deadline = this.options.nowMs() + DRAIN_MS; ; ) {
      this.flush();
      const isEmpty = [...this.sinks.values()].every(({ pending }) => pending.length === 0);
      if (isEmpty || this.options.nowMs() > deadline) return;
      await delay(DRAIN_EVERY_MS);
    }
  }

  private take(source: Source, stream: Stream, split: readonly NamedLine[]): void {
    if (split.length === 0) return;
    const lines = stream === "stdout" ? barsApart(split) : split;
    const { jobId, pid } = source;
    const { nodeId } = this.options;
    const of = { timeMs: this.options.nowMs(), level: "info", node: nodeId, source: "worker", pid } as const;
    const whose = { ...of, worker: source.workerId, job: jobId ?? null, stream };
    // Bars are for the driver's terminal and the dashboard; in a file they would be noise.
    const printed = lines.filter(({ text }) => !isBar(stream, text));
    source.file.write(
      printed
        .map(({ name, ids: [task = null, actor = null], text }) =>
          logLine({ ...whose, task, actor, name: name || null, message: text }, this.format),
        )
        .join(""),
    );
    for (const { name, ids, text } of lines) {
      if (stream === "stderr") source.tail.push(text);
      if (isBar(stream, text)) this.barMoved(source, ids[0] ?? null, text);
      if (jobId !== undefined) this.keep(jobId, { stream, name, pid, text, repeated: 0 });
    }
  }

  private barMoved({ workerId, pid, jobId }: Source, taskId: string | null, line: string): void {
    const bar = barOfLine(line);
    if (bar && jobId !== undefined) this.options.onBar({ process: workerId, pid, jobId, taskId }, bar);
  }

  /** Of workers of another node, for a driver of this one. */
  arrived(jobId: JobId, lines: LogLines["lines"]): void {
    for (const line of lines) this.keep(jobId, line);
  }

  private keep(jobId: JobId, line: LogLine): void {
    let sink = this.sinks.get(jobId);
    if (!sink) {
      sink = { collapser: new LineCollapser(), pending: [], dropped: 0 };
      this.sinks.set(jobId, sink);
    }
    const passed = sink.collapser.push(line, this.options.nowMs());
    if (!passed) this.wake(sink.collapser.nextFlushMs() ?? 0);
    else if (sink.pending.length >= PENDING_LINES_MAX) sink.dropped++;
    else {
      sink.pending.push(passed);
      if (sink.pending.length % FULL_MESSAGE_LINES === 0) this.forward(false);
      else this.wake(this.options.nowMs() + FORWARD_MS);
    }
  }

  private forward(all: boolean): void {
    const now = this.options.nowMs();
    let next: number | undefined;
    for (const [jobId, sink] of this.sinks) {
      sink.pending.push(...sink.collapser.flush(now, all));
      if (sink.dropped > 0) {
        const text = `[mobula] ${sink.dropped} lines were dropped because the driver did not read them; the log files have them`;
        sink.pending.push({ stream: "stderr", name: "mobula", pid: process.pid, text, repeated: 0 });
        sink.dropped = 0;
      }
      if (sink.pending.length > 0) {
        if (this.options.send(jobId, { t: "log", lines: sink.pending })) sink.pending = [];
        else next = now + FORWARD_MS;
      }
      const due = sink.collapser.nextFlushMs();
      if (due !== undefined) next = Math.min(next ?? due, due);
    }
    if (next !== undefined) this.wake(next);
  }

  private wake(atMs: number): void {
    if (atMs >= this.timerAtMs) return;
    clearTimeout(this.timer);
    this.timerAtMs = atMs;
    this.timer = setTimeout(
      () => {
        this.timerAtMs = Number.POSITIVE_INFINITY;
        this.forward(false);
      },
      Math.max(1, atMs - this.options.nowMs()),
    );
    this.timer.unref();
  }
}
