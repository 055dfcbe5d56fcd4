/** A process with an owner engine: a driver, or a worker. Its connection to the node, its turns, and its death. */
import {
  type JobId,
  nodeTag,
  objectKey,
  type ProcessId,
  type StoredName,
  type WorkerId,
} from "../../core/src/base/mod.ts";
import {
  DEPUTY_SEQS_FROM,
  type Handover,
  type OwnerEffects,
  OwnerEngine,
  readLog,
  SubmissionLog,
  type TakenLog,
  WatchedLog,
} from "../../core/src/owner/mod.ts";
import type {
  Answer,
  FromNode,
  StoredValue,
  StoreOrphans,
  StorePinned,
  ToNode,
  WorkerAddress,
} from "../../core/src/wire/mod.ts";
import { SimLink } from "./link.ts";
import { Channel, type Place } from "./network.ts";
import type { SimNode } from "./node.ts";
import { Program } from "./program.ts";
import type { World } from "./world.ts";

const TICK_MS = 10;
/** How long a value is looked at. */
const READING_MS = 200;
/** So small that it is full at times. */
const LOG_BYTES = 4_096;

export class SimProcess {
  readonly world: World;
  readonly node: SimNode;
  readonly place: Place;
  readonly id: ProcessId;
  readonly pid: number;
  readonly engine: OwnerEngine;
  readonly program: Program;
  /** A driver's own; workers make no actors in these runs. */
  readonly jobId: JobId;
  readonly deputyOf: SimProcess | undefined;
  readonly isDriver: boolean;
  /** Whose numbers its objects have. */
  readonly named: ProcessId;
  isAlive = true;
  /** It reads nothing any more until it is killed. */
  isStuck = false;
  /** Its node knows of it. */
  hasJoined = false;
  private leasedFor: JobId | undefined;
  /** What the node sends that is not for the owner engine. */
  onMessage: (message: FromNode) => void = () => {};
  private readonly toNodeChannel: Channel;
  private readonly fromNodeChannel: Channel;
  private readonly links = new Map<WorkerId, SimLink>();
  /** `seq.attempt` of what the engine has told of. */
  private readonly endedAttempts = new Set<string>();
  private isTicking = false;
  /** Stored values that were asked for, and have not come. */
  readonly awaited = new Map<StoredName, number>();
  private readonly pins = new Map<StoredName, ((pinned: StorePinned) => void)[]>();
  private readonly questions = new Map<number, (answer: Answer) => void>();
  private asked = 0;
  private readonly logWords: Int32Array;
  private readonly watchedLog: WatchedLog;

  /**
   * @param options.handsOver a worker: what it submits may go to its node.
   * @param options.deputyOf what that worker handed over is seen through here, in the node's process.
   */
  constructor(
    node: SimNode,
    options: { readonly handsOver?: boolean; readonly deputyOf?: SimProcess; readonly name?: string } = {},
  ) {
    const { world } = node;
    this.world = world;
    this.node = node;
    this.id = (nodeTag(node.nodeId) + world.prng.hex(12).slice(8)) as ProcessId;
    this.deputyOf = options.deputyOf;
    this.isDriver = !options.handsOver && !options.deputyOf;
    this.named = options.deputyOf?.id ?? this.id;
    this.jobId = world.prng.hex(4) as JobId;
    this.pid = world.newPid();
    const name = `${node.place.name}/${options.name ?? (options.deputyOf ? `deputy of ${options.deputyOf.place.name}` : this.pid)}`;
    world.trace.name(this.id, name);
    // A deputy is part of its node's process.
    this.place = options.deputyOf
      ? node.place
      : { name, machine: node.place.machine, isPaused: false, isLost: false, slowness: 1 };
    this.toNodeChannel = new Channel(world, { from: this.place, to: node.place });
    this.fromNodeChannel = new Channel(world, { from: node.place, to: this.place });
    this.logWords = new Int32Array(options.handsOver ? LOG_BYTES / Int32Array.BYTES_PER_ELEMENT : 0);
    this.watchedLog = new WatchedLog(this.logWords);
    this.engine = new OwnerEngine(this.named, this.effects(), {
      handsOver: options.handsOver ?? false,
      ...(this.deputyOf && { engineSeqsFrom: DEPUTY_SEQS_FROM }),
    });
    const { handover } = this.engine;
    if (handover) {
      handover.jobId = () => this.leasedFor ?? this.jobId;
      handover.openLog = () => new SubmissionLog(this.logWords, () => {});
    }
    this.watchLending();
    this.program = new Program(this);
    world.processes.set(this.id, this);
  }

