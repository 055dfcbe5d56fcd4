/**
 * An owner engine with everything around it written down: what it asks of the node, tells the program, and sends to
 * workers, whose side of the claim words is at hand. Time stands still unless a test moves it.
 */
import {
  type LeaseId,
  type NodeId,
  newNodeId,
  newProcessId,
  type ObjectKey,
  objectKey,
  type ProcessId,
  type Seq,
  type StoredName,
  storedName,
  storedNameKey,
} from "../base/ids.ts";
import {
  FrameReader,
  FrameWriter,
  packFailure,
  TO_OWNER,
  TO_WORKER,
  type ToNode,
  unpackFailure,
  type ValueRecord,
  type WorkerAddress,
  type WorkerDeath,
  writeKeys,
  writeValue,
} from "../wire/mod.ts";
import { OwnerClaims, WorkerClaims } from "./claims.ts";
import { OwnerEngine, type OwnerEngineOptions } from "./engine.ts";
import type { NestedRef, Template, WorkerLink } from "./records.ts";

const FRAME_HEADER_BYTES = 4;
const NO_BYTES = new Uint8Array(0);

type TemplateOptions = Partial<Template> & { readonly priority?: number };

/** A function that takes one CPU and gives one value. */
export const testTemplate = (id: number, { priority = 0, ...options }: TemplateOptions = {}): Template => ({
  id,
  name: `f${id}`,
  language: "js",
  code: NO_BYTES,
  nested: [],
  demand: { key: `cpu:1 priority:${priority}`, resources: { cpu: 10_000 }, priority, name: `f${id}` },
  numReturns: 1,
  isStream: false,
  streamBufferItems: 16,
  maxRetries: 3,
  retryDelayMs: 0,
  timeoutMs: 0,
  maxCalls: 0,
  ...options,
});

export interface SentTask {
  readonly kind: "task";
  readonly seq: number;
  readonly attempt: number;
  readonly slot: number;
  readonly sequence: number;
}
export type Sent =
  | SentTask
  | { readonly kind: "cancel"; readonly seq: number; readonly code: string; readonly isRecursive: boolean }
  | { readonly kind: "ack"; readonly seq: number; readonly consumed: number }
  | { readonly kind: "lease"; readonly leaseId: number }
  | { readonly kind: "forget"; readonly template: number }
  | { readonly kind: "take-back"; readonly seqs: readonly number[] }
  | { readonly kind: "heard"; readonly answers: readonly number[] };

export class TestWorker implements WorkerLink {
  readonly address: WorkerAddress;
  readonly out = new FrameWriter();
  readonly knownTemplates = new Set<number>();
  readonly knownMethods: WorkerLink["knownMethods"] = new Map();
  readonly knownActors = new Map<number, number>();
  namedLease = 0;
  readonly claims: OwnerClaims | undefined;
  /** The worker's side of the words. */
  readonly words: WorkerClaims;
  readonly interrupted: number[] = [];
  isBroken = false;

  constructor(address: WorkerAddress, owner: TestOwner) {
    this.address = address;
    const words = new Int32Array(new SharedArrayBuffer(4096));
    const signal = (pid: number): boolean => this.interrupted.push(pid) > 0;
    this.claims = owner.hasClaims ? new OwnerClaims(words, address.pid, owner.self, signal) : undefined;
    this.words = new WorkerClaims(words);
  }

  schedule(): void {}

  /** What was written since the last look, templates apart. */
  take(): Sent[] {
    const bytes = this.out.takeCopy();
    const reader = new FrameReader();
    const sent: Sent[] = [];
    for (let at = 0; at < bytes.length; ) {
      const start = at + FRAME_HEADER_BYTES;
      at = start + bytes.readUInt32LE(at);
      const frame = reader.reset(bytes, start, at);
      const fields = frame.array();
      switch (frame.uint()) {
        case TO_WORKER.task: {
          const [seq = 0, attempt = 0, , slot = 0, sequence = 0] = [0, 0, 0, 0, 0].map(() => frame.uint());
          sent.push({ kind: "task", seq, attempt, slot, sequence });
          break;
        }
        case TO_WORKER.cancel:
          sent.push({ kind: "cancel", seq: frame.uint(), code: frame.string(), isRecursive: frame.bool() });
          break;
        case TO_WORKER.lease:
          sent.push({ kind: "lease", leaseId: frame.uint() });
          break;
        case TO_WORKER.forgetTemplate:
          sent.push({ kind: "forget", template: frame.uint() });
          break;
        case TO_WORKER.streamAck:
          sent.push({ kind: "ack", seq: frame.uint(), consumed: frame.uint() });
          break;
        case TO_WORKER.takeBack:
          sent.push({ kind: "take-back", seqs: Array.from({ length: fields - 1 }, () => frame.uint()) });
          break;
        case TO_WORKER.heard:
          sent.push({ kind: "heard", answers: Array.from({ length: fields - 1 }, () => frame.uint()) });
          break;
        default:
      }
    }
    return sent;
  }

  /** The tasks among what was written since the last look. */
  takeTasks(): SentTask[] {
    return this.take().filter((sent) => sent.kind === "task");
  }
}

