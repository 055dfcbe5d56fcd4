/** A worker process: runs leased tasks one at a time, and hosts actors (actor-host.ts). */
import { type ActorId, nodeTag, type ObjectKey, objectKey, type Seq, type WorkerId } from "../../core/src/base/mod.ts";
import { WorkerClaims } from "../../core/src/owner/mod.ts";
import {
  ANSWER_KEPT_FROM_MICROS,
  type FrameReader,
  type FrameWriter,
  packFailure,
  readKeys,
  readValues,
  type StorePinned,
  TO_OWNER,
  TO_WORKER,
  type ValueRecord,
  type WorkerAddress,
  writeKeys,
  writeValues,
} from "../../core/src/wire/mod.ts";
import { ActorHost } from "./actor-host.ts";
import { SimLease } from "./lease.ts";
import type { SimLink } from "./link.ts";
import type { SimNode } from "./node.ts";
import { decodePlan, leafPlan, type Plan, randomPlan, someBytes } from "./plan.ts";
import { SimProcess } from "./process.ts";
import type { World } from "./world.ts";

const CLAIM_WORDS = 32;

/** A task or a call that has arrived. */
export interface Item {
  link: SimLink;
  readonly seq: Seq;
  readonly attempt: number;
  readonly slot: number;
  readonly sequence: number;
  readonly plan: Plan;
  readonly numReturns: number;
  /** Refs that came with it: held until it ends. */
  readonly held: readonly ObjectKey[];
  readonly deps: readonly ValueRecord[];
  /** Those of them that lie in a store: pinned, as far as they are there. */
  fetched: readonly StorePinned[] | undefined;
  onFetched: (() => void) | undefined;
  /** Cancelled: it ends with that error, at once if it only waits. */
  isCancelled: boolean;
  stopWaiting: (() => void) | undefined;
  isOver: boolean;
  /** Of a call: how its caller names the actor, and its id. */
  actorNum: number;
  actorId: ActorId | undefined;
  /** What it has submitted and gives as its result. */
  children: readonly Seq[];
}

/** An answer that its owner has not heard, which an heir gets once more. */
interface Kept {
  readonly item: Item;
  readonly nested: readonly ObjectKey[];
  readonly isError: boolean;
}

export class SimWorker {
  readonly world: World;
  readonly process: SimProcess;
  readonly workerId: WorkerId;
  readonly address: WorkerAddress;
  readonly words = new Int32Array(new SharedArrayBuffer(4 * CLAIM_WORDS));
  readonly links = new Set<SimLink>();
  readonly host: ActorHost;
  private readonly lease = new SimLease(this);
  private readonly claims: WorkerClaims;
  private readonly queue: Item[] = [];
  private running: Item | undefined;
  private kept: Kept[] = [];

  constructor(node: SimNode, workerId: WorkerId) {
    const { world } = node;
    this.world = world;
    this.workerId = workerId;
    this.process = new SimProcess(node, { handsOver: true, name: `w${world.workers.size + 1}` });
    world.trace.name(workerId, this.process.place.name);
    this.claims = new WorkerClaims(this.words);
    this.host = new ActorHost(this);
    this.address = {
      workerId,
      processId: this.process.id,
      nodeId: node.nodeId,
      pid: this.process.pid,
      address: `/sim/${workerId}`,
    };
    this.process.onMessage = (message) => {
      this.lease.onMessage(message);
      this.host.onMessage(message);
      // What it had sent before still counts, unless its machine is gone.
      if (message.t === "process-gone" && message.isLost)
        for (const link of [...this.links]) if (link.owner.id === message.processId) link.ownerLost();
    };
    world.workers.set(workerId, this);
  }

  /** It runs nothing and waits for nothing. */
  get isIdle(): boolean {
    return this.running === undefined && this.queue.length === 0;
  }

  /** The owner of what it runs. */
  get runsFor(): SimProcess | undefined {
    return this.running?.link.owner;
  }

  die(): void {
    if (!this.process.isAlive) return;
    this.process.die();
    for (const link of this.links) link.workerGone();
  }

