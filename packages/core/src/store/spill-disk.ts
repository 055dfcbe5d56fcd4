/**
 * Objects on disk: each batch is one file, unlinked as soon as it is open, so that nothing is left of it whatever
 * happens to the node. Dead parts of a file are punched out, and a file without live objects is closed. All of it runs
 * off the event loop; a failing disk makes a batch fail as a whole and harms nothing that is in memory.
 */

import { read, write } from "node:fs";
import { type FileHandle, open, statfs, unlink } from "node:fs/promises";
import { join } from "node:path";
import { assert, randomBytes } from "../base/mod.ts";
import type { DiskSlot } from "./engine-events.ts";
import { PAGE_BYTES, punchHole, roundUpToPages } from "./memory.ts";

/** One file of spilled objects. */
export interface SpillFile {
  write(bytes: Uint8Array, position: number): Promise<void>;
  read(bytes: Uint8Array, position: number): Promise<void>;
  /** Gives a range's blocks back to the disk, where that can be done. */
  discard(position: number, bytes: number): Promise<void>;
  close(): Promise<void>;
  /** Where other processes of the same user open it, as long as this one has it open. */
  readonly path: string;
}

/** The disk that is written to; tests put a failing one here. */
export interface SpillVolume {
  /** Its files have a {@link SpillFile.path}. */
  readonly sharesFiles: boolean;
  createFile(): Promise<SpillFile>;
  /** 0..1, how full the disk is. */
  fullness(): Promise<number>;
}

/** Where an object's bytes are in memory: a file descriptor and a position. */
export interface MemoryPlace {
  readonly fd: number;
  readonly position: number;
}

export interface SpillDisk {
  /** Writes the objects into one new file; rejects with an error that has a `code` ("ENOSPC", "EIO"). */
  write(objects: readonly { readonly from: MemoryPlace; readonly bytes: number }[]): Promise<readonly DiskSlot[]>;
  read(slot: DiskSlot, to: MemoryPlace): Promise<void>;
  drop(slots: readonly DiskSlot[]): void;
  /** The file that the slot is in, for other processes to open. */
  pathOf(slot: DiskSlot): string;
  readonly sharesFiles: boolean;
  close(): Promise<void>;
}

/** Spilling must not be what fills a disk that others need. */
const DISK_FULLNESS_MAX = 0.95;
const BUFFER_BYTES = 2 ** 20;

export function createSpillDisk(volume: SpillVolume, log: (message: string) => void): SpillDisk {
  /** `last` is the end of the file's background work: one thing after the other, and closing comes last of all. */
  const files = new Map<number, { readonly file: SpillFile; live: number; last: Promise<void> }>();
  let nextFileId = 1;
  const running = new Set<Promise<void>>();

  function inBackground(entry: { last: Promise<void> }, work: () => Promise<void>): void {
    const told = entry.last
      .then(work)
      .catch((error: unknown) => log(`giving back disk space failed: ${String(error)}`));
    entry.last = told;
    running.add(told);
    void told.then(() => running.delete(told));
  }

  return {
    async write(objects) {
      const fullness = await volume.fullness();
      if (fullness > DISK_FULLNESS_MAX) {
        throw Object.assign(
          new Error(`the disk is ${Math.round(fullness * 100)} % full, spilling stops at ${DISK_FULLNESS_MAX * 100} %`),
          { code: "ENOSPC" },
        );
      }
      const file = await volume.createFile();
      const slots: DiskSlot[] = [];
      const fileId = nextFileId++;
      let position = 0;
      try {
        const buffer = new Uint8Array(BUFFER_BYTES);
        for (const { from, bytes } of objects) {
          for (let done = 0; done < bytes; done += BUFFER_BYTES) {
            const chunk = buffer.subarray(0, Math.min(BUFFER_BYTES, bytes - done));
            await readFully(from.fd, chunk, from.position + done);
            await file.write(chunk, position + done);
          }
          slots.push({ fileId, offset: position, bytes });
          // Page aligned, so that a dead object's blocks can be punched out without touching its neighbours.
          position += roundUpToPages(bytes);
        }
      } catch (error) {
        await file.close();
        throw error;
      }
      files.set(fileId, { file, live: slots.length, last: Promise.resolve() });
      return slots;
    },

    async read(slot, to) {
      const entry = files.get(slot.fileId);
      if (!entry) throw new Error(`spill file ${slot.fileId} is closed`);
      const buffer = new Uint8Array(Math.min(BUFFER_BYTES, slot.bytes));
      for (let done = 0; done < slot.bytes; done += BUFFER_BYTES) {
        const chunk = buffer.subarray(0, Math.min(BUFFER_BYTES, slot.bytes - done));
        await entry.file.read(chunk, slot.offset + done);
        await writeFully(to.fd, chunk, to.position + done);
      }
    },

    pathOf(slot) {
      const entry = files.get(slot.fileId);
      assert(entry, "a slot in a spill file that is closed");
      return entry.file.path;
    },
    sharesFiles: volume.sharesFiles,

    drop(slots) {
      for (const slot of slots) {
        const entry = files.get(slot.fileId);
        if (!entry) continue;
        entry.live--;
        if (entry.live > 0) {
          inBackground(entry, () => entry.file.discard(slot.offset, roundUpToPages(slot.bytes)));
        } else {
          files.delete(slot.fileId);
          inBackground(entry, () => entry.file.close());
        }
      }
    },

    async close() {
      for (const entry of files.values()) inBackground(entry, () => entry.file.close());
      files.clear();
      while (running.size > 0) await Promise.all(running);
    },
  };
}

