/**
 * What a node does for the control of its cluster, which has the say over all actors: it passes on what its processes say to it
 * and ask of it, gives its workers to actors, and tells what becomes of them.
 *
 * Control may be killed and started again. What is said while there is none is dropped; whenever the node is welcomed it states
 * what it has, repeats the creations and questions that were not answered, and has its processes say what they hold
 * (control/recovery.ts).
 */
import type { ActorId, JobId, NodeId, ProcessId, WorkerId } from "../base/ids.ts";
import type { Control } from "../control/mod.ts";
import type {
  ActorRecorded,
  ActorWorkerRequest,
  ActorWorkerWanted,
  BetweenHomes,
  FromControl,
  Relay,
  ToControl,
} from "../wire/cluster-messages.ts";
import type {
  ActorHolds,
  ActorSpec,
  ActorState,
  FromNode,
  Hello,
  Query,
  WorkerAddress,
  WorkerDeath,
} from "../wire/messages.ts";
import { HostedActors } from "./hosted-actors.ts";

export interface ClusterActorsEffects {
  say(message: ToControl): void;
  /** To the lease engine. */
  request(request: ActorWorkerRequest): void;
  release(requestId: number): void;
  kill(workerId: WorkerId, reason: string): void;
  /** What the worker prints for the job is for there. */
  driverAt(jobId: JobId, node: NodeId): void;
  /** To a process here. */
  send(to: ProcessId, message: FromNode): void;
  /** Drivers, workers, deputies. */
  processes(): readonly ProcessId[];
  /** Does it after so many milliseconds, unless the function that this gives is called before. */
  later(ms: number, run: () => void): () => void;
  /** As whom this node holds actors that values in its directory mention, and which. */
  mentioned(): readonly [ProcessId, ActorHolds["holds"]];
}

/** Messages of control that are for here. */
export type ActorOrder = Extract<
  FromControl,
  { readonly t: "actor-worker-wanted" | "actor-worker-released" | "actor-recorded" | "actor-settled" | "worker-order" }
>;

interface UnrecordedCode extends Pick<ActorSpec, "code" | "host"> {
  /** Which welcome of control it was said after last; 0: none. */
  saidAt: number;
}

/** Where workers of actors are that processes here have heard of. */
const KNOWN_WORKERS_MAX = 10_000;
/** Control hears how they ended when it begins anew. */
const RETIRED_MAX = 10_000;
/** What was under way when processes first said what they hold has arrived by then. */
const HOLDS_SAID_AGAIN_MS = 8_000;

export class ClusterActors implements Pick<Control, "actorWorkerReady" | "actorWorkerRefused" | "workerDied"> {
  private readonly here: NodeId;
  private readonly effects: ClusterActorsEffects;
  private readonly hosted = new HostedActors();
  /** Asked for and not answered. */
  private readonly requests = new Map<number, ActorWorkerRequest>();
  private readonly elsewhere = new Map<WorkerId, NodeId>();
  private readonly drivers = new Map<ProcessId, NonNullable<Hello["job"]>>();
  /** Creations and announcements that control has not said are written down. */
  private readonly unrecorded = new Map<ActorId, Relay>();
  /** Code of classes that control has not said is written down: processes send it once. By process and key. */
  private readonly codes = new Map<ProcessId, Map<string, UnrecordedCode>>();
  /** By process and id. */
  private readonly questions = new Map<string, { readonly from: ProcessId; readonly query: Query }>();
  private readonly creators = new Set<ProcessId>();
  /** Of the creators, those that ended while they had nothing to do. */
  private readonly retired = new Set<ProcessId>();
  private isWelcome = false;
  private welcomes = 0;
  private epoch: number | undefined;
  private notAgain = (): void => {};

  constructor(here: NodeId, effects: ClusterActorsEffects) {
    this.here = here;
    this.effects = effects;
  }

  // ── control comes and goes ─────────────────────────────────────────────────────────────────────────────────────────

