/**
 * The state store over a replicated log. Who opens it for writing begins an epoch and so puts an end to the writer
 * before; everything is in memory too, so reads ask no server.
 *
 * One record is under way at a time. All commits that arrive meanwhile go into the next one (group commit): a record
 * costs a round trip and two syncs on each of the servers, whatever it holds. Expectations are checked here, against
 * what is committed and what goes before in the same record; that is exact, since a record only counts if nobody else
 * has written in between.
 */
import { type Clock, MobulaError, machineClock, randomBytes } from "../base/mod.ts";
import type { CommitOutcome, StateChange, StateEntry, StateStore } from "./kv.ts";
import { conflictOf, createWatchers, inPieces } from "./kv-rules.ts";
import { appendSurely, catchUp, type SureOutcome } from "./log-append.ts";
import { untilReady } from "./log-ready.ts";
import { encodeBody, encodeRecord, type LoggedCommit, type RecordBody } from "./log-record.ts";
import { LogView } from "./log-view.ts";
import type { ReplicatedLog } from "./replicated-log.ts";

export interface LogStateOptions {
  /** How others reach this writer; they read it from the log. */
  readonly leader?: string;
  /** A record that gets no answer for so long ends the store. Default 30 s: servers need some to agree on a leader. */
  readonly giveUpMs?: number;
  readonly clock?: Clock;
}

/** A commit is held in memory several times over while it is written. */
const COMMIT_BYTES_MAX = 64 << 20;
/** More does not make a record cheaper, and what waits behind it waits longer. */
const GROUP_BYTES_MAX = 256 << 10;
/** What a header and a body's frame take of a record, at most: the leader's name is cut. */
const HEADER_BYTES_MAX = 1024;
const LEADER_LENGTH_MAX = 256;
/** How much is written again at a time to shorten the log, so that no commit waits long for it. */
const CARRIED_BYTES = 64 << 10;
/** The log may be twice as long as what it holds, and this. */
const SLACK_BYTES = 4 << 20;
const SLACK_RECORDS = 4_096;
/** Each trim is a request of its own. */
const TRIM_RECORDS = 256;
const CLOSE_MS = 5_000;

/** @throws like the log's `read`; MobulaError `STATE_UNAVAILABLE` when it takes no record. */
export async function openLogState(log: ReplicatedLog, options: LogStateOptions = {}): Promise<LogState> {
  const view = new LogView();
  for (;;) {
    await untilReady(() => catchUp(log, view));
    const outcome = await begin(log, view, options);
    if (outcome instanceof LogState) return outcome;
    if (outcome.kind === "failed" || outcome.kind === "unknown") throw outcome.error;
  }
}

/** Tries to begin the next epoch right after what `view` has read. */
export async function begin(
  log: ReplicatedLog,
  view: LogView,
  options: LogStateOptions,
): Promise<LogState | SureOutcome> {
  const state = new LogState(log, view, options);
  const outcome = await state.begin();
  return outcome.kind === "appended" ? state : outcome;
}

interface Pending {
  readonly changes: readonly StateChange[];
  readonly bytes: number;
  readonly done: (outcome: CommitOutcome) => void;
}

export class LogState implements StateStore {
  epoch = 0;
  /** When the record that began the epoch was sent. */
  begunMs = 0;
  private readonly log: ReplicatedLog;
  private readonly view: LogView;
  private readonly giveUpMs: number;
  private readonly clock: Clock;
  private readonly leader: string;
  private readonly writer = randomBytes(8).toString("hex");
  private readonly watchers = createWatchers();
  private queue: Pending[] = [];
  private pumping: Promise<void> | undefined;
  private beatDue = false;
  private trimmedTo = 0;
  private trimming = false;
  private isClosing = false;
  private ended: MobulaError | undefined;

  /** A record was written that was first sent at this time: until then at least, nobody else had begun. */
  onWritten: (sentMs: number) => void = () => {};
  /** Nothing more can be written: another writer has begun, or the log gave no answer for long. */
  onEnded: (error: MobulaError) => void = () => {};

