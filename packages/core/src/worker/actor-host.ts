/**
 * Hosts actors: one in a worker of its own, or many in a shared one. Here is their life, from the constructor to the
 * shutdown hook; their calls are in actor-calls.ts.
 */
import { setTimeout as delay } from "node:timers/promises";
import { monotonicMs } from "../base/clock.ts";
import {
  type ActorId,
  creationTask,
  type ObjectKey,
  objectKeyOwner,
  objectKeySeq,
  type Seq,
  type WorkerId,
} from "../base/ids.ts";
import { type Client, failureOf, flushTraces, Handle, type SerializerList, takeTrace } from "../client/mod.ts";
import type { OwnerRuntime, WorkerClaims } from "../owner/mod.ts";
import {
  type ActorStart,
  type ActorStop,
  checkLanguage,
  RESTARTS,
  type ToNode,
  unpack,
  type ValueRecord,
} from "../wire/mod.ts";
import { ActorCalls } from "./actor-calls.ts";
import { decodeValue, fetchValues, prepareArguments, unpin } from "./arguments.ts";
import { pausing } from "./breakpoint.ts";
import type { OwnerConnection } from "./connection.ts";
import { CreationEvents } from "./creation-events.ts";
import {
  type ActorClass,
  type ActorEnvironment,
  type CallMessage,
  HostedActor,
  HostedClass,
  type HostSettings,
} from "./hosted-actor.ts";
import { NO_SEQ, Running, type Surroundings } from "./running.ts";
import type { Setup } from "./setup.ts";

/** Hooks of a class, under symbols that the api room exports. */
export const HOOKS = {
  onStart: Symbol.for("mobula.onStart"),
  onRestart: Symbol.for("mobula.onRestart"),
  onShutdown: Symbol.for("mobula.onShutdown"),
} as const;

/** Calls that run when an actor is told to end have so long to finish before its hook runs all the same. */
const DRAIN_MS = 1_000;
/** Results that the system has not taken are waited for so long. */
const UNSENT_MS = 5_000;
const UNSENT_POLL_MS = 5;
const HOOK_MS = 30_000;
/** What is lost again and again is an error. */
const REMADE_MAX = 3;

export interface ActorHostOptions {
  readonly client: Client;
  readonly runtime: OwnerRuntime;
  readonly claims: WorkerClaims | undefined;
  readonly toNode: (message: ToNode) => void;
  /** To be done before anything of a program is loaded. */
  readonly setup?: Setup;
  readonly waiting: Surroundings["waiting"];
  /** Where workers share one client. */
  readonly workerId?: WorkerId;
  /** Actors are made when a debugger is there. */
  readonly breaks?: boolean;
  readonly onStart?: (name: string) => void;
  /** Called when a call has ended. */
  readonly onEnded?: (running: Running) => void;
}

export class ActorHost {
  private readonly options: ActorHostOptions;
  private readonly actors = new Map<ActorId, HostedActor>();
  /** They come with the first actor of a class only. */
  private readonly classes = new Map<string, HostedClass>();
  private readonly calls: ActorCalls;
  /** Constructors and hooks under way. */
  private readonly hooks = new Set<Running>();
  private readonly environment: ActorEnvironment;
  private readonly creations: CreationEvents;

  constructor(options: ActorHostOptions) {
    this.options = options;
    const { client, runtime, claims, onStart, onEnded, waiting, workerId } = options;
    this.creations = new CreationEvents(runtime, client);
    this.environment = {
      client,
      waiting,
      ...(workerId !== undefined && { workerId }),
      exit: (actor, running) => this.exit(actor, running),
      selfHandle: ({ actorId, type }) => {
        const meta = Handle.metaFrom(type.settings.meta);
        const num = client.takeNum();
        runtime.engine.actors.borrowSelf(num, actorId, meta.className, meta.concurrency);
        return client.trackHandle(num, actorId, meta);
      },
    };
    this.calls = new ActorCalls({
      client,
      runtime,
      claims,
      onStart,
      onEnded,
      onProgress: (actor) => this.endWhenDrained(actor),
    });
  }

