/**
 * What the past hour was like, for charts: a few numbers of each node and of the cluster, every ten seconds, in arrays of one
 * size: 5 kB for a node. A place in them is a tick modulo how many there are, so nothing is moved and nothing grows.
 */
import type { History, NodeRow, Overview } from "./rows.ts";

const EVERY_MS = 10_000;
/** An hour. */
const TICKS = 360;
/** 10 MB; of more nodes those that were seen first have a history. */
const NODES_MAX = 2_000;
/** Reports of a second come for some time after it. */
const LATE_S = 2;

const BYTES = ["memoryUsedBytes", "storeUsedBytes", "storeSpilledBytes"] as const;
const PERCENTS = ["cpuPercent", "gpuPercent"] as const;
/** A percentage is a byte, in halves. */
const UNKNOWN = 255;

interface NodeHistory {
  name: string;
  hasGpus: boolean;
  seenTick: number;
  /** One array after the other. */
  readonly bytes: Float32Array;
  readonly percents: Uint8Array;
}

/** What is read of a node. */
export type NotedNode = Pick<NodeRow, "nodeId" | "name" | "state" | "cpuPercent" | (typeof BYTES)[number]> & {
  readonly gpus: readonly Pick<NodeRow["gpus"][number], "utilisationPercent">[];
};

export class MetricHistory {
  private readonly finished = new Float32Array(TICKS).fill(Number.NaN);
  private readonly failed = new Float32Array(TICKS).fill(Number.NaN);
  private readonly nodes = new Map<string, NodeHistory>();
  private firstTick: number | undefined;
  private lastTick = 0;

  /** Does nothing until the next ten seconds have begun. */
  note(rows: readonly NotedNode[], throughput: () => Overview["throughput"], nowMs: number): void {
    const tick = Math.floor(nowMs / EVERY_MS);
    if (tick <= this.lastTick) return;
    // What nobody has looked at is not known: the service had no time, or control did not answer.
    const from = Math.max(this.lastTick + 1, tick - TICKS + 1);
    for (let missed = from; missed <= tick; missed++) this.clear(missed % TICKS);
    this.firstTick ??= tick;
    this.lastTick = tick;
    const at = tick % TICKS;
    const recent = throughput().slice(-EVERY_MS / 1_000 - LATE_S, -LATE_S);
    const mean = (of: (second: (typeof recent)[number]) => number): number =>
      recent.reduce((sum, second) => sum + of(second), 0) / Math.max(1, recent.length);
    this.finished[at] = mean(({ finished }) => finished);
    this.failed[at] = mean(({ failed }) => failed);
    for (const row of rows) if (row.state !== "dead") this.noteNode(row, at, tick);
  }

  private noteNode(row: NotedNode, at: number, tick: number): void {
    const node = this.nodes.get(row.nodeId) ?? this.newNode(row.nodeId, tick);
    if (!node) return;
    node.name = row.name;
    node.hasGpus = row.gpus.length > 0;
    node.seenTick = tick;
    for (const [index, key] of BYTES.entries()) node.bytes[index * TICKS + at] = row[key] ?? Number.NaN;
    const known = row.gpus.flatMap(({ utilisationPercent }) => utilisationPercent ?? []);
    const gpuPercent = known.length > 0 ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
    for (const [index, value] of [row.cpuPercent, gpuPercent].entries())
      node.percents[index * TICKS + at] = value === null ? UNKNOWN : Math.round(Math.min(100, Math.max(0, value)) * 2);
  }

  private newNode(nodeId: string, tick: number): NodeHistory | undefined {
    if (this.nodes.size >= NODES_MAX) {
      // Of one that has been away for an hour nothing is left.
      for (const [id, { seenTick }] of this.nodes) if (seenTick <= tick - TICKS) this.nodes.delete(id);
      if (this.nodes.size >= NODES_MAX) return undefined;
    }
    const made: NodeHistory = {
      ...{ name: "", hasGpus: false, seenTick: tick },
      bytes: new Float32Array(TICKS * BYTES.length).fill(Number.NaN),
      percents: new Uint8Array(TICKS * PERCENTS.length).fill(UNKNOWN),
    };
    this.nodes.set(nodeId, made);
    return made;
  }

  private clear(at: number): void {
    this.finished[at] = Number.NaN;
    this.failed[at] = Number.NaN;
    for (const { bytes, percents } of this.nodes.values()) {
      for (let index = 0; index < BYTES.length; index++) bytes[index * TICKS + at] = Number.NaN;
      for (let index = 0; index < PERCENTS.length; index++) percents[index * TICKS + at] = UNKNOWN;
    }
  }

  /** @param limit of nodes: those that were seen last, by their names. @param node only this one. */
  read({ limit, node: wanted }: { readonly limit: number; readonly node?: string | undefined }): History {
    const from = Math.max(this.firstTick ?? this.lastTick + 1, this.lastTick - TICKS + 1);
    const ticks = Array.from({ length: this.lastTick - from + 1 }, (_, index) => from + index);
    const series = (values: Float32Array, index = 0): (number | null)[] =>
      ticks.map((tick) => {
        const value = values[index * TICKS + (tick % TICKS)] ?? Number.NaN;
        return Number.isNaN(value) ? null : Math.round(value * 10) / 10;
      });
    const percents = (values: Uint8Array, index: number): (number | null)[] =>
      ticks.map((tick) => {
        const value = values[index * TICKS + (tick % TICKS)] ?? UNKNOWN;
        return value === UNKNOWN ? null : value / 2;
      });
    const nodes = [...this.nodes]
      .filter(([nodeId, { seenTick }]) => (wanted === undefined ? seenTick === this.lastTick : nodeId === wanted))
      .sort(([, a], [, b]) => (a.name < b.name ? -1 : 1));
    return {
      everyMs: EVERY_MS,
      timesMs: ticks.map((tick) => tick * EVERY_MS),
      finished: series(this.finished),
      failed: series(this.failed),
      nodes: nodes.slice(0, limit).map(([nodeId, { name, hasGpus, bytes, percents: values }]) => ({
        ...{ nodeId, name },
        memoryUsedBytes: series(bytes, BYTES.indexOf("memoryUsedBytes")),
        storeUsedBytes: series(bytes, BYTES.indexOf("storeUsedBytes")),
        storeSpilledBytes: series(bytes, BYTES.indexOf("storeSpilledBytes")),
        cpuPercent: percents(values, PERCENTS.indexOf("cpuPercent")),
        gpuPercent: hasGpus ? percents(values, PERCENTS.indexOf("gpuPercent")) : null,
      })),
      nodesTotal: nodes.length,
    };
  }
}
