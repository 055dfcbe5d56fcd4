/**
 * Working directories of jobs on a node, by the hash of their package: unpacked once, shared by all jobs that name it, and removed when
 * together they have become large and no process uses them.
 */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { InvalidOptionError } from "../base/errors.ts";
import { randomBytes } from "../base/random.ts";
import { unpack } from "./package.ts";

/** A package as it lies on the node. */
export interface WorkingDir {
  /** Unpacked. */
  readonly folder: string;
  /** As it came: what jobs write into the folder is not in it. */
  readonly zip: string;
}

const FILES = "files";
const ZIP = "package.zip";
/** Of all packages on a node, as zip files; unpacked they are two to five times as large. */
const PACKED_BYTES_MAX = 4 * 2 ** 30;

export class WorkingDirs {
  private readonly folder: string;
  private readonly runtime: string;
  private readonly packedBytesMax: number;

  /** @param folder of the node's own, which ends with it. @param runtime the folder of the package that runs the node. */
  constructor(folder: string, runtime: string, packedBytesMax = PACKED_BYTES_MAX) {
    this.folder = folder;
    this.runtime = runtime;
    this.packedBytesMax = packedBytesMax;
  }

  /** A package, used by this process from now on; undefined when it is not here. */
  async find(hash: string): Promise<WorkingDir | undefined> {
    const at = this.placeOf(hash);
    await mkdir(at.users, { recursive: true });
    await writeFile(join(at.users, String(process.pid)), "");
    try {
      // Fails when it is not there, or is being removed.
      await utimes(at.unit, new Date(), new Date());
      return { folder: join(at.unit, FILES), zip: join(at.unit, ZIP) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  /** Where the bytes of a package may be written before {@link add}. */
  async newFile(): Promise<string> {
    await mkdir(join(this.folder, "node_modules"), { recursive: true });
    // `import "mobula"` in a program that brings no packages finds the one that runs the cluster, above its folder.
    await symlink(this.runtime, join(this.folder, "node_modules/mobula")).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== "EEXIST") throw error;
    });
    return join(this.folder, `arriving-${randomBytes(8).toString("hex")}.zip`);
  }

  /** Unpacks a file, and keeps it. @throws InvalidOptionError when it is not what its hash says, or cannot be unpacked. */
  async add(hash: string, zipPath: string): Promise<WorkingDir> {
    const at = this.placeOf(hash);
    const { size } = await stat(zipPath);
    const half = `${zipPath}.unit`;
    try {
      const sum = createHash("sha256");
      await pipeline(createReadStream(zipPath), sum);
      if (sum.digest("hex") !== hash) throw new InvalidOptionError(`the package ${hash} came damaged`);
      await mkdir(join(half, FILES), { recursive: true });
      await unpack(zipPath, join(half, FILES));
      await rename(zipPath, join(half, ZIP));
      await mkdir(at.users, { recursive: true });
      await writeFile(at.size, String(size));
      await rename(half, at.unit).catch((error: NodeJS.ErrnoException) => {
        // Another process of this node was as quick.
        if (error.code !== "ENOTEMPTY" && error.code !== "EEXIST") throw error;
      });
    } finally {
      await rm(half, { recursive: true, force: true });
      await rm(zipPath, { force: true });
    }
    const found = await this.find(hash);
    if (found === undefined) throw new InvalidOptionError(`the package ${hash} was removed while it came`);
    await this.makeRoom();
    return found;
  }

  private placeOf(hash: string): { unit: string; users: string; size: string } {
    if (!/^[0-9a-f]{64}$/.test(hash)) throw new InvalidOptionError(`${hash} is no hash of a package`);
    const base = join(this.folder, hash);
    return { unit: join(base, "unit"), users: join(base, "users"), size: join(base, "size") };
  }

  private async makeRoom(): Promise<void> {
    const kept: { hash: string; bytes: number; usedMs: number }[] = [];
    for (const hash of await readdir(this.folder)) {
      if (!/^[0-9a-f]{64}$/.test(hash)) continue;
      const at = this.placeOf(hash);
      const [bytes, status] = await Promise.all([readFile(at.size, "utf8"), stat(at.unit)]).catch(() => []);
      // Just being made, or removed.
      if (bytes !== undefined && status) kept.push({ hash, bytes: Number(bytes), usedMs: status.mtimeMs });
    }
    let total = kept.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const { hash, bytes } of kept.sort((a, b) => a.usedMs - b.usedMs)) {
      if (total <= this.packedBytesMax) return;
      if (await this.remove(hash)) total -= bytes;
    }
  }

  private async remove(hash: string): Promise<boolean> {
    const at = this.placeOf(hash);
    if (await hasUsers(at.users)) return false;
    const gone = `${join(this.folder, hash)}.gone-${randomBytes(4).toString("hex")}`;
    await rename(at.unit, gone);
    // Somebody may have come between the look and the move, and is told that it is not there: it is unpacked again.
    await rm(gone, { recursive: true, force: true });
    return true;
  }
}

async function hasUsers(folder: string): Promise<boolean> {
  for (const pid of await readdir(folder)) {
    try {
      process.kill(Number(pid), 0);
      return true;
    } catch {
      await rm(join(folder, pid), { force: true });
    }
  }
  return false;
}
