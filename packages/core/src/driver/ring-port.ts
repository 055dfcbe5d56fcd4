/** The program's side of the rings: an OwnerPort whose owner runs on the I/O thread. */
import type { MessagePort } from "node:worker_threads";
import { receiveMessageOnPort } from "node:worker_threads";
import { ConnectionLostError, type ErrorKind, errorFromCode } from "../base/errors.ts";
import type { ActorId, ProcessId, Seq } from "../base/ids.ts";
import type { OwnerPort } from "../client/mod.ts";
import type { PutTally } from "../events/mod.ts";
import type {
  ActorCreation,
  ExpectedValue,
  MethodTemplate,
  NestedRef,
  ProgramEffects,
  ProgramValue,
  Template,
} from "../owner/mod.ts";
import { type Explanation, FrameReader, FrameWriter, isHotFrame, pack, type ToNode, unpack } from "../wire/mod.ts";
import { RingConsumer, RingProducer } from "./ring.ts";
import { ACTOR_KINDS, type ActorKind, ASK, TELL, writeNested, writeSeqs } from "./ring-messages.ts";
import type { Asked, Told } from "./thread-messages.ts";

/** The I/O thread never blocks for long; when it takes nothing for this long it is gone. */
const STUCK_MS = 30_000;
/** Records handled in one turn, so that the program's own events have their turn too. */
const TURN = 4_096;
/** Refs in one record: a few ten KiB, so that it fits the ring. */
const GATHERED_MAX = 512;
type GatheredKind = typeof ASK.borrow | typeof ASK.retain | typeof ASK.release;

export class RingPort implements OwnerPort {
  program: ProgramEffects | undefined;
  /** Everything the thread says that is not for the owner's program side. */
  onTold: ((told: Told) => void) | undefined;
  private readonly producer: RingProducer;
  private readonly consumer: RingConsumer;
  private readonly bell: MessagePort;
  private readonly apart: MessagePort;
  private readonly out = new FrameWriter();
  /** The fields of the record that {@link gather} is making, how many they are, and its beginning. */
  private readonly gathering = new FrameWriter();
  private gathered = 0;
  private gatheredKind: GatheredKind = ASK.release;
  /** The first that it borrows, the next that can follow, and the owner that was named last. */
  private borrowedFirst = 0;
  private borrowedNext = 0;
  private borrowedFrom = "" as ProcessId;
  private readonly head = new FrameWriter();
  private readonly reader = new FrameReader();
  private readonly answers = new Map<number, { resolve(value: never): void; reject(error: Error): void }>();
  private readonly actorKinds: ActorKind[] = [];
  private nextKind = 0;
  private nextAnswer = 1;
  private awaited = 0;
  private isClosed = false;
  private failure: Error | undefined;

  /**
   * @param bell wakes either side; it keeps the process alive while something is awaited.
   * @param apart carries records that are too large for a ring.
   */
  constructor(toThread: SharedArrayBuffer, fromThread: SharedArrayBuffer, bell: MessagePort, apart: MessagePort) {
    this.bell = bell;
    this.apart = apart;
    this.producer = new RingProducer(toThread, {
      ring: () => bell.postMessage(0),
      sendApart: (bytes) => apart.postMessage(Uint8Array.from(bytes)),
    });
    this.consumer = new RingConsumer(fromThread, () => {
      const received = receiveMessageOnPort(apart);
      if (!received) throw new ConnectionLostError("a large record was announced and did not arrive");
      return received.message as Uint8Array;
    });
    bell.on("message", () => this.drain());
    bell.unref();
    apart.unref();
  }

  get endedCount(): number {
    return this.consumer.counter;
  }

  awaiting(change: 1 | -1): void {
    this.awaited += change;
    if (this.awaited === 1 && change === 1) this.bell.ref();
    else if (this.awaited === 0) this.bell.unref();
  }

