/** The screen of `mobula top`. Pure. */
import type { Overview, Progress, Row } from "../state/mod.ts";
import { GPU_HEADINGS, gpuCells } from "./gpu-text.ts";
import { bytesText, durationText } from "./row-table.ts";
import { cut, table } from "./text-table.ts";

interface Size {
  readonly columns: number;
  readonly rows: number;
}

const WAITING_SHOWN = 4;
const ALERTS_SHOWN = 3;
const JOBS_SHOWN = 5;
const BARS_SHOWN = 5;
const GPUS_SHOWN = 16;
const BAR = 20;

export interface Seen {
  readonly overview: Overview;
  readonly workers: readonly Row<"workers">[];
  /** None where no node has GPUs. */
  readonly nodes: readonly Row<"nodes">[];
  /** That programs have made and not closed. */
  readonly bars: Progress["bars"];
}

export function topLines({ overview, workers, nodes, bars }: Seen, { columns, rows }: Size): readonly string[] {
  const {
    nodes: counts,
    resources,
    store,
    gpus,
    tasks,
    actors,
    throughput,
    waiting,
    alerts,
    progress,
    asOfMs,
  } = overview;
  const now = throughput.at(-2) ?? throughput.at(-1);
  const parts = (counts: Readonly<Record<string, number>>): string =>
    Object.entries(counts)
      .filter(([, count]) => count > 0)
      .map(([state, count]) => `${count.toLocaleString("en")} ${state}`)
      .join(", ") || "none";
  const lines = [
    cut(
      `mobula top, ${new Date(asOfMs).toLocaleTimeString("sv")}: ${parts({ "nodes alive": counts.alive, draining: counts.draining, dead: counts.dead })}`,
      columns,
    ),
    `tasks   ${parts(tasks)}`,
    `        ${(now?.finished ?? 0).toLocaleString("en")} finished a second${now && now.failed > 0 ? `, ${now.failed} failed` : ""}`,
    `actors  ${parts(actors)}`,
    ...Object.entries(resources)
      .filter(([name]) => name !== "memory")
      .map(
        ([name, { total, used }]) =>
          `${name.padEnd(7)} ${bar(total === 0 ? 0 : used / total)} ${round(used)} of ${round(total)}`,
      ),
    `store   ${bar(store.capacityBytes === 0 ? 0 : store.usedBytes / store.capacityBytes)} ${bytesText(store.usedBytes)} of ${bytesText(store.capacityBytes)}${store.spilledBytes > 0 ? `, ${bytesText(store.spilledBytes)} on disk` : ""}`,
    ...(gpus === null ? [] : [gpuLine(gpus)]),
  ].map((line) => cut(line, columns));
  if (progress.length > 0)
    lines.push(
      "",
      ...progress
        .slice(0, JOBS_SHOWN)
        .map(({ jobId, name, total, ended, endedPerSecond, leftMs }) =>
          cut(pace({ done: ended, total, perSecond: endedPerSecond, leftMs, label: name ?? jobId }), columns),
        ),
      ...(progress.length > JOBS_SHOWN ? [`and ${progress.length - JOBS_SHOWN} more jobs`] : []),
    );
  if (bars.length > 0)
    lines.push(
      "",
      ...bars.slice(0, BARS_SHOWN).map((bar) => cut(pace(bar), columns)),
      ...(bars.length > BARS_SHOWN ? [`and ${bars.length - BARS_SHOWN} more bars`] : []),
    );
  if (alerts.length > 0)
    lines.push(
      "",
      ...alerts
        .slice(0, ALERTS_SHOWN)
        .map(({ kind, message }) => cut(`! ${kind}: ${message.replaceAll("\n", " ")}`, columns)),
    );
  if (waiting.length > 0) {
    const rest = waiting.length - WAITING_SHOWN;
    const shown = waiting
      .slice(0, WAITING_SHOWN)
      .map(({ count, name, wish, why }) =>
        cut(`  ${count} × ${name} (${wish}): ${why.replaceAll("\n", " ")}`, columns),
      );
    lines.push("", "waits for room:", ...shown, ...(rest > 0 ? [`  and ${rest} more kinds`] : []));
  }
  const ofGpus = gpuCells(nodes).slice(0, GPUS_SHOWN);
  if (ofGpus.length > 0) lines.push("", ...table([GPU_HEADINGS, ...ofGpus], columns));
  const busiest = workers
    .toSorted((a, b) => (b.cpuPercent ?? 0) - (a.cpuPercent ?? 0))
    .slice(0, Math.max(3, Math.min(workers.length, rows - lines.length - 3)));
  const body = busiest.map(({ pid, kind, state, cpuPercent, memoryBytes, runningForMs, task }) => [
    String(pid),
    kind === "driver" ? "driver" : state,
    cpuPercent === null ? "" : `${Math.round(cpuPercent)} %`,
    bytesText(memoryBytes),
    state === "idle" ? "" : durationText(runningForMs),
    cut(task ?? "", 32),
  ]);
  if (body.length > 0) lines.push("", ...table([["PID", "STATE", "CPU", "MEMORY", "FOR", "DOES"], ...body], columns));
  return lines;
}

function pace({
  done,
  total,
  perSecond,
  leftMs,
  label,
}: Pick<Progress["bars"][number], "done" | "total" | "perSecond" | "leftMs" | "label">): string {
  const share = total === null ? "" : `${bar(total === 0 ? 0 : done / total)} `;
  const of = total === null ? "" : ` of ${total.toLocaleString("en")}`;
  const rate = perSecond === null ? "" : `, ${rateText(perSecond)} a second`;
  const left = leftMs === null ? "" : `, ${durationText(leftMs)} left`;
  return `${share}${done.toLocaleString("en")}${of}${rate}${left}: ${label}`;
}

function gpuLine({
  count,
  utilisationPercent,
  memoryUsedBytes,
  memoryTotalBytes,
  problems,
}: NonNullable<Overview["gpus"]>) {
  const busy =
    utilisationPercent === null ? "" : `${bar(utilisationPercent / 100)} ${Math.round(utilisationPercent)} % busy`;
  const memory = memoryTotalBytes === 0 ? "" : `${bytesText(memoryUsedBytes)} of ${bytesText(memoryTotalBytes)}`;
  const wrong = problems === 0 ? "" : `nothing is known of ${problems} of ${count}`;
  const known = [busy, memory, wrong].filter((part) => part !== "");
  return `GPUs    ${known.length === 0 ? `${count}` : known.join(", ")}`;
}

function bar(share: number): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * BAR);
  return `[${"#".repeat(full)}${".".repeat(BAR - full)}]`;
}

const rateText = (perSecond: number): string =>
  (perSecond < 10 ? round(perSecond) : Math.round(perSecond)).toLocaleString("en");

const round = (amount: number): number => Math.round(amount * 100) / 100;
