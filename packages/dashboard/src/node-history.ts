/**
 * What nodes said over the last minutes. The API tells how things are now; this keeps what it told while the page is
 * open, from the overview's stream and a question every five seconds.
 */
import { getJson, type List, listPath } from "./api.ts";
import type { NodeRow, Overview } from "./rows.ts";

export interface NodeSeries {
  readonly nodeId: string;
  readonly name: string;
  readonly cpu: readonly (number | null)[];
  readonly gpu: readonly (number | null)[] | null;
  readonly memory: readonly (number | null)[];
  readonly memoryTotal: number;
  readonly store: readonly (number | null)[];
  readonly spilled: readonly (number | null)[];
  readonly storeCapacity: number;
}
interface History {
  readonly timesMs: readonly number[];
  readonly nodes: readonly NodeSeries[];
  /** Of each second. */
  readonly rates: Overview["throughput"];
}

const EVERY_MS = 5000;
/** 15 minutes. */
const SAMPLES_MAX = 180;
const RATES_MAX = 900;

interface Sample {
  readonly atMs: number;
  readonly rows: ReadonlyMap<string, NodeRow>;
}

let samples: Sample[] = [];
let rates: Overview["throughput"] = [];
let current: History = { timesMs: [], nodes: [], rates: [] };
const listeners = new Set<() => void>();

export const history = {
  get: () => current,
  subscribe(listener: () => void): () => void {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
  /** Seconds that were not known before. */
  noteOverview(overview: Overview): void {
    const lastMs = rates.at(-1)?.atMs ?? 0;
    // The newest second is still going on: it is taken when it is over.
    const fresh = overview.throughput.slice(0, -1).filter(({ atMs }) => atMs > lastMs);
    if (fresh.length === 0) return;
    rates = [...rates, ...fresh].slice(-RATES_MAX);
    publish();
  },
  /** Begins to ask; returns how to stop. */
  start(): () => void {
    let isStopped = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const ask = async () => {
      if (!document.hidden) {
        try {
          const { rows, asOfMs } = await getJson<List<NodeRow>>(listPath("nodes", [], 1000));
          samples = [...samples, { atMs: asOfMs, rows: new Map(rows.map((row) => [row.nodeId, row])) }].slice(
            -SAMPLES_MAX,
          );
          publish();
        } catch {
          // Pages that show nodes say what is wrong; here it leaves a gap.
        }
      }
      if (!isStopped) timer = setTimeout(() => void ask(), EVERY_MS);
    };
    void ask();
    return () => {
      isStopped = true;
      clearTimeout(timer);
    };
  },
};

function publish(): void {
  const newest = samples.at(-1);
  const series = (nodeId: string, of: (row: NodeRow) => number | null) =>
    samples.map(({ rows }) => {
      const row = rows.get(nodeId);
      return row === undefined ? null : of(row);
    });
  current = {
    timesMs: samples.map(({ atMs }) => atMs),
    nodes: [...(newest?.rows.values() ?? [])]
      .filter(({ state }) => state !== "dead")
      .map((row) => ({
        nodeId: row.nodeId,
        name: row.name,
        cpu: series(row.nodeId, ({ cpuPercent }) => cpuPercent),
        gpu: row.gpus.length === 0 ? null : series(row.nodeId, meanUtilisation),
        memory: series(row.nodeId, ({ memoryUsedBytes }) => memoryUsedBytes),
        memoryTotal: row.memoryTotalBytes ?? 0,
        store: series(row.nodeId, ({ storeUsedBytes }) => storeUsedBytes),
        spilled: series(row.nodeId, ({ storeSpilledBytes }) => storeSpilledBytes),
        storeCapacity: row.storeCapacityBytes,
      })),
    rates,
  };
  for (const listener of listeners) listener();
}

function meanUtilisation({ gpus }: NodeRow): number | null {
  const known = gpus.flatMap(({ utilisationPercent }) => (utilisationPercent === null ? [] : [utilisationPercent]));
  return known.length === 0 ? null : known.reduce((sum, value) => sum + value, 0) / known.length;
}