  // ── asking ─────────────────────────────────────────────────────────────────────────────────────────────────────

  private send(): void {
    const { out } = this;
    const end = out.position;
    out.position = 0;
    if (this.gathered > 0) this.sendGathered();
    this.push(out.buffer, end);
  }

  /**
   * Refs that a value brings, and refs that a collection finds dead, come in thousands, one call each: those that follow
   * each other travel in one record, which leaves before any other and at the end of the turn's synchronous part.
   */
  private gather(kind: GatheredKind): FrameWriter {
    if (this.gathered > 0 && (this.gatheredKind !== kind || this.gathered >= GATHERED_MAX)) this.sendGathered();
    if (this.gathered === 0) {
      this.gatheredKind = kind;
      queueMicrotask(this.sendGathered);
    }
    this.gathered++;
    return this.gathering;
  }

  private readonly sendGathered = (): void => {
    const { gathered, gathering } = this;
    if (gathered === 0) return;
    this.gathered = 0;
    const { head } = this;
    head.position = 0;
    head.array(gathered + (this.gatheredKind === ASK.borrow ? 2 : 1));
    head.uint(this.gatheredKind);
    if (this.gatheredKind === ASK.borrow) head.uint(this.borrowedFirst);
    head.raw(gathering.buffer, 0, gathering.position);
    gathering.position = 0;
    this.push(head.buffer, head.position);
  };

  private push(bytes: Buffer, end: number): void {
    const { producer } = this;
    if (this.isClosed) return;
    while (!producer.push(bytes, 0, end)) {
      if (!producer.waitForRoom(STUCK_MS))
        throw new ConnectionLostError(`the I/O thread took nothing for ${STUCK_MS} ms`);
    }
    // While awake it looks for records by itself, every millisecond at the latest.
    if (producer.isConsumerAsleep) producer.wake();
  }

  private tell(message: Asked): void {
    const bytes = pack(message);
    this.out.raw(bytes, 0, bytes.length);
    this.send();
  }

  flush(): void {
    this.sendGathered();
    this.producer.nudge();
  }

  submit(seq: Seq, template: number, args: Uint8Array, deps: readonly Seq[], nested: readonly NestedRef[]): void {
    const { out } = this;
    out.array(6);
    out.uint(ASK.submit);
    out.uint(seq);
    out.uint(template);
    out.bin(args);
    writeNested(out, nested);
    writeSeqs(out, deps);
    this.send();
  }

  call(
    seq: Seq,
    actor: number,
    method: number,
    args: Uint8Array,
    deps: readonly Seq[],
    nested: readonly NestedRef[],
  ): void {
    const { out } = this;
    out.array(7);
    out.uint(ASK.call);
    out.uint(seq);
    out.uint(actor);
    out.uint(method);
    out.bin(args);
    writeNested(out, nested);
    writeSeqs(out, deps);
    this.send();
  }

  put(seq: Seq, value: ProgramValue): void {
    if (value.at === "stored") {
      const { key, size, copies, nested } = value;
      this.tell({ t: "put-stored", seq, key, size, nested, ...(copies !== undefined && { copies }) });
      return;
    }
    const { out } = this;
    out.array(4);
    out.uint(ASK.put);
    out.uint(seq);
    out.bin(value.bytes);
    writeNested(out, value.nested);
    this.send();
  }

  putsSeen(tallies: readonly PutTally[]): void {
    this.tell({ t: "puts-seen", tallies });
  }

  expect(seq: Seq, value: ExpectedValue): void {
    this.tell({ t: "expect", seq, value });
  }

  borrow(seq: Seq, owner: ProcessId, ownerSeq: Seq): void {
    if (this.gatheredKind === ASK.borrow && seq !== this.borrowedNext) this.sendGathered();
    const out = this.gather(ASK.borrow);
    if (this.gathered === 1) this.borrowedFirst = seq;
    if (this.gathered === 1 || owner !== this.borrowedFrom) {
      this.borrowedFrom = owner;
      this.gathered++;
      out.string(owner);
    }
    out.uint(ownerSeq);
    this.borrowedNext = seq + 1;
  }

