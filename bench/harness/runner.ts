/**
 * Runs a plan. Within each round of a session the sides take turns, and every second round in the opposite order, so
 * that a machine which slows down or is disturbed for a while does not favour one of them:
 *
 * 1. the limits this session needs;
 * 2. each side in a fresh process: start, all workloads, stop. Only one side's processes exist at a time.
 */
import type { Observation, PlannedWorkload, Session, SideName } from "../plan/plan.ts";
import { anonymousBytes, treeMemory } from "./processes.ts";
import type { Measurement, OpenOptions, Sizes } from "./protocol.ts";
import { Side, type SideCommand } from "./side.ts";

export interface RunSettings {
  readonly rounds: number;
  readonly quick: boolean;
  readonly options: OpenOptions;
  readonly sides: ReadonlyMap<SideName, SideCommand>;
  readonly limits: SideCommand;
  /** Called with what is being done, for a person who waits. */
  readonly progress: (line: string) => void;
}

export interface WorkloadResult {
  readonly session: Session;
  readonly workload: PlannedWorkload;
  readonly seen: ReadonlyMap<SideName, Observation[]>;
  /** By the limit's name. */
  readonly limits: ReadonlyMap<string, Observation[]>;
  readonly errors: readonly string[];
}

const OPEN_TIMEOUT_MS = 120_000;
const CLEANUP_TIMEOUT_MS = 60_000;
const WORKLOAD_TIMEOUT_MS = 180_000;
/** How long memory may settle before it is read: leases have been given back and helpers have ended by then. */
const SETTLE_MS = 3_000;
const SETTLE_QUICK_MS = 50;
const DRIVER_SAMPLE_MS = 20;

/** Limits that copy memory need a size also where the row's workload has none. */
const LIMIT_SIZES: { readonly full: Sizes; readonly quick: Sizes } = {
  full: { seconds: 1, count: 50, bytes: 800_000_000 },
  quick: { seconds: 0.02, count: 2, bytes: 1_000_000 },
};

interface Collected {
  readonly seen: Map<SideName, Observation[]>;
  readonly limits: Map<string, Observation[]>;
  readonly errors: string[];
}

export async function runSession(session: Session, settings: RunSettings): Promise<WorkloadResult[]> {
  const collected = new Map<PlannedWorkload, Collected>(
    session.workloads.map((workload) => [workload, { seen: new Map(), limits: new Map(), errors: [] }]),
  );
  for (let round = 0; round < settings.rounds; round += 1) {
    const due = session.workloads.filter((workload) => round < (workload.roundsMax ?? Number.POSITIVE_INFINITY));
    if (due.length === 0) break;
    settings.progress(`${session.name}: round ${round + 1}`);
    await runLimits(due, settings, collected);
    const names = [...settings.sides.keys()];
    if (round % 2 === 1) names.reverse();
    for (const name of names) {
      const workloads = due.filter((workload) => workload.on.includes(name));
      if (workloads.length > 0) await runSide(name, session, workloads, settings, collected);
    }
  }
  return session.workloads.map((workload) => ({
    session,
    workload,
    ...(collected.get(workload) ?? { seen: new Map(), limits: new Map(), errors: [] }),
  }));
}

async function runLimits(
  due: readonly PlannedWorkload[],
  settings: RunSettings,
  collected: ReadonlyMap<PlannedWorkload, Collected>,
): Promise<void> {
  const sizes = settings.quick ? LIMIT_SIZES.quick : LIMIT_SIZES.full;
  const measured = new Map<string, Observation>();
  await using side = new Side(settings.limits);
  for (const workload of due) {
    const into = collected.get(workload);
    for (const name of new Set(workload.rows.flatMap((row) => row.limit ?? []))) {
      try {
        const known =
          measured.get(name) ?? observation(await side.run(name, sizes, settings.options, WORKLOAD_TIMEOUT_MS));
        measured.set(name, known);
        append(into?.limits, name, known);
      } catch (error) {
        into?.errors.push(messageOf(error));
      }
    }
  }
  if (side.isIdle) await side.close();
}

async function runSide(
  name: SideName,
  session: Session,
  workloads: readonly PlannedWorkload[],
  settings: RunSettings,
  collected: ReadonlyMap<PlannedWorkload, Collected>,
): Promise<void> {
  const command = settings.sides.get(name);
  if (command === undefined) throw new Error(`no command for ${name}`);
  const failed = (workload: PlannedWorkload | undefined, error: unknown): void => {
    for (const one of workload === undefined ? workloads : [workload])
      collected.get(one)?.errors.push(messageOf(error));
  };
  await using side = new Side(command);
  try {
    if (session.opens !== false) await side.open(settings.options, OPEN_TIMEOUT_MS);
  } catch (error) {
    failed(undefined, error);
    return;
  }
  for (const workload of workloads) {
    settings.progress(`${session.name}: ${name} runs ${workload.name}`);
    try {
      append(collected.get(workload)?.seen, name, await observe(side, workload, settings));
    } catch (error) {
      failed(workload, error);
      // After a timeout the side is in no known state: what follows in this session would measure the wreck.
      if (!side.isIdle) return;
    }
  }
  try {
    await side.close();
  } catch (error) {
    failed(undefined, error);
  }
}

async function observe(side: Side, workload: PlannedWorkload, settings: RunSettings): Promise<Observation> {
  const sizes = settings.quick ? workload.quick : workload.full;
  const timeoutMs = workload.timeoutMs ?? WORKLOAD_TIMEOUT_MS;
  const run = (): Promise<Measurement> => side.run(workload.name, sizes, settings.options, timeoutMs);
  const settle = (): Promise<void> =>
    new Promise((resolve) => setTimeout(resolve, settings.quick ? SETTLE_QUICK_MS : SETTLE_MS));
  try {
    if (workload.observe === "processes") {
      await settle();
      const before = treeMemory(side.pid);
      const measurement = await run();
      await settle();
      const after = treeMemory(side.pid);
      return { ...observation(measurement), pssBeforeBytes: before.pssBytes, pssAfterBytes: after.pssBytes };
    }
    if (workload.observe === "driver") return await observeDriver(side.pid, run);
    return observation(await run());
  } finally {
    if (side.isIdle) await side.cleanup(CLEANUP_TIMEOUT_MS);
  }
}

async function observeDriver(pid: number, run: () => Promise<Measurement>): Promise<Observation> {
  const driverBeforeBytes = anonymousBytes(pid);
  let driverPeakBytes = driverBeforeBytes;
  const sample = (): void => {
    driverPeakBytes = Math.max(driverPeakBytes, anonymousBytes(pid));
  };
  const timer = setInterval(sample, DRIVER_SAMPLE_MS);
  try {
    const measurement = await run();
    sample();
    return { ...observation(measurement), driverBeforeBytes, driverPeakBytes };
  } finally {
    clearInterval(timer);
  }
}

const observation = (measurement: Measurement): Observation => ({
  ...measurement,
  pssBeforeBytes: 0,
  pssAfterBytes: 0,
  driverBeforeBytes: 0,
  driverPeakBytes: 0,
});

function append<K>(to: Map<K, Observation[]> | undefined, key: K, value: Observation): void {
  const list = to?.get(key);
  if (list === undefined) to?.set(key, [value]);
  else list.push(value);
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
