/** One actor as control knows it, and the words for how it ended. */
import type { ActorId, JobId, ObjectKey, ProcessId } from "../base/mod.ts";
import type { ActorOptionsRecord, ActorSpec, ActorState, WorkerAddress, WorkerDeath } from "../wire/messages.ts";
import type { SharedHost } from "./shared-hosts.ts";

export type DeathCause = NonNullable<ActorState["cause"]>;

/**
 * - `named`: waits for its name, which an actor that is ending still has.
 * - `saving`: waits for the state store.
 * - `placing`: waits for a worker, or for resources in one.
 * - `resting`: waits a little before it is started again, because it died young several times.
 * - `recovering`: control has begun anew, and has not heard where it lives, or that it does not.
 * - `starting`: its host makes it.
 * - `running`: calls are served.
 * - `dead`.
 */
export type Phase = "named" | "saving" | "placing" | "resting" | "recovering" | "starting" | "running" | "dead";

/** What an actor that still runs has been told. */
export type Ending =
  /**
   * To end in order; `cause` is why. `isRefusable`: because nobody is seen to hold it, and its host, which knows of
   * handles that are under way, has not agreed yet.
   */
  | { readonly kind: "stop"; readonly cause: DeathCause; readonly isRefusable: boolean }
  /** To end at once, for good. */
  | { readonly kind: "kill"; readonly cause: DeathCause }
  /** To end at once, and to start again if it may; `isMove`: in order, since its node is drained. */
  | { readonly kind: "restart"; readonly isMove?: boolean };

export interface ActorRecord {
  readonly actorId: ActorId;
  readonly jobId: JobId;
  readonly namespace: string;
  /** Nobody, when it does not end with whoever that was. */
  creator: ProcessId;
  readonly options: ActorOptionsRecord;
  /** Only the class's name once it is dead. */
  spec: ActorSpec;
  phase: Phase;
  incarnation: number;
  /** How many incarnations it has for having been moved off a node that was drained. */
  moves: number;
  /** When it came into its phase. */
  sinceMs: number;
  /** See actor-changes.ts. */
  version: number;
  /** When its host was last told to make it. */
  startedMs: number;
  /** The request for its worker or its resources, as long as there is one. */
  requestId: number | undefined;
  /** The last request that was made for it, also when its worker has long been there; for explanations. */
  placedBy: number | undefined;
  worker: WorkerAddress | undefined;
  gpus: readonly string[];
  /** The shared worker it is in, or waits for. */
  host: SharedHost | undefined;
  ending: Ending | undefined;
  cause: DeathCause | undefined;
  /** When `resting` is over, or when an ending has taken too long. */
  deadlineMs: number | undefined;
  /** It is to restart, and that could not be written down yet. */
  isUnsaved: boolean;
  /** How often in a row it died soon after it was started. */
  youngDeaths: number;
  /** Who hears of changes, and under which id they know it. */
  subscribers: { readonly process: ProcessId; readonly as: ActorId }[];
  /** Called when a kill has taken effect. */
  onKilled: (() => void)[];
  /** Who asks for its name while its host may still refuse to end it; undefined for nobody. */
  lookups: (() => void)[] | undefined;
  /** What was asked of it while it was `recovering`. */
  onRecovered: (() => void)[] | undefined;
  /** The last incarnation, until what became of it is written down. */
  unsettled: { readonly worker: WorkerAddress; readonly incarnation: number } | undefined;
  /** Ids that getIfExists made for it. */
  aliases: ActorId[];
  /** How its last incarnations ended, in sentences; for explanations. */
  past: readonly string[];
}

export const publicState = (phase: Phase, incarnation: number): ActorState["state"] => {
  if (phase === "dead") return "dead";
  if (phase === "running") return "alive";
  return incarnation === 0 ? "pending" : "restarting";
};

export const nameKey = (namespace: string, name: string): string => `${namespace}\u0000${name}`;

/** `Counter "visits" (3f…a1)`. */
export function describeActor(actor: Pick<ActorRecord, "actorId" | "options" | "spec">): string {
  const name = actor.options.name === undefined ? "" : ` "${actor.options.name}"`;
  return `actor ${actor.spec.className}${name} (${actor.actorId})`;
}

function describeDeath(death: WorkerDeath): string {
  if (death.outOfMemory !== undefined) return death.outOfMemory;
  if (death.lostWith !== undefined) return `the node that it was on, ${death.lostWith}, has died`;
  if (death.intended !== undefined) return `worker process ${death.pid} was ended (${death.intended})`;
  const how = death.signal === null ? `exited with code ${death.exitCode}` : `was killed by ${death.signal}`;
  const tail = death.stderrTail.trim();
  return `worker process ${death.pid} ${how}${tail === "" ? "" : `; its last lines of stderr:\n${tail}`}`;
}

