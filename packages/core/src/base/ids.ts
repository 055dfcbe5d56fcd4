/**
 * Identifiers. Lengths follow Ray's (job 4, actor 16, task 24, object 28 bytes) so that tools which print or parse
 * them keep working; all are made locally, without asking anyone, and stay the same over retries.
 *
 * Inside the runtime an object is (owner, seq): the process that owns it and a number that process chose. The
 * 28-byte form is built only when a person or a protocol asks for it.
 */
import { randomBytes } from "./random.ts";

declare const brand: unique symbol;
type Branded<T, Name extends string> = T & { readonly [brand]: Name };

/** 4 bytes, hex. */
export type JobId = Branded<string, "JobId">;
/** 16 bytes, hex: 12 random, then the job. */
export type ActorId = Branded<string, "ActorId">;
/** 12 bytes, hex: one process's lifetime (a driver or a worker), the tag of its node first; the owner half of object ids. */
export type ProcessId = Branded<string, "ProcessId">;
/** 16 bytes, hex. */
export type NodeId = Branded<string, "NodeId">;
/** 8 bytes, hex. */
export type WorkerId = Branded<string, "WorkerId">;
/** A number that one node chose; unique on that node. */
export type LeaseId = Branded<number, "LeaseId">;
/** A number that one owner chose; unique in that owner. A task's returns take consecutive numbers from its own. */
export type Seq = Branded<number, "Seq">;
/** A sealed object of a store by name across nodes: the tag of the node that made it, then its key there. */
export type StoredName = Branded<string, "StoredName">;
/** An object by name across processes: `owner` then `seq`, see {@link objectKey}. */
export type ObjectKey = Branded<string, "ObjectKey">;

const hex = (bytes: number): string => randomBytes(bytes).toString("hex");

// A call of the generator costs microseconds whatever it gives, and actors are made by the thousand.
const POOL_BYTES = 4_096;
const ACTOR_BYTES = 12;
let pool: Buffer | undefined;
let poolAt = 0;

function pooledHex(): string {
  if (pool === undefined || poolAt + ACTOR_BYTES > pool.length) {
    pool = randomBytes(POOL_BYTES);
    poolAt = 0;
  }
  poolAt += ACTOR_BYTES;
  return pool.toString("hex", poolAt - ACTOR_BYTES, poolAt);
}

export const newJobId = (): JobId => hex(4) as JobId;
export const newActorId = (job: JobId): ActorId => (pooledHex() + job) as ActorId;
export const newNodeId = (): NodeId => hex(16) as NodeId;

export const actorJob = (actor: ActorId): JobId => actor.slice(2 * ACTOR_BYTES) as JobId;

const TAG_HEX = 8;
/** By which the ids of a node's processes begin, so that everybody knows where an object's owner lives. */
export const nodeTag = (node: NodeId): string => node.slice(0, TAG_HEX);
export const nodeTagOf = (process: ProcessId): string => process.slice(0, TAG_HEX);
/** @param node on which the process lives; left out, one of its own. */
export const newProcessId = (node: NodeId = newNodeId()): ProcessId => (nodeTag(node) + hex(8)) as ProcessId;
export const newWorkerId = (): WorkerId => hex(8) as WorkerId;

/** Names what lies under `key` in the store of the node with this tag. */
export const storedName = (tag: string, key: number): StoredName => `${tag}.${key.toString(36)}` as StoredName;
export const storedNameTag = (name: StoredName): string => name.slice(0, TAG_HEX);
export const storedNameKey = (name: StoredName): number => Number.parseInt(name.slice(TAG_HEX + 1), 36);

export const OWNER_HEX = 24;

/** The name of object `seq` of `owner` on the wire and in tables that hold objects of several owners. */
export const objectKey = (owner: ProcessId, seq: Seq): ObjectKey => `${owner}.${seq.toString(36)}` as ObjectKey;
export const objectKeyOwner = (key: ObjectKey): ProcessId => key.slice(0, OWNER_HEX) as ProcessId;
export const isOwnedBy = (key: ObjectKey, owner: ProcessId): boolean => key.startsWith(owner);
export const objectKeySeq = (key: ObjectKey): Seq => Number.parseInt(key.slice(OWNER_HEX + 1), 36) as Seq;
/** False for the id of an actor, whose handles are held in the same tables. */
export const isObjectKey = (key: ObjectKey): boolean => key[OWNER_HEX] === ".";

/** The 24-byte task id that a person sees. */
export const taskIdHex = (owner: ProcessId, seq: Seq, job: JobId): string =>
  owner + seq.toString(16).padStart(16, "0") + job;

/** The task that makes an actor: its id is made of the actor's, and each incarnation is an attempt of it. */
export const creationTask = (actor: ActorId): { readonly owner: ProcessId; readonly seq: Seq } => ({
  owner: actor.slice(0, OWNER_HEX) as ProcessId,
  seq: 1 as Seq,
});
export const creationTaskId = (actor: ActorId, job: JobId): string =>
  taskIdHex(creationTask(actor).owner, creationTask(actor).seq, job);

/** The 28-byte object id that a person sees: the task's id and the 1-based index of the return (0 for `put`). */
export const objectIdHex = (owner: ProcessId, taskSeq: Seq, job: JobId, index: number): string =>
  taskIdHex(owner, taskSeq, job) + index.toString(16).padStart(8, "0");