  onFrame(link: SimLink, reader: FrameReader): void {
    const fields = reader.array();
    switch (reader.uint()) {
      case TO_WORKER.template: {
        const id = reader.uint();
        reader.string();
        reader.string();
        reader.bin();
        link.numReturns.set(id, reader.uint());
        break;
      }
      case TO_WORKER.forgetTemplate:
        link.numReturns.delete(reader.uint());
        break;
      case TO_WORKER.task: {
        const [seq, attempt, template, slot, sequence] = [0, 0, 0, 0, 0].map(() => reader.uint());
        const numReturns = link.numReturns.get(template ?? -1);
        if (numReturns === undefined) throw new Error(`task ${seq} is of a function that its worker does not know`);
        const item = this.arrived(link, reader, { seq, attempt, slot, sequence, numReturns });
        this.queue.push(item);
        if (this.lease.hasEnded(link.lease)) {
          if (item.slot === 0 || this.claims.giveBack(item.slot, item.sequence)) this.giveBack(link, item.seq);
          else this.over(this.queue.pop() ?? item);
        } else {
          this.lease.becameBusy();
          this.next();
        }
        break;
      }
      case TO_WORKER.inherit:
        this.inherit(link);
        break;
      case TO_WORKER.lease:
        link.lease = reader.uint();
        break;
      case TO_WORKER.heard:
        for (let field = 1; field < fields; field += 2) this.heard(link, reader.uint(), reader.uint());
        break;
      case TO_WORKER.actor: {
        const num = reader.uint();
        link.actors.set(num, { actorId: reader.string(), incarnation: reader.uint() });
        break;
      }
      case TO_WORKER.call: {
        const [seq, attempt, num = 0, , slot, sequence] = [0, 0, 0, 0, 0, 0].map(() => reader.uint());
        const item = this.arrived(link, reader, { seq, attempt, slot, sequence, numReturns: 1 });
        this.host.call(num, link.actors.get(num), item);
        break;
      }
      case TO_WORKER.cancel:
        this.cancel(link, reader.uint() as Seq);
        break;
      case TO_WORKER.takeBack:
        for (let field = 1; field < fields; field++) this.giveBack(link, reader.uint() as Seq);
        break;
      default:
        break;
    }
  }

  private arrived(
    link: SimLink,
    reader: FrameReader,
    head: Record<"seq" | "attempt" | "slot" | "sequence" | "numReturns", number | undefined>,
  ): Item {
    const plan = decodePlan(reader.bin());
    const nested = readKeys(reader);
    const deps = readValues(reader);
    const held = [...nested, ...deps.flatMap((dep) => dep.nested)];
    this.world.arrive(held, this.process.id);
    this.process.engine.objects.holds.receive(held);
    const item: Item = {
      link,
      seq: (head.seq ?? 0) as Seq,
      attempt: head.attempt ?? 0,
      slot: head.slot ?? 0,
      sequence: head.sequence ?? 0,
      numReturns: head.numReturns ?? 1,
      plan,
      held,
      deps,
      fetched: undefined,
      onFetched: undefined,
      isCancelled: false,
      stopWaiting: undefined,
      isOver: false,
      actorNum: 0,
      actorId: undefined,
      children: [],
    };
    this.fetch(item);
    return item;
  }

  /** Stored arguments are brought here while it waits for its turn. */
  private fetch(item: Item): void {
    const stored = item.deps.filter((dep) => dep.at === "stored");
    const fetched: StorePinned[] = [];
    if (stored.length === 0) item.fetched = fetched;
    for (const dep of stored) {
      this.process.pin(dep, (pinned) => {
        fetched.push(pinned);
        if (fetched.length < stored.length) return;
        if (item.isOver) {
          for (const one of fetched) this.process.unpin(one);
          return;
        }
        item.fetched = fetched;
        item.onFetched?.();
      });
    }
  }

