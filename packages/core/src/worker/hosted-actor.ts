/** What a worker knows of an actor that it hosts, and of the calls in it. */
import type { ActorId, Seq } from "../base/ids.ts";
import type { Handle } from "../client/mod.ts";
import { type ActorStart, pack } from "../wire/mod.ts";
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
  running: Running;
  producer: Producer | undefined;
  /** Attempts that failed in this worker. */
  failures: number;
  /** It asked for the actor's end, which is its answer. */
  isExiting: boolean;
  isOver: boolean;
}

/** What the creator says about how to host it; packed into `ActorSpec.host`. */
export interface HostSettings {
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
  private calls: (CallMessage | undefined)[] = [];
  private head = 0;

  constructor(concurrency: number) {
    this.concurrency = concurrency;
  }

  push(call: CallMessage): void {
    this.calls.push(call);
  }

  first(): CallMessage | undefined {
    return this.calls[this.head];
  }

  shift(): CallMessage | undefined {
    const call = this.calls[this.head];
    if (!call) return undefined;
    this.calls[this.head++] = undefined;
    if (this.head === this.calls.length) {
      this.calls = [];
      this.head = 0;
    } else if (this.head >= COMPACT_AT && this.head * 2 >= this.calls.length) {
      this.calls = this.calls.slice(this.head);
      this.head = 0;
    }
    return call;
  }

  /** Takes out those that match, in order. */
  take(matches: (call: CallMessage) => boolean): readonly CallMessage[] {
    const taken: CallMessage[] = [];
    const kept: CallMessage[] = [];
    for (let at = this.head; at < this.calls.length; at++) {
      const call = this.calls[at];
      if (call) (matches(call) ? taken : kept).push(call);
    }
    if (taken.length > 0) {
      this.calls = kept;
      this.head = 0;
    }
    return taken;
  }
}

/** What a method's runs have taken, in all actors of the class here. */
export interface MethodCost {
  runs: number;
  micros: number;
}

export interface HostedActor {
  readonly actorId: ActorId;
  readonly className: string;
  readonly start: ActorStart;
  readonly settings: HostSettings;
  readonly around: Surroundings;
  /** By concurrency group; "" is the actor's own. */
  readonly lines: ReadonlyMap<string, CallLine>;
  readonly open: Set<OpenCall>;
  readonly costs: Map<string, MethodCost>;
  /** Undefined until it is made. */
  instance: Record<string, unknown> | undefined;
  /** Calls that came later are not started any more. */
  lastNumber: number;
  /** Why it ends, from the moment that this is decided. */
  ending: string | undefined;
  /** Its shutdown has begun: what was called before has finished. */
  isEnding: boolean;
  /** It is no more; what its calls still give is dropped. */
  isDropped: boolean;
  selfHandle: Handle | undefined;
}
