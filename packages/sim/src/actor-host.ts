/** The actors of one worker: made, called one call at a time, stopped. */
import { type ActorId, nodeTag, type ObjectKey } from "../../core/src/base/mod.ts";
import type { ActorStart, ActorStop, FromNode } from "../../core/src/wire/mod.ts";
import { packFailure } from "../../core/src/wire/mod.ts";
import type { Item, SimWorker } from "./worker.ts";

interface Hosted {
  readonly start: ActorStart;
  readonly queue: Item[];
  isMade: boolean;
  running: Item | undefined;
  stop: ActorStop | undefined;
  /** The last call that came by each handle of each caller. */
  readonly lastFrom: Map<string, Item>;
}

export class ActorHost {
  private readonly worker: SimWorker;
  private readonly actors = new Map<ActorId, Hosted>();

  constructor(worker: SimWorker) {
    this.worker = worker;
  }

  get all(): Iterable<Hosted> {
    return this.actors.values();
  }

  onMessage(message: FromNode): void {
    if (message.t === "actor-start") this.start(message);
    else if (message.t === "actor-stop") this.stop(message);
  }

  private start(start: ActorStart): void {
    const { world, process } = this.worker;
    // What one does that was given up does not count.
    if (!world.lostTags.has(nodeTag(process.node.nodeId))) this.checkIsOnlyOne(start);
    const hosted: Hosted = {
      start,
      queue: [],
      isMade: false,
      running: undefined,
      stop: undefined,
      lastFrom: new Map(),
    };
    this.actors.set(start.actorId, hosted);
    process.engine.actors.hosts(start.actorId);
    const held: readonly ObjectKey[] = start.spec.nested ?? [];
    world.arrive(held, process.id);
    process.engine.objects.holds.receive(held);
    // One of which control did not write that it had ended may be made once more, for nobody.
    for (const dep of world.isHandled(start.actorId) ? start.spec.deps : []) {
      if (dep.at === "stored" && !world.mayBeLost(dep) && world.stored.isFreed(dep.name)) {
        world.fail("a held object is never freed", `argument ${dep.name} of actor ${start.actorId}`);
      }
    }
    world.clock.schedule(world.prng.float() * 5, () =>
      process.turn((engine) => {
        for (const key of held) if (world.prng.chance(0.3)) process.program.keep(key);
        engine.objects.holds.drop(held);
        if (this.actors.get(start.actorId) !== hosted) return;
        const { actorId, incarnation } = start;
        if (world.prng.chance(0.05)) {
          this.forget(actorId);
          const error = packFailure({ code: "TASK_FAILED", kind: "task", message: "its constructor threw" });
          process.toNode({ t: "actor-created", actorId, incarnation, error });
          return;
        }
        hosted.isMade = true;
        process.toNode({ t: "actor-created", actorId, incarnation });
        this.next(hosted);
      }),
    );
  }

  private checkIsOnlyOne({ actorId, incarnation, name, namespace }: ActorStart): void {
    const { world } = this.worker;
    for (const other of world.workers.values()) {
      if (!other.process.isAlive || world.lostTags.has(nodeTag(other.process.node.nodeId))) continue;
      for (const { start } of other.host.all) {
        if (start.actorId === actorId) {
          const both = `${actorId}: ${start.incarnation} and ${incarnation}`;
          world.fail("at most one incarnation of an actor is alive", both);
        }
        if (name !== undefined && start.name === name && start.namespace === namespace) {
          world.fail("names are unique", `${namespace}/${name}: ${start.actorId} and ${actorId}`);
        }
      }
    }
  }

  call(num: number, actor: { readonly actorId: string; readonly incarnation: number } | undefined, item: Item): void {
    if (actor === undefined) throw new Error(`a call of an actor ${num} that was not named`);
    const hosted = this.actors.get(actor.actorId as ActorId);
    item.actorNum = num;
    item.actorId = actor.actorId as ActorId;
    // An actor that is no more: its caller hears of its fate from the node.
    if (hosted?.start.incarnation !== actor.incarnation) {
      this.worker.over(item);
      this.worker.actorGone(item.link, num, actor.incarnation);
    } else {
      this.checkOrder(hosted, item);
      hosted.queue.push(item);
      this.next(hosted);
    }
  }

