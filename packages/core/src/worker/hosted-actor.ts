/** What a worker knows of an actor that it hosts, and of the calls in it. */
import type { ActorId, Seq, WorkerId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import { type Client, type Handle, handleState } from "../client/mod.ts";
import { type ActorStart, type BundleChoice, type Language, pack } from "../wire/mod.ts";
import type { WithArguments } from "./arguments.ts";
import type { NamedActor, OwnerConnection, WorkerMethod } from "./connection.ts";
import type { Producer } from "./producer.ts";
import type { Running, Surroundings } from "./running.ts";

export interface CallMessage extends WithArguments {
  readonly connection: OwnerConnection;
  readonly seq: Seq;
  readonly attempt: number;
  readonly actor: NamedActor;
  readonly method: WorkerMethod;
  readonly claimSlot: number;
  readonly claimSequence: number;
  /** In the order of arrival, over all callers. */
  number: number;
}

/** A call that has started and has not been answered. */
export interface OpenCall {
  readonly call: CallMessage;
  readonly method: HostedMethod;
  /** All open calls of its caller. */
  readonly ofCaller: Map<Seq, OpenCall>;
  running: Running;
  producer: Producer | undefined;
  /** Attempts that failed in this worker. */
  failures: number;
  /** Among the open calls of its actor. */
  place: number;
  /** It asked for the actor's end, which is its answer. */
  isExiting: boolean;
  isOver: boolean;
}

/** What the creator says about how to host it; packed into `ActorSpec.host`. */
export interface HostSettings {
  /** Of the class. */
  readonly language: Language;
  readonly meta: Uint8Array;
  readonly maxConcurrency: number;
  readonly concurrencyGroups: Readonly<Record<string, number>>;
}
export const packHostSettings = (settings: HostSettings): Uint8Array => pack(settings);

const COMPACT_AT = 256;

/** The calls of one concurrency group that wait for their turn, in order. */
export class CallLine {
  readonly concurrency: number;
  running = 0;
  /** The event loop gets its turn before the next call. */
  isPaused = false;
  /** It is among those that are about to start what may start. */
  isDue = false;
  private calls: (CallMessage | undefined)[] | undefined = undefined;
  private head = 0;

  constructor(concurrency: number) {
    this.concurrency = concurrency;
  }

  push(call: CallMessage): void {
    if (this.calls) this.calls.push(call);
    else this.calls = [call];
  }

  first(): CallMessage | undefined {
    return this.calls?.[this.head];
  }

  shift(): CallMessage | undefined {
    const { calls } = this;
    const call = calls?.[this.head];
    if (!calls || !call) return undefined;
    calls[this.head++] = undefined;
    if (this.head === calls.length) {
      this.calls = undefined;
      this.head = 0;
    } else if (this.head >= COMPACT_AT && this.head * 2 >= calls.length) {
      this.calls = calls.slice(this.head);
      this.head = 0;
    }
    return call;
  }

  has(matches: (call: CallMessage) => boolean): boolean {
    return this.calls?.some((call) => call !== undefined && matches(call)) ?? false;
  }

  /** Takes out those that match, in order. */
  take(matches: (call: CallMessage) => boolean): readonly CallMessage[] {
    const taken: CallMessage[] = [];
    const kept: CallMessage[] = [];
    for (const call of this.calls?.slice(this.head) ?? []) {
      if (call) (matches(call) ? taken : kept).push(call);
    }
    if (taken.length > 0) {
      this.calls = kept.length > 0 ? kept : undefined;
      this.head = 0;
    }
    return taken;
  }
}

/** A method, in all actors of the class here. */
interface HostedMethod {
  /** With its class: what its runs are called. */
  readonly name: string;
  /** What they have taken. */
  runs: number;
  micros: number;
}

export type ActorClass = new (...args: readonly unknown[]) => Record<string, unknown>;

/** What all actors of a class that are hosted in one way have in common. */
export class HostedClass {
  readonly name: string;
  readonly loaded: Promise<ActorClass>;
  readonly settings: HostSettings;
  /** How many calls of one actor may run at once, over all groups. */
  readonly slots: number;
  private readonly methods = new Map<string, HostedMethod>();

  constructor(name: string, loaded: Promise<ActorClass>, settings: HostSettings) {
    this.name = name;
    this.loaded = loaded;
    this.settings = settings;
    this.slots = Object.values(settings.concurrencyGroups).reduce((sum, calls) => sum + calls, settings.maxConcurrency);
  }

  method(name: string): HostedMethod {
    let method = this.methods.get(name);
    if (!method) {
      method = { name: `${this.name}.${name}`, runs: 0, micros: 0 };
      this.methods.set(name, method);
    }
    return method;
  }
}

/** What an actor asks of its host. */
export interface ActorEnvironment {
  readonly client: Client;
  /** Where workers share one client. */
  readonly workerId?: WorkerId;
  readonly waiting: Surroundings["waiting"];
  exit(actor: HostedActor, running: Running): void;
  /** A handle by which the actor names itself, which does not keep it alive. */
  selfHandle(actor: HostedActor): Handle;
}

/** One of what may be thousands in a process: what it does not need yet is not made. */
export class HostedActor implements Surroundings {
  readonly actorId: ActorId;
  readonly incarnation: number;
  readonly type: HostedClass;
  readonly resources: ResourceUnits;
  readonly gpus: readonly string[];
  readonly bundle: BundleChoice | undefined;
  private readonly environment: ActorEnvironment;
  /** Its own line; the others by concurrency group. */
  private readonly line: CallLine;
  private readonly groups: ReadonlyMap<string, CallLine> | undefined;
  private opened: OpenCall[] | undefined = undefined;
  /** Undefined until it is made. */
  instance: Record<string, unknown> | undefined = undefined;
  /** Calls that came later are not started any more. */
  lastNumber = Number.POSITIVE_INFINITY;
  /** Why it ends, from the moment that this is decided. */
  ending: string | undefined = undefined;
  /** Its shutdown has begun: what was called before has finished. */
  isEnding = false;
  /** It is no more; what its calls still give is dropped. */
  isDropped = false;
  private handle: Handle | undefined = undefined;

  constructor(
    { actorId, incarnation, resources, gpus, bundle }: Omit<ActorStart, "t" | "jobId" | "namespace" | "spec">,
    type: HostedClass,
    environment: ActorEnvironment,
  ) {
    this.actorId = actorId;
    this.incarnation = incarnation;
    this.resources = resources;
    this.gpus = gpus;
    this.bundle = bundle;
    this.type = type;
    this.environment = environment;
    const { maxConcurrency, concurrencyGroups } = type.settings;
    this.line = new CallLine(maxConcurrency);
    const groups = Object.entries(concurrencyGroups);
    this.groups =
      groups.length === 0 ? undefined : new Map(groups.map(([group, calls]) => [group, new CallLine(calls)]));
  }

  get className(): string {
    return this.type.name;
  }

  /** The line in which calls of a group wait. */
  lineOf(group: string): CallLine {
    return this.groups?.get(group) ?? this.line;
  }

  get lines(): readonly CallLine[] {
    return this.groups ? [this.line, ...this.groups.values()] : [this.line];
  }

  /** Calls under way, in no order. */
  get open(): readonly OpenCall[] {
    return this.opened ?? NO_CALLS;
  }

  opens(open: OpenCall): void {
    if (!this.opened) {
      this.opened = [open];
      return;
    }
    open.place = this.opened.length;
    this.opened.push(open);
  }

  closes(open: OpenCall): void {
    const { opened } = this;
    const last = opened?.pop();
    if (!opened || !last) return;
    if (last !== open) {
      opened[open.place] = last;
      last.place = open.place;
    } else if (opened.length === 0) this.opened = undefined;
  }

  // ── what its executions see ──────────────────────────────────────────────────────────────────────────────────────

  get client(): Client {
    return this.environment.client;
  }

  get workerId(): WorkerId | undefined {
    return this.environment.workerId;
  }

  get wasRestarted(): boolean {
    return this.incarnation > 0;
  }

  get slots(): number {
    return this.type.slots;
  }

  self(): Handle {
    if (!this.handle || handleState(this.handle).isReleased) this.handle = this.environment.selfHandle(this);
    return this.handle;
  }

  releaseSelf(): void {
    this.handle?.[Symbol.dispose]();
  }

  exitActor(running: Running): void {
    this.environment.exit(this, running);
  }

  waiting(change: 1 | -1, running: Running, seqs: readonly Seq[]): void {
    this.environment.waiting(change, running, seqs);
  }
}

const NO_CALLS: readonly OpenCall[] = Object.freeze([]);
