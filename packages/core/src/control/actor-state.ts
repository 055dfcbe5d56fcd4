/**
 * What of actors is written to the state store: names, and how to make detached actors again. In a cluster, whose control may
 * end and begin again while actors live on, it is how to make any of them, and what else control must find again.
 */
import type { ActorId, JobId, ProcessId } from "../base/mod.ts";
import type { ActorOptionsRecord, ActorSpec } from "../wire/messages.ts";
import { pack, unpack } from "../wire/mod.ts";
import type { ActorCodes } from "./actor-codes.ts";
import type { ActorRecord } from "./actor-record.ts";
import type { StateChange } from "./kv.ts";

/** With which all begins that is written down of actors. */
export const ACTOR_PREFIXES = "actor";
export const ACTOR_PREFIX = "actor/";
export const NAME_PREFIX = "actor-name/";
/** Ids that getIfExists made for actors. */
export const ALIAS_PREFIX = "actor-alias/";
/** Holds on what actors were made with that have ended, while others mention the same. */
export const SURPLUS_PREFIX = "actor-surplus/";
export const JOB_PREFIX = "job/";

export interface SavedActor {
  readonly actorId: ActorId;
  readonly jobId: JobId;
  readonly namespace: string;
  readonly options: ActorOptionsRecord;
  readonly spec: ActorSpec;
  readonly incarnation: number;
  /** In a cluster. */
  readonly creator?: ProcessId;
  readonly moves?: number;
}

/** @param overNodes in a cluster. */
export const isSaved = (actor: ActorRecord, overNodes: boolean): boolean =>
  overNodes || actor.options.name !== undefined || actor.options.lifetime === "detached";

/** What must be durable before anybody is told that the actor exists, or exists in a new incarnation. */
export function savingChanges(actor: ActorRecord, codes: ActorCodes, overNodes: boolean): readonly StateChange[] {
  const changes: StateChange[] = [];
  const { actorId, jobId, namespace, options, incarnation } = actor;
  if (options.name !== undefined && incarnation === 0) {
    changes.push({ key: savedNameKey(namespace, options.name), value: pack(actorId) });
  }
  if (overNodes) {
    const { creator, spec, moves } = actor;
    const saved: SavedActor = { actorId, jobId, namespace, options, spec, incarnation, creator, moves };
    changes.push(...codes.savingChanges(spec.codeKey), { key: ACTOR_PREFIX + actorId, value: pack(saved) });
  } else if (options.lifetime === "detached") {
    const spec = codes.whole(actor.spec);
    const saved: SavedActor = { actorId, jobId, namespace, options, spec, incarnation };
    changes.push({ key: ACTOR_PREFIX + actorId, value: pack(saved) });
  }
  return changes;
}

/** @param hasName nobody else has its name by now. */
export function forgettingChanges(actor: ActorRecord, overNodes: boolean, hasName: boolean): readonly StateChange[] {
  const changes: StateChange[] = [];
  const { actorId, namespace, options } = actor;
  if (options.name !== undefined && hasName) changes.push({ key: savedNameKey(namespace, options.name), value: null });
  if (overNodes || options.lifetime === "detached") changes.push({ key: ACTOR_PREFIX + actorId, value: null });
  for (const alias of overNodes ? actor.aliases : []) changes.push({ key: ALIAS_PREFIX + alias, value: null });
  return changes;
}

/** Our own bytes, written by {@link savingChanges} under the schema version that the store has checked. */
export const readSavedActor = (value: Uint8Array): SavedActor => unpack(value) as SavedActor;

export const savedNameKey = (namespace: string, name: string): string =>
  `${NAME_PREFIX}${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`;
