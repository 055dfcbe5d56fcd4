/**
 * Where actors live: for each worker that control wants a node is chosen by the placement engine and asked. Pure: what it does
 * to the world is a call of its effects.
 *
 * 1. What fits somewhere is asked for there, and held off the view until that node answers. It may have given its room away
 *    meanwhile, or have others in its queue: then it refuses, and another is chosen.
 * 2. What has room nowhere waits at a node that could take it some day, since that node is fair among all that waits there. When
 *    there is room elsewhere it is withdrawn there and asked for here; an answer that was under way counts for nothing.
 *    So it is with room in a worker that several share, but then control finds it another worker.
 * 3. What no node can ever take is refused when that has been so for a while: a node may be about to join.
 * 4. When the node dies that was asked, another is chosen.
 */
import { type ActorId, actorJob, type JobId, type NodeId, type ProcessId, type WorkerId } from "../base/ids.ts";
import { Recent } from "../base/recent.ts";
import type { ResourceUnits } from "../base/resources.ts";
import {
  type ClusterView,
  type Explained,
  type GroupHost,
  type GroupRoom,
  type PlacementRequest,
  Placer,
} from "../placement/mod.ts";
import {
  type ActorWorkerReady,
  type ActorWorkerRefused,
  type ActorWorkerRequest,
  NO_ROOM_NOW,
  NO_ROOM_THERE,
  type StatedWorker,
} from "../wire/cluster-messages.ts";
import type { BundleChoice, WorkerAddress, WorkerDeath } from "../wire/messages.ts";
import { localityOf, placementOf } from "./demand.ts";
import type { Urgent } from "./preemptions.ts";
import type { Waiter } from "./quota-turns.ts";
import type { Waiting } from "./waiting-demands.ts";

/** How long it is waited for a node that could take what none can. */
const INFEASIBLE_MS = 10_000;
const DECIDED_MAX = 10_000;
/** What has waited long is looked at this often. */
const PREEMPT_LOOK_MS = 500;

export interface ActorPlacesEffects {
  nowMs(): number;
  nodeOf(process: ProcessId): NodeId | undefined;
  readonly nodeTagged: (tag: string) => NodeId | undefined;
  ask(node: NodeId, request: ActorWorkerRequest): void;
  withdraw(node: NodeId, requestId: number): void;
  kill(node: NodeId, workerId: WorkerId, reason: string): void;
  ready(requestId: number, worker: WorkerAddress, gpus: readonly string[]): void;
  refused(requestId: number, reason: { readonly code: string; readonly message: string }): void;
  died(death: WorkerDeath): void;
  /** The quota of its job allows one more; if not, it waits for that until it has {@link leftQuota}. */
  isAllowed(waiter: Waiter): boolean;
  leftQuota(job: JobId, id: string): void;
  /** Whether work of others could end for it. */
  mayPreempt(urgent: Pick<Urgent, "priority" | "job">): boolean;
  /** Plans where that is to be; true when the plan is another now. */
  planPreemption(urgent: Urgent): boolean;
  /** How long an actor of the job waits before work of others ends for it. */
  preemptAfterMs(job: JobId): number;
  /** What an actor of the job has or is to have; or has no more. */
  charge(job: JobId, units: ResourceUnits, count: 1 | -1): void;
  /** Words for one that the quota does not allow. */
  whyNotAllowed(job: JobId): string;
  /** What an actor has that a node has stated. */
  unitsOf(actorId: ActorId): ResourceUnits | undefined;
}

/** What counts for the quota of a job. */
interface Charge {
  readonly job: JobId;
  readonly units: ResourceUnits;
}

interface Place {
  readonly request: ActorWorkerRequest;
  readonly placement: PlacementRequest;
  /** Which was asked. */
  node: NodeId | undefined;
  /** What is held off the view for it, or off its group; when it waits for room, none, or what comes free for it. */
  hold: number | undefined;
  infeasibleSinceMs: number | undefined;
  /** It counts for the quota of its job. */
  charge: Charge | undefined;
  /** It waits for that. */
  isOverQuota: boolean;
  /** Since when it waits for room. */
  waitingSinceMs: number | undefined;
  lookedAtMs: number;
  /** Where work of lower priority ends for it. */
  readonly planned: Map<NodeId, number[]>;
  /** Its node knows. */
  isUrgent: boolean;
}

