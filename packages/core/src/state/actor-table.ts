/** The actors as control knows them: asked for what has changed since the last time, so that ten thousand that rest cost nothing. */
import type { ActorId } from "../base/ids.ts";
import type { ActorDetails, Queries } from "../wire/queries.ts";
import type { ActorRow } from "./rows.ts";

export class ActorTable {
  private readonly rows = new Map<ActorId, ActorRow>();
  /** Of the last answer; null: there was none. */
  version: number | null = null;

  /** What has changed is given back, as it was and as it is. */
  apply({ version, isAll, actors, gone }: Queries["actor-details"]["result"]): readonly ActorChange[] {
    const changes: ActorChange[] = [];
    if (isAll) {
      const all = new Set(actors.map(({ actorId }) => actorId));
      for (const actorId of this.rows.keys()) if (!all.has(actorId)) this.rows.delete(actorId);
    }
    for (const actorId of gone) this.rows.delete(actorId);
    for (const actor of actors) {
      const before = this.rows.get(actor.actorId);
      const row = rowOf(actor, before);
      // The first answer tells what was, not what has happened.
      if (this.version !== null) changes.push({ before, row, causeCode: actor.causeCode });
      this.rows.set(actor.actorId, row);
    }
    this.version = version;
    return changes;
  }

  get all(): Iterable<ActorRow> {
    return this.rows.values();
  }

  get(actorId: string): ActorRow | undefined {
    return this.rows.get(actorId as ActorId);
  }

  counts(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const { state } of this.rows.values()) counts[state] = (counts[state] ?? 0) + 1;
    return counts;
  }

  summary(): { readonly className: string; readonly counts: Record<string, number> }[] {
    const classes = new Map<string, Record<string, number>>();
    for (const { className, state } of this.rows.values()) {
      const counts = classes.get(className) ?? {};
      counts[state] = (counts[state] ?? 0) + 1;
      classes.set(className, counts);
    }
    return [...classes].map(([className, counts]) => ({ className, counts }));
  }
}

export interface ActorChange {
  readonly before: ActorRow | undefined;
  readonly row: ActorRow;
  /** Of one that is dead. */
  readonly causeCode: string | null;
}

function rowOf(actor: ActorDetails, before: ActorRow | undefined): ActorRow {
  const { actorId, name, namespace, className, state, jobId, nodeId, workerId, pid, restarts, maxRestarts } = actor;
  const { isDetached, isShared, placementGroupId, resources, sinceMs, cause } = actor;
  return {
    ...{ actorId, name, namespace, className, state, jobId, nodeId, workerId, pid, restarts, maxRestarts },
    ...{ isDetached, isShared, placementGroupId, resources },
    createdAtMs: before?.createdAtMs ?? (state === "pending" ? sinceMs : null),
    stateSinceMs: sinceMs,
    deathCause: cause,
  };
}
