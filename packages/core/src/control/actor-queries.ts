/** Answers to questions about actors. */
import type { ActorId } from "../base/mod.ts";
import { fromUnits } from "../base/mod.ts";
import type { Explanation } from "../wire/explanation.ts";
import type { ActorDetails, ActorInfo, Queries } from "../wire/queries.ts";
import { type ActorRecord, describeActor, publicState } from "./actor-record.ts";
import type { Actors } from "./actors.ts";
import type { DeadlockFinder } from "./deadlock.ts";
import type { RequestExplanation } from "./interface.ts";

const infoOf = (actor: ActorRecord): ActorInfo => ({
  actorId: actor.actorId,
  name: actor.options.name ?? null,
  namespace: actor.namespace,
  className: actor.spec.className,
  state: publicState(actor.phase, actor.incarnation),
  pid: actor.worker?.pid ?? null,
  restarts: actor.incarnation,
  ...(actor.cause && { causeCode: actor.cause.code }),
});

/** In the order created; dead ones are listed for as long as they are remembered. */
export function listActors(actors: Actors, namespace: string | null): readonly ActorInfo[] {
  const infos: ActorInfo[] = [];
  for (const actor of actors.all()) if (namespace === null || actor.namespace === namespace) infos.push(infoOf(actor));
  return infos;
}

/** All that are remembered, or those that have changed since an earlier answer. */
export function actorDetails(actors: Actors, since: number | null): Queries["actor-details"]["result"] {
  const { changes } = actors;
  const gone = since === null ? undefined : changes.goneSince(since);
  const from = gone && since !== null ? since : -1;
  const changed: ActorDetails[] = [];
  for (const actor of actors.all()) if (actor.version > from) changed.push(detailsOf(actor));
  return { version: changes.version, isAll: !gone, actors: changed, gone: gone ?? [] };
}

function detailsOf(actor: ActorRecord): ActorDetails {
  const { options, worker } = actor;
  return {
    ...infoOf(actor),
    jobId: actor.jobId,
    nodeId: worker?.nodeId ?? null,
    workerId: worker?.workerId ?? null,
    maxRestarts: options.maxRestarts,
    isDetached: options.lifetime === "detached",
    isShared: options.isolation === "shared",
    placementGroupId: options.placement?.bundle?.groupId ?? null,
    resources: fromUnits(options.resources),
    sinceMs: actor.sinceMs,
    cause: actor.cause?.message ?? null,
    causeCode: actor.cause?.code ?? null,
  };
}

export function explainActor(
  actors: Actors,
  waits: DeadlockFinder,
  actorId: ActorId,
  nowMs: number,
  explainRequest: ((requestId: number) => RequestExplanation) | undefined,
  overNodes: boolean,
): Explanation | undefined {
  const actor = actors.get(actorId);
  if (actor === undefined) return undefined;
  const forSeconds = ((nowMs - actor.sinceMs) / 1000).toFixed(1);
  const sentences = [sentenceOf(actor, actors, forSeconds, overNodes)];
  // What shares a worker takes no room of its own, or did not choose its node.
  const requestId = actor.placedBy ?? actor.host?.requestId;
  const placed = requestId === undefined || actor.phase === "dead" ? undefined : explainRequest?.(requestId);
  sentences.push(...(placed?.sentences ?? []), ...actor.past);
  const waitsFor: string[] = [];
  for (const wait of waits.waitsOf(`actor:${actor.actorId}`)) {
    sentences.push(`${wait.name} waits for ${wait.on.length === 1 ? wait.on[0] : `${wait.on.length} results`}`);
    waitsFor.push(...wait.on);
  }
  if (actor.incarnation > 0 && actor.phase !== "dead") {
    const { maxRestarts } = actor.options;
    const restarts = actor.incarnation - actor.moves;
    if (restarts > 0)
      sentences.push(`it was restarted ${restarts} times of ${maxRestarts === -1 ? "any number" : maxRestarts}`);
    if (actor.moves > 0) sentences.push(`it was moved ${actor.moves} times off nodes that were drained`);
  }
  const { considered, verdicts } = placed ?? {};
  const { worker } = actor;
  return {
    state: publicState(actor.phase, actor.incarnation),
    since: actor.sinceMs,
    sentences,
    waitsFor,
    ...(worker && { process: { nodeId: worker.nodeId, pid: worker.pid } }),
    ...(considered && { considered }),
    ...(verdicts && { verdicts }),
  };
}

function sentenceOf(actor: ActorRecord, actors: Actors, forSeconds: string, overNodes: boolean): string {
  const who = describeActor(actor);
  const { pid, nodeId } = actor.worker ?? {};
  const worker = `worker process ${pid ?? ""}${overNodes && nodeId !== undefined ? ` on node ${nodeId}` : ""}`;
  if (actor.ending !== undefined) {
    const what = actor.ending.kind === "restart" ? "restarts" : "is ending";
    return `${who} ${what}; its ${worker} has not finished yet`;
  }
  switch (actor.phase) {
    case "named": {
      const holder = actors.holderOf(actor);
      return `${who} waits for its name, which ${holder ? describeActor(holder) : "an actor"} has until it has ended`;
    }
    case "saving":
      return `${who} waits for the state store to record it, for ${forSeconds} s`;
    case "placing":
      return actor.host === undefined || actor.host.worker !== undefined
        ? `${who} waits for a worker with ${amounts(actor)}, for ${forSeconds} s`
        : `${who} waits for a shared worker to start, with ${actor.host.actors.size - 1} others, for ${forSeconds} s`;
    case "resting":
      return `${who} died ${actor.youngDeaths} times soon after it was started, so its next start is delayed`;
    case "recovering":
      return `${who} is looked for, since control was started again`;
    case "starting":
      return `${who} is being made in ${worker}: its constructor has run for ${forSeconds} s`;
    case "running":
      return `${who} has been alive in ${worker} for ${forSeconds} s`;
    case "dead":
      return actor.cause?.message ?? `${who} is dead`;
  }
}

function amounts(actor: ActorRecord): string {
  const entries = Object.entries(fromUnits(actor.options.resources));
  return entries.length === 0 ? "nothing reserved" : entries.map(([name, amount]) => `${amount} ${name}`).join(", ");
}
