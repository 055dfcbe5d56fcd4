/**
 * Watches the submission logs of workers (owner/submission-log.ts): what a worker has submitted and not sent is taken
 * and handed over in its name when its thread does not come back.
 *
 * A log that was open at three looks in a row without the program having called the runtime in between is taken: after
 * 20 to 30 ms. Most turns take far less, and a busy machine must not make all of them look long: what counts is how long
 * the thread has run. One that waits for a core comes back sooner than the node could do its work for it, and one that
 * waits in its event loop, for workers to send its tasks to, is not away at all: its log is open because what the loop
 * calls next may be the program.
 */
import { closeSync, ftruncateSync, readFileSync, readSync } from "node:fs";
import type { ObjectKey, ProcessId } from "../base/ids.ts";
import { LOG_HEADER_BYTES, readLog, saysWhoDelivers, WatchedLog } from "../owner/mod.ts";
import { createMemfd, mapClaims } from "../store/mod.ts";
import type { ClaimsInfo, TaskHandover, ToNode } from "../wire/messages.ts";
import { isInEventLoop, isThreadRunning, procStat } from "./proc-stat.ts";

const LOOK_EVERY_MS = 10;
const LOOKS_UNTIL_TAKEN = 3;
/** It has run for so long since the first of these looks. */
const RAN_MS_MIN = 12;
/** Or sleeps, and has not run between so many of them. */
const SLEEPING_LOOKS = 8;
const SLEEPING_MS_MAX = 0.2;
/**
 * While these threads are busy it may collect garbage, or wait for them to do their part: it comes back. It is not
 * waited for when it has run for so long, for a program may leave as much garbage behind as to keep them busy always.
 */
const COLLECTORS = "V8Worker";
const RAN_MS_MAX = 60;
/** A log that was closed for so many looks is watched no more, until its worker asks for it. */
const LOOKS_UNTIL_LEFT = 100;
/** The file is sparse, and so is each log: only pages that were written take memory. */
const LOG_BYTES = 4 * 2 ** 20;
const LOGS_MAX = 16_384;
/** As much as is mapped here. */
const PAGE_BYTES = 4_096;

export interface SubmissionWatchOptions {
  publish(owner: ProcessId, keys: readonly ObjectKey[]): void;
  handOver(giver: ProcessId, message: TaskHandover): void;
}

interface Watched {
  readonly slot: number;
  readonly pid: number;
  /** How long its thread had run at the first look that found the log open, and at the last. */
  firstRanMs: number;
  lastRanMs: number;
  sleepingLooks: number;
  readonly log: WatchedLog;
  /** That say who delivers what, handled until now. */
  messages: number;
}

export class SubmissionWatch {
  private readonly options: SubmissionWatchOptions;
  /** Undefined where there is no such memory: then workers hand over everything at once. */
  private readonly fd: number | undefined;
  private readonly words = new Map<number, Int32Array>();
  private readonly free: number[] = [];
  private nextSlot = 0;
  private readonly logs = new Map<ProcessId, Watched>();
  private readonly watched = new Set<ProcessId>();
  private timer: NodeJS.Timeout | undefined;

  constructor(options: SubmissionWatchOptions) {
    this.options = options;
    this.fd = openLogs();
  }

  /** Memory for the log of a worker. */
  add(worker: ProcessId, pid: number): ClaimsInfo | undefined {
    if (this.fd === undefined) return undefined;
    const slot = this.free.pop() ?? this.nextSlot++;
    if (slot >= LOGS_MAX) return undefined;
    const info = { path: `/proc/${process.pid}/fd/${this.fd}`, offset: slot * LOG_BYTES, bytes: LOG_BYTES };
    const words = this.words.get(slot) ?? mapClaims({ ...info, bytes: PAGE_BYTES });
    if (!words) return undefined;
    words.fill(0, 0, LOG_HEADER_BYTES / Int32Array.BYTES_PER_ELEMENT);
    this.words.set(slot, words);
    this.logs.set(worker, {
      slot,
      pid,
      firstRanMs: 0,
      lastRanMs: 0,
      sleepingLooks: 0,
      log: new WatchedLog(words),
      messages: 0,
    });
    return info;
  }