  private next(): void {
    while (this.running === undefined) {
      const item = this.queue.shift();
      if (item === undefined) {
        this.lease.becameIdle();
        return;
      }
      // The owner may have taken it back meanwhile.
      if (!this.claim(item)) this.over(item);
      else {
        this.process.node.checkLease(this, item.link.owner);
        this.checkAnswered(item);
        this.running = item;
        this.run(item, () => {
          this.running = undefined;
          this.next();
        });
      }
    }
  }

  /** Runs the plan of a task or call; `then` once it is over, within a turn. */
  run(item: Item, then: () => void): void {
    const begin = (): void => {
      item.onFetched = undefined;
      item.stopWaiting = undefined;
      const failed = item.fetched?.filter(({ error }) => error) ?? [];
      if (!item.isOver && item.isCancelled) this.refuse(item);
      else if (!item.isOver && failed.length > 0) this.cannotBegin(item, failed);
      if (item.isOver) then();
      else this.begin(item, then);
    };
    if (item.fetched) begin();
    else {
      item.onFetched = begin;
      item.stopWaiting = begin;
    }
  }

  /** What is lost its owner makes again; what cannot be had for another reason is its error. */
  private cannotBegin(item: Item, failed: readonly StorePinned[]): void {
    const lost = failed.filter(({ error }) => error?.code === "OBJECT_LOST");
    const [{ error } = {}] = failed;
    if (lost.length === 0 && error) {
      this.writeError(item, packFailure({ code: error.code, kind: "exhausted", message: error.message }), []);
    } else {
      const { back, owner } = item.link;
      this.world.sentBack.add(`${owner.id} ${item.seq}`);
      back.begin();
      back.array(3 + lost.length);
      back.uint(TO_OWNER.argumentsLost);
      back.uint(item.seq);
      back.uint(item.attempt);
      for (const { name } of lost) back.string(name);
      back.end();
    }
    item.link.answer();
    this.over(item);
  }

  private begin(item: Item, then: () => void): void {
    this.checkArguments(item);
    const { program } = this.process;
    const { prng, clock } = this.world;
    const result = objectKey(item.link.owner.named, item.seq);
    const { plan } = item;
    const children = Array.from({ length: plan.children }, () =>
      program.submit(
        plan.returnsChildren ? leafPlan(prng) : randomPlan(prng, false),
        result,
        plan.passesSelf ? this.host.selfOf(item) : [],
      ),
    );
    if (plan.returnsChildren) {
      item.children = children;
      for (const child of children) this.process.engine.objects.retain(child);
    }
    const finish = (): void => {
      if (item.isCancelled) this.refuse(item);
      else if (!item.isOver) this.succeed(item);
      then();
    };
    clock.schedule(plan.runMs, () =>
      this.process.turn(() => {
        if (!plan.waits || children.length === 0 || item.isOver || item.isCancelled) {
          finish();
          return;
        }
        this.process.toNode({ t: "blocked", blocked: true });
        let isWaiting = true;
        let missing = children.length;
        item.stopWaiting = () => {
          if (!isWaiting) return;
          isWaiting = false;
          this.process.toNode({ t: "blocked", blocked: false });
          finish();
        };
        for (const child of children) program.get(child, () => --missing === 0 && item.stopWaiting?.());
      }),
    );
  }

  /** While an owner waits for this attempt, it holds the arguments. */
  private checkArguments(item: Item): void {
    const { owner } = item.link;
    const task = owner.engine.tasks.current(item.link, item.seq, item.attempt);
    if (!owner.isAlive || task === undefined || task.deps.length === 0) return;
    for (const dep of item.deps) {
      if (dep.at === "stored" && !this.world.mayBeLost(dep) && this.world.stored.isFreed(dep.name)) {
        this.world.fail("a held object is never freed", `argument ${dep.name} of ${owner.id} ${item.seq}`);
      }
    }
  }

  /** What an heir gets the answer of is not made again, unless that lies in a store, and is lost there. */
  private checkAnswered({ link: { owner }, seq }: Item): void {
    if (this.world.answeredHeirs.has(`${owner.id} ${seq}`))
      this.world.fail("what was answered is not made again", `${owner.id} ${seq} of ${owner.named}`);
  }

