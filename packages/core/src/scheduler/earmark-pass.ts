/**
 * Which leases end for a placement group of higher priority that control makes room for, on this node and perhaps on others.
 *
 * Nothing is to end for a group that will not fit after all, so owners are asked first whether what runs there might end, which
 * changes nothing. When enough of them have said yes control hears it, and when it has heard the same from all nodes it decides.
 */
import type { Bundles } from "./bundles.ts";
import { type Comings, mayBePreempted, type Preempted, victimsFor } from "./preempt-pass.ts";
import type { SchedulerCommand } from "./protocol.ts";
import type { Holding } from "./state.ts";
import type { Tables } from "./tables.ts";

/** What runs there may be another by then. */
const ANSWER_MS = 2_000;

export function earmarkPass(
  tables: Tables,
  bundles: Bundles,
  comings: Comings,
  nowMs: number,
  out: SchedulerCommand[],
): Preempted[] {
  const preempted: Preempted[] = [];
  for (const earmark of bundles.endings()) {
    const { groupId, units: resources, ending } = earmark;
    if (!ending) continue;
    const answer = (canEnd: boolean): void => {
      if (ending.isDecided || earmark.answered === canEnd) return;
      earmark.answered = canEnd;
      out.push({ kind: "earmark-answered", groupId, canEnd });
    };
    const pool = bundles.node;
    const coming = comings.of(pool);
    if (coming.allocate(resources)) {
      answer(true);
      continue;
    }
    const urgency = { resources, job: ending.job, priority: ending.priority };
    const mayEnd = (lease: Holding): boolean => mayBePreempted(lease, nowMs) || isAsked(lease);
    const victims = victimsFor(urgency, pool, coming, tables, mayEnd);
    if (!victims) {
      answer(false);
      continue;
    }
    if (ending.isDecided) {
      for (const lease of victims) {
        lease.preemption = { askedAtMs: nowMs };
        coming.release(lease.allocation);
        preempted.push({ lease, by: ending.by });
      }
      coming.allocate(resources);
    } else if (victims.every((lease) => hasAgreed(lease, nowMs))) answer(true);
    else for (const lease of victims) if (!isAsked(lease) && !hasAgreed(lease, nowMs)) ask(lease, nowMs, out);
  }
  return preempted;
}

const isAsked = ({ preemption }: Holding): boolean =>
  preemption?.isQuestion === true && preemption.keptUntilMs === undefined;

function hasAgreed({ preemption }: Holding, nowMs: number): boolean {
  if (!preemption?.isQuestion || preemption.keptUntilMs === undefined) return false;
  return preemption.keptUntilMs <= nowMs && nowMs - preemption.askedAtMs < ANSWER_MS;
}

function ask(lease: Holding, nowMs: number, out: SchedulerCommand[]): void {
  const { id } = lease.ask.client;
  if (id === undefined || lease.leaseId === undefined) return;
  lease.preemption = { askedAtMs: nowMs, isQuestion: true };
  out.push({ kind: "question-lease", clientId: id, leaseId: lease.leaseId });
}
