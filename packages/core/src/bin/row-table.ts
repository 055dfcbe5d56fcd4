/** Rows of the API as tables of 80 columns: which columns are shown of each kind, and how values are written. Pure. */
import type { Row, RowKind } from "../state/mod.ts";
import { cut, table } from "./text-table.ts";

interface Column<R> {
  readonly heading: string;
  readonly text: (row: R, nowMs: number) => string;
}

const ID_CHARS = 12;
const ID_MAX = 24;
const KIB = 1024;

/** The end of a path says more than its beginning. */
const cutStart = (value: string, length: number): string =>
  value.length <= length ? value : `…${value.slice(1 - length)}`;

/** The most telling end of an id is enough to tell rows apart; `--format json` has all of it. */
const shortId = (id: string | null): string => (id === null ? "" : id.slice(0, ID_CHARS));

export function bytesText(bytes: number | null): string {
  if (bytes === null) return "";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log(bytes) / Math.log(KIB)));
  const value = bytes / KIB ** power;
  return `${power === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[power]}`;
}

export function durationText(ms: number | null): string {
  if (ms === null) return "";
  if (ms < 1) return `${Math.round(ms * 1_000)} us`;
  if (ms < 1_000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  const seconds = ms / 1_000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3_600) return `${Math.floor(seconds / 60)}m ${Math.floor(seconds % 60)}s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3_600)}h ${Math.floor((seconds % 3_600) / 60)}m`;
  return `${Math.floor(seconds / 86_400)}d ${Math.floor((seconds % 86_400) / 3_600)}h`;
}

const ago = (atMs: number | null, nowMs: number): string =>
  atMs === null ? "" : `${durationText(Math.max(0, nowMs - atMs))} ago`;

const resourcesText = (resources: Readonly<Record<string, number>>): string =>
  Object.entries(resources)
    .map(([name, amount]) => `${name}=${name === "memory" ? bytesText(amount) : amount}`)
    .join(" ");

/** `2 × 48 %`: how many, and how busy they are in the mean. */
function gpusText(gpus: Row<"nodes">["gpus"]): string {
  if (gpus.length === 0) return "";
  const known = gpus.flatMap(({ utilisationPercent }) => utilisationPercent ?? []);
  const mean = known.reduce((sum, percent) => sum + percent, 0) / known.length;
  return known.length === 0 ? String(gpus.length) : `${gpus.length} × ${Math.round(mean)} %`;
}

const text = (value: string | number | null): string => (value === null ? "" : String(value));