  welcomed(epoch: number): void {
    const { effects, hosted } = this;
    if (epoch !== this.epoch) {
      // What an earlier control wanted and has not put to use, this one does not know of.
      for (const requestId of [...this.requests.keys()]) this.released(requestId);
      for (const workerId of hosted.unused()) effects.kill(workerId, "control has begun anew");
    }
    this.epoch = epoch;
    this.isWelcome = true;
    this.welcomes++;
    const jobs = [...this.drivers].map(([driver, job]) => ({ driver, job }));
    const processes = effects.processes();
    effects.say({ t: "node-statement", processes, retired: [...this.retired], jobs, workers: hosted.state() });
    this.stateHolds(processes);
    this.notAgain();
    this.notAgain = effects.later(HOLDS_SAID_AGAIN_MS, () => this.stateHolds(processes));
    for (const relay of this.unrecorded.values()) effects.say(this.withCode(relay));
    for (const { from, query } of this.questions.values()) effects.say({ t: "ask-control", from, query });
  }

  private stateHolds(processes: readonly ProcessId[]): void {
    const [from, holds] = this.effects.mentioned();
    if (holds.length > 0) this.say({ t: "relay", from, message: { t: "actor-holds", holds, subscribed: [] } });
    for (const process of processes) this.effects.send(process, { t: "state-holds" });
  }

  /** It cannot be spoken to, and will be another one, or will not remember. */
  lost(): void {
    this.isWelcome = false;
    this.notAgain();
  }

  private say(message: ToControl): void {
    if (this.isWelcome) this.effects.say(message);
  }

  // ── processes here ─────────────────────────────────────────────────────────────────────────────────────────────────

  driverJoined(driver: ProcessId, job: NonNullable<Hello["job"]>): void {
    this.drivers.set(driver, job);
    this.say({ t: "job-began", driver, job });
  }

  processGone(process: ProcessId, retired: boolean): void {
    this.drivers.delete(process);
    this.codes.delete(process);
    for (const [actorId, { from }] of this.unrecorded) if (from === process) this.unrecorded.delete(actorId);
    for (const [key, { from }] of this.questions) if (from === process) this.questions.delete(key);
    if (!this.creators.delete(process) || !retired) return;
    this.retired.add(process);
    const [oldest] = this.retired;
    if (this.retired.size > RETIRED_MAX && oldest !== undefined) this.retired.delete(oldest);
  }

  ask(from: ProcessId, query: Query): void {
    this.questions.set(questionOf(from, query.id), { from, query });
    this.say({ t: "ask-control", from, query });
  }

  /** What a process here says of actors, or what is said of it. */
  toControl(message: BetweenHomes): void {
    if (message.t === "relay") {
      const { from, message: said } = message;
      this.hosted.said(from, said);
      if (said.t === "actor-create") {
        this.creators.add(from);
        if (said.spec.code.length > 0) this.keepCode(from, said.spec);
      }
      if (said.t === "actor-create" || said.t === "actor-announce") {
        // One that will never be made is not created: nobody says that this is written down.
        if (said.t === "actor-announce" && said.cause) this.unrecorded.delete(said.actorId);
        else this.unrecorded.set(said.actorId, message);
      }
      this.say(this.withCode(message));
    } else this.say(message);
  }

  private keepCode(from: ProcessId, { codeKey, code, host }: ActorSpec): void {
    let codes = this.codes.get(from);
    if (!codes) {
      codes = new Map();
      this.codes.set(from, codes);
    }
    codes.set(codeKey, { code, host, saidAt: 0 });
  }

  /** A creation with the code of its class if control, which was welcomed since that was said, may know it no more. */
  private withCode(relay: Relay): Relay {
    const { from, message } = relay;
    if (!this.isWelcome || message.t !== "actor-create") return relay;
    const known = this.codes.get(from)?.get(message.spec.codeKey);
    if (!known || known.saidAt === this.welcomes) return relay;
    known.saidAt = this.welcomes;
    const { code, host } = known;
    return { ...relay, message: { ...message, spec: { ...message.spec, code, host } } };
  }

