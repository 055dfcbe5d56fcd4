/** One owner's connection to this worker: its frames become tasks, calls, cancels. */
import { ConnectionLostError } from "../base/errors.ts";
import type { ActorId, ObjectKey, ProcessId, Seq } from "../base/ids.ts";
import type { Client, SerializerList } from "../client/mod.ts";
import { guardBase, guardKeyFrom, type OwnerRuntime } from "../owner/mod.ts";
import type { Peer, PeerHandlers } from "../transport/mod.ts";
import { checkLanguage, FrameReader, readKeys, readValues, TEMPLATE_FLAGS, TO_WORKER } from "../wire/mod.ts";
import type { ActorHost } from "./actor-host.ts";
import type { Habit } from "./attention.ts";
import { ResultWriter } from "./results.ts";
import type { RetryRule } from "./retry-rule.ts";
import type { Running } from "./running.ts";
import type { TaskRunner } from "./task-runner.ts";

type AnyFunction = (...args: readonly unknown[]) => unknown;

/** What a task runs. */
export interface TaskCode {
  readonly fn: AnyFunction;
  readonly retry: RetryRule;
}

/** @param parts packed by api/remote.ts of the same version of this package. */
export const codeFrom = (parts: readonly unknown[]): TaskCode => {
  const [fn, retry] = parts as [AnyFunction, RetryRule];
  return { fn, retry };
};

/** A function as an owner sent it, made when it is first run. */
export class WorkerTemplate {
  readonly name: string;
  readonly numReturns: number;
  readonly isStream: boolean;
  /** Results leave before it runs and when it has run. */
  readonly isPrompt: boolean;
  readonly streamBufferItems: number;
  fn: AnyFunction | undefined;
  retry: RetryRule = false;
  /** Whether it looks after what it submits. */
  readonly habit: Habit = { trust: 0 };
  runs = 0;
  /** Moving average of a run. */
  runMicros = 0;
  /** Longest run, forgotten slowly. */
  peakMicros = 0;
  /** Refs and handles that the function has captured: held here as long as it can be called. */
  readonly nested: readonly ObjectKey[];
  private readonly language: string;
  private readonly code: Uint8Array;

  constructor(
    name: string,
    language: string,
    code: Uint8Array,
    numReturns: number,
    flags: number,
    streamBufferItems: number,
    nested: readonly ObjectKey[],
  ) {
    this.name = name;
    this.language = language;
    this.nested = nested;
    this.code = code;
    this.numReturns = numReturns;
    this.isStream = (flags & TEMPLATE_FLAGS.stream) !== 0;
    this.isPrompt = (flags & TEMPLATE_FLAGS.prompt) !== 0;
    this.streamBufferItems = streamBufferItems;
  }

  async load(client: Client): Promise<void> {
    if (this.fn) return;
    checkLanguage(this.name, this.language);
    await client.values.prepare(this.code);
    const parts = client.values.decode(this.code) as [unknown, unknown, SerializerList?];
    client.values.learn(parts[2]);
    Object.assign(this, codeFrom(parts));
  }
}

export interface WorkerMethod {
  readonly name: string;
  /** Empty: the class and the method. */
  readonly displayName: string;
  readonly numReturns: number;
  readonly group: string;
  readonly retry: Uint8Array;
  /** 0 for a method that is no generator. */
  readonly streamBufferItems: number;
  /** How often a call may fail before its error is final; 0 for no limit. */
  readonly failuresMax: number;
  readonly retryDelayMs: number;
}

/** An actor as its caller names it on this connection. */
export interface NamedActor {
  readonly num: number;
  readonly actorId: ActorId;
  readonly incarnation: number;
}

export interface OwnerHello {
  readonly t: "owner-hello";
  /** Who holds what is sent to this owner. */
  readonly processId: ProcessId;
  /** By whom its tasks are named. */
  readonly owner: ProcessId;
}

