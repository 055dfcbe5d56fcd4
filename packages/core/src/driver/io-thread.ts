/**
 * The driver's I/O thread: the owner engine and all sockets, so that a program that computes for seconds still has its
 * dependent tasks dispatched, its leases returned and its timeouts kept.
 */
import { receiveMessageOnPort, workerData } from "node:worker_threads";
import { monotonicMs, setClockOffset } from "../base/clock.ts";
import { ConnectionLostError, InternalError, MobulaError } from "../base/errors.ts";
import { HeapShrinker } from "../base/heap-shrinker.ts";
import type { ActorId, JobId, ProcessId, Seq } from "../base/ids.ts";
import { keepBytes, OwnerRuntime, type ProgramEffects } from "../owner/mod.ts";
import { mapClaims } from "../store/mod.ts";
import { connectUnix, type Peer, useNetwork } from "../transport/mod.ts";
import { FrameReader, FrameWriter, type FromNode, isHotFrame, pack, type ToNode, unpack } from "../wire/mod.ts";
import { InspectorTunnel } from "./inspector-tunnel.ts";
import { RingConsumer, RingProducer } from "./ring.ts";
import { type ActorKind, ASK, readNested, readSeqs, TELL } from "./ring-messages.ts";
import { SpinRule } from "./spin.ts";
import type { Asked, ThreadData, Told } from "./thread-messages.ts";

/** How long the thread looks by itself after it last found something; then it sleeps until it is rung. */
const DOZE_MS = 1;
const DOZES = 3;

export function runIoThread(): void {
  const data = workerData as ThreadData; // Given by driver.ts.
  if (data.network !== undefined) useNetwork(data.network);
  new IoThread(data);
}

class IoThread {
  private readonly consumer: RingConsumer;
  private readonly producer: RingProducer;
  private readonly out = new FrameWriter();
  private readonly reader = new FrameReader();
  private readonly runtime: OwnerRuntime;
  private readonly shrinker = new HeapShrinker();
  private readonly actorKinds: ActorKind[] = [];
  private node: Peer | undefined;
  private readonly inspector = new InspectorTunnel((message) => {
    this.node?.send(message);
    this.node?.flush();
  });
  /** Records that found no room, in order. */
  private readonly overflow: Buffer[] = [];
  private doze: NodeJS.Timeout | undefined;
  private emptyLooks = 0;
  private readonly spinRule = new SpinRule();
  private isSpinning = false;
  /** The thread looks by itself: neither the program's bell nor a socket woke it. */
  private readonly left: Int32Array;
  private isUnprompted = false;
  private hasTold = false;

  constructor(data: ThreadData) {
    const { bell, apart } = data;
    this.left = new Int32Array(data.left);
    this.consumer = new RingConsumer(data.toThread, () => {
      const received = receiveMessageOnPort(apart);
      if (!received) throw new ConnectionLostError("a large record was announced and did not arrive");
      return received.message as Uint8Array;
    });
    this.producer = new RingProducer(data.fromThread, {
      ring: () => bell.postMessage(0),
      sendApart: (bytes) => apart.postMessage(Uint8Array.from(bytes)),
    });
    this.runtime = new OwnerRuntime({
      self: data.processId as ProcessId,
      jobId: () => data.jobId as JobId,
      node: this.nodePort(),
      mapClaims,
      beforeFlush: () => this.look(),
      afterFlush: () => this.flushTold(),
    });
    this.runtime.program = this.program();
    bell.on("message", () => this.runtime.flushNow());
    this.runtime.flushNow();
  }

  /** The node's connection, before it exists too. */
  private nodePort(): Pick<Peer, "send" | "flush"> {
    return {
      send: (message) => this.node?.send(message),
      flush: () => this.node?.flush(),
    };
  }

  // ── the program asks ───────────────────────────────────────────────────────────────────────────────────────────

  /** Takes what the program has asked. Runs before the engine acts, so that one turn serves everything. */
  private look(): void {
    const isEvent = !this.isUnprompted;
    this.isUnprompted = false;
    let isMore: boolean;
    do {
      this.consumer.stayAwake();
      const count = this.consumer.drain(this.handleRecord);
      if (count > 0) this.shrinker.active();
      this.emptyLooks = count > 0 ? 0 : this.emptyLooks + 1;
      if ((count > 0 || isEvent) && this.spinsNow()) return;
      isMore = this.emptyLooks < DOZES ? this.consumer.doze() : this.consumer.sleep();
    } while (isMore);
    if (this.emptyLooks < DOZES) this.doze ??= setTimeout(this.lookAgain, DOZE_MS);
  }

  private spinsNow(): boolean {
    const now = monotonicMs();
    this.spinRule.active(now);
    if (!this.isSpinWorthwhile(now)) return false;
    if (!this.isSpinning) setImmediate(this.spin);
    this.isSpinning = true;
    return true;
  }

  private isSpinWorthwhile(now: number): boolean {
    return this.spinRule.isWorthwhile(now, this.runtime.engine.tasks.sent.size);
  }