  get size(): number {
    return this.actors.size;
  }

  /** Calls under way. */
  running(): Running[] {
    const calls = [...this.actors.values()].flatMap(({ open }) => open.map(({ running }) => running));
    return [...this.hooks, ...calls];
  }

  /** A call that waits for its turn in an actor here; by the key of one of its returns. */
  isQueued(key: ObjectKey): boolean {
    const [owner, seq] = [objectKeyOwner(key), objectKeySeq(key)];
    for (const { lines } of this.actors.values())
      for (const line of lines)
        if (line.has((call) => call.connection.ownerId === owner && call.seq <= seq && seq < endOf(call))) return true;
    return false;
  }

  // ── birth ────────────────────────────────────────────────────────────────────────────────────────────────────────

  async start(message: ActorStart): Promise<void> {
    const { client, runtime, toNode } = this.options;
    const { actorId, incarnation, spec } = message;
    const hosted = this.classOf(message);
    const actor = new HostedActor(message, hosted, this.environment);
    this.actors.set(actorId, actor);
    runtime.engine.actors.hosts(actorId);
    const { holds } = runtime.engine.objects;
    const nested = spec.nested ?? [];
    holds.receive(nested);
    const remade: ValueRecord[] = [];
    const running = this.hookRunning(actor, "constructor");
    running.creation = { ...creationTask(actorId), attempt: incarnation };
    const ended = this.creations.begins(message, running, hosted);
    try {
      const type = await hosted.loaded;
      const message = { ...spec, nested, fetched: await this.fetchArguments(spec, remade) };
      await prepareArguments(client, message);
      const deps = (await message.fetched).map((dep) => decodeValue(client, dep));
      const args = client.values.decodeArgs(spec.args, deps);
      const trace = takeTrace(args);
      if (trace) running.trace(trace, incarnation);
      const make = () => new type(...args);
      const instance = running.run(this.options.breaks ? pausing(make) : make);
      const { onStart, onRestart } = HOOKS;
      const hook = (incarnation > 0 ? hookOf(instance, onRestart) : undefined) ?? hookOf(instance, onStart);
      if (hook) await running.run(() => hook.call(instance, { incarnation, attempt: incarnation }));
      // It may have been told to end in the meantime.
      if (actor.isEnding) return ended("cancelled");
      actor.instance = instance;
      toNode({ t: "actor-created", actorId, incarnation });
      ended("ok");
      this.calls.advanceAll(actor);
    } catch (error) {
      running.failed(error);
      if (actor.isEnding) return ended("cancelled");
      actor.isEnding = true;
      this.remove(actor);
      const where = `node ${client.nodeId.slice(0, 8)}, pid ${process.pid}, attempt ${incarnation}`;
      const { bytes } = failureOf(error, `the constructor of ${spec.className}`, where, client.values);
      toNode({ t: "actor-created", actorId, incarnation, error: bytes });
      ended("error", bytes);
    } finally {
      running.ended();
      this.hooks.delete(running);
      holds.drop(nested);
      for (const value of remade) holds.drop(value.nested);
      runtime.schedule();
    }
  }

  /** Those that are lost are made again first. @param remade gets the values that came, which hold what they mention. */
  private async fetchArguments({ deps, keeps = [] }: ActorStart["spec"], remade: ValueRecord[]) {
    const { runtime } = this.options;
    const values = [...deps];
    const keys = [...keeps];
    const keyOf = values.map((value) => (value.at === "stored" ? keys.shift() : undefined));
    for (let tries = 1; ; tries++) {
      const fetched = [...(await fetchValues(runtime, values))];
      const lost = fetched.flatMap((value, index) => {
        const [key, stored] = [keyOf[index], values[index]];
        const isLost = "t" in value && value.error?.code === "OBJECT_LOST" && key && stored?.at === "stored";
        return isLost ? [{ index, key, name: stored.name }] : [];
      });
      if (lost.length === 0 || tries > REMADE_MAX) return fetched;
      unpin(runtime, fetched);
      await Promise.all(
        lost.map(async ({ index, key, name }) => {
          const value = await runtime.remake(key, name);
          remade.push(value);
          values[index] = value;
        }),
      );
    }
  }

