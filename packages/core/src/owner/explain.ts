/**
 * Why a ref or an actor waits, failed or was slow, as its owner sees it. What others know is asked for by the runtime:
 * the node, of leases, actors and waits; the system, of the worker's process.
 */
import type { ObjectKey, Seq } from "../base/ids.ts";
import type { FinishedRun, RunHistory } from "../events/mod.ts";
import type { Explanation } from "../wire/mod.ts";
import { unpackFailure } from "../wire/mod.ts";
import type { OwnerEngine } from "./engine.ts";
import { type ActorRecord, type ObjectRecord, TASK_STATE, type TaskRecord } from "./records.ts";

/** What the owner can say, and whom to ask for the rest. */
export interface OwnerExplanation extends Explanation {
  readonly ask?: readonly Question[];
}

export type Question =
  /** Why the node grants no more leases of this shape. */
  | { readonly kind: "shape"; readonly shape: number }
  | { readonly kind: "actor"; readonly actorId: string }
  /** What this task waits for itself. */
  | { readonly kind: "wait"; readonly by: string }
  /** Whether the process runs, sleeps or is stopped. */
  | { readonly kind: "process"; readonly pid: number };

/** How far a chain of arguments that wait for arguments is followed. */
const DEPTH_MAX = 4;
const MISSING_NAMED_MAX = 3;

const seconds = (ms: number): string => `${(Math.max(0, ms) / 1000).toFixed(1)} s`;
const count = (number: number, noun: string): string => `${number} ${noun}${number === 1 ? "" : "s"}`;

export function explainObject(engine: OwnerEngine, history: RunHistory, seq: Seq, nowMs: number): OwnerExplanation {
  const record = engine.objects.find(seq);
  if (!record) return { state: "released", since: nowMs, sentences: ["The ref was released."], waitsFor: [] };
  return explainRecord({ engine, history, nowMs }, record, DEPTH_MAX);
}

/** Sentences for an error that says that the task or call took too long. */
export const whyUnfinished = (engine: OwnerEngine, task: TaskRecord, nowMs: number): string =>
  explainTask({ engine, history: NO_HISTORY, nowMs }, task, DEPTH_MAX).sentences.join(" ");

const NO_HISTORY: View["history"] = { find: () => undefined };

interface View {
  readonly engine: OwnerEngine;
  readonly history: Pick<RunHistory, "find">;
  readonly nowMs: number;
}

function explainRecord(view: View, record: ObjectRecord, depth: number): OwnerExplanation {
  const { nowMs } = view;
  const { value, task } = record;
  if (value) {
    const run = !record.isForeign ? view.history.find(task?.seq ?? record.seq) : undefined;
    const since = run?.finishedAtMs ?? nowMs;
    const ran = run ? [describeRun(run, nowMs)] : [];
    if (value.at === "error") {
      const { code, message } = unpackFailure(value.bytes);
      return { state: "failed", since, sentences: [`It failed: ${code}: ${message}`, ...ran], waitsFor: [] };
    }
    const where =
      value.at === "stored" ? `in the object store (${value.size} bytes)` : `inline (${value.bytes.length} bytes)`;
    return { state: "ready", since, sentences: [`It is ready, ${where}.`, ...ran], waitsFor: [] };
  }
  if (record.isForeign) {
    const sentence = "It belongs to another process, which has not finished it; the node's directory was asked for it.";
    return { state: "pending", since: nowMs, sentences: [sentence], waitsFor: [view.engine.objects.keyOf(record)] };
  }
  if (!task) return { state: "pending", since: nowMs, sentences: ["It has no value yet."], waitsFor: [] };
  return explainTask(view, task, depth);
}

/** Where the time of a task that has ended went. */
function describeRun(run: FinishedRun, nowMs: number): string {
  const attempts = run.attempt > 0 ? ` in the last of ${run.attempt + 1} attempts` : "";
  return (
    `${run.name} ran ${duration(run.ranMs)} in worker process ${run.workerPid}${attempts}; before that it waited ` +
    `${duration(run.waitedForArgumentsMs)} for arguments and ${duration(run.queuedMs)} for a worker; it ended ${seconds(nowMs - run.finishedAtMs)} ago.`
  );
}

const duration = (ms: number): string => (ms < 1_000 ? `${Math.max(0, ms).toFixed(1)} ms` : seconds(ms));

function explainTask(view: View, task: TaskRecord, depth: number): OwnerExplanation {
  const { engine, nowMs } = view;
  const since = task.submittedAtMs;
  const attempts = task.failures > 0 ? ` ${count(task.failures, "earlier attempt")} failed.` : "";
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
      return explainSent(engine, task, nowMs, attempts);
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

function explainSent(engine: OwnerEngine, task: TaskRecord, nowMs: number, attempts: string): OwnerExplanation {
  const { lease, actor } = task;
  const since = task.submittedAtMs;
  const address = (lease?.link ?? actor?.link)?.address;
  const pid = address?.pid ?? 0;
  const where = `worker ${address?.workerId ?? "?"} (pid ${pid})`;
  const sent = seconds(nowMs - task.sentAtMs);
  const inFlight = [...((lease ?? actor)?.inFlight.values() ?? [])];
  const ahead = inFlight.indexOf(task);
  const ask: Question[] = [{ kind: "process", pid }];
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
  const pid = actor.link?.address.pid;
  const ask: Question[] = [{ kind: "actor", actorId: actor.actorId }];
  if (pid !== undefined) ask.push({ kind: "process", pid });
  return {
    state: actor.state,
    since: nowMs,
    sentences: [
      `Actor ${actor.className} (${actor.actorId}) is ${actor.state}; calls of this process: ${queued} waiting here, ${running} sent to it${since}; it runs ${actor.concurrency} at a time.`,
    ],
    waitsFor: [],
    ask,
  };
}
