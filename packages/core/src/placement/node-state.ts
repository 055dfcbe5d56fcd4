/** What the view knows of one node at one moment. A state never changes; what changes a node replaces it. */
import type { NodeId } from "../base/ids.ts";
import { type ResourceUnits, UNITS_PER_ONE } from "../base/resources.ts";
import { type Free, freeOf } from "./amounts.ts";
import type { Labels } from "./labels.ts";

/** Draining: what runs goes on, nothing new is placed. Dead is for good: a node that comes back has a new id. */
export type NodeStatus = "alive" | "draining" | "dead";

export interface StoreUse {
  readonly usedBytes: number;
  readonly capacityBytes: number;
}

export interface NodeState {
  readonly status: NodeStatus;
  readonly total: ResourceUnits;
  /** The total as if nothing ran. */
  readonly capacity: Free;
  readonly labels: Labels;
  /** What it reported, less what was decided since. */
  readonly free: Free;
  /** Of what is in use: held by actors and placement groups, which may never end. */
  readonly lasting: ResourceUnits;
  /** For placement groups that are to have room there; not in `free`. */
  readonly kept: ResourceUnits;
  readonly store: StoreUse;
  /** The greatest share in use, of CPUs or memory: 0 to 1. */
  readonly utilisation: number;
  /** The same with GPUs: what counts for a demand that wants GPUs. */
  readonly gpuUtilisation: number;
}

export interface Node {
  readonly id: NodeId;
  /** For people. */
  readonly name: string;
  state: NodeState;
}

export const NO_STORE: StoreUse = { usedBytes: 0, capacityBytes: 0 };

export type NodeFacts = Omit<NodeState, "utilisation" | "gpuUtilisation" | "capacity"> & { readonly capacity?: Free };

export function nodeState(facts: NodeFacts): NodeState {
  const { total, free } = facts;
  const utilisation = Math.max(used("cpu", total, free), used("memory", total, free));
  return {
    status: facts.status,
    total,
    capacity: facts.capacity ?? freeOf(total),
    labels: facts.labels,
    free,
    lasting: facts.lasting,
    kept: facts.kept,
    store: facts.store,
    utilisation,
    gpuUtilisation: Math.max(utilisation, used("gpu", total, free)),
  };
}

/** The same node with other amounts free: it is made for each decision, so nothing else is worked out again. */
export function withFree(state: NodeState, free: Free): NodeState {
  return nodeState({ ...state, free });
}

function used(name: string, total: ResourceUnits, free: Free): number {
  const all = total[name] ?? 0;
  return all > 0 ? Math.min(1, Math.max(0, (all - (free.units[name] ?? 0)) / all)) : 0;
}

export const hasGpu = (state: NodeState): boolean => (state.total.gpu ?? 0) >= UNITS_PER_ONE;

/** A node that offers nothing, as that of a driver which only dials out, takes no work unless it is named. */
export function offersNothing(state: NodeState): boolean {
  for (const _name in state.total) return false;
  return true;
}

/**
 * What the least utilised is compared by: thousandths, so that nodes which are as good as equal are equal, and brokers
 * that all see the same do not all choose the same. Of equal ones the one with the emptier object store is better.
 */
export function scoreOf(state: NodeState, forGpus: boolean): number {
  const { usedBytes, capacityBytes } = state.store;
  const store = capacityBytes > 0 ? Math.min(9, Math.floor((10 * usedBytes) / capacityBytes)) : 0;
  return Math.round(1000 * (forGpus ? state.gpuUtilisation : state.utilisation)) + store / 10;
}