  private classOf({ spec }: ActorStart): HostedClass {
    let hosted = this.classes.get(spec.codeKey);
    if (!hosted) {
      // Packed by api/remote.ts of the same version of this package.
      const settings = unpack(spec.host) as HostSettings;
      hosted = new HostedClass(spec.className, this.loadClass(spec, settings), settings);
      this.classes.set(spec.codeKey, hosted);
    }
    return hosted;
  }

  private async loadClass(
    { args, className, code, codeKey }: ActorStart["spec"],
    { language }: HostSettings,
  ): Promise<ActorClass> {
    checkLanguage(className, language);
    const { setup, client } = this.options;
    const { values } = client;
    if (setup?.isNeeded) {
      // The next actor of the class tries again.
      await setup.done().catch((error) => {
        this.classes.delete(codeKey);
        throw error;
      });
    }
    // What traces calls is there before the program's code. The actor that brings it along is told what fails of that.
    await values.prepare(args)?.catch(() => {});
    await values.prepare(code);
    // Packed by api/remote.ts of the same version of this package.
    const [type, serializers] = values.decode(code) as [ActorClass, SerializerList?];
    values.learn(serializers);
    return type;
  }

  private hookRunning(actor: HostedActor, name: string): Running {
    // Hooks belong to no owner's call; the connection is only asked for ids.
    const connection = { ownerId: this.options.client.processId } as OwnerConnection;
    const running = new Running(`${actor.className}.${name}`, NO_SEQ, 0, connection, actor);
    running.startedAt = monotonicMs();
    this.hooks.add(running);
    return running;
  }

  // ── ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The actor's own wish: what was called before runs to its end first; the call that asks is not answered. */
  private exit(actor: HostedActor, running: Running): void {
    for (const open of actor.open) {
      if (open.running !== running) continue;
      open.isExiting = true;
      actor.lastNumber = Math.min(actor.lastNumber, open.call.number);
    }
    if (actor.ending !== undefined) return;
    actor.ending = "it called exitActor()";
    setImmediate(() => this.endWhenDrained(actor));
  }

  stop(message: ActorStop): void {
    const actor = this.actors.get(message.actorId);
    if (!actor || actor.isEnding) return;
    const { reason } = message;
    if (reason === "out-of-scope" && this.isPassedOn(actor)) return;
    actor.ending ??= message.restarts ? RESTARTS : reason;
    actor.lastNumber = -1;
    if (reason === "killed") {
      actor.isEnding = true;
      this.remove(actor);
      this.exited(actor);
      return;
    }
    this.options.toNode({ t: "actor-stopping", actorId: actor.actorId, incarnation: actor.incarnation });
    // If nobody is left to hear what its calls give, or nobody will be.
    const isHeard = reason === "out-of-scope" || reason === "drained";
    if (!isHeard) for (const { running } of actor.open) running.cancel("TASK_CANCELLED", true);
    // One that moves off its node has all the time that this is given, and its hook what is left of it.
    const drainMs = reason === "drained" ? message.timeoutMs : DRAIN_MS;
    setTimeout(() => void this.end(actor, message.timeoutMs), drainMs).unref();
    this.endWhenDrained(actor, message.timeoutMs);
  }

  /**
   * Nobody is seen to hold it. What it passed on of itself may not have been seen yet; from the moment that this says no, it
   * is ending, and a handle that it passes on afterwards is one of an actor that has ended.
   */
  private isPassedOn({ actorId, incarnation }: HostedActor): boolean {
    const how = this.options.runtime.enter().actors.keepsAlive(actorId);
    if (!how) return false;
    this.options.toNode({ t: "actor-held", actorId, incarnation, isUnderWay: how === "under way" });
    return true;
  }

  private endWhenDrained(actor: HostedActor, hookMs = HOOK_MS): void {
    for (const line of actor.lines) {
      const first = line.first();
      if (first && actor.instance && first.number <= actor.lastNumber) return;
    }
    for (const { isExiting } of actor.open) if (!isExiting) return;
    void this.end(actor, hookMs);
  }

