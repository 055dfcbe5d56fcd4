/** Questions a process can ask its node (`Query`/`Answer`): method name → parameters and result. */
import type { ActorId, NodeId } from "../base/ids.ts";
import type { Resources } from "../base/resources.ts";

export interface NodeInfo {
  readonly nodeId: NodeId;
  readonly name: string;
  readonly state: "alive" | "draining" | "dead";
  readonly resources: Resources;
  readonly available: Resources;
  readonly labels: Readonly<Record<string, string>>;
  readonly objectStore: { readonly usedBytes: number; readonly spilledBytes: number; readonly capacityBytes: number };
}

export interface ActorInfo {
  readonly actorId: ActorId;
  readonly name: string | null;
  readonly namespace: string;
  readonly className: string;
  readonly state: "pending" | "alive" | "restarting" | "dead";
  readonly pid: number | null;
  readonly restarts: number;
}

/** Why something waits, failed or was slow, in sentences with numbers. */
export interface Explanation {
  readonly state: string;
  /** Milliseconds since the epoch. */
  readonly since: number;
  readonly sentences: readonly string[];
  readonly waitsFor: readonly string[];
  readonly considered?: readonly { readonly nodeId: string; readonly verdict: string }[];
}

export interface Queries {
  nodes: { params: null; result: readonly NodeInfo[] };
  "available-resources": { params: null; result: Resources };
  "cluster-resources": { params: null; result: Resources };
  /** `host` is what its creator said in `ActorSpec.host`: its methods and concurrency. */
  "get-actor": {
    params: { name: string; namespace: string };
    result: { actorId: ActorId; className: string; host: Uint8Array };
  };
  "list-actors": { params: { namespace: string | null }; result: readonly ActorInfo[] };
  "explain-shape": { params: { shape: number }; result: Explanation };
  "explain-actor": { params: { actorId: ActorId }; result: Explanation };
  /** What `task:<key>` or `actor:<id>` waits for itself, when that has lasted a second. */
  "explain-wait": { params: { by: string }; result: Explanation };
  /** Resolves when the kill has taken effect. */
  "kill-actor": { params: { actorId: ActorId; noRestart: boolean }; result: null };
  /** Ends a worker (force cancel); resolves when its process is gone. */
  "kill-worker": { params: { workerId: string; reason: string }; result: null };
  /** Sends SIGINT to a worker whose claim word says that it can be interrupted. */
  "interrupt-worker": { params: { workerId: string }; result: null };
  /** Answered by the owner itself: failed tasks whose refs are held and were never asked for. */
  "unread-failures": { params: null; result: readonly { readonly name: string; readonly bytes: Uint8Array }[] };
  /** The newest events of all processes, see events/event-batch.ts; `droppedBatches` made room for them. */
  timeline: { params: null; result: { batches: readonly Uint8Array[]; droppedBatches: number } };
}
