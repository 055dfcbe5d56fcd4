/** GPUs as lines for terminals. Pure. */
import type { Row } from "../state/mod.ts";
import { bytesText } from "./row-table.ts";

type Node = Pick<Row<"nodes">, "name" | "gpus">;
type Gpu = Node["gpus"][number];

const PROCESSES_SHOWN = 3;

export const GPU_HEADINGS = ["GPU", "BUSY", "MEMORY", "TEMP", "POWER", "WHO"] as const;

/** A line for each: who holds it, and who is on it besides. */
export const gpuCells = (nodes: readonly Node[]): string[][] =>
  nodes.flatMap(({ name, gpus }) =>
    gpus.map((gpu) => [
      `${name}:${gpu.index ?? gpu.id}`,
      withUnit(gpu.utilisationPercent, "%"),
      gpu.memoryUsedBytes === null ? "" : `${bytesText(gpu.memoryUsedBytes)} of ${bytesText(gpu.memoryTotalBytes)}`,
      withUnit(gpu.temperatureCelsius, "°C"),
      withUnit(gpu.powerWatts, "W"),
      whoText(gpu),
    ]),
  );

const WHOSE: ReadonlyMap<boolean | null, string> = new Map([
  [true, "without a lease: "],
  [false, "not Mobula's: "],
  // In a container nobody can tell.
  [null, ""],
]);

function whoText({ holders, processes, problem, leasedShare }: Gpu): string {
  const held = holders.map(
    ({ name, pid, share }) =>
      `${name}${pid === null ? "" : ` (${pid})`}${share < 1 ? ` ${Math.round(share * 100)} %` : ""}`,
  );
  const reserved = leasedShare - holders.reduce((sum, { share }) => sum + share, 0);
  if (reserved > 0.001) held.push(`${Math.round(reserved * 100)} % reserved by placement groups`);
  const holding = new Set<string>(holders.map(({ workerId }) => workerId));
  const others = processes.filter(({ workerId }) => workerId === null || !holding.has(workerId));
  const strangers = others
    .slice(0, PROCESSES_SHOWN)
    .map(
      ({ name, pid, memoryBytes, isOurs }) =>
        `${WHOSE.get(isOurs)}${name ?? "pid"} ${name === null ? pid : `(${pid})`}${memoryBytes === null ? "" : ` ${bytesText(memoryBytes)}`}`,
    );
  const more = others.length - strangers.length;
  return [
    ...(problem === null ? [] : [problem]),
    ...held,
    ...strangers,
    ...(more > 0 ? [`and ${more} more`] : []),
  ].join("; ");
}

const withUnit = (value: number | null, unit: string): string => (value === null ? "" : `${Math.round(value)} ${unit}`);