  /** One turn of the event loop, which looks at the sockets without waiting for them. */
  private readonly spin = (): void => {
    const isOver = !this.isSpinWorthwhile(monotonicMs());
    if (!isOver && this.consumer.isEmpty) {
      setImmediate(this.spin);
      return;
    }
    this.isSpinning = false;
    this.lookUnprompted();
  };

  private readonly lookAgain = (): void => {
    this.doze = undefined;
    this.lookUnprompted();
  };

  private lookUnprompted(): void {
    this.isUnprompted = true;
    this.runtime.flushNow();
  }

  private readonly handleRecord = (bytes: Buffer, start: number, end: number): void => this.handle(bytes, start, end);

  private handle(bytes: Buffer, start: number, end: number): void {
    if (!isHotFrame(bytes, start)) {
      this.handleCold(unpack(bytes.subarray(start, end)) as Asked);
      return;
    }
    const reader = this.reader.reset(bytes, start, end);
    const engine = this.runtime.enter();
    const fields = reader.array();
    const kind = reader.uint();
    switch (kind) {
      case ASK.submit: {
        const seq = reader.uint() as Seq;
        const template = reader.uint();
        const args = keepBytes(reader.bin());
        const nested = readNested(reader);
        engine.tasks.submit(seq, template, args, readSeqs(reader), nested);
        return;
      }
      case ASK.call: {
        const seq = reader.uint() as Seq;
        const actor = reader.uint();
        const method = reader.uint();
        const args = keepBytes(reader.bin());
        const nested = readNested(reader);
        engine.actors.call(seq, actor, method, args, readSeqs(reader), nested);
        return;
      }
      case ASK.release:
        for (let field = 1; field < fields; field++) engine.objects.release(reader.uint() as Seq);
        return;
      case ASK.want:
        for (let field = 1; field < fields; field++) engine.objects.want(reader.uint() as Seq);
        return;
      case ASK.wantRun: {
        const first = reader.uint();
        const end = first + reader.uint();
        for (let seq = first; seq < end; seq++) engine.objects.want(seq as Seq);
        return;
      }
      case ASK.watch:
        for (let field = 1; field < fields; field++) engine.objects.watch(reader.uint() as Seq);
        return;
      case ASK.unwant:
        for (let field = 1; field < fields; field++) engine.objects.unwant(reader.uint() as Seq);
        return;
      case ASK.put: {
        const seq = reader.uint() as Seq;
        const value = Buffer.from(reader.bin());
        engine.objects.put(seq, { at: "inline", bytes: value, nested: readNested(reader) });
        return;
      }
      case ASK.retain:
        for (let field = 1; field < fields; field++) engine.objects.retain(reader.uint() as Seq);
        return;
      case ASK.borrow: {
        let seq = reader.uint();
        let owner = "" as ProcessId;
        for (let field = 2; field < fields; field++) {
          // The other side writes owners, and nothing else, as strings.
          if (reader.isString()) owner = reader.string() as ProcessId;
          else engine.objects.borrow(seq++ as Seq, owner, reader.uint() as Seq);
        }
        return;
      }
      case ASK.consumed: {
        const stream = reader.uint() as Seq;
        engine.consumed(stream, reader.uint());
        return;
      }
      case ASK.createActor: {
        const kind = this.actorKinds[reader.uint()];
        if (!kind) throw new InternalError("an actor of a kind that was not told");
        const num = reader.uint();
        const actorId = reader.string() as ActorId;
        const args = Buffer.from(reader.bin());
        const nested = readNested(reader);
        engine.actors.create({ ...kind, num, actorId, args, nested, deps: readSeqs(reader) });
        return;
      }
      case ASK.releaseActor:
        engine.actors.release(reader.uint());
        return;
      default:
        return;
    }
  }

  private handleCold(asked: Asked): void {
    const { runtime } = this;
    const engine = runtime.enter();
    switch (asked.t) {
      case "join":
        void this.join(asked);
        return;
      case "template":
        engine.tasks.register(asked.template);
        return;
      case "drop-template":
        engine.tasks.unregister(asked.id);
        return;
      case "method":
        engine.actors.registerMethod(asked.method);
        return;
      case "actor-kind":
        this.actorKinds[asked.place] = asked.kind;
        return;
      case "create-actor":
        engine.actors.create(asked.creation);
        return;
      case "borrow-actor":
        engine.actors.borrow(asked.num, asked.actorId, asked.className, asked.concurrency);
        if (asked.isGranted) engine.actors.received(asked.actorId);
        return;
      case "put-stored":
        engine.objects.put(asked.seq, { ...asked, at: "stored" });
        return;
      case "puts-seen":
        runtime.putsSeen(asked.tallies);
        return;
      case "expect":
        runtime.expect(asked.seq, asked.value);
        return;
      case "unpin":
        runtime.toNode({ t: "store-unpin", keys: asked.keys });
        return;
      case "abandon-stream":
        engine.abandonStream(asked.stream);
        return;
      case "cancel":
        runtime.cancel(asked.seq, asked.force, asked.isRecursive);
        return;
      case "to-node":
        runtime.toNode(asked.message as ToNode);
        return;
      case "query":
        this.answer(asked.id, runtime.query(asked.method, asked.params));
        return;
      case "explain":
        this.answer(asked.id, runtime.explain(asked.target));
        return;
      case "leave":
        runtime.reportEvents();
        runtime.flushNode();
        Atomics.store(this.left, 0, 1);
        Atomics.notify(this.left, 0);
        return;
      default:
        return;
    }
  }

