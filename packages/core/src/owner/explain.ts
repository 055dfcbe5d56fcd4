/**
 * Why a ref or an actor waits, failed or was slow, as its owner sees it. What others know is asked for by the runtime:
 * the node, of leases, actors and waits; the system, of the worker's process.
 */
import type { NodeId, ObjectKey, Seq, StoredName } from "../base/ids.ts";
import type { FinishedRun, RunHistory } from "../events/mod.ts";
import type { Explanation, WorkerAddress, WorkerDeath } from "../wire/mod.ts";
import { unpackFailure } from "../wire/mod.ts";
import type { OwnerEngine } from "./engine.ts";
import { type ActorRecord, type ObjectRecord, TASK_STATE, type TaskRecord } from "./records.ts";

/** What the owner can say, and whom to ask for the rest. */
export interface OwnerExplanation extends Explanation {
  readonly ask?: readonly Question[];
}

export type Question =
  /** Why no more leases of this shape are granted, or why one was granted by this node. */
  | { readonly kind: "shape"; readonly shape: number; readonly at?: NodeId }
  /** What the owner says of an object that is another process's. */
  | { readonly kind: "elsewhere"; readonly key: ObjectKey }
  /** Where an object of this process is, and who holds it. */
  | { readonly kind: "object"; readonly key: ObjectKey; readonly name?: StoredName }
  | { readonly kind: "actor"; readonly actorId: string }
  /** What this task waits for itself. */
  | { readonly kind: "wait"; readonly by: string }
  /** Whether the process runs, sleeps or is stopped. */
  | { readonly kind: "process"; readonly pid: number; readonly nodeId: NodeId };

/** How far a chain of arguments that wait for arguments is followed. */
const DEPTH_MAX = 4;
const MISSING_NAMED_MAX = 3;

const seconds = (ms: number): string => `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? "" : "s"}`;

/** In a sentence; whoever passes it on to people puts the node's name in its place, see {@link NODE_NAMED}. */
const onNode = (nodeId: NodeId): string => ` on node ${nodeId}`;
export const NODE_NAMED = /node ([0-9a-f]{32})\b/g;
export const withoutNodes = (text: string): string => text.replaceAll(/ on node [0-9a-f]{32}\b/g, "");

export function explainObject(engine: OwnerEngine, history: RunHistory, seq: Seq, nowMs: number): OwnerExplanation {
  const view: View = { engine, history, nowMs };
  const record = engine.objects.find(seq);
  if (record) return explainRecord(view, record, DEPTH_MAX);
  // A task that has ended may be remembered when its ref is gone.
  const { sentences, ask } = explainRuns(view, seq);
  return { state: "released", since: nowMs, sentences: ["The ref was released.", ...sentences], waitsFor: [], ask };
}

/** Sentences for an error that says that the task or call took too long. */
export const whyUnfinished = (engine: OwnerEngine, task: TaskRecord, nowMs: number): string =>
  withoutNodes(explainTask({ engine, history: NO_HISTORY, nowMs }, task, DEPTH_MAX).sentences.join(" "));

const NO_HISTORY: View["history"] = { find: () => [] };

interface View {
  readonly engine: OwnerEngine;
  readonly history: Pick<RunHistory, "find">;
  readonly nowMs: number;
}

function explainRecord(view: View, record: ObjectRecord, depth: number): OwnerExplanation {
  const { nowMs } = view;
  const { value, task } = record;
  if (value) {
    const key = view.engine.objects.keyOf(record);
    const runs = explainRuns(view, task?.seq ?? record.seq);
    const ran = record.isForeign ? [] : runs.sentences;
    const since = record.isForeign ? nowMs : (runs.endedAtMs ?? nowMs);
    const ask: Question[] = record.isForeign ? [{ kind: "elsewhere", key }] : [...runs.ask];
    if (value.at === "error") {
      const { code, message } = unpackFailure(value.bytes);
      return { state: "failed", since, sentences: [`It failed: ${code}: ${message}`, ...ran], waitsFor: [], ask };
    }
    if (value.at === "inline") {
      const sentence = `It is ready, inline (${value.bytes.length} bytes).`;
      return { state: "ready", since, sentences: [sentence, ...ran], waitsFor: [], ask };
    }
    const sentences = [`It is ready, in the object store (${value.size} bytes).`, ...ran];
    if (!record.isForeign) {
      ask.push({ kind: "object", key, name: value.name });
      sentences.push(describeLineage(view.engine, task));
    }
    return { state: "ready", since, sentences, waitsFor: [], ask };
  }
  if (record.isForeign) {
    const key = view.engine.objects.keyOf(record);
    const sentence = "It belongs to another process, which has not finished it; the node's directory was asked for it.";
    return {
      state: "pending",
      since: nowMs,
      sentences: [sentence],
      waitsFor: [key],
      ask: [{ kind: "elsewhere", key }],
    };
  }
  if (!task) return { state: "pending", since: nowMs, sentences: ["It has no value yet."], waitsFor: [] };
  return explainTask(view, task, depth);
}