  private keep(item: Item, nested: readonly ObjectKey[], isError: boolean): void {
    // Calls have no heirs.
    if (item.actorId !== undefined || item.plan.runMs * 1000 < ANSWER_KEPT_FROM_MICROS) return;
    for (const key of nested) this.process.engine.objects.holds.use(key);
    this.kept.push({ item, nested, isError });
  }

  private heard(link: SimLink, seq: number, attempt: number): void {
    const at = this.kept.findIndex(({ item }) => item.link === link && item.seq === seq && item.attempt === attempt);
    if (at >= 0) this.forget(this.kept.splice(at, 1));
  }

  /** The lease under which it has answered is over. */
  forgetAnswers(): void {
    this.forget(this.kept.splice(0));
  }

  private forget(kept: readonly Kept[]): void {
    for (const { nested } of kept) this.process.engine.objects.holds.drop(nested);
  }

  private succeed(item: Item): void {
    const { link, plan } = item;
    const { engine, program } = this.process;
    const { prng } = this.world;
    if (plan.keeps) for (const key of item.held) if (prng.chance(0.5)) program.keep(key);
    const candidates = plan.returnsRefs
      ? [...program.someNested(), ...item.held.filter(() => prng.chance(0.5))].map((ref) =>
          typeof ref === "number" ? objectKey(this.process.id, ref) : ref,
        )
      : [];
    if (plan.passesSelf) candidates.push(...this.host.selfOf(item));
    const result = objectKey(link.owner.named, item.seq);
    const nested = engine.objects.useNested([
      ...candidates.filter((key) => this.world.isOlder(key, result)),
      // They lead to nothing that is younger than this.
      ...item.children,
    ]);
    this.writeAnswer(item, nested);
    this.keep(item, nested, false);
    engine.objects.holds.drop(nested);
    this.over(item);
  }

  private writeAnswer(item: Item, nested: readonly ObjectKey[]): void {
    const { link, plan } = item;
    const { prng } = this.world;
    if (nested.length > 0) {
      this.process.engine.objects.publishNested(nested);
      this.world.reaches(nested, link.owner.id);
      this.process.toNode({ t: "hold-grant", to: link.owner.id, keys: nested });
    }
    const { back } = link;
    if (plan.outcome === "throws") {
      const failure = packFailure({ code: "TASK_FAILED", kind: "task", message: "it threw" });
      this.writeError(item, failure, nested);
    } else if (plan.outcome === "inline" && item.numReturns === 1 && nested.length === 0) {
      this.answer(back, 5, TO_OWNER.ok, item);
      back.bin(new Uint8Array(1));
      back.end();
    } else {
      const home = nodeTag(link.owner.node.nodeId);
      const values = Array.from({ length: item.numReturns }, (_, index): ValueRecord => {
        const inside = index === 0 ? nested : [];
        const size = someBytes(prng);
        const name = plan.outcome === "stored" ? this.process.make(link.owner, size) : undefined;
        // What finds no room travels in the message.
        return name === undefined
          ? { at: "inline", bytes: new Uint8Array(1), nested: inside }
          : { at: "stored", name, size, home, nested: inside };
      });
      this.answer(back, 5, TO_OWNER.results, item);
      writeValues(back, values);
      back.end();
    }
    link.answer();
  }

  private answer(back: FrameWriter, fields: number, kind: number, item: Item): void {
    back.begin();
    back.array(fields);
    back.uint(kind);
    back.uint(item.seq);
    back.uint(item.attempt);
    back.uint(Math.round(item.plan.runMs * 1000));
  }

  private writeError(item: Item, bytes: Uint8Array, nested: readonly ObjectKey[]): void {
    const { back } = item.link;
    this.answer(back, 7, TO_OWNER.error, item);
    back.bin(bytes);
    writeKeys(back, nested);
    back.bool(false);
    back.end();
  }