  private recorded({ actorId, codeKey }: ActorRecorded): void {
    const { from } = this.unrecorded.get(actorId) ?? {};
    this.unrecorded.delete(actorId);
    if (from !== undefined && codeKey !== undefined) this.codes.get(from)?.delete(codeKey);
  }

  /** What control says to a process here, as it is to get it; undefined when it has got it before. */
  delivered(to: ProcessId, message: FromNode): FromNode | undefined {
    switch (message.t) {
      case "answer":
        this.questions.delete(questionOf(to, message.id));
        return message;
      case "actor-start":
        return this.hosted.started(to, message) ? message : undefined;
      case "actor-state":
        // Its creator knows its end, and what it was to be made with is held no more.
        if (message.state === "dead" && this.unrecorded.get(message.actorId)?.from === to)
          this.unrecorded.delete(message.actorId);
        return message.worker && message.worker.nodeId !== this.here
          ? this.fromOutside(message, message.worker)
          : message;
      default:
        return message;
    }
  }

  private fromOutside(message: ActorState, worker: WorkerAddress): ActorState {
    const { elsewhere } = this;
    elsewhere.set(worker.workerId, worker.nodeId);
    const [oldest] = elsewhere.keys();
    if (elsewhere.size > KNOWN_WORKERS_MAX && oldest !== undefined) elsewhere.delete(oldest);
    // Its claim words are memory of another machine.
    const { claims: _claims, ...address } = worker;
    return { ...message, worker: address };
  }

  /** Where the worker of an actor is that does not live here. */
  nodeOf(workerId: string): NodeId | undefined {
    return this.elsewhere.get(workerId as WorkerId);
  }

  // ── workers here ───────────────────────────────────────────────────────────────────────────────────────────────────

  order(message: ActorOrder): void {
    switch (message.t) {
      case "actor-worker-wanted":
        this.wanted(message);
        return;
      case "actor-worker-released":
        this.released(message.requestId);
        return;
      case "actor-recorded":
        this.recorded(message);
        return;
      case "actor-settled":
        this.hosted.settled(message.actorId, message.incarnation);
        return;
      case "worker-order":
        if (message.kill !== undefined) this.effects.kill(message.workerId, message.kill);
        return;
    }
  }

  private wanted({ request, driverAt }: ActorWorkerWanted): void {
    const { requestId } = request;
    const given = this.hosted.givenFor(requestId);
    if (given) {
      this.say({ t: "actor-worker-ready", requestId, worker: given, gpus: [] });
      return;
    }
    if (this.requests.has(requestId)) return;
    if (this.hosted.roomReleased(requestId)) this.effects.release(requestId);
    this.requests.set(requestId, request);
    if (driverAt !== undefined && driverAt !== this.here) this.effects.driverAt(request.jobId, driverAt);
    this.effects.request(request);
  }

  private released(requestId: number): void {
    this.requests.delete(requestId);
    this.hosted.roomReleased(requestId);
    this.effects.release(requestId);
  }

  actorWorkerReady(requestId: number, worker: WorkerAddress, gpus: readonly string[]): void {
    const request = this.requests.get(requestId);
    this.requests.delete(requestId);
    if (request?.actorId === undefined) this.hosted.given(requestId, worker);
    else this.hosted.roomGiven(requestId, request.actorId);
    this.say({ t: "actor-worker-ready", requestId, worker, gpus });
  }

  actorWorkerRefused(requestId: number, { code, message }: { readonly code: string; readonly message: string }): void {
    this.requests.delete(requestId);
    this.say({ t: "actor-worker-refused", requestId, code, message });
  }

  workerDied(death: WorkerDeath): void {
    if (this.hosted.died(death)) this.say({ t: "actor-worker-died", death });
  }

  /** The node ends in order: actors run their shutdown hooks, and nothing new comes. */
  async shutdown(): Promise<void> {
    this.say({ t: "node-ends" });
    await this.hosted.stopAll((to, message) => this.effects.send(to, message));
  }

  close(): void {
    this.notAgain();
  }
}

const questionOf = (from: ProcessId, id: number): string => `${from}/${id}`;
