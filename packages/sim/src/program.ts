/**
 * What user code does with refs and handles, at random: submit, put, get, keep, pass on, drop. Dropping happens when a
 * finaliser would run: some time later.
 */
import {
  type ActorId,
  isObjectKey,
  nodeTagOf,
  type ObjectKey,
  objectKey,
  objectKeyOwner,
  objectKeySeq,
  type ProcessId,
  type Seq,
  storedNameKey,
} from "../../core/src/base/mod.ts";
import type { NestedRef, Template } from "../../core/src/owner/mod.ts";
import { type ActorOptionsRecord, unpackFailure } from "../../core/src/wire/mod.ts";
import { busyPlan, encodePlan, type Plan, randomPlan, someBytes } from "./plan.ts";
import type { SimProcess } from "./process.ts";

const EMPTY = new Uint8Array(0);
/** Why an owner makes a lost value not again. What was put is let go of with its ref, also when a task's lineage needs it. */
const LOST_FOR_GOOD =
  /has maxRetries 0|is a call of an actor|has used up its|was cancelled or failed|its owner has let go of it|(is gone too|not made again): it was put/;
const METHOD = 1;
const COPIES_MAX = 3;
const RENEWED_EVERY = 3;
const TEMPLATE_IDS_FROM = 100;
const NAMES = ["alpha", "beta", "gamma"];

/** A ref that the program has in its hands. */
interface Held {
  readonly seq: Seq;
  /** Its key when another process owns it. */
  readonly key: ObjectKey | undefined;
}

export class Program {
  private readonly process: SimProcess;
  private readonly refs = new Map<Seq, Held>();
  /** Of what was put with copies. */
  private readonly copied = new Set<Seq>();
  private readonly handles = new Map<number, ActorId>();
  /** Refs of calls whose end has not been seen. */
  readonly unended = new Map<Seq, string>();
  private readonly gets = new Map<Seq, (nested: readonly ObjectKey[]) => void>();
  private readonly arrived: (() => void)[] = [];
  /** Functions that it can call now. */
  private templates: readonly Template[] = TEMPLATES;
  private nextTemplate = TEMPLATE_IDS_FROM;
  private submitted = 0;
  private nextSeq = 1;
  private nextNum = 1;
  private isSetUp = false;

  constructor(process: SimProcess) {
    this.process = process;
  }

  private setUp(): void {
    if (this.isSetUp) return;
    this.isSetUp = true;
    const { engine } = this.process;
    engine.actors.registerMethod({
      id: METHOD,
      name: "work",
      displayName: "",
      numReturns: 1,
      isStream: false,
      streamBufferItems: 16,
      group: "",
      maxRetries: 1,
      retryDelayMs: 0,
      timeoutMs: 0,
      retry: EMPTY,
    });
  }

  // ── what user code does ────────────────────────────────────────────────────────────────────────────────────────

  /** One random thing. To be called within a turn. */
  act(): void {
    this.setUp();
    const { prng } = this.process.world;
    const roll = prng.below(100);
    if (this.process.world.chances.isBusy && prng.chance(0.5)) {
      this.passAround();
      return;
    }
    if (roll < 35) this.submit(randomPlan(prng, true));
    else if (roll < 42) this.put();
    else if (roll < 55) this.get(prng.pick([...this.refs.keys()]));
    else if (roll < 62) this.createActor();
    // A call that waited for one that came behind it would wait for ever.
    else if (roll < 80) this.call({ ...randomPlan(prng, false), children: prng.below(3), waits: false });
    else if (roll < 83) this.cancel(prng.pick([...this.unended.keys()]));
    else if (roll < 84) this.kill(prng.pick([...this.handles.values()]));
    else if (roll < 88) this.finalise(() => this.dropHandle(prng.pick([...this.handles.keys()])));
    else this.finalise(() => this.drop(prng.pick([...this.refs.keys()])));
  }

