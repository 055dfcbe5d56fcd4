/**
 * A snapshot of a process' heap, as a file of Chrome's DevTools. V8 makes it while the program stands still, and then writes
 * it in pieces of a megabyte, which go to a file of the node's at once: the whole is nowhere in memory.
 *
 * Measured with Node.js 24 (2 cores, a million and three million objects of two fields): 65 to 75 ms of a processor for each
 * megabyte of heap, and 20 bytes of memory beside each byte of it. Large strings and buffers need far less: these are limits.
 */
import { type FileHandle, open, readFile, rm, statfs } from "node:fs/promises";
import { join } from "node:path";
import {
  InvalidOptionError,
  type MobulaError,
  OutOfDiskError,
  OutOfMemoryError,
  WorkerDiedError,
} from "../base/errors.ts";
import type { SnapshotProgress } from "../wire/inspection.ts";
import type { InspectedProcess } from "./inspections.ts";
import type { InspectorClient } from "./inspector-client.ts";
import { MemorySampler } from "./memory-sample.ts";
import type { OpenInspector } from "./worker-inspector.ts";

export interface SnapshotOptions {
  /** A file in it is made, and is the caller's to remove. */
  readonly folder: string;
  readonly name: string;
  /** Although the memory for it is not there. */
  readonly isForced: boolean;
  /** The inspector stays open until the snapshot is removed: V8 knows objects by their numbers for so long. */
  readonly isHeld: boolean;
  readonly onProgress: (progress: SnapshotProgress) => void;
  readonly abandoned: Promise<void>;
}

export interface TakenSnapshot {
  readonly file: FileHandle;
  readonly totalBytes: number;
  readonly stillMs: number;
  /** Of one that is held. */
  readonly client: InspectorClient | undefined;
  /** Closes and removes the file. */
  remove(): Promise<void>;
}

const STILL_MS_PER_BYTE = 75 / 2 ** 20;
const NEEDED_PER_BYTE = 20;
/** Of the file: 2.1 for small objects. */
const FILE_PER_BYTE = 2.5;
const FILE_BYTES_MAX = 16 * 2 ** 30;
/** What others on the disk and on the machine need meanwhile. */
const DISK_LEFT_BYTES = 256 * 2 ** 20;
const MEMORY_LEFT = 0.05;
const OPEN_MS = 1_500;
const ASK_MS = 2_000;
/** 8 GB of small objects. */
const TAKE_MS = 600_000;
/** Pieces that are not written yet: then the inspector is read no further. */
const PENDING_BYTES_MAX = 16 * 2 ** 20;
/** That of a driver cannot be held. */
const PENDING_BYTES_LIMIT = 512 * 2 ** 20;
const MIB = 2 ** 20;
const CHUNK = "HeapProfiler.addHeapSnapshotChunk";
const PROGRESS = "HeapProfiler.reportHeapSnapshotProgress";
const NOW = { expression: "performance.now()", returnByValue: true, silent: true };

/** @throws OutOfMemoryError, OutOfDiskError: it was not begun; WorkerDiedError: the process does not answer, or has ended. */
export async function takeSnapshot(target: InspectedProcess, options: SnapshotOptions): Promise<TakenSnapshot> {
  const who = `process ${target.pid}`;
  let inspector: OpenInspector;
  try {
    inspector = await target.open(OPEN_MS);
  } catch (error) {
    throw new WorkerDiedError(`no snapshot of ${who} can be taken: ${(error as Error).message}`);
  }
  const { client, release } = inspector;
  let isHeld = false;
  try {
    const { usedSize: heapBytes } = (await client.post("Runtime.getHeapUsage", {}, ASK_MS)) as { usedSize: number };
    await refuseWithoutRoom(target.pid, heapBytes, options);
    const progress: SnapshotProgress = {
      heapBytes,
      stillMsMax: Math.ceil(heapBytes * STILL_MS_PER_BYTE),
      neededBytesMax: heapBytes * NEEDED_PER_BYTE,
      percent: 0,
      writtenBytes: 0,
    };
    options.onProgress(progress);
    const taken = await write(client, who, progress, options);
    if (!options.isHeld) return { ...taken, client: undefined };
    isHeld = true;
    const remove = async (): Promise<void> => {
      release();
      await taken.remove();
    };
    return { ...taken, client, remove };
  } finally {
    if (!isHeld) release();
  }
}

