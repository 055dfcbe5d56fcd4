/**
 * Hosts actors: one in a worker of its own, or many in a shared one.
 *
 * Calls of an actor wait in one line for each concurrency group and start in the order they came, as many at once as
 * the group allows; with a concurrency of 1 a call starts when the one before it has settled.
 */
import { ActorDiedError } from "../base/errors.ts";
import type { ActorId, ObjectKey, Seq, WorkerId } from "../base/ids.ts";
import { type Client, failureOf, Handle, runAs } from "../client/mod.ts";
import type { OwnerRuntime, WorkerClaims } from "../owner/mod.ts";
import { type ActorStart, type ActorStop, pack, type ToNode, unpack, type ValueRecord } from "../wire/mod.ts";
import { decodeValue, fetchValues } from "./arguments.ts";
import type { OwnerConnection, WorkerMethod } from "./connection.ts";
import { GUARD_FROM_MICROS, runGuarded } from "./guard.ts";
import { isGenerator, Producer } from "./producer.ts";
import { isRetryable } from "./retry-rule.ts";
import { Running, type Surroundings } from "./running.ts";

export interface CallMessage {
  readonly connection: OwnerConnection;
  readonly seq: Seq;
  readonly attempt: number;
  readonly actorId: ActorId;
  readonly method: WorkerMethod;
  readonly args: Uint8Array;
  readonly nested: readonly ObjectKey[];
  readonly deps: readonly ValueRecord[];
  fetched: ReturnType<typeof fetchValues> | undefined;
}

/** What the creator says about how to host it; packed into `ActorSpec.host`. */
export interface HostSettings {
  readonly meta: Uint8Array;
  readonly maxConcurrency: number;
  readonly concurrencyGroups: Readonly<Record<string, number>>;
}
export const packHostSettings = (settings: HostSettings): Uint8Array => pack(settings);

/** Hooks of a class, under symbols that the api room exports. */
export const HOOKS = {
  onStart: Symbol.for("mobula.onStart"),
  onRestart: Symbol.for("mobula.onRestart"),
  onShutdown: Symbol.for("mobula.onShutdown"),
} as const;

interface Line {
  readonly concurrency: number;
  readonly waiting: CallMessage[];
  running: number;
}

interface Cost {
  runs: number;
  micros: number;
}

interface HostedActor {
  readonly start: ActorStart;
  readonly settings: HostSettings;
  readonly lines: Map<string, Line>;
  readonly running: Map<OwnerConnection, Map<Seq, { running: Running; producer?: Producer }>>;
  readonly costs: Map<string, Cost>;
  instance: Record<string, unknown> | undefined;
  around: Surroundings | undefined;
  /** Set when it is ending: calls that have not started are not started any more. */
  ending: string | undefined;
  /** Everything before the exiting call has to finish first. */
  onDrained: (() => void) | undefined;
  selfHandle: Handle | undefined;
}

export interface ActorHostOptions {
  readonly client: Client;
  readonly runtime: OwnerRuntime;
  readonly claims: WorkerClaims | undefined;
  readonly toNode: (message: ToNode) => void;
  readonly waiting: Surroundings["waiting"];
  /** Where workers share one client. */
  readonly workerId?: WorkerId;
  readonly onStart?: (name: string) => void;
  /** Called when a call has ended. */
  readonly onEnded?: () => void;
}

export class ActorHost {
  private readonly options: ActorHostOptions;
  private readonly actors = new Map<ActorId, HostedActor>();

  constructor(options: ActorHostOptions) {
    this.options = options;
  }

  get size(): number {
    return this.actors.size;
  }