  /** What could not be made again may be lost when it is let go of here and others hold it. */
  private watchLending(): void {
    const { listener } = this.engine.objects;
    if (!listener) return;
    const isRemakeable = listener.isRemakeable.bind(listener);
    listener.isRemakeable = (task) => {
      const is = isRemakeable(task);
      if (!is) for (const { seq } of task.returns) this.world.madeOnce.add(objectKey(this.named, seq));
      return is;
    };
  }

  private effects(): OwnerEffects {
    return {
      toNode: (message) => this.toNode(message),
      link: (address) => this.link(address),
      unlink() {
        // Links stay open, as in the runtime.
      },
      pin: (value) => this.askFor(value, false),
      killWorker: ({ link: { address }, idThere }) =>
        void this.toNodeChannel.send(() => this.node.killAnywhere(address, idThere, "cancelled")),
      taskEvent: (task) => this.attemptEnded(task),
      value: (seq, value) => this.program.received(seq, value.at === "error" ? value.bytes : undefined, value.nested),
      pinned: (seq, pinned, nested) => {
        this.program.received(seq, undefined, nested);
        this.unpinLater(pinned);
      },
      ready: (seq) => this.program.ended(seq),
      streamItem() {},
      streamValue() {},
      streamEnd() {},
      unreadFailure() {},
      kept() {},
      warn() {},
    };
  }

  private attemptEnded({ seq, attempt, name }: Parameters<OwnerEffects["taskEvent"]>[0]): void {
    const key = `${seq}.${attempt}`;
    if (this.endedAttempts.has(key)) this.world.fail("an attempt ends once", `${this.id} ${name} ${key}`);
    this.endedAttempts.add(key);
  }

  /** Runs something as one turn of the process: at one time, and with one flush at its end. */
  turn(run: (engine: OwnerEngine) => void): void {
    if (!this.isAlive || this.isStuck) return;
    if (this.deputyOf && this.place.isPaused) {
      this.node.whenResumed(() => this.turn(run));
      return;
    }
    this.engine.at(this.world.clock.nowMs);
    const { handover } = this.engine;
    handover?.enter();
    run(this.engine);
    this.program.digest();
    if (handover) {
      if (handover.isUnlogged || this.world.prng.chance(this.world.chances.handover)) handover.handOver();
      else handover.keep();
      // Its program may compute before the engine has sent anything, or at any time after.
      if (this.world.prng.chance(0.5)) this.blockUntilTaken(handover);
    }
    this.engine.flush();
    handover?.leave();
    this.tickWhileActive();
  }

  private blockUntilTaken(handover: Handover): void {
    handover.leave();
    this.node.takeLog(this);
    handover.enter();
  }

  /** What it has submitted and not sent, if its program runs. */
  takeLog(messages: number): TakenLog | undefined {
    if (this.watchedLog.messages !== messages) return undefined;
    const end = this.watchedLog.take();
    if (end === undefined) return undefined;
    return readLog(Buffer.from(this.logWords.buffer, 0, end), this.id);
  }

  private tickWhileActive(): void {
    if (this.isTicking || !this.engine.isActive) return;
    this.isTicking = true;
    this.world.clock.schedule(TICK_MS, () => {
      this.isTicking = false;
      this.turn((engine) => engine.tick());
    });
  }

  toNode(message: ToNode): void {
    if (this.deputyOf) {
      this.node.receive(this, message);
      return;
    }
    this.toNodeChannel.send(() => this.node.receive(this, message));
  }

  fromNode(message: FromNode): void {
    if (message.t === "lease-begin" || message.t === "actor-start") this.leasedFor = message.jobId;
    this.fromNodeChannel.send(() => {
      if (!this.isAlive) return;
      this.world.note(this.place.name, `hears ${message.t}`, message);
      this.turn((engine) => {
        if (message.t === "store-pinned") {
          this.pinned(message);
          return;
        }
        if (message.t === "store-orphans") {
          this.claim(message);
          return;
        }
        if (message.t === "answer") {
          this.questions.get(message.id)?.(message);
          this.questions.delete(message.id);
          return;
        }
        if (!engine.onNodeMessage(message)) this.onMessage(message);
        if (message.t === "process-gone") this.gone(message.processId, message.isLost);
      });
    });
  }

