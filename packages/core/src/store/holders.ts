/** The words of "the store is full": who holds it, by the place in the program that made the objects. */
import type { ProcessId } from "../base/mod.ts";
import type { StoreStats } from "./engine-events.ts";
import { PAGE_BYTES } from "./memory.ts";

const HOLDERS_SHOWN = 5;

export interface FullReport {
  readonly wantedBytes: number;
  readonly waitedMs: number;
  readonly stats: StoreStats;
  readonly spillBytesMax: number;
  readonly objects: Iterable<{
    readonly callSite: string;
    readonly pages: number;
    readonly start: number | undefined;
    readonly pins: ReadonlyMap<ProcessId, number>;
  }>;
  readonly unsealedPages: ReadonlyMap<ProcessId, number>;
  readonly diskMessage: string | undefined;
}

export function fullMessage(report: FullReport): string {
  const { stats } = report;
  const holders = new Map<string, { count: number; bytes: number; pinned: number }>();
  const add = (name: string, bytes: number, pinned: boolean): void => {
    const holder = holders.get(name) ?? { count: 0, bytes: 0, pinned: 0 };
    holder.count++;
    holder.bytes += bytes;
    if (pinned) holder.pinned += bytes;
    holders.set(name, holder);
  };
  for (const object of report.objects) {
    if (object.start !== undefined)
      add(object.callSite || "unknown place", object.pages * PAGE_BYTES, object.pins.size > 0);
  }
  for (const [processId, pages] of report.unsealedPages)
    add(`being written by process ${processId.slice(-8)}`, pages * PAGE_BYTES, false);
  const biggest = [...holders].sort(([, a], [, b]) => b.bytes - a.bytes).slice(0, HOLDERS_SHOWN);
  const list = biggest.map(([name, holder]) => {
    const pinned = holder.pinned > 0 ? `, ${describeBytes(holder.pinned)} of it in use` : "";
    return `${name}: ${describeBytes(holder.bytes)} in ${holder.count} ${holder.count === 1 ? "object" : "objects"}${pinned}`;
  });
  const disk =
    report.spillBytesMax === 0
      ? "spilling to disk is off"
      : `${describeBytes(stats.spilledBytes)} of at most ${describeBytes(report.spillBytesMax)} are on disk`;
  return [
    `object store is full: no room for ${describeBytes(report.wantedBytes)} within ${report.waitedMs} ms.`,
    `${describeBytes(stats.usedBytes)} of ${describeBytes(stats.capacityBytes)} are taken and ${disk}.`,
    ...(report.diskMessage ? [`The disk refused more: ${report.diskMessage}.`] : []),
    ...(list.length > 0 ? [`Biggest holders: ${list.join("; ")}.`] : []),
    "Release refs and views that are no longer needed, or give init a larger objectStoreBytes or spillBytesMax.",
  ].join(" ");
}

/** 1.5 MiB, 300 KiB, 12 bytes. */
export function describeBytes(bytes: number): string {
  const units = ["KiB", "MiB", "GiB", "TiB"];
  if (bytes < 1024) return `${bytes} bytes`;
  let value = bytes / 1024;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${Number(value.toFixed(1))} ${units[unit]}`;
}
