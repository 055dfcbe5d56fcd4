/** What actors ask nodes for: workers of their own, shared ones, or room in one that runs. */
import type { ActorId, WorkerId } from "../base/mod.ts";
import type { Demand } from "../wire/messages.ts";
import { nodeOfLarge } from "../wire/mod.ts";
import type { ActorRecord } from "./actor-record.ts";
import type { ActorWorkerRequest } from "./interface.ts";

export interface ActorRequestsOut {
  /** Undefined for a job that nobody remembers. */
  namespaceOf(actorId: ActorId): string | undefined;
  requestWorker(request: ActorWorkerRequest): void;
}

export class ActorRequests {
  private readonly out: ActorRequestsOut;
  private readonly overNodes: boolean;
  /** Not those for shared workers, which several actors wait for. */
  private readonly byId = new Map<number, ActorRecord>();
  private nextId: number;

  constructor(out: ActorRequestsOut, overNodes: boolean, firstId: number) {
    this.out = out;
    this.overNodes = overNodes;
    this.nextId = firstId;
  }

  get(requestId: number): ActorRecord | undefined {
    return this.byId.get(requestId);
  }

  /** What runs in the actor belongs to its job, whatever namespace the actor's name is in. */
  namespaceOf({ actorId, namespace }: ActorRecord): string {
    return this.out.namespaceOf(actorId) ?? namespace;
  }

  /** A shared worker, which is to have room for this actor. */
  host(actor: ActorRecord): number {
    const requestId = this.nextId++;
    const { runtimeEnv, resources, placement } = actor.options;
    this.out.requestWorker({
      requestId,
      jobId: actor.jobId,
      namespace: this.namespaceOf(actor),
      demand: {
        key: `shared actors/${runtimeEnv === undefined ? "" : JSON.stringify(runtimeEnv)}`,
        resources: {},
        priority: 0,
        name: "shared actors",
        ...(runtimeEnv === undefined ? {} : { runtimeEnv }),
        ...(placement === undefined ? {} : { placement }),
        ...this.nearOf(actor),
      },
      worker: "fresh",
      label: "shared actors",
      retriable: actor.options.maxRestarts !== 0,
      ...creatorOf(actor),
      ...(this.overNodes && Object.keys(resources).length > 0 && { room: resources }),
    });
    return requestId;
  }

  /** A worker of its own, or what it reserves in one that is shared. */
  worker(actor: ActorRecord, worker: "fresh" | WorkerId): void {
    const requestId = this.nextId++;
    this.adopt(requestId, actor);
    actor.placedBy = requestId;
    const { name, maxRestarts } = actor.options;
    this.out.requestWorker({
      requestId,
      jobId: actor.jobId,
      namespace: this.namespaceOf(actor),
      demand: { ...demandOf(actor), ...this.nearOf(actor) },
      worker,
      label: name === undefined ? actor.spec.className : `${actor.spec.className} (${name})`,
      retriable: maxRestarts !== 0,
      ...creatorOf(actor),
      ...(worker !== "fresh" && { actorId: actor.actorId }),
    });
  }

  /** One that a control before this one has made. */
  adopt(requestId: number, actor: ActorRecord): void {
    actor.requestId = requestId;
    this.byId.set(requestId, actor);
  }

  /** There is nothing to withdraw any more. */
  answered(actor: ActorRecord): void {
    if (actor.requestId !== undefined) this.byId.delete(actor.requestId);
    actor.requestId = undefined;
  }

  /** Over nodes, an actor goes to its large arguments, if it is not said where it is to be. */
  private nearOf({ options, spec }: ActorRecord): Pick<Demand, "near"> {
    const near = this.overNodes && options.placement === undefined ? nodeOfLarge(spec.deps) : undefined;
    return near === undefined ? {} : { near };
  }
}

/** Beside whom it is made, the first time. */
const creatorOf = ({ incarnation, creator }: ActorRecord): Pick<ActorWorkerRequest, "creator"> =>
  incarnation === 0 ? { creator } : {};

function demandOf(actor: ActorRecord): Demand {
  const { resources, runtimeEnv, placement, priority = 0 } = actor.options;
  const sorted = Object.entries(resources).sort(([a], [b]) => (a < b ? -1 : 1));
  return {
    key: `actor/${JSON.stringify([sorted, runtimeEnv ?? null, placement ?? null, ...(priority === 0 ? [] : [priority])])}`,
    resources,
    priority,
    name: actor.spec.className,
    ...(runtimeEnv === undefined ? {} : { runtimeEnv }),
    ...(placement === undefined ? {} : { placement }),
  };
}
