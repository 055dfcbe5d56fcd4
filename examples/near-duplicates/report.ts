/** The result as text of at most 80 columns, and as plain data. */
import type { Outcome } from "./baseline.ts";
import type { DistributedOutcome } from "./distributed.ts";
import type { Listing } from "./files.ts";
import type { Group } from "./groups.ts";

const COLUMNS = 80;
const GROUPS_SHOWN = 10;
const PATH_COLUMN = 29;

export interface Results {
  readonly listing: Listing;
  readonly threshold: number;
  /** At least one of the two was run. */
  readonly baseline?: Outcome;
  readonly distributed?: DistributedOutcome;
}

/** Whether both runs found the same; undefined when there was only one. */
export function agree({ baseline, distributed }: Results): boolean | undefined {
  if (baseline === undefined || distributed === undefined) return undefined;
  return JSON.stringify(baseline.groups) === JSON.stringify(distributed.groups);
}

/** What a person reads before the first progress is seen. */
export function asIntroduction({ files, folder }: Listing, baselineOnly: boolean): string {
  const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
  const how = baselineOnly ? "in one process" : "on all CPUs, then in one process";
  const start = `Comparing ${counted(files.length, "file")} (${size(bytes)}) `;
  return `${start}${how}:\n${shorten(folder, COLUMNS)}`;
}

export function asText(results: Results): string {
  const { listing, threshold, baseline, distributed } = results;
  const { groups, bytesRead, filesUnreadable, pairsCompared } = outcomeOf(results);
  const wasted = groups.reduce((sum, group) => sum + group.wastedBytes, 0);
  const lines = [...groupTable(groups), ""];
  const row = (name: string, value: string) => lines.push(`${name.padEnd(PATH_COLUMN)}${value}`);
  row("files read", `${count(listing.files.length)} (${size(bytesRead)})`);
  const left: string[] = [];
  if (listing.filesTooLarge > 0) left.push(`${count(listing.filesTooLarge)} too large`);
  if (filesUnreadable > 0) left.push(`${count(filesUnreadable)} unreadable`);
  if (listing.foldersUnreadable > 0) left.push(counted(listing.foldersUnreadable, "unreadable folder"));
  if (left.length > 0) row("left out", left.join(", "));
  row("duplicate groups", `${count(groups.length)} (similarity of ${threshold} and more)`);
  row("bytes wasted", size(wasted));
  row("pairs compared exactly", count(pairsCompared));
  if (distributed !== undefined) {
    const { cpus, tasks, actorCalls, bytesViewed, seconds, startSeconds, kills } = distributed;
    row("tasks run", `${count(tasks)} (and ${counted(actorCalls, "actor call")})`);
    row("tasks per second", count(tasks / seconds));
    row("bytes moved without copying", size(bytesViewed));
    if (kills.tasks + kills.actors > 0) {
      row("killed with SIGKILL", `${kills.tasks} workers of tasks, ${kills.actors} of actors`);
    }
    row(
      `time, ${count(cpus)} CPU${cpus === 1 ? "" : "s"}`,
      `${seconds.toFixed(2)} s (and ${startSeconds.toFixed(2)} s to start)`,
    );
  }
  if (baseline !== undefined) row("time, one process", `${baseline.seconds.toFixed(2)} s`);
  if (baseline !== undefined && distributed !== undefined) {
    row("speed-up", `${(baseline.seconds / distributed.seconds).toFixed(2)} times`);
    row("groups of both runs", agree(results) === true ? "identical" : "DIFFERENT");
  }
  return lines.map((line) => line.slice(0, COLUMNS)).join("\n");
}

function groupTable(groups: readonly Group[]): string[] {
  if (groups.length === 0) return ["No near-duplicate files."];
  const rows = groups.slice(0, GROUPS_SHOWN).map((group) => {
    const numbers = [String(group.files.length), size(group.wastedBytes), percent(group.similarity)];
    return `${tableNumbers(numbers)}  ${shorten(group.files[0]?.path ?? "", COLUMNS - 31)}`;
  });
  const more = groups.length - rows.length;
  return [
    `${tableNumbers(["files", "wasted", "similar"])}  first of them`,
    "-".repeat(COLUMNS),
    ...rows,
    ...(more > 0 ? [`and ${counted(more, "more group")} (--json lists all)`] : []),
  ];
}

function tableNumbers([files = "", wasted = "", similar = ""]: readonly string[]): string {
  return `${files.padStart(6)} ${wasted.padStart(11)} ${similar.padStart(9)}`;
}

/** The end of a path says more than its beginning. */
function shorten(path: string, columns: number): string {
  return path.length <= columns ? path : `…${path.slice(path.length - columns + 1)}`;
}

function outcomeOf({ baseline, distributed }: Results): Outcome {
  const outcome = distributed ?? baseline;
  if (outcome === undefined) throw new TypeError("there is no run to report");
  return outcome;
}

export function asData(results: Results): unknown {
  const { listing, threshold, baseline, distributed } = results;
  const { groups, ...figures } = outcomeOf(results);
  const { groups: _, ...baselineFigures } = baseline ?? { groups: [] };
  return {
    folder: listing.folder,
    files: listing.files.length,
    filesTooLarge: listing.filesTooLarge,
    foldersUnreadable: listing.foldersUnreadable,
    threshold,
    wastedBytes: groups.reduce((sum, group) => sum + group.wastedBytes, 0),
    ...(distributed === undefined ? {} : { distributed: figures }),
    ...(baseline === undefined ? {} : { baseline: baselineFigures }),
    ...(agree(results) === undefined ? {} : { identical: agree(results) }),
    groups,
  };
}

function count(value: number): string {
  return Math.round(value).toLocaleString("en-US");
}

function counted(value: number, what: string): string {
  return `${count(value)} ${what}${value === 1 ? "" : "s"}`;
}

function percent(share: number): string {
  // Rounded down, so that 100 % means equal.
  return `${Math.floor(share * 100)} %`;
}

function size(bytes: number): string {
  const units = ["B", "KB", "MB", "GB", "TB"];
  const step = bytes < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3));
  return `${(bytes / 1000 ** step).toFixed(step === 0 ? 0 : 1)} ${units[step]}`;
}