  /** As `owner/runtime.ts`. */
  private claim(message: StoreOrphans): void {
    const { id, names, workerId } = message;
    const link = workerId === undefined ? undefined : this.links.get(workerId);
    if (link && !link.isBroken) {
      link.whenClosed.push(() => this.claim(message));
      return;
    }
    this.toNode({ t: "store-claims", id, names: this.engine.objects.storedAmong(new Set(names)) });
  }

  /** Whose work it does, when it does any. */
  get worksFor(): JobId | undefined {
    return this.isDriver ? this.jobId : this.leasedFor;
  }

  /** Asks its node. */
  ask(method: string, params: unknown, answered: (answer: Answer) => void): void {
    const id = ++this.asked;
    this.questions.set(id, answered);
    this.toNode({ t: "query", id, method, params });
  }

  // ── stored values ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** An argument; as `owner/runtime.ts`. */
  pin(value: StoredValue, then: (pinned: StorePinned) => void): void {
    const waiting = this.pins.get(value.name);
    if (waiting) waiting.push(then);
    else this.pins.set(value.name, [then]);
    this.askFor(value, true);
  }

  /** An object, for an owner, in the store of this node; undefined when there is no room. */
  make(owner: SimProcess, bytes: number): StoredName | undefined {
    const name = this.node.store.make(this.id, owner.id, bytes);
    if (name !== undefined) this.world.stored.made(name, owner, this.node);
    return name;
  }

  private askFor({ name, size, home }: StoredValue, isArgument: boolean): void {
    const { world } = this;
    this.awaited.set(name, (this.awaited.get(name) ?? 0) + 1);
    // Who reads a value has a ref of it; a worker may get its arguments when nobody waits for the task any more.
    if (!isArgument && world.stored.isFreed(name) && !world.lostTags.has(home))
      world.fail("a held object is never freed", `${name}, which ${this.id} reads`);
    this.toNode({ t: "store-pin", values: [{ name, size, home }], isArgument });
  }

  private pinned(pinned: StorePinned): void {
    const { name } = pinned;
    const left = (this.awaited.get(name) ?? 0) - 1;
    if (left > 0) this.awaited.set(name, left);
    else this.awaited.delete(name);
    this.check(pinned);
    const waiting = this.pins.get(name);
    const first = waiting?.shift();
    if (waiting?.length === 0) this.pins.delete(name);
    if (first) first(pinned);
    // Nobody has a use for it any more.
    else if (!this.engine.onNodeMessage(pinned) && !pinned.error) this.unpin(pinned);
  }

  /** After somebody has read it. */
  unpinLater(pinned: StorePinned): void {
    const { world } = this;
    world.clock.schedule(world.prng.float() * READING_MS, () => this.turn(() => this.unpin(pinned)));
  }

  unpin(pinned: StorePinned): void {
    if (pinned.error) return;
    this.check(pinned);
    this.toNode({ t: "store-unpin", keys: [pinned.key] });
  }

  private check(pinned: StorePinned): void {
    if (pinned.error || this.node.store.isIntact(pinned)) return;
    this.world.fail("what is read is what was made", `${pinned.name}, read by ${this.id}`);
  }

  /** @param isLost nothing more comes from there, and nothing that was on its way counts. */
  private gone(worker: ProcessId, isLost: boolean | undefined): void {
    for (const link of this.links.values()) {
      if (link.address.processId !== worker) continue;
      if (isLost) link.cutOff();
      else link.otherIsGone();
    }
  }

  private link(address: WorkerAddress): SimLink {
    const known = this.links.get(address.workerId);
    if (known && !known.isBroken) return known;
    const link = new SimLink(this.world, this, address);
    this.links.set(address.workerId, link);
    if (address.nodeId !== this.node.nodeId) this.toNode({ t: "process-watch", processId: address.processId });
    return link;
  }

  /** What it has sent still arrives; then its connections close. */
  die(): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    for (const link of this.links.values()) link.ownerGone();
    this.toNodeChannel.close(() => this.node.disconnected(this));
  }

  /** With its machine: nobody hears of it. */
  vanish(): void {
    this.isAlive = false;
    this.world.crashed.add(this.id);
  }
}