/** What becomes of a stored value when its last copy is lost. */
function describeLineage({ tasks }: OwnerEngine, task: TaskRecord | undefined): string {
  if (!task) return "It is not made again when its last copy is lost: it was put, or its task may not run again.";
  const whyNot = tasks.lineage.whyNotRebuilt(task);
  if (whyNot !== undefined) return `It is not made again when its last copy is lost: ${whyNot}.`;
  return `When its last copy is lost, ${task.name} makes it again, from ${count(task.deps.length, "argument")}.`;
}

/** How the attempts of a task ended, and where its time went; empty when none is remembered. */
function explainRuns(
  { history, nowMs }: View,
  seq: Seq,
): { readonly sentences: readonly string[]; readonly ask: Question[]; readonly endedAtMs?: number } {
  const runs = history.find(seq);
  const last = runs.at(-1);
  if (!last) return { sentences: [], ask: [] };
  const failed = runs.filter(({ failure }) => failure !== undefined);
  const sentences = failed.map((run) => describeFailure(run, nowMs));
  if (last.failure === undefined) sentences.push(describeRun(last, nowMs));
  const ask: Question[] = last.shape === undefined ? [] : [{ kind: "shape", shape: last.shape, at: last.nodeId }];
  return { sentences, ask, endedAtMs: last.finishedAtMs };
}

/** Where the time of a task that has ended went. */
function describeRun(run: FinishedRun, nowMs: number): string {
  const attempts = run.attempt > 0 ? ` in the last of ${run.attempt + 1} attempts` : "";
  return (
    `${run.name} ran ${duration(run.ranMs)} in worker process ${run.workerPid}${onNode(run.nodeId)}${attempts}; before that it waited ` +
    `${duration(run.waitedForArgumentsMs)} for arguments and ${duration(run.queuedMs)} for a worker; it ended ${seconds(nowMs - run.finishedAtMs)} ago.`
  );
}

const describeFailure = ({ attempt, workerPid, nodeId, failure, finishedAtMs }: FinishedRun, nowMs: number): string =>
  `Attempt ${attempt} ran in worker process ${workerPid}${onNode(nodeId)} and ended ${seconds(nowMs - finishedAtMs)} ago: it ${failure}.`;

/** How an attempt ended that was lost; follows "it". */
export function describeLoss(death: WorkerDeath | undefined): string {
  if (!death) return "was lost with the connection to its worker";
  if (death.lostWith !== undefined) return `was lost when its node, ${death.lostWith}, died`;
  if (death.outOfMemory !== undefined) return `was ended: ${death.outOfMemory}`;
  if (death.intended !== undefined) return `was ended with its worker (${death.intended})`;
  const how = death.signal ? `was killed by ${death.signal}` : `exited with code ${death.exitCode ?? "unknown"}`;
  return `was lost when its worker ${how}`;
}

const duration = (ms: number): string => (ms < 1_000 ? `${Math.max(0, ms).toFixed(1)} ms` : seconds(ms));

function explainTask(view: View, task: TaskRecord, depth: number): OwnerExplanation {
  const { nowMs } = view;
  const since = task.submittedAtMs;
  const attempts = describeAttempts(view, task);
  if (task.missing > 0) return explainMissing(view, task, depth, attempts);
  switch (task.state) {
    case TASK_STATE.delayed:
      return {
        state: "retry-delayed",
        since,
        sentences: [`${task.name} waits for its next attempt.${attempts}`],
        waitsFor: [],
      };
    case TASK_STATE.sent:
      return explainSent(view, task, attempts);
    default: {
      if (task.actor) {
        const actor = explainActor(task.actor, nowMs);
        const ahead = countAhead(task.actor, task);
        const sentence = `${task.name} has not been sent to its actor, for ${seconds(nowMs - since)}; ${count(ahead, "call")} of this process ${ahead === 1 ? "goes" : "go"} first.${attempts}`;
        return { ...actor, since, sentences: [sentence, ...actor.sentences], waitsFor: [task.actor.actorId] };
      }
      const shape = task.registered?.shape;
      const sentence = `${task.name} waits for a worker since ${seconds(nowMs - since)}; queued with the same demand: ${count(shape?.queue.size ?? 0, "task")}, served by ${count(shape?.leases.length ?? 0, "worker")}.${attempts}`;
      const ask: Question[] = shape ? [{ kind: "shape", shape: shape.id }] : [];
      return { state: "queued", since, sentences: [sentence], waitsFor: [], ask };
    }
  }
}