const requestOf = ({ request, hold, isUrgent }: Place): ActorWorkerRequest => {
  if (isUrgent) return { ...request, urgent: true };
  // Groups know what is free in their bundles.
  const isPlaced = hold !== undefined && !request.demand.placement?.bundle;
  return isPlaced ? { ...request, expectsRoom: true } : request;
};

const quotaId = ({ request }: Place): string => `actor ${request.requestId}`;

interface Worker {
  readonly node: NodeId;
  readonly address: WorkerAddress;
  readonly charge: Charge | undefined;
  /** Why its node was told to end it. */
  killed?: string | undefined;
}

export class ActorPlaces {
  private readonly view: ClusterView;
  private readonly placer: Placer;
  private readonly effects: ActorPlacesEffects;
  private readonly places = new Map<number, Place>();
  private readonly waiting = new Set<Place>();
  /** Of these, the ones whose node seemed to have room for them: others may be served there first, so they are looked at again. */
  private hopeful = new Set<Place>();
  private readonly workers = new Map<WorkerId, Worker>();
  /** What is granted in workers that there were, by request. */
  private readonly rooms = new Map<number, { readonly address: WorkerAddress; readonly charge: Charge | undefined }>();
  /** By request the decision that found its node, or where it was to wait; as many as the placer remembers. */
  private readonly decided = new Recent<number, { readonly decision: number; readonly waitedAt: NodeId | undefined }>(
    DECIDED_MAX,
  );
  private roomVersion = 0;
  groups: (GroupRoom & Pick<GroupHost, "explain">) | undefined;

  constructor(view: ClusterView, effects: ActorPlacesEffects) {
    this.view = view;
    this.placer = new Placer(view);
    this.effects = effects;
  }

  // ── what control wants ─────────────────────────────────────────────────────────────────────────────────────────────

  request(request: ActorWorkerRequest): void {
    const { demand, creator, room } = request;
    const from = creator === undefined ? undefined : this.effects.nodeOf(creator);
    const place: Place = {
      request,
      placement: { ...placementOf(demand, room), from, locality: localityOf(demand, this.effects.nodeTagged) },
      node: undefined,
      hold: undefined,
      infeasibleSinceMs: undefined,
      charge: undefined,
      isOverQuota: false,
      waitingSinceMs: undefined,
      lookedAtMs: Number.NEGATIVE_INFINITY,
      planned: new Map(),
      isUrgent: false,
    };
    this.places.set(request.requestId, place);
    this.choose(place);
  }

  release(requestId: number): void {
    const place = this.places.get(requestId);
    if (place) this.forget(place);
    const room = this.rooms.get(requestId);
    const node = place ? place.node : room?.address.nodeId;
    this.rooms.delete(requestId);
    this.discharge(room?.charge);
    if (node !== undefined) this.effects.withdraw(node, requestId);
  }

  /** What has no worker yet. */
  *waitingDemands(): Generator<Waiting> {
    for (const { request, placement, isOverQuota } of this.waiting)
      yield {
        ...{ kind: "actor", job: request.jobId, count: 1, request: placement },
        groupId: request.demand.placement?.bundle?.groupId,
        why: isOverQuota ? this.effects.whyNotAllowed(request.jobId) : undefined,
      };
  }

  kill(workerId: WorkerId, reason: string): void {
    const worker = this.workers.get(workerId);
    if (!worker) return;
    worker.killed = reason;
    this.effects.kill(worker.node, workerId, reason);
  }

