/**
 * Packages beside the records of the jobs that need them, where several heads keep these: in pieces, by their hash, so that a head that
 * leads later has them. All of it is in the memory of the head that leads, so it is bounded: what is larger stays with the head that took it.
 */
import { wallMs } from "../base/clock.ts";
import type { Ask } from "./known-jobs.ts";
import { type Package, piecesOf } from "./packages.ts";

export interface SharedLimits {
  readonly packageBytesMax: number;
  readonly allBytesMax: number;
}

const LIMITS: SharedLimits = { packageBytesMax: 16 * 2 ** 20, allBytesMax: 64 * 2 ** 20 };
/** As large as control takes a value. */
const PIECE_BYTES = 256 * 1024;
/** One record of the replicated log. */
const PIECES_AT_ONCE = 3;
/** What was shared so recently is about to be used by a job that nobody knows of yet. */
const PINNED_MS = 10 * 60_000;
const NAME_PREFIX = "package/";
const PIECE_PREFIX = "package-piece/";
const LAYOUT = 1;

interface Shared {
  readonly layout: number;
  readonly hash: string;
  readonly bytes: number;
  readonly sharedAtMs: number;
}

export class SharedPackages {
  private readonly ask: Ask;
  private readonly isNeeded: (uri: string) => boolean;
  private readonly limits: SharedLimits;
  private isReplicated: Promise<boolean> | undefined;

  /** @param isNeeded by a job that has not ended. */
  constructor(ask: Ask, isNeeded: (uri: string) => boolean, limits: SharedLimits = LIMITS) {
    this.ask = ask;
    this.isNeeded = isNeeded;
    this.limits = limits;
  }

  /** Why it is with this head only; undefined when it is where any head finds it. @throws what control says. */
  async add(uri: string, found: Package): Promise<string | undefined> {
    if (!(await this.areHeadsSeveral())) return undefined;
    const { packageBytesMax } = this.limits;
    if (found.bytes > packageBytesMax) {
      return `the package has ${found.bytes} bytes, and more than ${packageBytesMax} are kept only by the head that took them: a job that has to be started after another head has begun to lead fails`;
    }
    if ((await this.find(uri)) !== undefined) return undefined;
    if (!(await this.makeRoom(found.bytes))) {
      return `packages that all heads have may have ${this.limits.allBytesMax} bytes together, and jobs need those that there are: this one is kept only by the head that took it`;
    }
    let changes: { key: string; value: Uint8Array }[] = [];
    const commit = async (): Promise<void> => {
      if (changes.length > 0) await this.ask("kv-commit", { changes });
      changes = [];
    };
    for await (const { offset, piece } of piecesOf(found, PIECE_BYTES)) {
      changes.push({ key: pieceKey(found.hash, offset / PIECE_BYTES), value: piece });
      if (changes.length >= PIECES_AT_ONCE) await commit();
    }
    await commit();
    // Last: what has a name is whole.
    const shared: Shared = { layout: LAYOUT, hash: found.hash, bytes: found.bytes, sharedAtMs: wallMs() };
    await this.ask("kv-commit", { changes: [{ key: NAME_PREFIX + uri, value: Buffer.from(JSON.stringify(shared)) }] });
    return undefined;
  }

  /** What is in it; undefined when it is not there. */
  async content(uri: string): Promise<AsyncGenerator<Uint8Array> | undefined> {
    const shared = await this.find(uri);
    return shared && this.piecesOf(shared);
  }

  private async *piecesOf({ hash, bytes }: Shared): AsyncGenerator<Uint8Array> {
    for (let at = 0; at * PIECE_BYTES < bytes; at++) {
      const kept = await this.ask("kv-get", { key: pieceKey(hash, at) });
      if (!kept) throw new Error(`piece ${at} of package ${hash} is not there`);
      yield kept.value;
    }
  }

  private async find(uri: string): Promise<Shared | undefined> {
    const kept = await this.ask("kv-get", { key: NAME_PREFIX + uri });
    return kept ? sharedOf(kept.value) : undefined;
  }

  private async makeRoom(bytes: number): Promise<boolean> {
    const kept: (Shared & { readonly uri: string })[] = [];
    for (let after = ""; ; ) {
      const { entries, isLast } = await this.ask("kv-list", { prefix: NAME_PREFIX, after });
      for (const { key, value } of entries) {
        const shared = value && sharedOf(value);
        if (shared) kept.push({ ...shared, uri: key.slice(NAME_PREFIX.length) });
      }
      after = entries.at(-1)?.key ?? after;
      if (isLast) break;
    }
    let total = bytes + kept.reduce((sum, each) => sum + each.bytes, 0);
    for (const each of kept.sort((a, b) => a.sharedAtMs - b.sharedAtMs)) {
      if (total <= this.limits.allBytesMax) break;
      if (wallMs() - each.sharedAtMs < PINNED_MS || this.isNeeded(each.uri)) continue;
      await this.remove(each, kept);
      total -= each.bytes;
    }
    return total <= this.limits.allBytesMax;
  }

  private async remove(
    { uri, hash, bytes }: Shared & { readonly uri: string },
    all: readonly (Shared & { readonly uri: string })[],
  ): Promise<void> {
    await this.ask("kv-commit", { changes: [{ key: NAME_PREFIX + uri, value: null }] });
    // Two names may be of the same bytes.
    if (all.some((other) => other.uri !== uri && other.hash === hash)) return;
    for (let at = 0; at * PIECE_BYTES < bytes; at++) {
      await this.ask("kv-commit", { changes: [{ key: pieceKey(hash, at), value: null }] });
    }
  }

  private areHeadsSeveral(): Promise<boolean> {
    this.isReplicated ??= this.ask("heads", null).then(
      ({ state }) => state !== null,
      (error: { readonly kind?: string }) => {
        this.isReplicated = undefined;
        // A node without a head says that it has none.
        if (error.kind === "invalid") return false;
        throw error;
      },
    );
    return this.isReplicated;
  }
}

const pieceKey = (hash: string, at: number): string => `${PIECE_PREFIX}${hash}/${String(at).padStart(6, "0")}`;

function sharedOf(value: Uint8Array): Shared | undefined {
  const shared = JSON.parse(Buffer.from(value).toString()) as Shared;
  return shared.layout === LAYOUT ? shared : undefined;
}