  retain(seq: Seq): void {
    this.gather(ASK.retain).uint(seq);
  }

  release(seq: Seq): void {
    this.sendSeq(ASK.release, seq);
  }

  releaseCollected(seq: Seq): void {
    this.gather(ASK.release).uint(seq);
  }

  releaseActor(num: number): void {
    this.sendSeq(ASK.releaseActor, num);
  }

  want(seqs: readonly Seq[]): void {
    this.sendSeqs(ASK.want, seqs);
  }

  wantRun(first: Seq, count: number): void {
    const { out } = this;
    out.array(3);
    out.uint(ASK.wantRun);
    out.uint(first);
    out.uint(count);
    this.send();
  }

  unwant(seqs: readonly Seq[]): void {
    this.sendSeqs(ASK.unwant, seqs);
  }

  watch(seqs: readonly Seq[]): void {
    this.sendSeqs(ASK.watch, seqs);
  }

  consumed(stream: Seq, count: number): void {
    const { out } = this;
    out.array(3);
    out.uint(ASK.consumed);
    out.uint(stream);
    out.uint(count);
    this.send();
  }

  private sendSeq(kind: number, seq: number): void {
    const { out } = this;
    out.array(2);
    out.uint(kind);
    out.uint(seq);
    this.send();
  }

  private sendSeqs(kind: number, seqs: readonly Seq[]): void {
    const { out } = this;
    out.array(seqs.length + 1);
    out.uint(kind);
    for (const seq of seqs) out.uint(seq);
    this.send();
  }

  template(template: Template): void {
    this.tell({ t: "template", template });
  }

  dropTemplate(id: number): void {
    this.tell({ t: "drop-template", id });
  }

  method(method: MethodTemplate): void {
    this.tell({ t: "method", method });
  }

  createActor(creation: ActorCreation): void {
    const { options, spec, num, actorId, args, nested, deps } = creation;
    // The first of a class brings its code, and a name is one actor's.
    if (spec.code.length > 0 || options.name !== undefined) {
      this.tell({ t: "create-actor", creation });
      return;
    }
    const place = this.placeOf(creation);
    const { out } = this;
    out.array(7);
    out.uint(ASK.createActor);
    out.uint(place);
    out.uint(num);
    out.string(actorId);
    out.bin(args);
    writeNested(out, nested);
    writeSeqs(out, deps);
    this.send();
  }

  /** Where the thread knows the kind of this actor; it is told of it when it does not. */
  private placeOf({ options, spec, concurrency }: ActorKind): number {
    const known = this.actorKinds.findIndex(
      (kind) => kind.options === options && kind.spec.codeKey === spec.codeKey && kind.concurrency === concurrency,
    );
    if (known >= 0) return known;
    const place = this.nextKind;
    const kind = { options, spec, concurrency };
    this.nextKind = (place + 1) % ACTOR_KINDS;
    this.actorKinds[place] = kind;
    this.tell({ t: "actor-kind", place, kind });
    return place;
  }

  borrowActor(num: number, actorId: ActorId, className: string, concurrency: number, isGranted: boolean): void {
    this.tell({ t: "borrow-actor", num, actorId, className, concurrency, isGranted });
  }

  unpin(keys: readonly number[]): void {
    this.tell({ t: "unpin", keys });
  }

  abandonStream(stream: Seq): void {
    this.tell({ t: "abandon-stream", stream });
  }

  cancel(seq: Seq, force: boolean, isRecursive: boolean): void {
    this.tell({ t: "cancel", seq, force, isRecursive });
  }

  toNode(message: ToNode): void {
    this.tell({ t: "to-node", message });
  }