const COLUMNS: { readonly [K in RowKind]: readonly Column<Row<K>>[] } = {
  nodes: [
    { heading: "NODE ID", text: ({ nodeId }) => shortId(nodeId) },
    { heading: "NAME", text: ({ name }) => cut(name, ID_MAX) },
    { heading: "STATE", text: ({ state }) => state },
    { heading: "CPU", text: ({ cpuPercent }) => (cpuPercent === null ? "" : `${Math.round(cpuPercent)} %`) },
    { heading: "MEMORY", text: ({ memoryUsedBytes }) => bytesText(memoryUsedBytes) },
    { heading: "STORE", text: ({ storeUsedBytes }) => bytesText(storeUsedBytes) },
    { heading: "GPUS", text: ({ gpus }) => gpusText(gpus) },
    { heading: "RESOURCES", text: ({ resources }) => resourcesText(resources) },
  ],
  workers: [
    { heading: "WORKER ID", text: ({ workerId }) => workerId.slice(0, 16) },
    { heading: "PID", text: ({ pid }) => text(pid) },
    { heading: "KIND", text: ({ kind }) => kind },
    { heading: "STATE", text: ({ state }) => state },
    { heading: "CPU", text: ({ cpuPercent }) => (cpuPercent === null ? "" : `${Math.round(cpuPercent)} %`) },
    { heading: "MEMORY", text: ({ memoryBytes }) => bytesText(memoryBytes) },
    { heading: "DOES", text: ({ task }) => cutStart(task ?? "", 24) },
  ],
  tasks: [
    { heading: "TASK ID", text: ({ taskId }) => taskId },
    { heading: "NAME", text: ({ name }) => cut(name, ID_MAX) },
    { heading: "STATE", text: ({ state }) => state },
    { heading: "RAN", text: ({ ranMs }) => durationText(ranMs) },
    { heading: "ERROR", text: ({ error }) => cut(error ?? "", 60) },
  ],
  actors: [
    { heading: "ACTOR ID", text: ({ actorId }) => actorId },
    { heading: "CLASS", text: ({ className }) => cut(className, ID_MAX) },
    { heading: "NAME", text: ({ name }) => cut(name ?? "", ID_MAX) },
    { heading: "STATE", text: ({ state }) => state },
    { heading: "PID", text: ({ pid }) => text(pid) },
    { heading: "RESTARTS", text: ({ restarts }) => (restarts === 0 ? "" : text(restarts)) },
  ],
  objects: [
    { heading: "OBJECT ID", text: ({ objectId }) => objectId },
    { heading: "SIZE", text: ({ sizeBytes }) => bytesText(sizeBytes) },
    { heading: "STATE", text: ({ state }) => state },
    { heading: "HOLDS", text: ({ holds }) => text(holds) },
    { heading: "CALL SITE", text: ({ callSite, name }) => callSite ?? name ?? "" },
  ],
  "placement-groups": [
    { heading: "GROUP ID", text: ({ placementGroupId }) => placementGroupId },
    { heading: "NAME", text: ({ name }) => cut(name ?? "", ID_MAX) },
    { heading: "STATE", text: ({ state }) => state },
    { heading: "STRATEGY", text: ({ strategy }) => strategy },
    { heading: "BUNDLES", text: ({ bundles }) => text(bundles.length) },
  ],
  jobs: [
    { heading: "JOB", text: ({ submissionId, jobId }) => submissionId ?? jobId ?? "" },
    { heading: "STATUS", text: ({ status }) => status },
    { heading: "STARTED", text: ({ startedAtMs }, nowMs) => ago(startedAtMs, nowMs) },
    { heading: "TOOK", text: ({ startedAtMs, endedAtMs }, nowMs) => durationText((endedAtMs ?? nowMs) - startedAtMs) },
    { heading: "ENTRYPOINT", text: ({ entrypoint }) => cutStart(entrypoint, 27) },
  ],
  events: [
    { heading: "WHEN", text: ({ atMs }, nowMs) => ago(atMs, nowMs) },
    { heading: "SEVERITY", text: ({ severity }) => severity },
    { heading: "KIND", text: ({ kind }) => kind },
    { heading: "MESSAGE", text: ({ message }) => message },
  ],
  logs: [
    { heading: "FILE", text: ({ logId }) => logId },
    { heading: "SIZE", text: ({ sizeBytes }) => bytesText(sizeBytes) },
    { heading: "WRITTEN", text: ({ modifiedAtMs }, nowMs) => ago(modifiedAtMs, nowMs) },
  ],
};

/** Where there is too little room; what other columns say is looked for by all of it. */
const CUT = new Set(["NAME", "CLASS", "ENTRYPOINT"]);

const ATTEMPT_COLUMNS: readonly Column<Row<"tasks">>[] = [
  { heading: "ATTEMPT", text: ({ attempt }) => text(attempt) },
  { heading: "STATE", text: ({ state }) => state },
  { heading: "NODE", text: ({ nodeId }) => shortId(nodeId) },
  { heading: "PID", text: ({ workerPid }) => text(workerPid) },
  { heading: "SENT", text: ({ sentAtMs }, nowMs) => ago(sentAtMs, nowMs) },
  { heading: "RAN", text: ({ ranMs }) => durationText(ranMs) },
  { heading: "WHY IT ENDED", text: ({ state, error }) => error ?? (state === "finished" ? "it gave its result" : "") },
];

/** The attempts of one task, the first one first. */
export function attemptLines(rows: readonly Row<"tasks">[], columns: number, nowMs = Date.now()): string[] {
  const body = rows.map((row) => ATTEMPT_COLUMNS.map((one) => one.text(row, nowMs)));
  return table([ATTEMPT_COLUMNS.map(({ heading }) => heading), ...body], columns);
}

export function tableOf(kind: RowKind, rows: readonly object[], columns: number, nowMs = Date.now()): string[] {
  if (rows.length === 0) return [`no ${kind}`];
  const shown = COLUMNS[kind] as readonly Column<object>[]; // The rows are of this kind.
  return table(
    [shown.map(({ heading }) => heading), ...rows.map((row) => shown.map((one) => one.text(row, nowMs)))],
    columns,
    (heading) => CUT.has(heading),
  );
}
