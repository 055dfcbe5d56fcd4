/** How the command line takes a heap snapshot: into a file, into a summary, or both, piece by piece. */
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import { type HeapGraph, type HeapSummary, SnapshotReader, summaryOf } from "../heap/mod.ts";
import { inspected } from "../state/mod.ts";
import type { FoundProcess, SnapshotProgress } from "../wire/inspection.ts";
import type { Asks } from "./cli-ask.ts";

export interface SnapshotOptions {
  readonly isForced: boolean;
  readonly file?: SnapshotFile | undefined;
  readonly isSummed?: boolean;
  readonly onProgress: (progress: SnapshotProgress | undefined) => void;
}

export interface ReadSnapshot {
  readonly bytes: number;
  readonly stillMs: number;
  readonly summary: HeapSummary | undefined;
}

/** One that is not whole is removed. */
export class SnapshotFile {
  private readonly path: string;
  private readonly fd: number;

  constructor(path: string) {
    this.path = path;
    this.fd = openSync(path, "w");
  }

  write(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) at += writeSync(this.fd, bytes, at);
  }

  close(isWhole: boolean): void {
    closeSync(this.fd);
    if (!isWhole) rmSync(this.path, { force: true });
  }
}

export async function readSnapshot(ask: Asks, target: FoundProcess, options: SnapshotOptions): Promise<ReadSnapshot> {
  const reader = options.isSummed ? new SnapshotReader() : undefined;
  const { bytes, stillMs } = await pass(ask, target, options, reader);
  return { bytes, stillMs, summary: reader && summaryOf(reader.finish()) };
}

/** The heap itself, for other questions: of these "suspended" names the inspection. */
export async function readHeap(
  ask: Asks,
  target: FoundProcess,
  options: Omit<SnapshotOptions, "file" | "isSummed">,
): Promise<{ readonly graph: HeapGraph; readonly stillMs: number; readonly inspection: string }> {
  const reader = new SnapshotReader();
  const { stillMs, inspection } = await pass(ask, target, { ...options, isHeld: true }, reader);
  return { graph: reader.finish(), stillMs, inspection };
}

async function pass(
  ask: Asks,
  target: FoundProcess,
  { isForced, isHeld = false, file, onProgress }: SnapshotOptions & { readonly isHeld?: boolean },
  reader: SnapshotReader | undefined,
): Promise<{ bytes: number; stillMs: number; inspection: string }> {
  let isWhole = false;
  let bytes = 0;
  let stillMs = 0;
  let inspection = "";
  try {
    for await (const slice of inspected(ask, target, "snapshot", { isForced, isHeld }, onProgress)) {
      inspection = slice.inspection;
      file?.write(slice.bytes);
      reader?.push(slice.bytes);
      bytes += slice.bytes.length;
      stillMs = slice.stillMs ?? 0;
    }
    isWhole = true;
  } finally {
    onProgress(undefined);
    file?.close(isWhole);
  }
  return { bytes, stillMs, inspection };
}

const MIB = 2 ** 20;
const EVERY_MS = 200;

/** On stderr: what it will cost, first; then, on a terminal, how far it is. Undefined ends that. */
export function tellProgress(who: string): (progress: SnapshotProgress | undefined) => void {
  const { stderr } = process;
  let hasBegun = false;
  let shownAtMs = 0;
  return (progress) => {
    if (!progress) {
      if (shownAtMs > 0) stderr.write("\r\x1b[K");
      return;
    }
    const { heapBytes, stillMsMax, neededBytesMax, percent, writtenBytes } = progress;
    if (!hasBegun) {
      const still = stillMsMax < 1_000 ? "a second" : `${Math.ceil(stillMsMax / 1_000)} s`;
      stderr.write(
        `${who} has ${mib(heapBytes)} of heap: it stands still for up to ${still},\nand needs up to ${mib(neededBytesMax)} of memory beside it\n`,
      );
      hasBegun = true;
    }
    if (!stderr.isTTY || Date.now() - shownAtMs < EVERY_MS) return;
    shownAtMs = Date.now();
    const done = percent < 100 ? `${Math.floor(percent)} % of the heap` : `${mib(writtenBytes)} written`;
    stderr.write(`\r\x1b[K${done}`);
  };
}

const mib = (bytes: number): string => `${Math.ceil(bytes / MIB)} MiB`;