/** Files in an ordinary folder. */
export function folderVolume(directory: string): SpillVolume {
  return {
    // A file without a name can only be reached through /proc.
    sharesFiles: process.platform === "linux",
    async createFile() {
      const path = join(directory, `mobula-store-${process.pid}-${randomBytes(6).toString("hex")}`);
      const handle = await open(path, "wx+", 0o600);
      await unlink(path);
      return fileOf(handle);
    },
    async fullness() {
      const { blocks, bavail } = await statfs(directory);
      return blocks === 0 ? 0 : 1 - bavail / blocks;
    },
  };
}

function fileOf(handle: FileHandle): SpillFile {
  let canPunch = process.platform === "linux";
  return {
    write: (bytes, position) => writeFully(handle.fd, bytes, position),
    read: (bytes, position) => readFully(handle.fd, bytes, position),
    async discard(position, bytes) {
      if (!canPunch) return;
      try {
        await punchHole(handle.fd, position, bytes);
      } catch (error) {
        // A file system that cannot: the space comes back with the whole file.
        if ((error as NodeJS.ErrnoException).code !== "EOPNOTSUPP") throw error;
        canPunch = false;
      }
    },
    close: () => handle.close(),
    path: `/proc/${process.pid}/fd/${handle.fd}`,
  };
}

async function readFully(fd: number, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    const count = await new Promise<number>((resolve, reject) => {
      read(fd, bytes, done, bytes.byteLength - done, position + done, (error, got) =>
        error ? reject(error) : resolve(got),
      );
    });
    if (count === 0) throw Object.assign(new Error(`file ended at ${position + done}`), { code: "EIO" });
    done += count;
  }
}

async function writeFully(fd: number, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; ) {
    done += await new Promise<number>((resolve, reject) => {
      write(fd, bytes, done, bytes.byteLength - done, position + done, (error, put) =>
        error ? reject(error) : resolve(put),
      );
    });
  }
}

/** Writes zeros over a range: how blocks are reserved where the system has no call for it. */
export async function writeZeros(fd: number, position: number, bytes: number): Promise<void> {
  const zeros = new Uint8Array(Math.min(bytes, 256 * PAGE_BYTES));
  for (let done = 0; done < bytes; done += zeros.byteLength) {
    await writeFully(fd, zeros.subarray(0, Math.min(zeros.byteLength, bytes - done)), position + done);
  }
}