  /** Tasks that make more of others, values that mention what others own, and reading those. */
  private passAround(): void {
    const { prng } = this.process.world;
    const roll = prng.below(10);
    if (roll < 5) this.submit(busyPlan(prng));
    else if (roll < 6) this.put();
    else this.get(prng.pick([...this.refs.keys()]));
  }

  /**
   * Submits a task; the ref of its first return. `parent` is the result of the task that does so: what its child waits
   * for must be older, or the two would wait for each other.
   */
  submit(plan: Plan, parent?: ObjectKey, passedOn: readonly ObjectKey[] = []): Seq {
    this.setUp();
    const { engine, world } = this.process;
    const template = world.prng.pick(this.templates);
    if (template === undefined) throw new RangeError("there are no templates");
    if (!engine.tasks.isRegistered(template.id)) engine.tasks.register(template);
    const seq = this.take(template.numReturns);
    const args = encodePlan(plan);
    engine.tasks.submit(seq, template.id, args, this.someRefs(parent), [...this.someNested(), ...passedOn]);
    for (let index = 0; index < template.numReturns; index++) this.began((seq + index) as Seq, template.name);
    this.renew(template);
    return seq;
  }

  /** The function is gone, as in a task that makes its own, while what was submitted is under way; it is made again for the next call. */
  private renew(template: Template): void {
    if (++this.submitted % RENEWED_EVERY > 0) return;
    this.process.engine.tasks.unregister(template.id);
    const renewed = { ...template, id: this.nextTemplate++ };
    this.templates = this.templates.map((one) => (one === template ? renewed : one));
  }

  private call(plan: Plan): void {
    const { engine, world } = this.process;
    const num = world.prng.pick([...this.handles.keys()]);
    if (num === undefined) return;
    const seq = this.take(1);
    engine.actors.call(seq, num, METHOD, encodePlan({ ...plan, handle: num }), this.someRefs(), this.someNested());
    this.began(seq, `a call of ${this.handles.get(num)}`);
    // The call is then the last that keeps the actor, and goes as soon as it has its result.
    if (world.prng.chance(0.3)) this.dropHandle(num);
  }

  private put(): void {
    const { engine, world } = this.process;
    const { prng } = world;
    const seq = this.take(1);
    const nested = this.someNested();
    const size = someBytes(prng);
    const name = prng.chance(0.5) ? this.process.make(this.process, size) : undefined;
    if (name === undefined) {
      engine.objects.put(seq, { at: "inline", bytes: EMPTY, nested });
      this.refs.set(seq, { seq, key: undefined });
      return;
    }
    const copies = prng.chance(0.3) ? prng.between(2, COPIES_MAX) : 1;
    engine.objects.put(seq, { at: "stored", key: storedNameKey(name), size, nested, copies });
    this.refs.set(seq, { seq, key: undefined });
    if (copies === 1) return;
    world.stored.wanted(name, copies);
    this.copied.add(seq);
    this.began(seq, `put with ${copies} copies`);
  }

  /** Reads a value; what refs it has are kept or not. */
  get(seq: Seq | undefined, then: () => void = () => {}): void {
    if (seq === undefined || this.gets.has(seq)) return;
    this.gets.set(seq, (nested) => {
      for (const key of nested) if (this.process.world.prng.chance(0.5)) this.keep(key);
      then();
    });
    this.process.engine.objects.want(seq);
  }

  private createActor(): void {
    const { engine, world } = this.process;
    const { prng } = world;
    const actorId = (prng.hex(12) + this.process.jobId) as ActorId;
    const num = this.nextNum++;
    const name = prng.chance(0.2) ? prng.pick(NAMES) : undefined;
    if (name === undefined) world.born(actorId);
    const options: ActorOptionsRecord = {
      ...(name === undefined ? {} : { name }),
      getIfExists: prng.chance(0.7),
      lifetime: "owner",
      // Never short of them: handles held by calls that wait for an actor's resources would be the program's own deadlock.
      resources: prng.chance(0.2) ? { slot: 1 } : {},
      maxRestarts: prng.pick([0, 1, -1]) ?? 0,
      isolation: prng.chance(0.4) ? "process" : "shared",
      maxActorsPerWorker: 3,
    };
    const spec = { className: "Actor", codeKey: "actor", code: Buffer.from("class Actor {}"), host: EMPTY };
    engine.actors.create({
      num,
      actorId,
      concurrency: 1,
      options,
      spec,
      args: EMPTY,
      deps: this.someRefs(),
      nested: this.someNested(),
    });
    this.handles.set(num, actorId);
    world.reaches([actorId], this.process.id);
  }