  private answer(id: number, result: Promise<unknown>): void {
    result.then(
      (value) => this.tell({ t: "answered", id, result: value }),
      (error: unknown) => this.tell({ t: "answered", id, error: plainError(error) }),
    );
  }

  // ── the node ───────────────────────────────────────────────────────────────────────────────────────────────────

  private async join(asked: Extract<Asked, { t: "join" }>): Promise<void> {
    let isWelcome = false;
    let farewell: string | undefined;
    const refuse = (error: unknown): void => {
      if (!isWelcome) this.tell({ t: "answered", id: asked.id, error: plainError(error) });
    };
    try {
      this.node = await connectUnix(asked.socket, {
        onMessage: (message) => {
          const from = message as FromNode;
          if (this.runtime.onNodeMessage(from)) return;
          switch (from.t) {
            case "welcome":
              isWelcome = true;
              setClockOffset(from.clockOffsetMs);
              this.tell({ t: "joined", id: asked.id, welcome: from });
              return;
            case "refused":
              refuse(new MobulaError(from.code, from.kind, from.message));
              return;
            case "log":
              this.tell({ t: "log", lines: from.lines });
              return;
            case "collect":
              this.tell({ t: "collect" });
              return;
            case "inspector-say":
              this.inspector.heard(from);
              return;
            case "goodbye":
              farewell = from.reason;
              return;
            default:
              return;
          }
        },
        onClose: (error) => {
          const why = farewell ?? error?.message ?? "its connection closed";
          this.inspector.close();
          refuse(new ConnectionLostError(`the node closed the connection: ${why}`));
          this.runtime.nodeLost(new ConnectionLostError(why));
          this.tell({ t: "node-lost", why });
        },
      });
      this.node.send(asked.hello);
      this.node.flush();
    } catch (error) {
      refuse(error);
    }
  }

  // ── the program is told ────────────────────────────────────────────────────────────────────────────────────────

  private program(): ProgramEffects {
    const { out } = this;
    return {
      value: (seq, value) => {
        if (value.at === "stored") return;
        out.array(3);
        out.uint(value.at === "inline" ? TELL.value : TELL.error);
        out.uint(seq);
        out.bin(value.bytes);
        this.push();
      },
      pinned: (seq, pinned) => this.tell({ t: "pinned", seq, pinned }),
      ready: (seq) => {
        out.array(2);
        out.uint(TELL.ready);
        out.uint(seq);
        this.push();
      },
      streamItem: (stream, item) => {
        out.array(3);
        out.uint(TELL.streamItem);
        out.uint(stream);
        out.uint(item);
        this.push();
      },
      streamValue: (stream, bytes) => {
        out.array(3);
        out.uint(TELL.streamValue);
        out.uint(stream);
        out.bin(bytes);
        this.push();
      },
      streamEnd: (stream, count) => {
        out.array(3);
        out.uint(TELL.streamEnd);
        out.uint(stream);
        out.uint(count);
        this.push();
      },
      kept: (bytes) => {
        out.array(2);
        out.uint(TELL.kept);
        out.uint(bytes);
        this.push();
      },
      unreadFailure: (name, bytes) => this.tell({ t: "unread-failure", name, bytes }),
      warn: (code, message) => this.tell({ t: "warning", code, message }),
    };
  }

  private tell(told: Told): void {
    const bytes = pack(told);
    this.out.raw(bytes, 0, bytes.length);
    this.push();
    this.runtime.schedule();
  }

  private push(): void {
    const { out } = this;
    const end = out.position;
    out.position = 0;
    this.hasTold = true;
    if (this.overflow.length === 0 && this.producer.push(out.buffer, 0, end)) return;
    this.overflow.push(Buffer.from(out.buffer.subarray(0, end)));
  }

  private flushTold(): void {
    this.producer.counter = this.runtime.engine.tasks.endedCount;
    if (!this.hasTold) return;
    let sent = 0;
    for (const record of this.overflow) {
      if (!this.producer.push(record, 0, record.length)) break;
      sent++;
    }
    if (sent > 0) this.overflow.splice(0, sent);
    if (this.overflow.length > 0) this.producer.wantRoom();
    else this.hasTold = false;
    this.producer.wake();
  }
}

function plainError(error: unknown): { code: string; kind: string; message: string } {
  if (error instanceof MobulaError) return { code: error.code, kind: error.kind, message: error.message };
  return { code: "INTERNAL", kind: "internal", message: error instanceof Error ? error.message : String(error) };
}
