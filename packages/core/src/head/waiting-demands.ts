/** What waits anywhere, summed up by what it is: for `mobula status`. */
import type { JobId } from "../base/ids.ts";
import { fromUnits } from "../base/resources.ts";
import { type ClusterView, explainShortly, type PlacementRequest } from "../placement/mod.ts";
import type { WaitingDemand } from "../wire/queries.ts";

export interface Waiting {
  readonly kind: WaitingDemand["kind"];
  readonly job: JobId | undefined;
  readonly count: number;
  readonly request: PlacementRequest;
  readonly groupId: string | undefined;
  /** Why, if it is not for lack of room. */
  readonly why?: string | undefined;
}

/** So many kinds of demands are told of, and so many jobs of each. */
const DEMANDS_MAX = 50;
const JOBS_MAX = 10;

export function sumUp(view: ClusterView, all: Iterable<Waiting>): readonly WaitingDemand[] {
  const kinds = new Map<string, { first: Waiting; count: number; jobs: Set<JobId> }>();
  for (const one of all) {
    const { shape, strategy } = one.request;
    const selectors = shape.selectors.map(({ key }) => key);
    const name = JSON.stringify([one.kind, shape.name, shape.units, selectors, strategy, one.groupId, one.why ?? ""]);
    const known = kinds.get(name);
    const jobs = known?.jobs ?? new Set();
    if (one.job !== undefined && jobs.size < JOBS_MAX) jobs.add(one.job);
    if (known) known.count += one.count;
    else kinds.set(name, { first: one, count: one.count, jobs });
  }
  return [...kinds.values()]
    .sort((a, b) => b.count - a.count)
    .slice(0, DEMANDS_MAX)
    .map(({ first: { kind, request, groupId, why }, count, jobs }) => ({
      kind,
      name: request.shape.name,
      count,
      resources: fromUnits(request.shape.units),
      ...(groupId !== undefined && { groupId }),
      jobs: [...jobs],
      ...explainShortly(view, request),
      ...(why !== undefined && { why, isInfeasible: false }),
    }));
}