/** Follows a sentence. */
function describeAttempts({ history, nowMs }: View, task: TaskRecord): string {
  const { failures, preemptions } = task;
  if (failures === 0 && preemptions === 0) return "";
  const known = history.find(task.seq).filter(({ failure }) => failure !== undefined);
  if (known.length === 0)
    return ` ${count(failures + preemptions, "earlier attempt")} failed, or made room for others.`;
  return ` ${known.map((run) => describeFailure(run, nowMs)).join(" ")}`;
}

function explainMissing(view: View, task: TaskRecord, depth: number, attempts: string): OwnerExplanation {
  const { engine, nowMs } = view;
  const since = task.submittedAtMs;
  const missing = task.deps.filter((dep) => !dep.value);
  const sentences = [
    `${task.name} waits for ${missing.length} of its ${count(task.deps.length, "argument")} since ${seconds(nowMs - since)}.${attempts}`,
  ];
  const ask: Question[] = [];
  for (const dep of depth > 0 ? missing.slice(0, MISSING_NAMED_MAX) : []) {
    const why = explainRecord(view, dep, depth - 1);
    sentences.push(...why.sentences);
    ask.push(...(why.ask ?? []));
  }
  const more = missing.length - MISSING_NAMED_MAX;
  if (more > 0) sentences.push(`${count(more, "more argument")} ${more === 1 ? "is" : "are"} missing.`);
  return {
    state: "waiting-for-arguments",
    since,
    sentences,
    waitsFor: missing.map((dep) => engine.objects.keyOf(dep)),
    ask,
  };
}

function explainSent({ engine, nowMs }: View, task: TaskRecord, attempts: string): OwnerExplanation {
  const { lease, actor } = task;
  const since = task.submittedAtMs;
  const address = (lease?.link ?? actor?.link)?.address;
  const pid = address?.pid ?? 0;
  const where = `worker ${address?.workerId ?? "?"} (pid ${pid})${address ? onNode(address.nodeId) : ""}`;
  const sent = seconds(nowMs - task.sentAtMs);
  const inFlight = [...((lease ?? actor)?.inFlight.values() ?? [])];
  const ahead = inFlight.indexOf(task);
  const ask: Question[] = address ? [{ kind: "process", pid, nodeId: address.nodeId }] : [];
  if (lease && address) ask.unshift({ kind: "shape", shape: lease.shape.id, at: address.nodeId });
  const key: ObjectKey | undefined = task.returns[0] && engine.objects.keyOf(task.returns[0]);
  if (ahead >= (actor?.concurrency ?? 1)) {
    const [first] = inFlight;
    const oldest = first ? `; ${first.name}, the oldest, was sent ${seconds(nowMs - first.sentAtMs)} ago` : "";
    const runs = actor ? `, which runs ${actor.concurrency} at a time` : "";
    return {
      state: "queued",
      since,
      sentences: [
        `${task.name} was sent to ${where}${runs}, ${sent} ago, and waits there behind ${count(ahead, actor ? "call" : "task")}${oldest}.${attempts}`,
      ],
      waitsFor: [],
      ...inProcess(address),
      ask: actor ? [...ask, { kind: "actor", actorId: actor.actorId }] : ask,
    };
  }
  const { stream } = task;
  const items = stream
    ? ` It has made ${count(stream.received, "item")}, of which ${stream.consumed} were taken; ${stream.received > stream.consumed ? "it pauses when it is too far ahead of its reader" : "its reader waits"}.`
    : "";
  ask.push({ kind: "wait", by: actor ? `actor:${actor.actorId}` : `task:${key ?? ""}` });
  return {
    state: "running",
    since,
    sentences: [`${task.name} was sent to ${where} ${sent} ago and has not finished.${items}${attempts}`],
    waitsFor: [],
    ...inProcess(address),
    ask,
  };
}

function countAhead(actor: ActorRecord, task: TaskRecord): number {
  let ahead = actor.inFlight.size;
  for (const queued of actor.queue) {
    if (queued === task) break;
    ahead++;
  }
  return ahead;
}

export function explainActor(actor: ActorRecord, nowMs: number): OwnerExplanation {
  const queued = actor.queue.size;
  const running = actor.inFlight.size;
  const [oldest] = actor.inFlight.values();
  const since = oldest ? `, the oldest (${oldest.name}) since ${seconds(nowMs - oldest.sentAtMs)}` : "";
  const address = actor.link?.address;
  const ask: Question[] = [{ kind: "actor", actorId: actor.actorId }];
  if (address) ask.push({ kind: "process", pid: address.pid, nodeId: address.nodeId });
  return {
    state: actor.state,
    since: nowMs,
    sentences: [
      `Actor ${actor.className} (${actor.actorId}) is ${actor.state}; calls of this process: ${queued} waiting here, ${running} sent to it${since}; it runs ${actor.concurrency} at a time.`,
    ],
    waitsFor: [],
    ...inProcess(address),
    ask,
  };
}

const inProcess = (address: WorkerAddress | undefined): Pick<Explanation, "process"> =>
  address ? { process: { nodeId: address.nodeId, pid: address.pid } } : {};