  /** Why it waits; or why its node was chosen, as long as that is remembered. */
  explain(requestId: number): Explained {
    const place = this.places.get(requestId);
    const decided = this.decided.get(requestId);
    const before = decided && this.placer.explain(decided.decision);
    if (!place) return before ? this.after(before, decided.waitedAt) : { sentences: [], considered: [] };
    if (place.isOverQuota) return { sentences: [this.effects.whyNotAllowed(place.request.jobId)], considered: [] };
    const { placement } = place.request.demand;
    if (placement?.bundle && this.groups) {
      return { sentences: [], considered: [], ...this.groups.explain(placement.bundle.groupId) };
    }
    const name = place.node === undefined ? undefined : this.view.node(place.node)?.name;
    // What was found for it is held off the view, so that by what is free now it would have no room.
    const isFound = place.hold !== undefined && before !== undefined;
    const why = isFound ? before : this.placer.explainNow(place.placement);
    if (name === undefined) return why;
    const { priority } = place.request.demand;
    const ends = `what may run again and has a lower priority than ${priority} in other jobs ends for it there`;
    const asked = `${name} was asked for it${place.isUrgent ? `, and has waited so long that ${ends}` : ""}`;
    return { ...why, sentences: [...why.sentences, asked] };
  }

  /** Of what has been placed. */
  private after(before: Explained, waitedAt: NodeId | undefined): Explained {
    if (waitedAt === undefined) return before;
    const name = this.view.node(waitedAt)?.name ?? waitedAt;
    return { ...before, sentences: [...before.sentences, `It waited at ${name} until that had room`] };
  }

  private remember(requestId: number, decision: number, waitedAt?: NodeId): void {
    this.decided.set(requestId, { decision, waitedAt });
  }

  // ── what nodes say ─────────────────────────────────────────────────────────────────────────────────────────────────

  ready(node: NodeId, { requestId, worker, gpus }: ActorWorkerReady): void {
    const place = this.places.get(requestId);
    if (place?.node !== node) {
      // It was withdrawn, or is asked for elsewhere by now: a worker that was started for it is of no use.
      if (!this.workers.has(worker.workerId)) this.effects.kill(node, worker.workerId, "it is not needed any more");
      return;
    }
    if (place.hold !== undefined) this.holdsOf(place).settle(place.hold);
    else this.tookRoom(place, node);
    place.hold = undefined;
    const { charge } = place;
    place.charge = undefined;
    this.forget(place);
    if (place.request.worker === "fresh") this.workers.set(worker.workerId, { node, address: worker, charge });
    else this.rooms.set(requestId, { address: worker, charge });
    this.effects.ready(requestId, worker, gpus);
  }

  /** Until the node says more. What runs in a group has its room from that. */
  private tookRoom({ request, placement }: Place, nodeId: NodeId): void {
    const node = request.demand.placement?.bundle ? undefined : this.view.node(nodeId);
    if (node && !placement.shape.isEmpty) this.view.take(node, placement.shape.units);
  }

  refused(node: NodeId, { requestId, code, message }: ActorWorkerRefused): void {
    const place = this.places.get(requestId);
    if (place?.node !== node) return;
    if (code === NO_ROOM_NOW) {
      // It is somebody else's, who waits there, and not to be counted on before the node says more.
      this.tookRoom(place, node);
      // It may have been asked once more since.
      this.withdraw(place);
      place.node = undefined;
      this.letGo(place);
      this.choose(place);
      return;
    }
    this.forget(place);
    this.effects.refused(requestId, { code, message });
  }

  /** What a node has when it and control meet. What it was asked for it may not have heard. */
  stated(node: NodeId, workers: readonly StatedWorker[]): void {
    for (const { worker, actors, death } of workers) {
      if (death) continue;
      const known = this.workers.get(worker.workerId);
      // One by itself has its worker's; in a shared worker each has what it asked for.
      const [alone] = actors.length === 1 && actors[0]?.requestId === undefined ? actors : [];
      this.workers.set(worker.workerId, {
        ...{ node, address: worker },
        charge: known ? known.charge : alone && this.chargeStated(alone.actorId),
        killed: known?.killed,
      });
      // It may have been lost with the connection before.
      if (known?.killed !== undefined) this.effects.kill(node, worker.workerId, known.killed);
      for (const { requestId, actorId } of actors) {
        if (requestId === undefined || this.rooms.has(requestId)) continue;
        this.rooms.set(requestId, { address: worker, charge: this.chargeStated(actorId) });
      }
    }
    for (const place of this.places.values()) if (place.node === node) this.effects.ask(node, requestOf(place));
  }