  private cancel(seq: Seq | undefined): void {
    if (seq !== undefined) this.process.engine.cancel(seq, this.process.world.prng.chance(0.2), false);
  }

  private kill(actorId: ActorId | undefined): void {
    const noRestart = this.process.world.prng.chance(0.3);
    if (actorId !== undefined) this.process.toNode({ t: "actor-kill", actorId, noRestart });
  }

  /** Takes a ref or handle out of a value that is at hand. */
  keep(key: ObjectKey): void {
    const { engine, world } = this.process;
    world.arrive([key], this.process.id);
    if (!isObjectKey(key)) {
      const num = this.nextNum++;
      this.setUp();
      engine.actors.borrow(num, key as string as ActorId, "Actor", 1);
      this.handles.set(num, key as string as ActorId);
    } else if (objectKeyOwner(key) === this.process.id) {
      const seq = objectKeySeq(key);
      engine.objects.retain(seq);
      // One ref of the program for each object is enough for these runs.
      if (this.refs.has(seq)) engine.objects.release(seq);
      else this.refs.set(seq, { seq, key: undefined });
    } else {
      const seq = this.take(1);
      engine.objects.borrow(seq, objectKeyOwner(key), objectKeySeq(key));
      this.refs.set(seq, { seq, key });
    }
  }

  drop(seq: Seq | undefined): void {
    if (seq === undefined || this.gets.has(seq) || !this.refs.delete(seq)) return;
    // A pending call whose ref is dropped still ends, but nobody is told.
    this.unended.delete(seq);
    this.process.engine.objects.release(seq);
  }

  private dropHandle(num: number | undefined): void {
    if (num !== undefined && this.handles.delete(num)) this.process.engine.actors.release(num);
  }

  /** Lets go of everything that no get waits for, as finalisers do when nothing is reachable any more. */
  dropAll(): void {
    for (const num of [...this.handles.keys()]) this.dropHandle(num);
    for (const seq of [...this.refs.keys()]) this.drop(seq);
  }

  /** The same, but for the refs of calls that have not ended, and of what nodes keep copies of: that these do is waited for. */
  dropEnded(): void {
    for (const num of [...this.handles.keys()]) this.dropHandle(num);
    for (const seq of [...this.refs.keys()]) if (!this.unended.has(seq) && !this.copied.has(seq)) this.drop(seq);
  }

  // ── what it is told ────────────────────────────────────────────────────────────────────────────────────────────

  received(seq: Seq, failure: Uint8Array | undefined, nested: readonly ObjectKey[]): void {
    this.process.world.reaches(nested, this.process.id);
    if (failure) this.check(seq, failure);
    // Answered in the same turn, but not within the engine's own step.
    this.arrived.push(() => {
      const waiting = this.gets.get(seq);
      this.gets.delete(seq);
      waiting?.(nested);
    });
  }

  /** Hands what has arrived to the program. */
  digest(): void {
    for (let next = this.arrived.shift(); next; next = this.arrived.shift()) next();
  }

  ended(seq: Seq): void {
    this.unended.delete(seq);
  }