export class OwnerConnection implements PeerHandlers {
  readonly peer: Peer;
  ownerId = "" as ProcessId;
  private guardBase = 0;
  /** Under which it holds and leases. */
  processId = "" as ProcessId;
  /** Under which its tasks come: 0 while none was named, as inline. */
  lease = 0;
  /** Its owner is gone: what still comes is of no use to anybody. */
  isOver = false;
  /** Another speaks for the owner, which is dead. */
  onInherit: ((heir: OwnerConnection) => void) | undefined;
  /** Known to be dead although their connections may not have been read to the end. */
  deadOwners: ReadonlySet<ProcessId> | undefined;
  private readonly client: Client;
  private readonly runtime: OwnerRuntime;
  private readonly tasks: TaskRunner;
  private readonly actors: ActorHost;
  private readonly onEnd: (connection: OwnerConnection) => void;
  private readonly reader = new FrameReader();
  private readonly templates = new Map<number, WorkerTemplate>();
  private readonly methods = new Map<number, WorkerMethod>();
  private readonly namedActors = new Map<number, NamedActor>();
  private readonly broken = new Map<Seq, Running>();
  private writer: ResultWriter | undefined;

  constructor(
    peer: Peer,
    client: Client,
    runtime: OwnerRuntime,
    tasks: TaskRunner,
    actors: ActorHost,
    onEnd: (connection: OwnerConnection) => void,
  ) {
    this.peer = peer;
    this.client = client;
    this.runtime = runtime;
    this.tasks = tasks;
    this.actors = actors;
    this.onEnd = onEnd;
  }

  get results(): ResultWriter {
    if (!this.writer) throw new ConnectionLostError("an owner sent work before it said who it is");
    return this.writer;
  }

  onMessage(message: { readonly t: string }): void {
    if (message.t !== "owner-hello") throw new ConnectionLostError(`an unexpected message: ${message.t}`);
    const { processId, owner } = message as OwnerHello;
    if (typeof processId !== "string" || typeof owner !== "string")
      throw new ConnectionLostError("an owner did not say who it is");
    this.ownerId = owner;
    this.guardBase = guardBase(owner);
    this.processId = processId;
    this.isOver = this.deadOwners?.has(processId) ?? false;
    this.writer = new ResultWriter(this.client, this.runtime, this.peer, processId);
  }

  /** What one of its tasks or calls is called in the claim words while it runs. */
  guardKey(seq: Seq): number {
    return guardKeyFrom(this.guardBase, seq);
  }

  /**
   * The signal of a cancel has broken it off. The cancel's message says whether that is to reach what it had submitted
   * too; unless it was read before, others may run, and be broken off, until it is.
   */
  brokeOff(running: Running): void {
    if (running.cancelled) return;
    running.isBroken = true;
    this.broken.set(running.seq, running);
  }

  private cancelBroken(running: Running, code: string, isRecursive: boolean): void {
    this.broken.delete(running.seq);
    running.isBroken = false;
    running.cancel(code, isRecursive);
    running.ended();
  }

  private newTemplate(reader: FrameReader): WorkerTemplate {
    const [name, language, code] = [reader.string(), reader.string(), Uint8Array.from(reader.bin())];
    const [numReturns, flags, bufferItems] = [reader.uint(), reader.uint(), reader.uint()];
    const template = new WorkerTemplate(name, language, code, numReturns, flags, bufferItems, readKeys(reader));
    if (template.nested.length > 0) this.runtime.engine.objects.holds.receive(template.nested);
    return template;
  }

  private forgetTemplate(template: WorkerTemplate): void {
    if (template.nested.length === 0) return;
    this.runtime.engine.objects.holds.drop(template.nested);
    this.runtime.schedule();
  }

  onBatchEnd(): void {
    // What begins to run now may keep the thread for long.
    this.runtime.engine.handover?.leave();
    this.tasks.drain();
    this.actors.drain();
  }

