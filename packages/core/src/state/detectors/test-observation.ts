/** Observations for tests: what is not said is as in a cluster that rests. */
import type { ActorId, JobId, NodeId, ProcessId, Seq, WorkerId } from "../../base/ids.ts";
import type { LiveTask, WaitingDemand } from "../../wire/queries.ts";
import type { ActorRow, EventRow, GroupRow, NodeRow } from "../rows.ts";
import type { Detector, Finding, LiveSeen, Observation } from "./detector.ts";

export const OWNER = "0a".repeat(12) as ProcessId;

export const node = (nodeId: string, some: Partial<NodeRow> = {}): NodeRow => ({
  ...{ nodeId, name: nodeId, state: "alive", address: null, isHead: false, labels: {}, gpus: [], workers: 1 },
  ...{ resources: { cpu: 2 }, available: { cpu: 2 }, cpuPercent: null, memoryUsedBytes: null, memoryTotalBytes: null },
  ...{ storeUsedBytes: 0, storeSpilledBytes: 0, storeCapacityBytes: 2 ** 27, startedAtMs: 0 },
  ...some,
});

export const actor = (actorId: string, some: Partial<ActorRow> = {}): ActorRow => ({
  ...{ actorId, name: null, namespace: "", className: "Counter", state: "alive", jobId: "01", nodeId: "a" },
  ...{ workerId: "w", pid: 1, restarts: 0, maxRestarts: 0, isDetached: false, isShared: false, resources: {} },
  ...{ placementGroupId: null, createdAtMs: 0, stateSinceMs: 0, deathCause: null },
  ...some,
});

export const task = (seq: number, some: Partial<LiveTask> = {}): LiveTask => ({
  ...{ owner: OWNER, ownerPid: 1, jobId: "00000001" as JobId, seq: seq as Seq, attempt: 0, name: "f", kind: "task" },
  ...{ state: "queued", submittedAtMs: 0 },
  ...some,
});
export const running = (seq: number, some: Partial<LiveTask> = {}): LiveTask =>
  task(seq, { state: "running", worker: [`w${seq}` as WorkerId, "a" as NodeId, seq], sentAtMs: 0, ...some });

export const group = (
  placementGroupId: string,
  cpus: number,
  nodeId: string | null,
  some: Partial<GroupRow> = {},
): GroupRow => ({
  ...{ placementGroupId, name: null, state: nodeId === null ? "pending" : "created", strategy: "PACK", jobId: "01" },
  ...{ isDetached: false, createdAtMs: null, bundles: [{ index: 0, nodeId, resources: { cpu: cpus } }] },
  ...some,
});

export const demand = (some: Partial<WaitingDemand> = {}): WaitingDemand => ({
  ...{ kind: "task", name: "f", count: 1, resources: { cpu: 1 }, wish: "{ cpu: 1 }", jobs: [], isInfeasible: false },
  why: "0 of 2 cpu are free.",
  ...some,
});

interface Some extends Partial<Omit<Observation, "actors" | "live" | "atMs">> {
  readonly actors?: readonly ActorRow[];
  readonly live?: Partial<LiveSeen>;
}

export function observation(atMs: number, { actors = [], live = {}, ...some }: Some = {}): Observation {
  return {
    ...{
      atMs,
      nodes: [node("a")],
      diskTraffic: new Map(),
      waiting: [],
      functions: [],
      packed: new Map(),
      puts: new Map(),
      sites: [],
    },
    ...{ groups: [], machines: new Map(), waits: new Map(), runTimes: () => [] },
    ...some,
    actors: { all: actors, get: (id) => actors.find(({ actorId }) => actorId === (id as ActorId)) },
    live: { tasks: [], counts: [], backlogs: new Map(), isWhole: true, ...live },
  };
}

/** What is found at the last of some looks, one each `everyMs`. */
export function lookOften(
  detector: Detector,
  looks: number,
  everyMs: number,
  see: (look: number) => Some,
): readonly Finding[] {
  let findings: readonly Finding[] = [];
  for (let look = 0; look < looks; look++) findings = [...detector.look(observation(look * everyMs, see(look)))];
  return findings;
}

/** Notes events as the log does. */
export function noted(): {
  readonly events: readonly EventRow[];
  note(event: Omit<EventRow, "eventId" | "count" | "by">): EventRow;
} {
  const events: EventRow[] = [];
  const note = (event: Omit<EventRow, "eventId" | "count" | "by">): EventRow => {
    const row = { ...event, eventId: String(events.length + 1), count: 1, by: null };
    events.push(row);
    return row;
  };
  return { events, note };
}