export function causeOfCrash(actor: ActorRecord, death: WorkerDeath): DeathCause {
  if (death.intended === GROUP_REMOVED) {
    const message = `${describeActor(actor)} ended with what its placement group had reserved for it on its node`;
    return { code: "GROUP_REMOVED", message, death };
  }
  const { maxRestarts } = actor.options;
  const used =
    maxRestarts === 0 ? "set maxRestarts to have it started again" : `all ${maxRestarts} restarts are used up`;
  return {
    code: death.outOfMemory === undefined ? "WORKER_DIED" : "OUT_OF_MEMORY",
    message: `${describeActor(actor)} died: ${describeDeath(death)}; ${used}`,
    death,
  };
}

/** How an incarnation ended that is followed by another; before the actor counts as that. */
export function describeEnd(actor: ActorRecord, { death, message }: DeathCause, nowMs: number): string {
  const { ending, incarnation, startedMs, unsettled } = actor;
  const lived = startedMs > 0 ? ` after ${((nowMs - startedMs) / 1000).toFixed(1)} s` : "";
  const { pid, nodeId } = unsettled?.worker ?? {};
  const where = pid === undefined ? "" : ` in worker process ${pid} on node ${nodeId}`;
  const isMove = ending?.kind === "restart" && ending.isMove;
  const [how = ""] = (
    isMove
      ? "it was moved off its node, which was drained"
      : ending?.kind === "restart"
        ? "it was killed, to be started again"
        : death
          ? describeDeath(death)
          : message
  ).split("\n");
  return `its start ${incarnation}${where} ended${lived}: ${how.replace(/;$/, "")}`;
}

/** As nodes say why they have ended a worker: the resources that it lived on are given back. */
const GROUP_REMOVED = "group-removed";

const EMPTY = new Uint8Array(0);

/** What stays of a dead actor's making. */
export const emptySpec = (className: string): ActorSpec => ({
  className,
  codeKey: "",
  code: EMPTY,
  args: EMPTY,
  deps: [],
  host: EMPTY,
});

/** What must stay held while the actor may be made (again). */
export const specKeys = ({ nested, keeps }: ActorSpec): readonly ObjectKey[] =>
  keeps === undefined || keeps.length === 0 ? (nested ?? []) : [...(nested ?? []), ...keeps];

export const killedCause = (actor: ActorRecord): DeathCause => ({
  code: "ACTOR_DIED",
  message: `${describeActor(actor)} was killed`,
});

export const outOfScopeCause = (actor: ActorRecord): DeathCause => ({
  code: "ACTOR_DIED",
  message: `${describeActor(actor)} has ended: its last handle is gone`,
});

export const isEnding = (actor: ActorRecord): boolean =>
  actor.phase === "dead" || actor.ending?.kind === "stop" || actor.ending?.kind === "kill";

export const isMoving = ({ ending }: ActorRecord): boolean => ending?.kind === "restart" && ending.isMove === true;

/** It was told to end because nobody is seen to hold it, and may refuse. */
export const isRefusing = ({ ending }: ActorRecord): boolean => ending?.kind === "stop" && ending.isRefusable;

/** On the wire, an option left out may come as null. */
export function withoutNulls(options: ActorOptionsRecord): ActorOptionsRecord {
  // Actors that came together share their options, and go on sharing them.
  if (!Object.values(options).some((value) => value === null || value === undefined)) return options;
  const entries = Object.entries(options).filter(([, value]) => value !== null && value !== undefined);
  // The same record without its empty fields, which are all optional ones.
  return Object.fromEntries(entries) as unknown as ActorOptionsRecord;
}

/** Of one that was never made. */
export const NO_OPTIONS: ActorOptionsRecord = {
  getIfExists: false,
  lifetime: "owner",
  resources: {},
  maxRestarts: 0,
  isolation: "process",
  maxActorsPerWorker: 1,
};

const JOB_ID_START = 24;
const jobOf = (actorId: ActorId): ActorRecord["jobId"] => actorId.slice(JOB_ID_START) as ActorRecord["jobId"];

const NO_PAST: readonly string[] = [];

/** One that has not been entered into any book. */
export function newRecord(
  nowMs: number,
  creator: ProcessId,
  made: Pick<ActorRecord, "actorId" | "namespace" | "options" | "spec" | "incarnation"> & { readonly moves?: number },
): ActorRecord {
  const { actorId, namespace, options, spec, incarnation, moves = 0 } = made;
  return {
    actorId,
    jobId: jobOf(actorId),
    namespace,
    creator,
    options,
    spec,
    phase: "named",
    incarnation,
    moves,
    sinceMs: nowMs,
    version: 0,
    startedMs: nowMs,
    requestId: undefined,
    placedBy: undefined,
    worker: undefined,
    gpus: [],
    host: undefined,
    ending: undefined,
    cause: undefined,
    deadlineMs: undefined,
    isUnsaved: false,
    youngDeaths: 0,
    subscribers: [],
    onKilled: [],
    lookups: undefined,
    onRecovered: undefined,
    unsettled: undefined,
    aliases: [],
    past: NO_PAST,
  };
}