  private async end(actor: HostedActor, hookMs: number): Promise<void> {
    if (actor.isEnding) return;
    actor.isEnding = true;
    const { instance, className, actorId } = actor;
    const hook = instance && hookOf(instance, HOOKS.onShutdown);
    if (hook) {
      const timer = new AbortController();
      const running = this.hookRunning(actor, "onShutdown");
      try {
        const late = delay(hookMs, true, { signal: timer.signal, ref: false }).catch(() => false);
        const done = Promise.resolve(running.run(() => hook.call(instance)));
        if (await Promise.race([done.then(() => false), late])) {
          console.error(`the onShutdown hook of actor ${className} (${actorId}) took more than ${hookMs} ms`);
        }
      } catch (error) {
        console.error(`the onShutdown hook of actor ${className} (${actorId}) failed:`, error);
      }
      this.hooks.delete(running);
      timer.abort();
    }
    this.remove(actor);
    await this.sent();
    await flushTraces();
    this.exited(actor);
  }

  private exited({ actorId, incarnation, ending }: HostedActor): void {
    this.options.toNode({ t: "actor-exited", actorId, incarnation, reason: ending ?? "it ended" });
  }

  /** Takes it out; its callers hear that nothing more comes. */
  private remove(actor: HostedActor): void {
    if (this.actors.get(actor.actorId) === actor) {
      this.actors.delete(actor.actorId);
      this.options.runtime.engine.actors.hostsNoMore(actor.actorId);
    }
    this.calls.drop(actor);
    actor.releaseSelf();
  }

  /** The worker may be ended as soon as the actor is said to have exited, so what it owes has to be out. */
  private async sent(): Promise<void> {
    const deadline = monotonicMs() + UNSENT_MS;
    const isUnsent = (): boolean => {
      for (const { peer } of this.calls.connections) if (!peer.isClosed && peer.unsentBytes > 0) return true;
      return false;
    };
    while (isUnsent() && monotonicMs() < deadline) await delay(UNSENT_POLL_MS);
  }

  // ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────

  call(call: CallMessage): void {
    const { actorId, num, incarnation } = call.actor;
    const actor = this.actors.get(actorId);
    if (actor && actor.incarnation === incarnation) {
      this.calls.arrived(actor, call);
      return;
    }
    // It has left this worker; from the node the caller hears what became of it.
    this.calls.forget(call);
    call.connection.results.returned([call.seq]);
    call.connection.results.actorGone(num, incarnation);
  }

  /** Starts what came; called when all frames of one read are in. */
  drain(): void {
    this.calls.drain();
  }

  /** True when the call was one of an actor here. */
  cancel(connection: OwnerConnection, seq: Seq, code: string, isRecursive: boolean): boolean {
    if (this.calls.cancel(connection, seq, code, isRecursive)) return true;
    for (const actor of this.actors.values()) {
      for (const line of actor.lines) {
        const [call] = line.take((waiting) => waiting.connection === connection && waiting.seq === seq);
        if (!call) continue;
        this.calls.forget(call);
        connection.results.returned([seq]);
        return true;
      }
    }
    return false;
  }

  acknowledge(connection: OwnerConnection, seq: Seq, consumed: number): boolean {
    return this.calls.acknowledge(connection, seq, consumed);
  }

  /** The caller is gone: its calls that wait are dropped, those that run are cancelled. */
  ownerGone(connection: OwnerConnection): void {
    this.calls.ownerGone(connection);
    for (const actor of this.actors.values()) {
      for (const line of actor.lines) {
        for (const call of line.take((waiting) => waiting.connection === connection)) this.calls.forget(call);
      }
    }
  }
}

type Hook = (this: unknown, context?: { readonly incarnation: number; readonly attempt: number }) => unknown;

function hookOf(instance: Record<string, unknown>, name: symbol): Hook | undefined {
  const hook = instance[name as unknown as string];
  return typeof hook === "function" ? (hook as Hook) : undefined;
}

/** After its returns. */
const endOf = ({ seq, method }: CallMessage): number => seq + Math.max(1, method.numReturns);
