/**
 * Working directories as they were uploaded: zip files in a folder beside the head's state, by their names, which hold a hash of what is
 * in them. The least recently used ones that no job needs make room for new ones.
 */
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, open, readdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { InvalidOptionError, MobulaError } from "../base/errors.ts";
import { randomBytes } from "../base/random.ts";

export interface PackageLimits {
  readonly packageBytesMax: number;
  readonly allBytesMax: number;
}

const LIMITS: PackageLimits = { packageBytesMax: 1 * 2 ** 30, allBytesMax: 8 * 2 ** 30 };
/** What was uploaded or asked for so recently is about to be used by a job that nobody knows of yet. */
const PINNED_MS = 10 * 60_000;
/** An upload that has stopped. */
const BROKEN_MS = 60 * 60_000;
const NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,200}\.zip$/;
const PROTOCOL = "gcs://";

export interface Package {
  readonly path: string;
  readonly bytes: number;
  /** Of the file, SHA-256. */
  readonly hash: string;
}

/** Where packages are beside this folder. */
export interface Elsewhere {
  content(uri: string): Promise<AsyncIterable<Uint8Array> | undefined>;
  /** Why it is not there. */
  add(uri: string, found: Package): Promise<string | undefined>;
}

export class Packages {
  private readonly folder: string;
  private readonly limits: PackageLimits;
  private readonly isNeeded: (uri: string) => boolean;
  private readonly elsewhere: Elsewhere | undefined;

  /** @param isNeeded by a job that has not ended. */
  constructor(
    folder: string,
    isNeeded: (uri: string) => boolean,
    limits: PackageLimits = LIMITS,
    elsewhere?: Elsewhere,
  ) {
    this.folder = folder;
    this.isNeeded = isNeeded;
    this.limits = limits;
    this.elsewhere = elsewhere;
  }

  /** Undefined when there is none. Its use counts from now on. @throws InvalidOptionError for what is no name of a package. */
  async find(uri: string): Promise<Package | undefined> {
    const here = await this.findHere(uri);
    if (here || !this.elsewhere) return here;
    const content = await this.elsewhere.content(uri);
    if (!content) return undefined;
    await this.keep(uri, content);
    return this.findHere(uri);
  }

  private async findHere(uri: string): Promise<Package | undefined> {
    const path = this.pathOf(uri);
    try {
      const [{ size }, hash] = await Promise.all([stat(path), readFile(`${path}.sha256`, "utf8")]);
      await utimes(path, new Date(), new Date());
      return { path, bytes: size, hash };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw error;
    }
  }

  /**
   * Keeps what comes under a name. A package that is there stays as it is: jobs may be reading it, and its name says what is in it.
   *
   * @returns what whoever brings it should know.
   * @throws InvalidOptionError for a wrong name, or more than a package may have; MobulaError without room.
   */
  async add(uri: string, content: AsyncIterable<Uint8Array>): Promise<string | undefined> {
    await this.keep(uri, content);
    const found = await this.findHere(uri);
    return found && this.elsewhere?.add(uri, found);
  }

  private async keep(uri: string, content: AsyncIterable<Uint8Array>): Promise<void> {
    const path = this.pathOf(uri);
    await mkdir(this.folder, { recursive: true, mode: 0o700 });
    const half = join(this.folder, `uploading-${randomBytes(8).toString("hex")}`);
    const { packageBytesMax } = this.limits;
    const sum = createHash("sha256");
    let bytes = 0;
    const counting = new Transform({
      transform: (chunk: Uint8Array, _encoding, done) => {
        bytes += chunk.length;
        sum.update(chunk);
        if (bytes <= packageBytesMax) done(null, chunk);
        else
          done(
            new InvalidOptionError(
              `a package has at most ${packageBytesMax} bytes; leave out what the job does not need`,
            ),
          );
      },
    });
    try {
      await pipeline(content, counting, createWriteStream(half, { mode: 0o600 }));
      await this.makeRoom(bytes);
      if ((await this.findHere(uri)) !== undefined) return;
      // The hash first: a package without one is not there.
      await writeFile(`${path}.sha256`, sum.digest("hex"), { mode: 0o600 });
      await rename(half, path);
    } finally {
      await rm(half, { force: true });
    }
  }

  private pathOf(uri: string): string {
    const name = uri.startsWith(PROTOCOL) ? uri.slice(PROTOCOL.length) : "";
    if (!NAME.test(name)) throw new InvalidOptionError(`"${uri}" names no package; it must be gcs://….zip`);
    return join(this.folder, name);
  }

  private async makeRoom(bytes: number): Promise<void> {
    const nowMs = Date.now();
    const kept: { name: string; bytes: number; usedMs: number }[] = [];
    for (const name of await readdir(this.folder)) {
      const status = await stat(join(this.folder, name)).catch(() => undefined);
      if (!status) continue;
      if (name.endsWith(".zip")) kept.push({ name, bytes: status.size, usedMs: status.mtimeMs });
      else if (name.startsWith("uploading-") && nowMs - status.mtimeMs > BROKEN_MS) await rm(join(this.folder, name));
    }
    let total = bytes + kept.reduce((sum, each) => sum + each.bytes, 0);
    for (const { name, bytes: size, usedMs } of kept.sort((a, b) => a.usedMs - b.usedMs)) {
      if (total <= this.limits.allBytesMax) return;
      if (nowMs - usedMs < PINNED_MS || this.isNeeded(PROTOCOL + name)) continue;
      for (const file of [name, `${name}.sha256`]) await rm(join(this.folder, file), { force: true });
      total -= size;
    }
    if (total <= this.limits.allBytesMax) return;
    throw new MobulaError(
      "PACKAGES_FULL",
      "exhausted",
      `packages have at most ${this.limits.allBytesMax} bytes together, and jobs that have not ended need those that are there`,
    );
  }
}

/** In pieces, as they are sent to nodes. */
export async function* piecesOf(
  { path, bytes }: Package,
  pieceBytes: number,
): AsyncGenerator<{ offset: number; piece: Uint8Array }> {
  const file = await open(path, "r");
  try {
    // An empty one has one piece too, which says that it is whole.
    for (let offset = 0; offset === 0 || offset < bytes; offset += pieceBytes) {
      const piece = Buffer.alloc(Math.min(pieceBytes, bytes - offset));
      const { bytesRead } = await file.read(piece, 0, piece.length, offset);
      yield { offset, piece: piece.subarray(0, bytesRead) };
    }
  } finally {
    await file.close();
  }
}