  /** Lets go of what came with it; what the program kept goes when a finaliser runs. */
  over(item: Item): void {
    if (item.isOver) return;
    item.isOver = true;
    const { objects } = this.process.engine;
    for (const pinned of item.fetched ?? []) this.process.unpin(pinned);
    item.onFetched?.();
    objects.holds.drop(item.held);
    for (const child of item.children) objects.release(child);
    const { clock, prng } = this.world;
    clock.schedule(prng.float() * 300, () => this.process.turn(() => this.collect()));
  }

  collect(): void {
    if (this.isIdle) this.process.program.dropAll();
  }

  private cancel(link: SimLink, seq: Seq): void {
    const isIt = (item: Item): boolean => item.link === link && item.seq === seq && !item.isOver;
    const at = this.queue.findIndex(isIt);
    const queued = at >= 0 ? this.queue.splice(at, 1)[0] : this.host.withdraw(isIt);
    if (queued) {
      this.refuse(queued);
      return;
    }
    const running = this.running && isIt(this.running) ? this.running : this.host.findRunning(isIt);
    if (!running) return;
    running.isCancelled = true;
    running.stopWaiting?.();
  }

  private refuse(item: Item): void {
    if (item.isOver) return;
    this.writeRefusal(item);
    this.keep(item, [], true);
    this.over(item);
  }

  private writeRefusal(item: Item): void {
    this.writeError(item, packFailure({ code: "TASK_CANCELLED", kind: "cancelled", message: "it was cancelled" }), []);
    item.link.answer();
  }

  private giveBack(link: SimLink, seq: Seq): void {
    const at = this.queue.findIndex((item) => item.link === link && item.seq === seq);
    const item = at >= 0 ? this.queue.splice(at, 1)[0] : undefined;
    if (item === undefined) return;
    link.back.begin();
    link.back.array(2);
    link.back.uint(TO_OWNER.returned);
    link.back.uint(seq);
    link.back.end();
    link.answer();
    this.over(item);
  }

  /** False when its owner took it back meanwhile. */
  claim(item: Item): boolean {
    return item.slot === 0 || this.claims.start(item.slot, item.sequence);
  }

  actorGone(link: SimLink, num: number, incarnation: number): void {
    link.back.begin();
    link.back.array(3);
    link.back.uint(TO_OWNER.actorGone);
    link.back.uint(num);
    link.back.uint(incarnation);
    link.back.end();
    link.answer();
  }

  /** Another speaks for the owner of what runs, which is dead. */
  private inherit(heir: SimLink): void {
    const { running } = this;
    for (const link of [...this.links]) {
      if (link.owner.id !== heir.owner.named) continue;
      this.links.delete(link);
      this.ownerGone(link);
    }
    const isLeft = (item: Item): boolean => item.link.owner.id === heir.owner.named;
    const answers = this.kept.filter(({ item }) => isLeft(item));
    const left = answers.map(({ item }) => item);
    if (running && !running.isOver && isLeft(running)) left.push(running);
    const { back } = heir;
    back.begin();
    back.array(1 + 2 * left.length);
    back.uint(TO_OWNER.inherited);
    for (const item of left) {
      item.link = heir;
      back.uint(item.seq);
      back.uint(item.attempt);
    }
    back.end();
    heir.answer();
    for (const { item, nested, isError } of answers) {
      const isHere = heir.owner.node === this.process.node;
      if (isHere && item.plan.outcome !== "stored") this.world.answeredHeirs.add(`${heir.owner.id} ${item.seq}`);
      if (isError) this.writeRefusal(item);
      else this.writeAnswer(item, nested);
    }
  }

  /** Nobody waits for what this owner sent and has not begun; what runs may be inherited. */
  ownerGone(link: SimLink): void {
    link.isOwnerGone = true;
    const mine = [...this.queue, ...this.host.items()].filter((item) => item.link === link);
    for (const item of mine) this.over(item);
    const left = this.queue.filter((item) => !item.isOver);
    this.queue.splice(0, this.queue.length, ...left);
  }
}
