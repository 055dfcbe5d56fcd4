/** More wants to compute on a machine than it has cores, and others have nothing to do: nobody has said what that work uses. */
import type { NodeRow } from "../rows.ts";
import type { Detector, Finding, MachineSeen, Observation } from "./detector.ts";
import { listText, rateText } from "./words.ts";

/** One look is one moment: it is the mean of so long. */
const WINDOW_MS = 10_000;
const LOOKS_MIN = 5;
/** As many want to run as there are cores, and so many more: a machine that is used to the full is as it should be. */
const RUNNABLE_TIMES = 1.5;
const RUNNABLE_MORE = 2;
const FULL_PERCENT = 90;
/** Of its cores; other programs may use some of the machine. */
const IDLE_SHARE = 0.3;
const IDLE_PERCENT = 50;

interface Measured extends MachineSeen {
  readonly node: NodeRow;
}

export class OverloadedNodes implements Detector {
  readonly kind = "overloaded-node";
  readonly pace = "control";
  /** Of the window before it, so 25 s in all. */
  readonly raiseAfterMs = 15_000;
  readonly clearAfterMs = 15_000;
  private samples = new Map<string, (MachineSeen & { readonly atMs: number })[]>();

  *look(observation: Observation): Generator<Finding> {
    const measured = this.means(observation);
    const full = measured.filter(
      ({ cpuPercent, cores, runnableWorkers }) =>
        cpuPercent >= FULL_PERCENT && runnableWorkers >= Math.max(cores * RUNNABLE_TIMES, cores + RUNNABLE_MORE),
    );
    for (const one of full) {
      const idle = measured.filter((other) => isIdleBeside(other, one));
      if (idle.length < full.length) continue;
      const { node, cpuPercent, cores, runnableWorkers } = one;
      const { cpu: total = 0 } = node.resources;
      const names = runningOn(node.nodeId, observation);
      const what = names.length === 0 ? "" : ` (${listText(names.map(([name, count]) => `${count} × ${name}`))})`;
      const others = idle.map((other) => `${other.node.name} ${rateText(other.runnableWorkers)} of ${other.cores}`);
      yield {
        key: node.nodeId,
        severity: "warning",
        message: `on node ${node.name} ${rateText(runnableWorkers)} processes want to compute${what}, its machine has ${cores} cores and is busy to ${cpuPercent.toFixed(0)} %, and by what was asked for ${rateText(total - (node.available.cpu ?? 0))} of its ${total} CPUs are in use; others have hardly anything to do: ${listText(others)}`,
        remedy:
          'say what it uses, so that it goes where there is room: numCpus: 1 for what computes, more for what has threads of its own; or let it go round: schedulingStrategy: "SPREAD"',
        subjects: [node.nodeId, ...idle.map((other) => other.node.nodeId), ...names.map(([name]) => name)],
      };
    }
  }

  private means({ atMs, nodes, machines }: Observation): readonly Measured[] {
    const samples: typeof this.samples = new Map();
    const measured: Measured[] = [];
    for (const node of nodes) {
      const machine = machines.get(node.nodeId);
      if (!machine || node.state !== "alive" || (node.resources.cpu ?? 0) <= 0) continue;
      const own = (this.samples.get(node.nodeId) ?? []).filter(
        (one) => atMs - one.atMs <= WINDOW_MS && one.atMs < atMs,
      );
      own.push({ ...machine, atMs });
      samples.set(node.nodeId, own);
      if (own.length < LOOKS_MIN || atMs - (own[0]?.atMs ?? atMs) < WINDOW_MS / 2) continue;
      const mean = (of: (one: MachineSeen) => number): number =>
        own.reduce((sum, one) => sum + of(one), 0) / own.length;
      const [cpuPercent, runnableWorkers] = [mean((one) => one.cpuPercent), mean((one) => one.runnableWorkers)];
      measured.push({ node, cores: machine.cores, cpuPercent, runnableWorkers });
    }
    this.samples = samples;
    return measured;
  }
}

/** Several nodes on one machine, as in tests, share what is measured of the machine. */
function isIdleBeside(other: Measured, full: Measured): boolean {
  if (other.runnableWorkers > other.cores * IDLE_SHARE) return false;
  return machineOf(other.node) === machineOf(full.node) || other.cpuPercent <= IDLE_PERCENT;
}

function machineOf({ nodeId, address }: NodeRow): string {
  const host = address === null ? nodeId : address.slice(0, address.lastIndexOf(":"));
  return /^(?:127\.|\[::1\]|localhost)/.test(host) ? "this one" : host;
}

/** Functions and methods, those of which most run first. */
function runningOn(nodeId: string, { live }: Observation): readonly (readonly [name: string, count: number])[] {
  const counts = new Map<string, number>();
  for (const { name, state, worker } of live.tasks)
    if (state === "running" && worker?.[1] === nodeId) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a).slice(0, 10);
}