  // ── life ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  async start(message: ActorStart): Promise<void> {
    const { client, runtime, toNode } = this.options;
    const { actorId, incarnation, spec } = message;
    const settings = unpack(spec.host) as HostSettings;
    const actor: HostedActor = {
      start: message,
      settings,
      lines: new Map([["", { concurrency: settings.maxConcurrency, waiting: [], running: 0 }]]),
      running: new Map(),
      costs: new Map(),
      instance: undefined,
      around: undefined,
      ending: undefined,
      onDrained: undefined,
      selfHandle: undefined,
    };
    for (const [group, concurrency] of Object.entries(settings.concurrencyGroups)) {
      actor.lines.set(group, { concurrency, waiting: [], running: 0 });
    }
    actor.around = this.surroundings(actor);
    this.actors.set(actorId, actor);
    const { holds } = runtime.engine.objects;
    const nested = spec.nested ?? [];
    holds.receive(nested);
    try {
      const fetched = await fetchValues(runtime, spec.deps);
      await client.values.prepare(spec.code);
      await client.values.prepare(spec.args);
      const [type] = client.values.decode(spec.code) as [new (...args: readonly unknown[]) => Record<string, unknown>];
      const args = client.values.decodeArgs(
        spec.args,
        fetched.map((dep) => decodeValue(client, dep)),
      );
      const running = this.hookRunning(actor, "constructor");
      const instance = runAs(running, () => new type(...args));
      const hook = instance[(incarnation > 0 ? HOOKS.onRestart : HOOKS.onStart) as unknown as string];
      const fallback = instance[HOOKS.onStart as unknown as string];
      const chosen = typeof hook === "function" ? hook : incarnation > 0 ? undefined : fallback;
      if (typeof chosen === "function")
        await runAs(running, () => chosen.call(instance, { incarnation, attempt: incarnation }));
      actor.instance = instance;
      toNode({ t: "actor-created", actorId, incarnation });
      for (const line of actor.lines.values()) this.advance(actor, line);
    } catch (error) {
      this.actors.delete(actorId);
      const where = `node ${client.nodeId.slice(0, 8)}, pid ${process.pid}, attempt ${incarnation}`;
      const { bytes } = failureOf(error, `the constructor of ${spec.className}`, where, client.values);
      toNode({ t: "actor-created", actorId, incarnation, error: bytes });
    } finally {
      holds.drop(nested);
      runtime.schedule();
    }
  }

  private hookRunning(actor: HostedActor, name: string): Running {
    // Hooks belong to no owner's call; the connection is only asked for ids.
    const connection = { ownerId: this.options.client.processId } as OwnerConnection;
    return new Running(`${actor.start.spec.className}.${name}`, 0 as Seq, 0, connection, this.around(actor));
  }

  private around(actor: HostedActor): Surroundings {
    if (!actor.around) throw new ActorDiedError("the actor has no surroundings");
    return actor.around;
  }

  private surroundings(actor: HostedActor): Surroundings {
    const { client, waiting, workerId } = this.options;
    const { start, settings } = actor;
    let slots = settings.maxConcurrency;
    for (const concurrency of Object.values(settings.concurrencyGroups)) slots += concurrency;
    return {
      client,
      ...(workerId !== undefined && { workerId }),
      resources: start.resources,
      gpus: start.gpus,
      wasRestarted: start.incarnation > 0,
      actorId: start.actorId,
      slots,
      self: () => {
        actor.selfHandle ??= client.adoptHandle(start.actorId, Handle.metaFrom(settings.meta), false);
        return actor.selfHandle;
      },
      exitActor: () => this.exit(actor, "it called exitActor()"),
      waiting,
    };
  }

  /** The actor's own wish to end: what was called before runs to its end first. */
  private exit(actor: HostedActor, reason: string): void {
    if (actor.ending !== undefined) return;
    actor.ending = reason;
    actor.onDrained = () => void this.end(actor, reason, true);
    setImmediate(() => this.checkDrained(actor));
  }

  private checkDrained(actor: HostedActor): void {
    for (const line of actor.lines.values()) if (line.running > 0) return;
    const { onDrained } = actor;
    actor.onDrained = undefined;
    onDrained?.();
  }

  stop(message: ActorStop): void {
    const actor = this.actors.get(message.actorId);
    if (!actor) return;
    if (actor.ending === undefined) actor.ending = message.reason;
    actor.onDrained = () => void this.end(actor, message.reason, true);
    this.checkDrained(actor);
  }

  private async end(actor: HostedActor, reason: string, runHook: boolean): Promise<void> {
    const { actorId, incarnation, spec } = actor.start;
    const hook = actor.instance?.[HOOKS.onShutdown as unknown as string];
    if (runHook && typeof hook === "function") {
      try {
        await runAs(this.hookRunning(actor, "onShutdown"), () => hook.call(actor.instance));
      } catch (error) {
        console.error(`the onShutdown hook of actor ${spec.className} (${actorId}) failed:`, error);
      }
    }
    this.actors.delete(actorId);
    actor.selfHandle?.[Symbol.dispose]();
    this.options.toNode({ t: "actor-exited", actorId, incarnation, reason });
  }

  // ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────

  call(call: CallMessage): void {
    const actor = this.actors.get(call.actorId);
    if (!actor) {
      // The owner hears from the node what became of the actor; the call fails or is sent again then.
      return;
    }
    if (call.deps.length > 0) call.fetched = fetchValues(this.options.runtime, call.deps);
    const line = actor.lines.get(call.method.group) ?? actor.lines.get("");
    if (!line) return;
    line.waiting.push(call);
    this.advance(actor, line);
  }

  private advance(actor: HostedActor, line: Line): void {
    while (actor.instance && actor.ending === undefined && line.running < line.concurrency) {
      const call = line.waiting.shift();
      if (!call) break;
      line.running++;
      const pending = this.begin(actor, call);
      if (!pending) {
        line.running--;
        continue;
      }
      pending.finally(() => {
        line.running--;
        if (actor.onDrained) this.checkDrained(actor);
        this.advance(actor, line);
        call.connection.peer.schedule();
      });
    }
    if (actor.onDrained && line.running === 0) this.checkDrained(actor);
  }

  /** Starts a call; a promise unless it ended at once. */
  private begin(actor: HostedActor, call: CallMessage): Promise<void> | undefined {
    const { client } = this.options;
    this.receive(call);
    const running = new Running(
      `${actor.start.spec.className}.${call.method.name}`,
      call.seq,
      call.attempt,
      call.connection,
      this.around(actor),
    );
    this.options.onStart?.(running.name);
    let ofOwner = actor.running.get(call.connection);
    if (!ofOwner) {
      ofOwner = new Map();
      actor.running.set(call.connection, ofOwner);
    }
    ofOwner.set(call.seq, { running });
    const preparing = call.fetched instanceof Promise ? this.prepare(call) : client.values.prepare(call.args);
    if (!preparing) return this.run(actor, call, running);
    return preparing.then(
      () => this.run(actor, call, running),
      (error: unknown) => this.finish(actor, call, running, () => this.fail(call, running, 0, error)),
    );
  }

  private async prepare(call: CallMessage): Promise<void> {
    call.fetched = await call.fetched;
    await this.options.client.values.prepare(call.args);
  }

  private run(actor: HostedActor, call: CallMessage, running: Running): Promise<void> | undefined {
    const { client, claims } = this.options;
    const { method } = call;
    const startedAt = performance.now();
    const micros = (): number => Math.max(0, Math.round((performance.now() - startedAt) * 1000));
    let value: unknown;
    try {
      const fetched = call.fetched as Awaited<ReturnType<typeof fetchValues>> | undefined;
      const deps = fetched ? fetched.map((dep) => decodeValue(client, dep)) : [];
      const args = client.values.decodeArgs(call.args, deps);
      const fn = actor.instance?.[method.name];
      if (typeof fn !== "function")
        throw new TypeError(`actor ${actor.start.spec.className} has no method ${method.name}`);
      const cost = costOf(actor, method.name);
      const invoke = (): unknown => runAs(running, () => fn.apply(actor.instance, args));
      value =
        claims && (cost.runs < 2 || cost.micros > GUARD_FROM_MICROS) ? runGuarded(claims, call.seq, invoke) : invoke();
      cost.runs++;
      cost.micros += (micros() - cost.micros) / Math.min(cost.runs, 8);
    } catch (error) {
      this.finish(actor, call, running, () => this.fail(call, running, micros(), error));
      return undefined;
    }
    if (method.streamBufferItems > 0 && isGenerator(value)) {
      // A stream is not a call that holds the actor: it goes on beside the calls that follow.
      void this.produce(actor, call, running, micros, value);
      return undefined;
    }
    if (value instanceof Promise) {
      return value.then(
        (settled) => this.finish(actor, call, running, () => this.succeed(call, running, micros(), settled)),
        (error: unknown) => this.finish(actor, call, running, () => this.fail(call, running, micros(), error)),
      );
    }
    this.finish(actor, call, running, () => this.succeed(call, running, micros(), value));
    return undefined;
  }

  private async produce(
    actor: HostedActor,
    call: CallMessage,
    running: Running,
    micros: () => number,
    generator: Parameters<Producer["run"]>[0],
  ): Promise<void> {
    const { results, peer } = call.connection;
    const producer = new Producer(running, results, call.method.streamBufferItems);
    actor.running.get(call.connection)?.set(call.seq, { running, producer });
    try {
      const count = await runAs(running, () => producer.run(generator));
      this.finish(actor, call, running, () => results.streamEnd(call.seq, call.attempt, micros(), count));
    } catch (error) {
      this.finish(actor, call, running, () => this.fail(call, running, micros(), error));
    }
    peer.schedule();
  }

  private succeed(call: CallMessage, running: Running, micros: number, value: unknown): void {
    const { results } = call.connection;
    const { numReturns, name } = call.method;
    try {
      if (numReturns === 1) results.ok(call.seq, call.attempt, micros, value);
      else {
        if (!Array.isArray(value) || value.length !== numReturns) {
          throw new TypeError(
            `${name} has numReturns ${numReturns} but returned ${Array.isArray(value) ? `${value.length} values` : typeof value}`,
          );
        }
        results.results(call.seq, call.attempt, micros, value);
      }
    } catch (error) {
      this.fail(call, running, micros, error);
    }
  }

  private fail(call: CallMessage, running: Running, micros: number, error: unknown): void {
    const { results, peer } = call.connection;
    if (peer.isClosed) return;
    const { retry } = call.method;
    const rule = retry.length > 0 ? this.options.client.values.decode(retry) : false;
    const again = !running.cancelled && isRetryable(rule, error);
    results.error(call.seq, call.attempt, micros, running.cancelled ?? error, running.name, again);
  }

  private finish(actor: HostedActor, call: CallMessage, running: Running, report: () => void): void {
    report();
    call.connection.peer.schedule();
    running.ended();
    actor.running.get(call.connection)?.delete(call.seq);
    this.letGo(call);
    this.options.onEnded?.();
  }

  /** Refs inside the arguments were granted to this process. */
  private receive(call: CallMessage): void {
    const { holds } = this.options.runtime.engine.objects;
    if (call.nested.length > 0) holds.receive(call.nested);
    for (const dep of call.deps) if (dep.nested.length > 0) holds.receive(dep.nested);
  }

  private letGo(call: CallMessage): void {
    if (call.nested.length === 0 && call.deps.length === 0) return;
    const { holds } = this.options.runtime.engine.objects;
    let dropped = false;
    for (const keys of [call.nested, ...call.deps.map((dep) => dep.nested)]) {
      if (keys.length === 0) continue;
      holds.drop(keys);
      dropped = true;
    }
    if (dropped) this.options.runtime.schedule();
  }

  private find(connection: OwnerConnection, seq: Seq): { running: Running; producer?: Producer } | undefined {
    for (const actor of this.actors.values()) {
      const found = actor.running.get(connection)?.get(seq);
      if (found) return found;
    }
    return undefined;
  }

  /** True when the call was one of an actor here. */
  cancel(connection: OwnerConnection, seq: Seq, code: string, isRecursive: boolean): boolean {
    const found = this.find(connection, seq);
    if (found) {
      found.running.cancel(code, isRecursive);
      return true;
    }
    for (const actor of this.actors.values()) {
      for (const line of actor.lines.values()) {
        const at = line.waiting.findIndex((call) => call.connection === connection && call.seq === seq);
        if (at < 0) continue;
        const [call] = line.waiting.splice(at, 1);
        if (call) this.receive(call);
        if (call) this.letGo(call);
        connection.results.returned([seq]);
        return true;
      }
    }
    return false;
  }

  acknowledge(connection: OwnerConnection, seq: Seq, consumed: number): boolean {
    const found = this.find(connection, seq);
    found?.producer?.acknowledge(consumed);
    return found !== undefined;
  }

  /** The caller is gone: its calls that wait are dropped, those that run are cancelled. */
  ownerGone(connection: OwnerConnection): void {
    for (const actor of this.actors.values()) {
      for (const { running } of actor.running.get(connection)?.values() ?? []) running.cancel("TASK_CANCELLED", true);
      actor.running.delete(connection);
      for (const line of actor.lines.values()) {
        const kept = line.waiting.filter((call) => call.connection !== connection);
        line.waiting.splice(0, line.waiting.length, ...kept);
      }
    }
  }
}

function costOf(actor: HostedActor, method: string): Cost {
  let cost = actor.costs.get(method);
  if (!cost) {
    cost = { runs: 0, micros: 0 };
    actor.costs.set(method, cost);
  }
  return cost;
}
