/** Where rows come from: control and the nodes are asked when somebody looks; who did not answer is named. */
import { wallMs } from "../base/clock.ts";
import { OWN_NAMESPACES } from "../base/limits.ts";
import { fromUnits } from "../base/resources.ts";
import type { GroupDetails, NodeInfo, WaitingDemand } from "../wire/queries.ts";
import { type ActorChange, ActorTable } from "./actor-table.ts";
import { Cached } from "./cached.ts";
import type { Ask } from "./control-client.ts";
import type { Links } from "./links.ts";
import type { ActorRow, GroupRow, NodeRow, WorkerRow } from "./rows.ts";

export interface SourcesOptions {
  readonly links: Pick<Links, "all" | "get" | "askAll">;
  readonly ask: Ask;
  /** `host:port` of the head; undefined: there is none. */
  readonly headAddress: string | undefined;
  onActors(changes: readonly ActorChange[]): void;
}

export interface Gathered<R, Rows extends Iterable<R> = readonly R[]> {
  readonly rows: Rows;
  readonly partial: readonly string[];
  readonly asOfMs: number;
}

/** Several who look at once share an answer. */
const FRESH_MS = 250;

export class Sources {
  readonly actorTable = new ActorTable();
  private readonly options: SourcesOptions;
  private readonly firstHeard = new Map<string, number>();
  private readonly nodeInfos = new Cached(FRESH_MS, () => this.options.ask("nodes", null));
  private readonly actorRows = new Cached(FRESH_MS, () => this.readActors());
  private readonly groupDetails = new Cached(FRESH_MS, () => this.options.ask("group-details", null));
  private readonly demands = new Cached(FRESH_MS, () => this.options.ask("waiting-demands", null));
  private readonly workerDetails = new Cached(FRESH_MS, () => this.options.links.askAll("worker-details", null));
  private readonly jobDetails = new Cached(FRESH_MS, () => this.options.links.askAll("job-details", null));

  constructor(options: SourcesOptions) {
    this.options = options;
  }

  async nodes(): Promise<Gathered<NodeRow>> {
    const infos = await this.nodeInfos.get();
    const actors = await this.actorsWithGpus();
    return { rows: infos.map((info) => this.nodeRow(info, actors)), partial: [], asOfMs: wallMs() };
  }

  /** @throws ConnectionLostError when control does not answer. */
  async actors(): Promise<Gathered<ActorRow, Iterable<ActorRow>>> {
    await this.actorRows.get();
    return { rows: this.actorTable.all, partial: [], asOfMs: wallMs() };
  }

  async groups(): Promise<Gathered<GroupRow>> {
    const groups = await this.groupDetails.get();
    return { rows: groups.map(groupRow), partial: [], asOfMs: wallMs() };
  }

  async workers(): Promise<Gathered<WorkerRow>> {
    const [{ answers, partial }] = await Promise.all([this.workerDetails.get(), this.actorRows.get()]);
    const living = Map.groupBy(this.actorTable.all, ({ workerId }) => workerId ?? "");
    const rows = answers.flatMap(([nodeId, workers]) =>
      workers.map((worker): WorkerRow => {
        const actors = (living.get(worker.workerId) ?? []).filter(({ state }) => state === "alive");
        return { ...worker, nodeId, actorId: actors[0]?.actorId ?? null, actors: actors.length, taskId: null };
      }),
    );
    return { rows, partial, asOfMs: wallMs() };
  }

  jobs() {
    return this.jobDetails.get();
  }

  waiting(): Promise<readonly WaitingDemand[]> {
    return this.demands.get();
  }

  private async readActors(): Promise<void> {
    const answer = await this.options.ask("actor-details", { since: this.actorTable.version });
    const actors = answer.actors.filter(({ namespace }) => !namespace.startsWith(OWN_NAMESPACES));
    this.options.onActors(this.actorTable.apply({ ...answer, actors }));
  }

  /** By their workers, the first of each. Where no GPU is held, no actor is looked at. */
  private async actorsWithGpus(): Promise<ReadonlyMap<string, string>> {
    const samples = this.options.links.all().flatMap(({ sample }) => sample?.gpus ?? []);
    const workers = new Set<string>(samples.flatMap(({ holders }) => holders.map(({ workerId }) => workerId)));
    const found = new Map<string, string>();
    if (workers.size === 0) return found;
    await this.actorRows.get();
    for (const { workerId, actorId, state } of this.actorTable.all)
      if (workerId !== null && state === "alive" && workers.has(workerId) && !found.has(workerId))
        found.set(workerId, actorId);
    return found;
  }

  private nodeRow(info: NodeInfo, actors: ReadonlyMap<string, string>): NodeRow {
    const { nodeId, name, state, address, resources, available, labels, objectStore } = info;
    const sample = this.options.links.get(nodeId)?.sample;
    if (!this.firstHeard.has(nodeId)) this.firstHeard.set(nodeId, wallMs());
    const { headAddress } = this.options;
    const hostOf = (text: string): string => text.slice(0, text.lastIndexOf(":"));
    return {
      ...{ nodeId, name, state, address, resources, available, labels },
      isHead: headAddress === undefined || (address !== null && hostOf(address) === hostOf(headAddress)),
      storeUsedBytes: objectStore.usedBytes,
      storeSpilledBytes: objectStore.spilledBytes,
      storeCapacityBytes: objectStore.capacityBytes,
      cpuPercent: sample?.cpuPercent ?? null,
      memoryUsedBytes: sample?.memoryUsedBytes ?? null,
      memoryTotalBytes: sample?.memoryTotalBytes ?? null,
      gpus: (sample?.gpus ?? []).map(({ holders, ...gpu }) => ({
        ...{ ...gpu, processes: [...gpu.processes] },
        holders: holders.map((holder) => ({ ...holder, actorId: actors.get(holder.workerId) ?? null })),
      })),
      workers: sample?.workers ?? 0,
      startedAtMs: this.firstHeard.get(nodeId) ?? null,
    };
  }
}

function groupRow({ request, state, nodes }: GroupDetails): GroupRow {
  const { groupId, name, strategy, jobId, lifetime, bundles } = request;
  return {
    ...{ placementGroupId: groupId, name: name ?? null, state, strategy, jobId },
    isDetached: lifetime === "detached",
    bundles: bundles.map((units, index) => ({ index, nodeId: nodes[index] ?? null, resources: fromUnits(units) })),
    createdAtMs: request.createdAtMs ?? null,
  };
}
