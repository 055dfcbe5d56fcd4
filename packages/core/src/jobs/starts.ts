/**
 * Jobs whose command is not started: why each one waits, and for how long it may. What nodes are too busy for is waited for without an
 * end, as a queue is; what no node there is could ever take has the time in which somebody, or an autoscaler, adds one.
 */
import { wallMs } from "../base/clock.ts";
import { isEnded, type JobRecord, type JobSpec, type Records, waitsSinceMs } from "../entrypoint/mod.ts";
import type { ActorInfo } from "../wire/queries.ts";
import type { Ask } from "./known-jobs.ts";

/** As long as Ray gives every job. */
const UNPLACEABLE_MS = 15 * 60_000;
/** It is tried again when there are other nodes, and so often without. */
const TRY_AGAIN_MS = 60_000;
const FRESH_MS = 500;

export class Starts {
  private readonly ask: Ask;
  private readonly records: Pick<Records, "apply">;
  /** With which nodes one was tried last. */
  private readonly tried = new Map<string, { readonly nodes: string; readonly atMs: number }>();

  private nodes = { known: "", atMs: Number.NEGATIVE_INFINITY };

  constructor(ask: Ask, records: Pick<Records, "apply">) {
    this.ask = ask;
    this.records = records;
  }

  /** Why one waits, in words; undefined when that is not known. @param actors those beside it that control knows, its own first. */
  async why({ spec: { resources } }: JobRecord, actors: readonly ActorInfo[]): Promise<string | undefined> {
    const waiting = actors.find(({ state }) => state === "pending");
    if (!waiting) return undefined;
    const { sentences } = await this.ask("explain-id", { id: waiting.actorId });
    const wanted = Object.entries(resources).map(([name, amount]) => `${name} ${amount}`);
    return [...(wanted.length > 0 ? [`it waits for ${wanted.join(", ")}`] : []), ...sentences].join("; ") || undefined;
  }

  /** When it fails if it has not begun by then; undefined: never. */
  deadlineMs(record: JobRecord): number | undefined {
    const { unplaceableSinceMs, spec } = record;
    if (typeof spec.startTimeoutMs === "number") return waitsSinceMs(record) + spec.startTimeoutMs;
    return typeof unplaceableSinceMs === "number" ? unplaceableSinceMs + UNPLACEABLE_MS : undefined;
  }

  /** Fails one that has waited for too long; true when it has. */
  async endLate(record: JobRecord, why: () => Promise<string | undefined>): Promise<boolean> {
    const deadlineMs = this.deadlineMs(record);
    if (record.status !== "pending" || deadlineMs === undefined || wallMs() < deadlineMs) return false;
    const reason = record.message ?? (await why()) ?? "nobody knows why";
    const waitedMs = wallMs() - waitsSinceMs(record);
    const applied = await this.records.apply(record.spec.submissionId, {
      kind: "start-timed-out",
      why: `it was not started within ${spanOf(waitedMs)}: ${reason}`,
    });
    return applied !== undefined && isEnded(applied.record);
  }

  /** No node could ever take its supervisor, which has ended for that. @param begin makes it again. */
  async noNodeFor(record: JobRecord, actor: ActorInfo, begin: (spec: JobSpec) => void): Promise<void> {
    const { submissionId } = record.spec;
    const nodes = await this.nodesNow();
    const last = this.tried.get(submissionId);
    if (last?.nodes === nodes && wallMs() - last.atMs < TRY_AGAIN_MS) return;
    const [words = ""] = (await this.ask("explain-id", { id: actor.actorId })).sentences;
    const why = /cannot be placed: (.*)$/s.exec(words)?.[1] ?? words;
    const applied = await this.records.apply(submissionId, { kind: "unplaceable", why });
    if (!applied || isEnded(applied.record)) return;
    this.tried.set(submissionId, { nodes, atMs: wallMs() });
    begin(record.spec);
  }

  /** Only those of which something may still be asked are remembered. */
  keepOnly(submissionIds: ReadonlySet<string>): void {
    for (const id of this.tried.keys()) if (!submissionIds.has(id)) this.tried.delete(id);
  }

  /** As they were a moment ago, for all jobs that are looked at together. */
  private async nodesNow(): Promise<string> {
    if (wallMs() - this.nodes.atMs < FRESH_MS) return this.nodes.known;
    const nodes = await this.ask("nodes", null);
    const known = JSON.stringify(
      nodes.map(({ nodeId, state, resources, labels }) => [nodeId, state, resources, labels]).sort(),
    );
    this.nodes = { known, atMs: wallMs() };
    return known;
  }
}

export function spanOf(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  return ms < 120_000 ? `${Math.round(ms / 1_000)} s` : `${Math.round(ms / 60_000)} min`;
}