  /** Workers of the node that control counts on. */
  workersOf(node: NodeId): WorkerAddress[] {
    return [...this.workers.values()].filter((worker) => worker.node === node).map(({ address }) => address);
  }

  workerDied(node: NodeId, death: WorkerDeath): void {
    const worker = this.workers.get(death.workerId);
    if (worker?.node !== node) return;
    this.workers.delete(death.workerId);
    this.discharge(worker.charge);
    // Room that was granted in it is the node's again.
    for (const [requestId, { address, charge }] of this.rooms) {
      if (address.workerId !== death.workerId) continue;
      this.rooms.delete(requestId);
      this.discharge(charge);
    }
    this.effects.died(death);
  }

  nodeDied(node: NodeId, name: string): void {
    for (const [workerId, { node: of, address }] of [...this.workers]) {
      if (of !== node) continue;
      const { pid } = address;
      this.workerDied(node, { workerId, pid, exitCode: null, signal: null, stderrTail: "", lostWith: name });
    }
    for (const place of [...this.places.values()]) {
      if (place.node !== node) continue;
      const { worker, requestId } = place.request;
      place.node = undefined;
      this.letGo(place);
      if (worker === "fresh") this.choose(place);
      else if (this.places.has(requestId)) this.answerGone(place, worker);
    }
  }

  /** There is other room in groups than before, or other groups. */
  groupsChanged(): void {
    const { groups } = this;
    /** What has no room now: others that want the same have none either. */
    const without = new Set<string>();
    for (const place of [...this.places.values()]) {
      const { requestId, demand, worker, room } = place.request;
      const bundle = demand.placement?.bundle;
      if (!groups || !bundle || worker !== "fresh") continue;
      if (place.hold !== undefined && groups.isGood(place.hold)) continue;
      const kind = JSON.stringify([bundle, room ?? demand.resources]);
      if (place.node !== undefined && place.hold === undefined && without.has(kind)) continue;
      this.choose(place);
      if (place.hold === undefined && this.places.has(requestId)) without.add(kind);
    }
  }

  /** Call it several times a second. */
  tick(): void {
    const nowMs = this.effects.nowMs();
    for (const place of [...this.waiting]) {
      const { infeasibleSinceMs } = place;
      if (infeasibleSinceMs !== undefined && nowMs - infeasibleSinceMs >= INFEASIBLE_MS) this.choose(place);
    }
    this.preempt(nowMs);
    const { hopeful } = this;
    this.hopeful = new Set();
    const hasRoom = this.view.roomVersion !== this.roomVersion;
    for (const place of hasRoom ? this.inOrder() : hopeful) if (this.waiting.has(place)) this.choose(place);
    // What was taken while choosing is no new room.
    this.roomVersion = this.view.roomVersion;
  }

  /** What waits, the higher priority first, then the older. */
  private inOrder(): Place[] {
    return [...this.waiting].sort((a, b) => b.request.demand.priority - a.request.demand.priority);
  }

  /** What has waited long without room anywhere, work of lower priority ends for, as it does for tasks. */
  private preempt(nowMs: number): void {
    for (const place of this.inOrder()) {
      const { request, placement, planned, waitingSinceMs } = place;
      const { jobId: job, demand, worker, room } = request;
      // Several will share the worker, or it has its room already.
      if (worker !== "fresh" || room || demand.placement?.bundle || place.isOverQuota) continue;
      if (waitingSinceMs === undefined || nowMs - waitingSinceMs < this.effects.preemptAfterMs(job)) continue;
      if (nowMs - place.lookedAtMs < PREEMPT_LOOK_MS) continue;
      place.lookedAtMs = nowMs;
      const { priority } = demand;
      if (!this.effects.mayPreempt({ priority, job })) continue;
      const { shape, strategy } = placement;
      const only = typeof strategy === "object" && !strategy.soft ? strategy.nodeId : undefined;
      if (!this.effects.planPreemption({ job, shape, priority, only, planned })) continue;
      this.letGoOfHold(place);
      const [id] = planned.keys();
      const node = id === undefined ? undefined : this.view.node(id);
      if (!node) continue;
      this.withdraw(place);
      place.isUrgent = true;
      place.node = node.id;
      // What comes free there is not for others.
      place.hold = this.view.hold(node, shape.units);
      this.effects.ask(node.id, requestOf(place));
    }
  }

