/**
 * The processes of a trace: one for each process of each node, with its name, and in order.
 *
 * A trace knows a process by a number. It is the pid where no process of another node has the same, and otherwise a number
 * above all pids. Processes are ordered by their nodes, drivers first; what there is of several nodes names its node.
 */
import type { TracedRun } from "./chrome-trace.ts";

export const SUBMIT_ROW = 0;
export const FIRST_RUN_ROW = 1;
/** Linux gives no larger one. */
const PID_MAX = 2 ** 22;

type Where = Pick<TracedRun, "ownerNode" | "ownerPid" | "workerNode" | "workerPid" | "parent">;

interface TraceProcess {
  readonly node: string;
  readonly pid: number;
  readonly number: number;
  readonly rows: Set<number>;
  /** Something ran in it, or was submitted by something that ran. */
  isWorker: boolean;
}

export class TraceProcesses {
  /** By node and pid. */
  private readonly byPlace = new Map<string, Map<number, TraceProcess>>();
  private readonly taken = new Set<number>();
  private readonly nodeNames: ReadonlyMap<string, string>;
  private readonly driver: { readonly node: string; readonly pid: number } | undefined;
  private nextNumber = PID_MAX + 1;

  constructor(
    runs: readonly Where[],
    nodeNames: ReadonlyMap<string, string>,
    driver?: { readonly node: string; readonly pid: number },
  ) {
    this.nodeNames = nodeNames;
    this.driver = driver;
    for (const { ownerNode, ownerPid, workerNode, workerPid, parent } of runs) {
      const owner = this.add(ownerNode, ownerPid);
      owner.isWorker ||= parent !== undefined;
      this.add(workerNode, workerPid).isWorker = true;
    }
  }

  private add(node: string, pid: number): TraceProcess {
    let ofNode = this.byPlace.get(node);
    if (!ofNode) {
      ofNode = new Map();
      this.byPlace.set(node, ofNode);
    }
    let known = ofNode.get(pid);
    if (!known) {
      const number = this.taken.has(pid) ? this.nextNumber++ : pid;
      this.taken.add(number);
      known = { node, pid, number, rows: new Set(), isWorker: false };
      ofNode.set(pid, known);
    }
    return known;
  }

  numberOf(node: string, pid: number): number {
    return this.byPlace.get(node)?.get(pid)?.number ?? pid;
  }

  /** The row of a run has something in it, and so has that of submissions. */
  uses({ ownerNode, ownerPid, workerNode, workerPid }: Where, row: number): void {
    this.byPlace.get(ownerNode)?.get(ownerPid)?.rows.add(SUBMIT_ROW);
    this.byPlace.get(workerNode)?.get(workerPid)?.rows.add(row);
  }

  /** Metadata events. */
  *names(): Generator<object> {
    const areSeveral = this.byPlace.size > 1;
    const ordered = [...this.byPlace.keys()]
      .map((node) => ({ node, name: this.nodeNames.get(node) ?? node }))
      .sort((a, b) => Number(this.isOfDriver(b.node)) - Number(this.isOfDriver(a.node)) || compare(a.name, b.name));
    let index = 0;
    for (const { node, name: nodeName } of ordered) {
      const processes = [...(this.byPlace.get(node)?.values() ?? [])];
      processes.sort((a, b) => Number(this.isDriver(b)) - Number(this.isDriver(a)) || a.pid - b.pid);
      for (const process of processes) {
        const { number: pid, rows } = process;
        const called = `${this.isDriver(process) ? "driver" : "worker"} ${process.pid}`;
        const name = areSeveral ? `${nodeName}: ${called}` : called;
        // Of several files of one run the same process is known by its node and pid, whatever its number is.
        yield { ph: "M", pid, tid: 0, name: "process_name", args: { name, node, pid: process.pid } };
        yield { ph: "M", pid, tid: 0, name: "process_sort_index", args: { sort_index: index++ } };
        for (const row of [...rows].sort((a, b) => a - b)) {
          const rowName = row === SUBMIT_ROW ? "submits" : row === FIRST_RUN_ROW ? "runs" : `runs ${row}`;
          yield { ph: "M", pid, tid: row, name: "thread_name", args: { name: rowName } };
          yield { ph: "M", pid, tid: row, name: "thread_sort_index", args: { sort_index: row } };
        }
      }
    }
  }

  private isOfDriver(node: string): boolean {
    return node === this.driver?.node;
  }

  private isDriver({ node, pid, isWorker }: TraceProcess): boolean {
    return (this.isOfDriver(node) && pid === this.driver?.pid) || !isWorker;
  }
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