export class TestOwner {
  readonly self: ProcessId;
  readonly hasClaims: boolean;
  readonly engine: OwnerEngine;
  readonly workers: TestWorker[] = [];
  /** What the program was told, as short words. */
  readonly told: string[] = [];
  /** Attempts that ended, as short words. */
  readonly attempts: string[] = [];
  readonly killed: string[] = [];
  readonly pinned: number[] = [];
  /** Numbers of the items of streams that the owner keeps. */
  readonly items: Seq[] = [];
  private toNode: ToNode[] = [];
  private nowMs = 1_000;
  private readonly writer = new FrameWriter();
  private readonly reader = new FrameReader();

  constructor(options: { readonly hasClaims?: boolean } & OwnerEngineOptions & { readonly self?: ProcessId } = {}) {
    this.self = options.self ?? newProcessId(TAG.padEnd(32, "0") as NodeId);
    this.hasClaims = options.hasClaims ?? true;
    this.engine = new OwnerEngine(
      this.self,
      {
        value: (seq, value) => void this.told.push(`value ${seq} ${describe(value)}`),
        pinned: (seq, pinned) => void this.told.push(`pinned ${seq} key ${pinned.key}`),
        ready: (seq) => void this.told.push(`ready ${seq}`),
        streamItem: (stream, item) => {
          this.items.push(item);
          this.told.push(`kept item of ${stream}`);
        },
        streamValue: (stream, bytes) => void this.told.push(`item [${[...bytes]}] of ${stream}`),
        streamEnd: (stream, count) => void this.told.push(`end of ${stream} after ${count}`),
        escapedFailure: (_key, name) => void this.told.push(`escaped ${name}`),
        unreadFailure: (name) => void this.told.push(`unread ${name}`),
        warn: (code) => void this.told.push(`warn ${code}`),
        kept() {},
        toNode: (message) => void this.toNode.push(message),
        link: (address) => this.link(address),
        unlink() {},
        pin: ({ name }) => void this.pinned.push(storedNameKey(name)),
        killWorker: ({ link }) => void this.killed.push(link.address.workerId),
        taskEvent: ({ seq, attempt }, worker, _runMicros, _finishedAtMs, outcome, failure) => {
          const why = failure ? `: ${unpackFailure(failure).message}` : "";
          this.attempts.push(`${seq}.${attempt} ${outcome} ${worker ? `at ${worker.workerId}` : "nowhere"}${why}`);
        },
      },
      options,
    );
    this.engine.at(this.nowMs);
  }

  private link(address: WorkerAddress): TestWorker {
    const known = this.workers.find((worker) => worker.address.workerId === address.workerId && !worker.isBroken);
    if (known) return known;
    const worker = new TestWorker(address, this);
    this.workers.push(worker);
    return worker;
  }

  worker(at: number): TestWorker {
    const worker = this.workers[at];
    if (!worker) throw new Error(`no worker ${at} was leased`);
    return worker;
  }

  /** What the engine asked of the node since the last look. */
  takeAsked(): ToNode[] {
    const asked = this.toNode;
    this.toNode = [];
    return asked;
  }

  takeTold(): string[] {
    return this.told.splice(0);
  }

  key(seq: number): ObjectKey {
    return objectKey(this.self, seq as Seq);
  }

  // ── the program ────────────────────────────────────────────────────────────────────────────────────────────────

  register(id: number, options: TemplateOptions = {}): void {
    this.engine.tasks.register(testTemplate(id, options));
  }

  submit(seq: number, template = 1, deps: readonly number[] = [], nested: readonly NestedRef[] = []): void {
    this.engine.tasks.submit(seq as Seq, template, NO_BYTES, deps as Seq[], nested);
  }

  put(seq: number, nested: readonly number[] = []): void {
    this.engine.objects.put(seq as Seq, { at: "inline", bytes: Uint8Array.of(seq), nested: nested as Seq[] });
  }

  release(...seqs: readonly number[]): void {
    for (const seq of seqs) this.engine.objects.release(seq as Seq);
  }

  want(...seqs: readonly number[]): void {
    for (const seq of seqs) this.engine.objects.want(seq as Seq);
  }

  cancel(seq: number, force = false): boolean {
    return this.engine.cancel(seq as Seq, force, true);
  }

  flush(): void {
    this.engine.flush();
  }

  pass(ms: number): void {
    this.nowMs += ms;
    this.engine.at(this.nowMs);
    this.engine.tick();
  }

  // ── the node ───────────────────────────────────────────────────────────────────────────────────────────────────

  grant(leaseId: number, workerAt: number, shape = 0, idThere = leaseId): TestWorker {
    const name = `w${workerAt}`;
    const worker = {
      workerId: name as WorkerAddress["workerId"],
      processId: `process-${workerAt}`.padEnd(24, "0") as WorkerAddress["processId"],
      nodeId: (TAG + newNodeId().slice(TAG.length)) as NodeId,
      pid: 100 + workerAt,
      address: `/${name}`,
    };
    const ids = { leaseId: leaseId as LeaseId, idThere: idThere as LeaseId };
    this.engine.onNodeMessage({ t: "lease-granted", shape, ...ids, worker, gpus: [] });
    this.flush();
    return this.worker(this.workers.findIndex((each) => each.address.workerId === worker.workerId && !each.isBroken));
  }

