/** Answers to questions about actors. */
import type { ActorId } from "../base/mod.ts";
import { fromUnits } from "../base/mod.ts";
import type { ActorInfo, Explanation } from "../wire/queries.ts";
import { type ActorRecord, describeActor, publicState } from "./actor-record.ts";
import type { Actors } from "./actors.ts";
import type { DeadlockFinder } from "./deadlock.ts";

const infoOf = (actor: ActorRecord): ActorInfo => ({
  actorId: actor.actorId,
  name: actor.options.name ?? null,
  namespace: actor.namespace,
  className: actor.spec.className,
  state: publicState(actor.phase, actor.incarnation),
  pid: actor.worker?.pid ?? null,
  restarts: actor.incarnation,
});

/** In the order created; dead ones are listed for as long as they are remembered. */
export function listActors(actors: Actors, namespace: string | null): readonly ActorInfo[] {
  const infos: ActorInfo[] = [];
  for (const actor of actors.all()) if (namespace === null || actor.namespace === namespace) infos.push(infoOf(actor));
  return infos;
}

export function explainActor(
  actors: Actors,
  waits: DeadlockFinder,
  actorId: ActorId,
  nowMs: number,
  explainRequest?: (requestId: number) => readonly string[],
): Explanation | undefined {
  const actor = actors.get(actorId);
  if (actor === undefined) return undefined;
  const forSeconds = ((nowMs - actor.sinceMs) / 1000).toFixed(1);
  const sentences = [sentenceOf(actor, actors, forSeconds)];
  if (actor.requestId !== undefined && actor.phase === "placing")
    sentences.push(...(explainRequest?.(actor.requestId) ?? []));
  const waitsFor: string[] = [];
  for (const wait of waits.waitsOf(`actor:${actor.actorId}`)) {
    sentences.push(`${wait.name} waits for ${wait.on.length === 1 ? wait.on[0] : `${wait.on.length} results`}`);
    waitsFor.push(...wait.on);
  }
  if (actor.incarnation > 0 && actor.phase !== "dead") {
    const { maxRestarts } = actor.options;
    sentences.push(`it was restarted ${actor.incarnation} times of ${maxRestarts === -1 ? "any number" : maxRestarts}`);
  }
  return { state: publicState(actor.phase, actor.incarnation), since: actor.sinceMs, sentences, waitsFor };
}

function sentenceOf(actor: ActorRecord, actors: Actors, forSeconds: string): string {
  const who = describeActor(actor);
  if (actor.ending !== undefined) {
    const what = actor.ending.kind === "restart" ? "restarts" : "is ending";
    return `${who} ${what}; its worker process ${actor.worker?.pid ?? ""} has not finished yet`;
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
      return `${who} is being made in worker process ${actor.worker?.pid}: its constructor has run for ${forSeconds} s`;
    case "running":
      return `${who} has been alive in worker process ${actor.worker?.pid} for ${forSeconds} s`;
    case "dead":
      return actor.cause?.message ?? `${who} is dead`;
  }
}

function amounts(actor: ActorRecord): string {
  const entries = Object.entries(fromUnits(actor.options.resources));
  return entries.length === 0 ? "nothing reserved" : entries.map(([name, amount]) => `${amount} ${name}`).join(", ");
}