  private checkOrder({ lastFrom, start }: Hosted, item: Item): void {
    const caller = item.link.owner;
    const handle = `${caller.id} ${item.plan.handle}`;
    const last = lastFrom.get(handle);
    // It was sent back for the sake of a lost argument, and others have gone past it meanwhile.
    if (this.worker.world.sentBack.has(`${caller.id} ${item.seq}`)) return;
    lastFrom.set(handle, item);
    if (last === undefined || last.seq < item.seq) return;
    const detail = `${caller.id} ${item.seq} comes to ${start.actorId} after ${last.seq}`;
    this.worker.world.fail("calls of one caller begin in the order in which they were made", detail);
  }

  private next(hosted: Hosted): void {
    if (!hosted.isMade || hosted.running !== undefined) return;
    const item = hosted.queue.shift();
    if (item === undefined) {
      if (hosted.stop !== undefined) this.exit(hosted, hosted.stop.reason);
      return;
    }
    if (!this.worker.claim(item)) {
      this.worker.over(item);
      this.next(hosted);
      return;
    }
    hosted.running = item;
    this.worker.run(item, () => {
      hosted.running = undefined;
      this.next(hosted);
    });
  }

  /** Its own handle, while it may still pass it on. */
  selfOf({ actorId }: Item): readonly ObjectKey[] {
    const hosted = actorId === undefined ? undefined : this.actors.get(actorId);
    return hosted === undefined || hosted.stop !== undefined ? [] : [hosted.start.actorId as string as ObjectKey];
  }

  private stop(message: ActorStop): void {
    const hosted = this.actors.get(message.actorId);
    if (hosted === undefined) return;
    const { world, process } = this.worker;
    if (message.reason === "out-of-scope" && hosted.stop === undefined) {
      const { actorId, incarnation } = hosted.start;
      const how = process.engine.actors.keepsAlive(actorId);
      if (how !== undefined) {
        process.toNode({ t: "actor-held", actorId, incarnation, isUnderWay: how === "under way" });
        return;
      }
      world.endsOutOfScope(actorId, process);
    }
    // One that is stuck in its shutdown: only its supervisor's deadline helps.
    if (message.timeoutMs > 0 && world.prng.chance(0.03)) return;
    if (message.timeoutMs === 0) this.exit(hosted, message.reason);
    else {
      const { actorId, incarnation } = hosted.start;
      this.worker.process.toNode({ t: "actor-stopping", actorId, incarnation });
      hosted.stop = message;
      this.next(hosted);
    }
  }

  private exit(hosted: Hosted, reason: string): void {
    const { actorId, incarnation } = hosted.start;
    if (this.actors.get(actorId) !== hosted) return;
    this.forget(actorId);
    for (const item of [...hosted.queue, ...(hosted.running ? [hosted.running] : [])]) {
      this.worker.over(item);
      this.worker.actorGone(item.link, item.actorNum, incarnation);
    }
    hosted.queue.length = 0;
    this.worker.process.toNode({ t: "actor-exited", actorId, incarnation, reason });
  }

  private forget(actorId: ActorId): void {
    this.actors.delete(actorId);
    this.worker.process.engine.actors.hostsNoMore(actorId);
  }

  withdraw(isIt: (item: Item) => boolean): Item | undefined {
    for (const { queue } of this.actors.values()) {
      const at = queue.findIndex(isIt);
      if (at >= 0) return queue.splice(at, 1)[0];
    }
    return undefined;
  }

  findRunning(isIt: (item: Item) => boolean): Item | undefined {
    for (const { running } of this.actors.values()) if (running && isIt(running)) return running;
    return undefined;
  }

  /** Calls that wait or run. */
  items(): readonly Item[] {
    return [...this.actors.values()].flatMap(({ queue, running }) => (running ? [...queue, running] : queue));
  }
}