  revoke(leaseId: number): void {
    this.engine.onNodeMessage({ t: "lease-revoked", leaseId: leaseId as LeaseId });
    this.flush();
  }

  /** Its worker, which had nothing to do, has ended it. */
  reclaim(leaseId: number): void {
    this.engine.onNodeMessage({ t: "lease-reclaimed", shape: 0, leaseId: leaseId as LeaseId });
    this.flush();
  }

  lose(leaseId: number, worker: TestWorker, death: Partial<WorkerDeath> = {}): void {
    this.closeLink(worker);
    this.announceDeath(leaseId, worker, death);
  }

  closeLink(worker: TestWorker): void {
    this.engine.onLinkClosed(worker);
    this.flush();
  }

  announceDeath(leaseId: number, worker: TestWorker, death: Partial<WorkerDeath> = {}): void {
    this.engine.onNodeMessage({
      t: "lease-lost",
      leaseId: leaseId as LeaseId,
      death: {
        workerId: worker.address.workerId,
        pid: worker.address.pid,
        exitCode: null,
        signal: "SIGKILL",
        stderrTail: "",
        ...death,
      },
    });
    this.flush();
  }

  // ── workers ────────────────────────────────────────────────────────────────────────────────────────────────────

  private frame(worker: TestWorker, write: (out: FrameWriter) => void): void {
    this.writer.begin();
    write(this.writer);
    this.writer.end();
    const bytes = this.writer.takeCopy();
    this.engine.onWorkerFrame(worker, this.reader.reset(bytes, FRAME_HEADER_BYTES, bytes.length));
  }

  /** The worker takes the task up; false when it was taken back before. */
  start(worker: TestWorker, task: SentTask): boolean {
    return worker.words.start(task.slot, task.sequence);
  }

  ok(worker: TestWorker, task: SentTask, runMicros = 100): void {
    if (task.slot > 0) this.start(worker, task);
    this.frame(worker, (out) => {
      out.array(5);
      for (const field of [TO_OWNER.ok, task.seq, task.attempt, runMicros]) out.uint(field);
      out.bin(Uint8Array.of(task.seq));
    });
  }

  results(worker: TestWorker, task: SentTask, values: readonly ValueRecord[]): void {
    if (task.slot > 0) this.start(worker, task);
    this.frame(worker, (out) => {
      out.array(5);
      for (const field of [TO_OWNER.results, task.seq, task.attempt, 100]) out.uint(field);
      out.array(values.length);
      for (const value of values) writeValue(out, value);
    });
  }

  throws(
    worker: TestWorker,
    task: SentTask,
    isRetryable: boolean,
    nested: readonly ObjectKey[] = [],
    runMicros = 100,
  ): void {
    if (task.slot > 0) this.start(worker, task);
    this.frame(worker, (out) => {
      out.array(7);
      for (const field of [TO_OWNER.error, task.seq, task.attempt, runMicros]) out.uint(field);
      out.bin(packFailure({ code: "TASK_FAILED", kind: "task", message: `attempt ${task.attempt}` }));
      writeKeys(out, nested);
      out.bool(isRetryable);
    });
  }

  item(worker: TestWorker, task: SentTask, index: number, value?: ValueRecord): void {
    if (task.slot > 0) this.start(worker, task);
    this.frame(worker, (out) => {
      out.array(5);
      for (const field of [TO_OWNER.streamItem, task.seq, task.attempt, index]) out.uint(field);
      writeValue(out, value ?? { at: "inline", bytes: Uint8Array.of(index), nested: [] });
    });
  }

  streamEnd(worker: TestWorker, task: SentTask, count: number): void {
    this.frame(worker, (out) => {
      out.array(5);
      for (const field of [TO_OWNER.streamEnd, task.seq, task.attempt, 100, count]) out.uint(field);
    });
  }

  returned(worker: TestWorker, ...seqs: readonly number[]): void {
    this.frame(worker, (out) => {
      out.array(seqs.length + 1);
      for (const field of [TO_OWNER.returned, ...seqs]) out.uint(field);
    });
  }
}

/** The first of what was expected to be there. */
export function only<T>(list: readonly T[]): T {
  const [first] = list;
  if (first === undefined || list.length !== 1) throw new Error(`expected one, got ${list.length}`);
  return first;
}

function describe(value: ValueRecord): string {
  if (value.at === "error") return unpackFailure(value.bytes).code;
  return value.at === "inline" ? `[${[...value.bytes].join()}]` : `stored ${storedNameKey(value.name)}`;
}

export const stored = (key: number, nested: readonly ObjectKey[] = []): ValueRecord => ({
  at: "stored",
  name: named(key),
  size: 1_000_000,
  home: TAG,
  nested,
});

const TAG = "0d0d0d0d";
export const named = (key: number): StoredName => storedName(TAG, key);
