/**
 * The submission log: what a worker has submitted and not sent, in memory that it shares with its node, so that the node
 * can take it when the worker's thread does not come back.
 *
 * 1. The worker writes an entry for each task, and marks it dead when the task is sent, has ended, or was handed over.
 * 2. While the program runs the log is open; before the engine does anything with its tasks, it is closed. Only an open
 *    log can be taken, and only one side succeeds: both swap the same word.
 * 3. What is taken is taken as a whole. The worker finds out when it wants to close the log, and draws the consequences
 *    before anything else.
 * 4. The node looks at the logs of those that have asked it to (the word `WATCHED`), and stops when one was not open for
 *    some time.
 *
 * An entry is its length, its kind, and MessagePack.
 */
import { type JobId, type ObjectKey, objectKey, type ProcessId, type Seq } from "../base/ids.ts";
import {
  FrameReader,
  FrameWriter,
  type HandedTask,
  type HandedTemplate,
  pack,
  readKeys,
  readValue,
  type TaskHandover,
  type ToNode,
  unpack,
  type ValueRecord,
  writeKeys,
  writeValue,
} from "../wire/mod.ts";
import { lengthOf, writeKept } from "./kept-bytes.ts";
import type { TaskOrigin, TaskRecord } from "./records.ts";

/** Words of the header. */
const STATE = 0;
/** Grows each time that the log is opened. */
const BEAT = 1;
const WATCHED = 2;
const END = 3;
/** Messages that say who delivers what, sent before it was opened: see {@link saysWhoDelivers}. */
const MESSAGES = 4;
/** The job of what was added last. */
const JOB = 5;
export const LOG_HEADER_BYTES = 64;
const ENTRY_HEADER_BYTES = 8;

const CLOSED = 0;
const OPEN = 1;
const TAKEN = 2;

const DEAD = 0;
const TASK = 1;
const TEMPLATE = 2;

/** An argument that is a ref: its value, its name, or the number of an object that the worker has not published. */
export type LoggedArgument = ValueRecord | ObjectKey | Seq;
const BY_KEY = 0;
const BY_SEQ = 1;
const BY_VALUE = 2;

/** The worker's side. */
export class SubmissionLog {
  isOpen = false;
  /** Tasks in it. */
  size = 0;
  /** Functions that have an entry. */
  readonly templates = new Set<number>();
  private readonly words: Int32Array;
  private readonly askToWatch: () => void;
  private readonly writer = new FrameWriter();
  private end = LOG_HEADER_BYTES;
  private jobId: JobId | undefined;

  /** @param askToWatch tells the node that there is something to look at, at once. */
  constructor(words: Int32Array, askToWatch: () => void) {
    this.words = words;
    this.askToWatch = askToWatch;
    this.writer.buffer = Buffer.from(words.buffer, words.byteOffset, words.byteLength);
  }

  /** False when there is no room for it. */
  addTemplate(id: number, packed: Uint8Array): boolean {
    if (!this.begin(packed.length)) return false;
    this.writer.bin(packed);
    this.finish(TEMPLATE);
    this.templates.add(id);
    return true;
  }

  /** False when there is no room for it. */
  add(task: TaskRecord, template: number, jobId: JobId, deps: readonly LoggedArgument[]): boolean {
    const { writer } = this;
    const { args, nested } = task;
    const { parent } = task;
    let bytes = lengthOf(args) + (nested.length + deps.length) * FIELD_BYTES_MAX + (parent?.name.length ?? 0) * 3;
    for (const dep of deps) if (typeof dep === "object" && dep.at !== "stored") bytes += dep.bytes.length;
    if (!this.begin(bytes)) return false;
    if (jobId !== this.jobId) {
      this.jobId = jobId;
      this.words[JOB] = Number.parseInt(jobId, 16) | 0;
    }
    writer.uint(task.seq);
    writer.uint(template);
    writer.uint(task.attempt);
    writer.uint(task.failures);
    writer.uint(task.returns.length);
    writeKept(writer, args);
    writeKeys(writer, nested);
    writer.array(deps.length);
    for (const dep of deps) writeArgument(writer, dep);
    writer.string(parent?.name ?? "");
    if (parent) {
      writer.string(parent.owner);
      writer.uint(parent.seq);
    }
    task.loggedAt = this.finish(TASK);
    this.size++;
    return true;
  }

  /** @param bytes of its contents that have no bound. */
  private begin(bytes: number): boolean {
    const { writer, end } = this;
    writer.position = end + ENTRY_HEADER_BYTES;
    return writer.position + FIXED_BYTES_MAX + bytes <= writer.buffer.length;
  }

  private finish(kind: number): number {
    const { writer, end: at, words } = this;
    this.end = (writer.position + 3) & ~3;
    words[at >> 2] = this.end - at;
    words[(at >> 2) + 1] = kind;
    return at;
  }

  /** The task is not to be taken any more. */
  remove(task: TaskRecord): void {
    const at = task.loggedAt;
    if (at === 0) return;
    task.loggedAt = 0;
    this.words[(at >> 2) + 1] = DEAD;
    if (--this.size === 0) this.clear();
  }

  private clear(): void {
    this.end = LOG_HEADER_BYTES;
    this.templates.clear();
  }

  /** The program goes on: from now on the node may take what is here. */
  open(messages: number): void {
    const { words } = this;
    this.isOpen = true;
    words[END] = this.end;
    words[MESSAGES] = messages;
    words[BEAT] = ((words[BEAT] ?? 0) + 1) | 0;
    Atomics.store(words, STATE, OPEN);
    if (Atomics.load(words, WATCHED) === 0 && Atomics.compareExchange(words, WATCHED, 0, 1) === 0) this.askToWatch();
  }