  query(method: string, params: unknown): Promise<unknown> {
    return this.ask((id) => ({ t: "query", id, method, params }));
  }

  explain(target: { readonly seq: Seq } | { readonly actor: number }): Promise<Explanation> {
    return this.ask((id) => ({ t: "explain", id, target }));
  }

  leave(): void {
    this.tell({ t: "leave" });
    this.flush();
  }

  /** Joins the node; resolves with its welcome. */
  join(message: Omit<Extract<Asked, { t: "join" }>, "t" | "id">): Promise<Extract<Told, { t: "joined" }>["welcome"]> {
    return this.ask((id) => ({ t: "join", id, ...message }));
  }

  private ask<T>(make: (id: number) => Asked): Promise<T> {
    if (this.failure) return Promise.reject(this.failure);
    const id = this.nextAnswer++;
    this.awaiting(1);
    return new Promise<T>((resolve, reject) => {
      this.answers.set(id, { resolve, reject });
      this.tell(make(id));
      this.flush();
    }).finally(() => this.awaiting(-1));
  }

  // ── being told ─────────────────────────────────────────────────────────────────────────────────────────────────

  private drain(): void {
    this.consumer.stayAwake();
    const count = this.consumer.drain((bytes, start, end) => this.handle(bytes, start, end), TURN);
    if (this.consumer.takeRoomWish()) this.producer.ringBell();
    if (count >= TURN) setImmediate(() => this.drain());
    else if (this.consumer.sleep()) this.drain();
  }

  private handle(bytes: Buffer, start: number, end: number): void {
    if (!isHotFrame(bytes, start)) {
      this.handleCold(unpack(bytes.subarray(start, end)) as Told);
      return;
    }
    const reader = this.reader.reset(bytes, start, end);
    const { program } = this;
    reader.array();
    const kind = reader.uint();
    if (kind === TELL.kept) {
      program?.kept(reader.uint());
      return;
    }
    const seq = reader.uint() as Seq;
    switch (kind) {
      case TELL.value:
        program?.value(seq, { at: "inline", bytes: reader.bin(), nested: [] });
        return;
      case TELL.error:
        program?.value(seq, { at: "error", bytes: reader.bin(), nested: [] });
        return;
      case TELL.ready:
        program?.ready(seq);
        return;
      case TELL.streamItem:
        program?.streamItem(seq, reader.uint() as Seq);
        return;
      case TELL.streamValue:
        program?.streamValue(seq, reader.bin());
        return;
      case TELL.streamEnd:
        program?.streamEnd(seq, reader.uint());
        return;
      default:
        return;
    }
  }

  private handleCold(told: Told): void {
    switch (told.t) {
      case "answered": {
        const answer = this.takeAnswer(told.id);
        if (told.error)
          answer?.reject(errorFromCode(told.error.code, told.error.kind as ErrorKind, told.error.message));
        else answer?.resolve(told.result as never);
        return;
      }
      case "joined":
        this.takeAnswer(told.id)?.resolve(told.welcome as never);
        return;
      case "pinned":
        this.program?.pinned(told.seq, told.pinned, []);
        return;
      case "unread-failure":
        this.program?.unreadFailure(told.name, told.bytes);
        return;
      case "warning":
        this.program?.warn(told.code, told.message);
        return;
      default:
        this.onTold?.(told);
    }
  }

  private takeAnswer(id: number): { resolve(value: never): void; reject(error: Error): void } | undefined {
    const answer = this.answers.get(id);
    this.answers.delete(id);
    return answer;
  }

  /** What waits for an answer gets this error, and so does what is asked later. */
  fail(error: Error): void {
    this.failure = error;
    for (const answer of this.answers.values()) answer.reject(error);
    this.answers.clear();
  }

  /** Nothing is asked or heard any more; what waits for an answer gets this error. */
  close(error: Error): void {
    this.isClosed = true;
    this.fail(error);
    this.bell.close();
    this.apart.close();
  }
}