  // ── choosing ───────────────────────────────────────────────────────────────────────────────────────────────────────

  private choose(place: Place): void {
    if (!this.chargeFor(place)) return;
    const { worker, demand } = place.request;
    if (worker !== "fresh") {
      this.chooseInWorker(place, worker);
      return;
    }
    const { placement } = demand;
    if (placement?.bundle && this.groups) {
      this.chooseInGroup(place, placement.bundle, this.groups);
      return;
    }
    const decision = this.placer.decide(place.placement, "hold");
    if (decision.kind === "refused") {
      const nowMs = this.effects.nowMs();
      place.infeasibleSinceMs ??= nowMs;
      this.waiting.add(place);
      const { code, message } = decision;
      // Ids are not given twice: a node that is not there will not be.
      if (code === "INFEASIBLE" && nowMs - place.infeasibleSinceMs < INFEASIBLE_MS) return;
      this.withdraw(place);
      this.forget(place);
      this.effects.refused(place.request.requestId, { code, message });
      return;
    }
    place.infeasibleSinceMs = undefined;
    if (decision.kind === "placed" && place.node === decision.nodeId) {
      this.hopeAt(place, decision.taken);
      return;
    }
    if (decision.kind === "placed") {
      this.stopWaiting(place);
      this.remember(place.request.requestId, decision.id);
      this.letGoOfHold(place);
      place.hold = decision.taken;
    } else {
      this.waiting.add(place);
      place.waitingSinceMs ??= this.effects.nowMs();
      // One place in a queue is as good as another, and this one has waited in its own.
      if (place.node !== undefined) return;
      this.remember(place.request.requestId, decision.id, decision.nodeId);
    }
    this.ask(place, decision.nodeId);
  }

  /** Room in a worker that there is: at its node, or nowhere now, or control is to put the actor into another worker. */
  private chooseInWorker(place: Place, worker: WorkerId): void {
    const { request, placement } = place;
    const node = this.workers.get(worker)?.node;
    this.waiting.delete(place);
    if (node === undefined) {
      this.answerGone(place, worker);
      return;
    }
    // What a group has reserved is its own matter, and what has been found is held.
    if (!request.demand.placement?.bundle && place.hold === undefined) {
      const there = this.placer.decide({ ...placement, strategy: { nodeId: node, soft: false } }, "hold");
      if (there.kind === "placed" && place.node === node) {
        this.hopeAt(place, there.taken);
      } else if (there.kind === "placed") {
        place.hold = there.taken;
        this.remember(request.requestId, there.id);
      } else {
        const elsewhere = this.placer.decide(placement, "hold");
        if (elsewhere.kind === "placed") {
          this.view.release(elsewhere.taken);
          this.withdraw(place);
          this.forget(place);
          const name = this.view.node(node)?.name ?? node;
          const message = `${name} has no room for it`;
          this.effects.refused(request.requestId, { code: NO_ROOM_THERE, message });
          return;
        }
        this.waiting.add(place);
      }
    }
    this.ask(place, node);
  }

  /** There is room where it stands in the queue. */
  private hopeAt(place: Place, taken: number): void {
    this.view.release(taken);
    this.waiting.add(place);
    this.hopeful.add(place);
  }