  onClose(): void {
    for (const template of this.templates.values()) this.forgetTemplate(template);
    this.templates.clear();
    for (const running of this.broken.values()) this.cancelBroken(running, "TASK_CANCELLED", true);
    this.onEnd(this);
  }

  onHotFrame(buffer: Buffer, start: number, end: number): void {
    if (this.isOver) return;
    const reader = this.reader.reset(buffer, start, end);
    const fields = reader.array();
    const kind = reader.uint();
    switch (kind) {
      case TO_WORKER.task: {
        const seq = reader.uint() as Seq;
        const attempt = reader.uint();
        const template = this.templates.get(reader.uint());
        if (!template) throw new ConnectionLostError("a task of an unknown function");
        this.tasks.push({
          connection: this,
          seq,
          attempt,
          template,
          claimSlot: reader.uint(),
          claimSequence: reader.uint(),
          args: reader.bin(),
          nested: readKeys(reader),
          deps: readValues(reader),
          fetched: undefined,
        });
        return;
      }
      case TO_WORKER.call: {
        const seq = reader.uint() as Seq;
        const attempt = reader.uint();
        const actor = this.namedActors.get(reader.uint());
        const method = this.methods.get(reader.uint());
        if (!actor || !method) throw new ConnectionLostError("a call of an unknown actor or method");
        this.actors.call({
          connection: this,
          seq,
          attempt,
          actor,
          method,
          claimSlot: reader.uint(),
          claimSequence: reader.uint(),
          args: reader.bin(),
          nested: readKeys(reader),
          deps: readValues(reader),
          fetched: undefined,
          number: 0,
        });
        return;
      }
      case TO_WORKER.template: {
        const id = reader.uint();
        this.templates.set(id, this.newTemplate(reader));
        return;
      }
      case TO_WORKER.forgetTemplate: {
        const id = reader.uint();
        const template = this.templates.get(id);
        this.templates.delete(id);
        if (template) this.forgetTemplate(template);
        return;
      }
      case TO_WORKER.actor: {
        const num = reader.uint();
        this.namedActors.set(num, { num, actorId: reader.string() as ActorId, incarnation: reader.uint() });
        return;
      }
      case TO_WORKER.method:
        this.methods.set(reader.uint(), {
          name: reader.string(),
          displayName: reader.string(),
          numReturns: reader.uint(),
          group: reader.string(),
          retry: Uint8Array.from(reader.bin()),
          streamBufferItems: reader.uint(),
          failuresMax: reader.uint(),
          retryDelayMs: reader.uint(),
        });
        return;
      case TO_WORKER.inherit:
        this.onInherit?.(this);
        return;
      case TO_WORKER.lease:
        this.lease = reader.uint();
        return;
      case TO_WORKER.heard:
        for (let field = 1; field < fields; field += 2) this.tasks.heard(this, reader.uint(), reader.uint());
        return;
      case TO_WORKER.cancel: {
        const seq = reader.uint() as Seq;
        const code = reader.string();
        const isRecursive = reader.bool();
        const broken = this.broken.get(seq);
        if (broken) this.cancelBroken(broken, code, isRecursive);
        else if (!this.actors.cancel(this, seq, code, isRecursive)) this.tasks.cancel(this, seq, code, isRecursive);
        return;
      }
      case TO_WORKER.streamAck: {
        const seq = reader.uint() as Seq;
        const consumed = reader.uint();
        if (!this.actors.acknowledge(this, seq, consumed)) this.tasks.acknowledge(this, seq, consumed);
        return;
      }
      case TO_WORKER.takeBack: {
        const seqs = new Set<Seq>();
        for (let field = 1; field < fields; field++) seqs.add(reader.uint() as Seq);
        this.tasks.giveBackUnstarted(seqs);
        return;
      }
      default:
        // A newer owner may say more than this worker understands; what matters is agreed in the handshake.
        return;
    }
  }
}