  /** True when the node has taken all that is in it; from now on it cannot. */
  close(): boolean {
    this.isOpen = false;
    return Atomics.exchange(this.words, STATE, CLOSED) === TAKEN;
  }
}

/** Of the fields of an entry that have a bound, together. */
const FIXED_BYTES_MAX = 128;
/** Of a name or a value, apart from the value's bytes. */
const FIELD_BYTES_MAX = 128;

/** As a task that is handed over names it. */
export const handedOrigin = (parent: TaskOrigin | undefined): Pick<HandedTask, "parent" | "parentId"> =>
  parent ? { parent: parent.name, parentId: [parent.owner, parent.seq] } : {};

export const packTemplate = (template: HandedTemplate): Uint8Array => pack(template);

function writeArgument(out: FrameWriter, dep: LoggedArgument): void {
  if (typeof dep === "string") {
    out.uint(BY_KEY);
    out.string(dep);
  } else if (typeof dep === "number") {
    out.uint(BY_SEQ);
    out.uint(dep);
  } else {
    out.uint(BY_VALUE);
    writeValue(out, dep);
  }
}

/**
 * A log overtakes messages that are on their way. Of most the order does not matter; what the worker has published or
 * handed over, however, the node must not hear of after it has published the same in the name of another, and that a function
 * is dropped not after the log has brought it again.
 */
export const saysWhoDelivers = ({ t }: ToNode): boolean =>
  t === "object-publish" || t === "task-handover" || t === "task-copy" || t === "template-drop";

/** What was taken. */
export interface TakenLog {
  readonly handover: TaskHandover;
  /** Objects of the worker that are named in it, which it has not published; it will learn of it as of the rest. */
  readonly unpublished: readonly ObjectKey[];
}

/** The node's side: its header, to look at and to take; the entries are read when it was taken. */
export class WatchedLog {
  private readonly words: Int32Array;
  private beat = 0;
  private looks = 0;

  constructor(words: Int32Array) {
    this.words = words;
  }

  /** For how many looks in a row, this one included, the same program has run undisturbed; negative: nothing was open. */
  look(): number {
    const { words } = this;
    const isOpen = Atomics.load(words, STATE) === OPEN;
    const beat = Atomics.load(words, BEAT);
    if (beat !== this.beat || isOpen !== this.looks > 0) {
      this.beat = beat;
      this.looks = 0;
    }
    this.looks += isOpen ? 1 : -1;
    return this.looks;
  }

  /** Messages that say who delivers what, sent by the worker before: they are to be handled first. */
  get messages(): number {
    return this.words[MESSAGES] ?? 0;
  }

  /** The bytes that its entries end at, if it could be taken. */
  take(): number | undefined {
    const wasTaken = Atomics.compareExchange(this.words, STATE, OPEN, TAKEN) === OPEN;
    return wasTaken ? this.words[END] : undefined;
  }

  /** False when it was opened at this moment: then it is still watched. */
  leave(): boolean {
    const { words } = this;
    Atomics.store(words, WATCHED, 0);
    return Atomics.load(words, STATE) !== OPEN || Atomics.compareExchange(words, WATCHED, 0, 1) !== 0;
  }
}

/** @param log a copy of it, from the header on. */
export function readLog(log: Buffer, owner: ProcessId): TakenLog {
  const reader = new FrameReader();
  const templates: HandedTemplate[] = [];
  const tasks: HandedTask[] = [];
  const own = new Set<ObjectKey>();
  const made = new Set<ObjectKey>();
  const jobId = (log.readInt32LE(JOB * 4) >>> 0).toString(16).padStart(8, "0") as JobId;
  for (let at = LOG_HEADER_BYTES; at < log.length; ) {
    const end = at + log.readInt32LE(at);
    const kind = log.readInt32LE(at + 4);
    const start = at + ENTRY_HEADER_BYTES;
    at = end;
    reader.reset(log, start, end);
    if (kind === TEMPLATE) templates.push(unpack(reader.bin()) as HandedTemplate); // See `packTemplate`.
    if (kind !== TASK) continue;
    const seq = reader.uint() as Seq;
    const [template, attempt, failures, returns] = [reader.uint(), reader.uint(), reader.uint(), reader.uint()];
    for (let index = 0; index < returns; index++) made.add(objectKey(owner, (seq + index) as Seq));
    const args = Buffer.from(reader.bin());
    const nested = readKeys(reader);
    const deps: (ObjectKey | ValueRecord)[] = [];
    for (let count = reader.array(); count > 0; count--) {
      const how = reader.uint();
      if (how === BY_VALUE) deps.push(readValue(reader));
      else if (how === BY_KEY) deps.push(reader.string() as ObjectKey);
      else {
        const key = objectKey(owner, reader.uint() as Seq);
        own.add(key);
        deps.push(key);
      }
    }
    const name = reader.string();
    const parent = name === "" ? undefined : { name, owner: reader.string() as ProcessId, seq: reader.uint() as Seq };
    tasks.push({ seq, template, attempt, failures, args, deps, nested, ...handedOrigin(parent) });
  }
  tasks.sort((a, b) => a.seq - b.seq);
  const unpublished = [...own].filter((key) => !made.has(key));
  return { handover: { t: "task-handover", jobId, templates, tasks }, unpublished };
}