  constructor(log: ReplicatedLog, view: LogView, options: LogStateOptions) {
    this.log = log;
    this.view = view;
    this.giveUpMs = options.giveUpMs ?? 30_000;
    this.clock = options.clock ?? machineClock;
    this.leader = (options.leader ?? "").slice(0, LEADER_LENGTH_MAX);
  }

  async begin(): Promise<SureOutcome> {
    this.epoch = this.view.epoch + 1;
    this.begunMs = this.clock.nowMs();
    return this.write({ kind: "begin" }, this.view.revision);
  }

  async list(prefix: string): Promise<readonly StateEntry[]> {
    this.throwIfEnded();
    const found: StateEntry[] = [];
    for (const { key, value, revision } of this.view.entries()) {
      if (key.startsWith(prefix)) found.push({ key, value, revision });
    }
    return found.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  }

  async get(key: string): Promise<StateEntry | undefined> {
    this.throwIfEnded();
    const entry = this.view.get(key);
    return entry && { key, value: entry.value, revision: entry.revision };
  }

  snapshot(): AsyncIterable<readonly StateEntry[]> {
    this.throwIfEnded();
    return inPieces([...this.view.entries()]);
  }

  commit(changes: readonly StateChange[], done: (outcome: CommitOutcome) => void): void {
    const refusal = this.ended ?? (this.isClosing ? this.unavailable("it was closed") : undefined);
    if (refusal !== undefined) {
      done({ kind: "failed", error: refusal });
      return;
    }
    const bytes = changes.reduce((sum, { key, value }) => sum + 3 * key.length + (value?.length ?? 0), 0);
    this.queue.push({ changes, bytes, done });
    this.pump();
  }

  watch = this.watchers.watch;

  /** Writes a record even if there is nothing to commit, so that others hear of this writer. */
  beat(): void {
    if (this.ended !== undefined || this.isClosing) return;
    this.beatDue = true;
    this.pump();
  }

  /** Ends after what was committed is durable, and tells others that they need not wait. Does not close the log. */
  async resign(): Promise<void> {
    if (this.isClosing) return;
    this.isClosing = true;
    await this.pumping;
    if (this.ended !== undefined) return;
    // If it does not arrive others wait a little, that is all.
    await this.write({ kind: "resign" }, this.view.revision, CLOSE_MS);
    this.ended ??= this.unavailable("it was closed");
  }

  async close(): Promise<void> {
    await this.resign();
    await this.log.close();
  }

  private pump(): void {
    if (this.pumping !== undefined) return;
    // A turn later, so that all commits of this turn go together.
    this.pumping = Promise.resolve().then(async () => {
      while (this.ended === undefined && (this.queue.length > 0 || this.beatDue)) await this.writeGroup();
      this.pumping = undefined;
    });
  }

  private async writeGroup(): Promise<void> {
    this.beatDue = false;
    const group = this.takeGroup();
    const written = new Map<string, number>();
    const commits: LoggedCommit[] = [];
    let { revision } = this.view;
    const outcomes = group.map(({ changes, bytes }): CommitOutcome => {
      if (bytes > COMMIT_BYTES_MAX) return { kind: "failed", error: this.tooLarge(bytes) };
      const conflict = conflictOf(changes, (key) => written.get(key) ?? this.view.get(key)?.revision ?? 0);
      if (conflict !== undefined) return conflict;
      revision++;
      for (const { key, value } of changes) written.set(key, value === null ? 0 : revision);
      commits.push({ revision, changes });
      return { kind: "committed", revision };
    });
    const isBeat = group.length === 0;
    const outcome: SureOutcome =
      commits.length > 0 || isBeat
        ? await this.write({ kind: "commits", commits, carried: this.toCarry() }, revision)
        : { kind: "appended" };
    group.forEach(({ changes, done }, n) => {
      const mine = outcomes[n] as CommitOutcome;
      if (outcome.kind === "appended") {
        done(mine);
        if (mine.kind === "committed") this.watchers.tell(changes, mine.revision);
      } else done({ kind: "failed", error: this.failure(outcome) });
    });
    if (this.ended !== undefined) this.failQueue(this.ended);
  }