  /** False when the quota of its job does not allow it, and it waits. */
  private chargeFor(place: Place): boolean {
    const { jobId: job, demand } = place.request;
    // What runs in a group has been reserved by that.
    if (place.charge || demand.placement?.bundle || Object.keys(demand.resources).length === 0) return true;
    const { resources: units, priority } = demand;
    const hasWaited = place.isOverQuota;
    place.isOverQuota = !this.effects.isAllowed({ id: quotaId(place), job, units, priority });
    if (place.isOverQuota) {
      this.waiting.add(place);
      return false;
    }
    if (hasWaited) this.effects.leftQuota(job, quotaId(place));
    place.charge = { job, units };
    this.effects.charge(job, units, 1);
    return true;
  }

  private chargeStated(actorId: ActorId): Charge | undefined {
    const units = this.effects.unitsOf(actorId);
    if (!units || Object.keys(units).length === 0) return undefined;
    const charge = { job: actorJob(actorId), units };
    this.effects.charge(charge.job, units, 1);
    return charge;
  }

  private discharge(charge: Charge | undefined): void {
    if (charge) this.effects.charge(charge.job, charge.units, -1);
  }

  /** Some of its job may have more than before. */
  quotasChanged(): void {
    /** What was not allowed now: others that want the same are not either. */
    const without = new Set<string>();
    for (const place of [...this.waiting]) {
      if (!place.isOverQuota) continue;
      const { jobId, demand } = place.request;
      const kind = JSON.stringify([jobId, demand.resources]);
      if (!without.has(kind)) this.choose(place);
      if (place.isOverQuota) without.add(kind);
    }
  }

  private chooseInGroup(place: Place, bundle: BundleChoice, groups: GroupRoom): void {
    const { request } = place;
    const units = request.room ?? request.demand.resources;
    // What is held for it is not in its own way.
    this.letGo(place);
    const answer = groups.placesFor(bundle.groupId, bundle.index, units);
    switch (answer.kind) {
      case "refused": {
        const { code, message } = answer;
        this.withdraw(place);
        this.forget(place);
        this.effects.refused(request.requestId, { code, message });
        return;
      }
      case "waits":
        this.withdraw(place);
        place.node = undefined;
        return;
      case "places": {
        const { places } = answer;
        const here = places.find(({ nodeId }) => nodeId === place.node);
        let best = here && here.room > 0 ? here : undefined;
        if (!best) for (const one of places) if (one.room > (best?.room ?? 0)) best = one;
        if (best) place.hold = groups.hold({ ...bundle, nodeId: best.nodeId }, units, 1);
        // One place in a queue is as good as another.
        const at = best ?? here ?? places[request.requestId % places.length];
        if (at) this.ask(place, at.nodeId);
      }
    }
  }

  private ask(place: Place, node: NodeId): void {
    if (place.node === node) return;
    this.withdraw(place);
    place.node = node;
    place.isUrgent = false;
    this.effects.ask(node, requestOf(place));
  }

  private stopWaiting(place: Place): void {
    this.waiting.delete(place);
    this.hopeful.delete(place);
    place.waitingSinceMs = undefined;
    place.planned.clear();
  }

  private withdraw({ node, request }: Place): void {
    if (node !== undefined) this.effects.withdraw(node, request.requestId);
  }

  private answerGone(place: Place, worker: WorkerId): void {
    this.forget(place);
    this.effects.refused(place.request.requestId, { code: "WORKER_DIED", message: `worker ${worker} is gone` });
  }

  private forget(place: Place): void {
    this.places.delete(place.request.requestId);
    if (place.isOverQuota) this.effects.leftQuota(place.request.jobId, quotaId(place));
    this.letGo(place);
    this.discharge(place.charge);
    place.charge = undefined;
  }

  private letGo(place: Place): void {
    this.stopWaiting(place);
    this.letGoOfHold(place);
  }

  private letGoOfHold(place: Place): void {
    if (place.hold !== undefined) this.holdsOf(place).release(place.hold);
    place.hold = undefined;
  }

  private holdsOf({ request }: Place): Pick<ClusterView, "release" | "settle"> {
    return (request.demand.placement?.bundle && this.groups) ?? this.view;
  }
}