  private check(seq: Seq, failure: Uint8Array): void {
    const { world } = this.process;
    for (let one = unpackFailure(failure), depth = 0; depth < 50; depth++) {
      const about = /^object (\S+)/.exec(one.message)?.[1] as ObjectKey | undefined;
      // What lived on a machine that is lost may be lost.
      if (about !== undefined && isObjectKey(about) && world.lostTags.has(nodeTagOf(objectKeyOwner(about)))) {
        world.heirs.isLost(about, one.message);
        return;
      }
      const isMadeOnce = about !== undefined && world.madeOnce.has(about);
      if (one.code === "OBJECT_LOST" && !isMadeOnce && !this.mayBeLost(one.message))
        world.fail("no object is lost that can be made again", `${this.process.id} ${seq}: ${one.message}`);
      if (one.code === "OWNER_DIED" && one.message.startsWith("object ")) {
        if (one.message.includes("the node of its owner has died"))
          world.fail("an owner that lives delivers", one.message);
        const owner = /process ([0-9a-f]{24})/.exec(one.message)?.[1] as ProcessId | undefined;
        if (owner !== undefined && !world.crashed.has(owner)) world.fail("an owner that lives delivers", one.message);
        if (about !== undefined && world.copied.has(about))
          world.fail("a task of which the node has a copy outlives its owner", one.message);
      }
      if (!one.because) return;
      one = one.because;
    }
  }

  /** Its machine is, and nobody can make it again. */
  private mayBeLost(message: string): boolean {
    const { lostTags, crashed } = this.process.world;
    if (lostTags.size === 0) return false;
    const owner = /process ([0-9a-f]{24})/.exec(message)?.[1] as ProcessId | undefined;
    return LOST_FOR_GOOD.test(message) || (owner !== undefined && crashed.has(owner));
  }

  // ── helpers ────────────────────────────────────────────────────────────────────────────────────────────────────

  private take(count: number): Seq {
    const seq = this.nextSeq as Seq;
    this.nextSeq += count;
    for (let index = 0; index < count; index++) {
      this.process.world.born(objectKey(this.process.id, (seq + index) as Seq));
    }
    return seq;
  }

  private began(seq: Seq, what: string): void {
    this.refs.set(seq, { seq, key: undefined });
    this.unended.set(seq, what);
    this.process.engine.objects.watch(seq);
  }

  private finalise(run: () => void): void {
    const { world } = this.process;
    world.clock.schedule(world.prng.float() * 200, () => this.process.turn(run));
  }

  private someRefs(parent?: ObjectKey): readonly Seq[] {
    const { id, world } = this.process;
    const { prng } = world;
    const seqs = [...this.refs.values()]
      .filter(({ seq, key }) => parent === undefined || world.isOlder(key ?? objectKey(id, seq), parent))
      .map(({ seq }) => seq);
    return Array.from({ length: prng.below(3) }, () => prng.pick(seqs)).filter((seq) => seq !== undefined);
  }

  /** Refs and handles to put inside a value. */
  someNested(): readonly NestedRef[] {
    const { prng } = this.process.world;
    const refs = [...this.refs.values()];
    const { world } = this.process;
    const handles = [...this.handles.values()].filter((actorId) => world.isBorn(actorId));
    const nested: NestedRef[] = [];
    for (let index = prng.below(3); index > 0; index--) {
      const ref = prng.pick(refs);
      if (ref) nested.push(ref.key ?? ref.seq);
    }
    const handle = prng.chance(0.3) ? prng.pick(handles) : undefined;
    if (handle !== undefined) nested.push(handle as string as ObjectKey);
    return nested;
  }
}

const template = (id: number, cpu: number, numReturns: number, maxRetries: number): Template => ({
  id,
  name: `task${id}`,
  language: "js",
  code: EMPTY,
  nested: [],
  demand: { key: `cpu${cpu}`, resources: cpu === 0 ? {} : { cpu: cpu * 10_000 }, priority: 0, name: `task${id}` },
  numReturns,
  isStream: false,
  streamBufferItems: 16,
  maxRetries,
  retryDelayMs: 0,
  timeoutMs: 0,
  maxCalls: 0,
});

/** The last one asks for more than the node has: refused after a while. */
const TEMPLATES: readonly Template[] = [
  template(0, 1, 1, 3),
  template(1, 1, 2, 0),
  template(2, 2, 1, -1),
  template(3, 0, 1, 3),
  template(4, 64, 1, 3),
];