  private takeGroup(): Pending[] {
    let count = 0;
    for (let bytes = 0; count < this.queue.length; count++) {
      bytes += this.queue[count]?.bytes ?? 0;
      if (count > 0 && bytes > GROUP_BYTES_MAX) break;
    }
    return this.queue.splice(0, count);
  }

  /** Writes the body, in pieces if need be, and reads it like any other reader. */
  private async write(body: RecordBody, revision: number, giveUpMs = this.giveUpMs): Promise<SureOutcome> {
    const bytes = encodeBody(body);
    const room = this.log.recordBytesMax - HEADER_BYTES_MAX;
    if (bytes.length <= room) return this.writeRecord(bytes, revision, giveUpMs);
    const pieces = Math.ceil(bytes.length / room);
    for (let index = 0; index < pieces; index++) {
      const isLast = index === pieces - 1;
      const part = encodeBody({ kind: "part", index, isLast, bytes: bytes.subarray(index * room, (index + 1) * room) });
      const outcome = await this.writeRecord(part, isLast ? revision : this.view.revision, giveUpMs);
      if (outcome.kind !== "appended") return outcome;
    }
    return { kind: "appended" };
  }

  private async writeRecord(body: Uint8Array, revision: number, giveUpMs: number): Promise<SureOutcome> {
    const { view, log, epoch, writer, leader, clock } = this;
    const after = view.lastSeq;
    const data = encodeRecord({ epoch, after, base: view.needed, revision, writer, leader }, body);
    const sentMs = clock.nowMs();
    const outcome = await appendSurely(log, data, after, () => clock.nowMs() - sentMs < giveUpMs, clock);
    if (outcome.kind === "appended") {
      view.apply({ seq: after + 1, data });
      this.onWritten(sentMs);
      this.trim();
    } else if (outcome.kind !== "failed") this.end(this.failure(outcome));
    return outcome;
  }

  /** What to write again, when the log has grown too long for what it holds. */
  private toCarry(): StateEntry[] {
    const { logBytes, liveBytes, recordCount, entryCount } = this.view;
    const isLong = logBytes > 2 * liveBytes + SLACK_BYTES || recordCount > 2 * entryCount + SLACK_RECORDS;
    return isLong ? this.view.oldest(CARRIED_BYTES) : [];
  }

  /** Trims what the last record has said not to be needed. A trim that fails is made good by a later one. */
  private trim(): void {
    const { base } = this.view;
    if (this.trimming || base - this.trimmedTo < TRIM_RECORDS) return;
    this.trimming = true;
    this.log.trim(base).then(
      () => {
        this.trimmedTo = base;
        this.trimming = false;
      },
      () => {
        this.trimming = false;
      },
    );
  }

  private end(error: MobulaError): void {
    if (this.ended !== undefined) return;
    this.ended = error;
    this.onEnded(error);
  }

  private failQueue(error: MobulaError): void {
    const queue = this.queue;
    this.queue = [];
    for (const { done } of queue) done({ kind: "failed", error });
  }

  private throwIfEnded(): void {
    if (this.ended !== undefined) throw this.ended;
  }

  private failure(outcome: Exclude<SureOutcome, { kind: "appended" }>): MobulaError {
    switch (outcome.kind) {
      case "failed":
        return outcome.error;
      case "overtaken":
        return new MobulaError(
          "STATE_FENCED",
          "unavailable",
          `another leader has begun in ${this.log.name}; this one, of epoch ${this.epoch}, must stop`,
        );
      case "unknown":
        return new MobulaError(
          "STATE_OUTCOME_UNKNOWN",
          "unavailable",
          `${this.log.name} gave no answer, so the change may have been made or not (${outcome.error.message}); open the store again and look`,
          { cause: outcome.error },
        );
    }
  }

  private tooLarge(bytes: number): MobulaError {
    return new MobulaError(
      "STATE_TOO_LARGE",
      "invalid",
      `a change of ${bytes} bytes is more than ${this.log.name} takes at once (${COMMIT_BYTES_MAX})`,
    );
  }

  private unavailable(why: string): MobulaError {
    return new MobulaError(
      "STATE_UNAVAILABLE",
      "unavailable",
      `the state store in ${this.log.name} cannot be used: ${why}`,
    );
  }
}