  remove(worker: ProcessId): void {
    const known = this.logs.get(worker);
    if (!known) return;
    this.logs.delete(worker);
    this.watched.delete(worker);
    this.free.push(known.slot);
  }

  /** It has opened its log. */
  watch(worker: ProcessId): void {
    if (!this.logs.has(worker)) return;
    this.watched.add(worker);
    this.timer ??= setInterval(() => this.look(), LOOK_EVERY_MS).unref();
  }

  private look(): void {
    for (const worker of this.watched) {
      const known = this.logs.get(worker);
      if (!known) continue;
      const looks = known.log.look();
      if (looks > 0 && isAway(known, looks)) this.take(worker, known);
      else if (looks <= -LOOKS_UNTIL_LEFT && known.log.leave()) this.watched.delete(worker);
    }
    if (this.watched.size > 0) return;
    clearInterval(this.timer);
    this.timer = undefined;
  }

  /** A message of the worker is about to be handled. */
  heard(from: ProcessId, message: ToNode): void {
    if (!saysWhoDelivers(message)) return;
    const known = this.logs.get(from);
    if (known) known.messages++;
  }

  private take(worker: ProcessId, { slot, log, messages }: Watched): void {
    if (log.messages !== messages) return;
    const end = log.take();
    if (end === undefined || this.fd === undefined) return;
    const bytes = Buffer.allocUnsafe(end);
    readSync(this.fd, bytes, 0, end, slot * LOG_BYTES);
    const taken = readLog(bytes, worker);
    if (taken.unpublished.length > 0) this.options.publish(worker, taken.unpublished);
    this.options.handOver(worker, taken.handover);
  }

  close(): void {
    clearInterval(this.timer);
    if (this.fd !== undefined) closeSync(this.fd);
  }
}

/** How long the main thread of a process has run; without Linux' /proc as if it always did. */
function ranMs(pid: number): number {
  let nanoseconds: number;
  try {
    nanoseconds = Number.parseInt(readFileSync(`/proc/${pid}/schedstat`, "latin1"), 10);
  } catch {
    // No /proc, or the process has ended.
    return Number.POSITIVE_INFINITY;
  }
  return Number.isNaN(nanoseconds) ? Number.POSITIVE_INFINITY : nanoseconds / 1e6;
}

function isAway(known: Watched, looks: number): boolean {
  const { pid } = known;
  const ran = ranMs(pid);
  if (looks === 1) {
    known.firstRanMs = ran;
    known.sleepingLooks = 0;
  } else known.sleepingLooks = ran - known.lastRanMs < SLEEPING_MS_MAX ? known.sleepingLooks + 1 : 0;
  known.lastRanMs = ran;
  if (looks < LOOKS_UNTIL_TAKEN) return false;
  if (ran === Number.POSITIVE_INFINITY) return true;
  const ranMsSince = ran - known.firstRanMs;
  const hasRun = ranMsSince >= RAN_MS_MIN;
  if (!hasRun && known.sleepingLooks < SLEEPING_LOOKS) return false;
  if (isInEventLoop(pid)) {
    known.firstRanMs = ran;
    known.sleepingLooks = 0;
    return false;
  }
  if (ranMsSince >= RAN_MS_MAX) return true;
  return (hasRun || procStat(pid)?.[0] !== "R") && !isThreadRunning(pid, COLLECTORS);
}

function openLogs(): number | undefined {
  try {
    const fd = createMemfd("mobula-submissions");
    ftruncateSync(fd, LOGS_MAX * LOG_BYTES);
    return fd;
  } catch (error) {
    // No memfd here; anything else is not expected.
    if ((error as NodeJS.ErrnoException).code === "ENOSYS" || (error as { code?: string }).code === "EPERM")
      return undefined;
    throw error;
  }
}
