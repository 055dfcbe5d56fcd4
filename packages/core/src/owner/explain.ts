/** Why a ref or an actor waits, as its owner sees it; the node adds what it knows of leases and actors. */
import type { Seq } from "../base/ids.ts";
import type { Explanation } from "../wire/mod.ts";
import { unpackFailure } from "../wire/mod.ts";
import type { OwnerEngine } from "./engine.ts";
import { type ActorRecord, type ObjectRecord, TASK_STATE, type TaskRecord } from "./records.ts";

/** What the owner can say, and whom to ask for the rest. */
export interface OwnerExplanation extends Explanation {
  readonly askShape?: number;
  readonly askActor?: string;
}

const ago = (sinceMs: number, nowMs: number): string => `${((nowMs - sinceMs) / 1000).toFixed(1)} s`;

export function explainObject(engine: OwnerEngine, seq: Seq, nowMs: number): OwnerExplanation {
  const record = engine.objects.find(seq);
  if (!record) return { state: "released", since: nowMs, sentences: ["The ref was released."], waitsFor: [] };
  const { value, task } = record;
  if (value?.at === "error") {
    const failure = unpackFailure(value.bytes);
    return {
      state: "failed",
      since: nowMs,
      sentences: [`It failed: ${failure.code}: ${failure.message}`],
      waitsFor: [],
    };
  }
  if (value) {
    const where =
      value.at === "stored" ? `in the object store (${value.size} bytes)` : `inline (${value.bytes.length} bytes)`;
    return { state: "ready", since: nowMs, sentences: [`It is ready, ${where}.`], waitsFor: [] };
  }
  if (record.foreignKey !== undefined) {
    const sentence = "It belongs to another process, which has not finished it; the node's directory was asked for it.";
    return { state: "pending", since: nowMs, sentences: [sentence], waitsFor: [record.foreignKey] };
  }
  if (!task) return { state: "pending", since: nowMs, sentences: ["It has no value yet."], waitsFor: [] };
  return explainTask(engine, task, nowMs);
}

function explainTask(engine: OwnerEngine, task: TaskRecord, nowMs: number): OwnerExplanation {
  const since = task.submittedAtMs;
  const attempts = task.failures > 0 ? ` ${task.failures} earlier attempts failed.` : "";
  switch (task.state) {
    case TASK_STATE.waiting: {
      const missing = task.deps.filter((dep) => !dep.value);
      return {
        state: "waiting-for-arguments",
        since,
        sentences: [
          `${task.name} waits for ${missing.length} of its ${task.deps.length} arguments since ${ago(since, nowMs)}.${attempts}`,
          ...missing.slice(0, 3).map((dep) => `One of them: ${describe(dep)}.`),
        ],
        waitsFor: missing.map((dep) => engine.objects.keyOf(dep)),
      };
    }
    case TASK_STATE.delayed:
      return {
        state: "retry-delayed",
        since,
        sentences: [`${task.name} waits for its next attempt.${attempts}`],
        waitsFor: [],
      };
    case TASK_STATE.sent: {
      const link = task.lease?.link ?? task.actor?.link;
      const pid = link?.address.pid ?? 0;
      const ahead = task.lease ? [...task.lease.inFlight.keys()].indexOf(task.seq) : 0;
      const place = ahead > 0 ? `is queued behind ${ahead} others in` : "was sent to";
      const sentence = `${task.name} ${place} worker ${link?.address.workerId ?? "?"} (pid ${pid}) ${ago(task.sentAtMs, nowMs)} ago and has not finished.${attempts}`;
      return { state: ahead > 0 ? "queued" : "running", since, sentences: [sentence], waitsFor: [] };
    }
    default: {
      if (task.actor) {
        return { ...explainActor(task.actor, nowMs), since, waitsFor: [task.actor.actorId] };
      }
      const shape = task.registered?.shape;
      const sentence = `${task.name} waits for a worker since ${ago(since, nowMs)}; ${shape?.queue.size ?? 0} tasks of its shape are queued and ${shape?.leases.length ?? 0} workers serve them.${attempts}`;
      return { state: "queued", since, sentences: [sentence], waitsFor: [], ...(shape && { askShape: shape.id }) };
    }
  }
}

export function explainActor(actor: ActorRecord, nowMs: number): OwnerExplanation {
  const queued = actor.queue.size;
  const running = actor.inFlight.size;
  return {
    state: actor.state,
    since: nowMs,
    sentences: [
      `Actor ${actor.className} (${actor.actorId}) is ${actor.state}; this process has ${queued} calls waiting and ${running} under way, and it runs ${actor.concurrency} at a time.`,
    ],
    waitsFor: [],
    askActor: actor.actorId,
  };
}

function describe(record: ObjectRecord): string {
  if (record.foreignKey !== undefined) return "a ref of another process";
  return record.task ? `the result of ${record.task.name}` : "a value";
}
