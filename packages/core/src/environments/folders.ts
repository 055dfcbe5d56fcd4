/**
 * Where finished environments lie, for all nodes of a user on a machine: folders by name, each made aside and renamed, so that
 * one that has its name is whole.
 *
 * - `NAME.lock` names the process that makes one, so that others wait for it instead of doing the same. It only saves work: two
 *   that make the same one do each other no harm.
 * - `NAME.json` says how large it is, and by its time when it was last used.
 * - `uses/NAME/PID-START` says that a process uses it. Those of processes that are gone count for nothing.
 */
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { chmod, lstat, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { OutOfDiskError } from "../base/errors.ts";
import { randomBytes } from "../base/random.ts";
import type { CachedUnit } from "./engine.ts";

export interface FoldersOptions {
  readonly folder: string;
  /** Whether the process with this pid that began then runs. */
  isRunning(pid: number, started: string): boolean;
  /** When this process began. */
  readonly started: string;
  /** A process may have several nodes. */
  readonly node: string;
}

const LOOK_MS = 100;
const USES = "uses";
const SCOPE = "package.json";
const ABANDONED_MS = 24 * 3_600_000;

export class Folders {
  readonly folder: string;
  private readonly options: FoldersOptions;
  private readonly self: string;

  constructor(options: FoldersOptions) {
    this.options = options;
    this.folder = options.folder;
    this.self = `${process.pid}-${options.started}`;
    mkdirSync(join(this.folder, USES), { recursive: true, mode: 0o700 });
    const scope = join(this.folder, SCOPE);
    // What lies above this folder is no program's.
    if (!existsSync(scope)) writeFileSync(scope, "{}\n", { mode: 0o600 });
  }

  pathOf(name: string): string {
    return join(this.folder, name);
  }

  /** Marks it as used by this process if it is there: from then on nobody throws it away. */
  use(name: string): boolean {
    const uses = join(this.folder, USES, name);
    mkdirSync(uses, { recursive: true, mode: 0o700 });
    writeFileSync(join(uses, this.mark), "", { mode: 0o600 });
    // Whoever throws it away looks at the marks after it has taken its name: one of both sees the other.
    const isThere = existsSync(this.pathOf(name));
    if (isThere) this.touch(name);
    else this.unuse(name);
    return isThere;
  }

  /** @throws OutOfDiskError. */
  private useOrExplain(name: string): boolean {
    try {
      return this.use(name);
    } catch (error) {
      throw this.named(error);
    }
  }

  unuse(name: string): void {
    rmSync(join(this.folder, USES, name, this.mark), { force: true });
    this.touch(name);
  }

  private get mark(): string {
    return `${this.self}-${this.options.node}`;
  }

  private touch(name: string): void {
    try {
      utimesSync(this.infoOf(name), new Date(), new Date());
    } catch (error) {
      // It is not there, or not any more.
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
  }

  /**
   * Makes a folder unless it is there, or another process makes it meanwhile; it is used by this process then.
   *
   * @param fill fills an empty folder, and says how many bytes that takes.
   * @throws OutOfDiskError; what `fill` throws; nothing of it is left then.
   */
  async make(name: string, signal: AbortSignal, fill: (folder: string) => Promise<number>): Promise<string> {
    const path = this.pathOf(name);
    const lock = `${path}.lock`;
    for (;;) {
      if (this.useOrExplain(name)) return path;
      signal.throwIfAborted();
      if (this.lock(lock)) break;
      await delay(LOOK_MS, undefined, { signal }).catch(() => signal.throwIfAborted());
    }
    const making = `${path}.${this.self}-${randomBytes(4).toString("hex")}.tmp`;
    try {
      if (this.use(name)) return path;
      mkdirSync(making, { mode: 0o700 });
      const bytes = await fill(making);
      signal.throwIfAborted();
      writeFileSync(this.infoOf(name), JSON.stringify({ bytes }), { mode: 0o600 });
      if (!existsSync(path)) renameSync(making, path);
      this.use(name);
      return path;
    } catch (error) {
      throw this.named(error);
    } finally {
      await removeFolder(making);
      rmSync(lock, { force: true });
    }
  }

  private named(error: unknown): unknown {
    const { code, message } = error as NodeJS.ErrnoException;
    const isFull = code === "ENOSPC" || code === "EDQUOT" || /\b(ENOSPC|EDQUOT)\b/.test(message ?? "");
    if (!isFull || error instanceof OutOfDiskError) return error;
    return new OutOfDiskError(
      `the disk of ${this.folder} is full, where this node keeps environments: free some of it, set a smaller limit ` +
        `(MOBULA_ENV_CACHE_BYTES), or name another folder in MOBULA_CACHE_DIR (${message})`,
      { cause: error },
    );
  }

  /** False when another process has it. */
  private lock(path: string): boolean {
    try {
      const fd = openSync(path, "wx", 0o600);
      writeSync(fd, this.self);
      closeSync(fd);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw this.named(error);
    }
    let owner: string;
    try {
      owner = readFileSync(path, "utf8");
      // Whoever makes it writes its name a moment later.
      if (owner === "" && Date.now() - statSync(path).mtimeMs < LOOK_MS * 10) return false;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
      throw error;
    }
    // Another build of this process is as alive as one of another.
    if (this.isAlive(owner)) return false;
    rmSync(path, { force: true });
    return false;
  }

  private isAlive(mark: string): boolean {
    const [pid, started = ""] = mark.split("-");
    return this.options.isRunning(Number(pid), started);
  }

  /** What lies here. */
  list(): CachedUnit[] {
    return readdirSync(this.folder).flatMap((file) => {
      if (!file.endsWith(".json") || file === SCOPE) return [];
      const name = file.slice(0, -".json".length);
      const info = this.infoOf(name);
      const usedAtMs = statSync(info, { throwIfNoEntry: false })?.mtimeMs;
      if (usedAtMs === undefined) return [];
      return [{ name, bytes: bytesIn(info), usedAtMs, isUsed: this.isUsed(name) }];
    });
  }

  private isUsed(name: string): boolean {
    const uses = join(this.folder, USES, name);
    if (!existsSync(uses)) return false;
    let isUsed = false;
    for (const mark of readdirSync(uses)) {
      if (this.isAlive(mark)) isUsed = true;
      else rmSync(join(uses, mark), { force: true });
    }
    return isUsed;
  }

  /** Throws it away, unless somebody has begun to use it. */
  async remove(name: string): Promise<boolean> {
    const path = this.pathOf(name);
    const away = `${path}.${this.self}-${randomBytes(4).toString("hex")}.tmp`;
    try {
      renameSync(path, away);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    }
    if (this.isUsed(name) && existsSync(away)) {
      // Who uses it marked it before the name was taken, and may have seen it.
      if (!existsSync(path)) renameSync(away, path);
      else await removeFolder(away);
      return false;
    }
    rmSync(this.infoOf(name), { force: true });
    await removeFolder(away);
    return true;
  }

  /** What processes that are gone have left half made. */
  async sweep(): Promise<void> {
    for (const file of readdirSync(this.folder)) {
      const path = join(this.folder, file);
      const [, mark] = /\.(\d+-[^-]*)-[0-9a-f]{8}\.tmp$/.exec(file) ?? [];
      if (mark !== undefined && !this.isAlive(mark)) await removeFolder(path);
      else if (file.endsWith(".lock") && isOlder(path) && !this.isAlive(readOr(path, "")))
        rmSync(path, { force: true });
      else if (
        file.endsWith(".json") &&
        file !== SCOPE &&
        isOlder(path) &&
        !existsSync(path.slice(0, -".json".length))
      ) {
        rmSync(path, { force: true });
      }
    }
  }

  private infoOf(name: string): string {
    return `${this.pathOf(name)}.json`;
  }
}

const isOlder = (path: string): boolean =>
  Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now()) > ABANDONED_MS;

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return otherwise;
    throw error;
  }
}

function bytesIn(info: string): number {
  try {
    return (JSON.parse(readOr(info, "{}")) as { readonly bytes?: number }).bytes ?? 0;
  } catch {
    return 0; // It is being written.
  }
}

/** Also one whose folders cannot be written to. Not on this thread: packages have tens of thousands of files. */
async function removeFolder(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    if (!["EACCES", "EPERM", "ENOTEMPTY"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
    await allowWriting(path);
    await rm(path, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function allowWriting(folder: string): Promise<void> {
  await chmod(folder, 0o700);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    if (entry.isDirectory()) await allowWriting(join(folder, entry.name));
  }
}

/** Of all files below. */
export async function bytesBelow(folder: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) bytes += await bytesBelow(path);
    else bytes += (await lstat(path)).size;
  }
  return bytes;
}