async function write(
  client: InspectorClient,
  who: string,
  estimate: SnapshotProgress,
  { folder, name, onProgress, abandoned }: SnapshotOptions,
): Promise<Omit<TakenSnapshot, "client">> {
  const path = join(folder, name);
  const file = await open(path, "wx+", 0o600);
  const remove = async (): Promise<void> => {
    await file.close();
    await rm(path, { force: true });
  };
  const spool = new Spool(file, client);
  let percent = 0;
  const tell = (): void => onProgress({ ...estimate, percent, writtenBytes: spool.totalBytes });
  client.onTold = (method, message) => {
    if (method === CHUNK) {
      percent = 100;
      spool.add(Buffer.from((JSON.parse(message.toString()) as { params: { chunk: string } }).params.chunk));
      tell();
    } else if (method === PROGRESS) {
      const { done, total } = (JSON.parse(message.toString()) as { params: { done: number; total: number } }).params;
      percent = total > 0 ? Math.min(100, (100 * done) / total) : 0;
      tell();
    }
  };
  try {
    // All of it is asked for at once: what stands between the two times is what the program stands still for.
    const began = client.post("Runtime.evaluate", NOW, TAKE_MS) as Promise<EvaluatedNumber>;
    const taken = client.postRaw("HeapProfiler.takeHeapSnapshot", { reportProgress: true }, TAKE_MS);
    const ended = client.post("Runtime.evaluate", NOW, TAKE_MS) as Promise<EvaluatedNumber>;
    const all = Promise.all([began, taken, ended]);
    const result = await Promise.race([all, spool.failed, abandoned]);
    if (!result) throw new InvalidOptionError("nobody reads the snapshot any more");
    const [first, , last] = result;
    await spool.finish();
    return { file, totalBytes: spool.totalBytes, stillMs: last.result.value - first.result.value, remove };
  } catch (error) {
    await remove();
    const { message, code } = error as MobulaError;
    throw code === "DISK_FULL" ? error : new WorkerDiedError(`the snapshot of ${who} was broken off: ${message}`);
  } finally {
    client.onTold = undefined;
    client.hold(false);
  }
}

interface EvaluatedNumber {
  readonly result: { readonly value: number };
}

/** Pieces into a file, one after the other; whoever sends them waits when the disk is slower. */
class Spool {
  totalBytes = 0;
  private readonly file: FileHandle;
  private readonly client: InspectorClient;
  private pending = 0;
  private writing: Promise<void> = Promise.resolve();
  private readonly failure = Promise.withResolvers<never>();

  constructor(file: FileHandle, client: InspectorClient) {
    this.file = file;
    this.client = client;
    this.failure.promise.catch(() => {}); // Who waits for the end hears of it.
  }

  get failed(): Promise<never> {
    return this.failure.promise;
  }

  add(bytes: Buffer): void {
    this.totalBytes += bytes.length;
    this.pending += bytes.length;
    if (this.totalBytes > FILE_BYTES_MAX) {
      this.fail(`the snapshot is larger than ${FILE_BYTES_MAX / 2 ** 30} GiB`);
      return;
    }
    if (this.pending > PENDING_BYTES_LIMIT) {
      this.fail("the disk is too slow for the snapshot");
      return;
    }
    if (this.pending > PENDING_BYTES_MAX) this.client.hold(true);
    this.writing = this.writing.then(async () => {
      try {
        await this.file.write(bytes);
      } catch (error) {
        this.fail(`the snapshot could not be written: ${(error as Error).message}`);
      }
      this.pending -= bytes.length;
      if (this.pending <= PENDING_BYTES_MAX / 2) this.client.hold(false);
    });
  }

  async finish(): Promise<void> {
    await Promise.race([this.writing, this.failed]);
  }

  private fail(why: string): void {
    this.failure.reject(new OutOfDiskError(why));
  }
}

async function refuseWithoutRoom(pid: number, heapBytes: number, { folder, isForced }: SnapshotOptions): Promise<void> {
  const disk = await statfs(folder);
  const free = disk.bavail * disk.bsize;
  const fileBytes = heapBytes * FILE_PER_BYTE;
  if (free < fileBytes + DISK_LEFT_BYTES) {
    throw new OutOfDiskError(
      `a snapshot of ${mib(heapBytes)} of heap may take ${mib(fileBytes)} on the disk of ${folder}, where ${mib(free)} are free`,
    );
  }
  if (isForced) return;
  const needed = heapBytes * NEEDED_PER_BYTE;
  const rooms = [new MemorySampler(), ...(await ownGroup(pid))].map((sampler) => {
    const { usedBytes, totalBytes } = sampler.sample();
    return totalBytes * (1 - MEMORY_LEFT) - usedBytes;
  });
  const left = Math.max(0, Math.min(...rooms));
  if (needed <= left) return;
  throw new OutOfMemoryError(
    `a snapshot of ${mib(heapBytes)} of heap needs up to ${mib(needed)} of memory beside it, and ${mib(left)} are left: --force takes it anyway, and the process or others may be killed for it`,
  );
}

/** The limit of a worker's own cgroup, where it has one. */
async function ownGroup(pid: number): Promise<readonly MemorySampler[]> {
  const text = await readFile(`/proc/${pid}/cgroup`, "utf8").catch(() => ""); // No /proc here, or it has just ended.
  const place = /^0::(\/.+)$/m.exec(text)?.[1];
  return place === undefined ? [] : [new MemorySampler(`/sys/fs/cgroup${place}`)];
}

const mib = (bytes: number): string => `${Math.ceil(bytes / MIB)} MiB`;
