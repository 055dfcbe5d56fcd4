/**
 * Keys and values that tools and actors keep with control, through the questions `kv-get`, `kv-list` and `kv-commit`: what must
 * outlive them, and the head too. Everything lies under a prefix of its own in the state store, and all of it is bounded.
 */
import { unreachable } from "../base/assert.ts";
import { InvalidOptionError, MobulaError } from "../base/errors.ts";
import type { KvChange, KvEntry, Queries } from "../wire/queries.ts";
import type { CommitOutcome, StateStore } from "./kv.ts";

const PREFIX = "kv/";
const KEY_CHARS_MAX = 512;
const VALUE_BYTES_MAX = 256 * 1024;
const CHANGES_MAX = 100;
const KEYS_MAX = 100_000;
/** They are kept in memory too. */
const BYTES_MAX = 128 * 2 ** 20;
/** Of one answer, which must fit into a frame. */
const LIST_BYTES_MAX = 8 * 2 ** 20;

type KvAnswer = Queries["kv-get" | "kv-list" | "kv-commit"]["result"];
export const isAboutKv = ({ method }: { readonly method: string }): boolean =>
  method === "kv-get" || method === "kv-list" || method === "kv-commit";

export class KvQuestions {
  private readonly state: Pick<StateStore, "list" | "commit">;
  /** What lies below the prefix: read once, since nobody else writes there, so that questions cost the disk nothing. */
  private kept: Promise<Kept> | undefined;

  constructor(state: Pick<StateStore, "list" | "commit">) {
    this.state = state;
  }

  /** @throws InvalidOptionError; MobulaError when the limit is reached, or the store cannot write. */
  async answer({ method, params }: { readonly method: string; readonly params: unknown }): Promise<KvAnswer> {
    this.kept ??= this.read();
    const kept = await this.kept;
    // Whoever asks may be of another version: what it says is checked.
    const asked = (params ?? {}) as { readonly [field: string]: unknown };
    if (method === "kv-get") {
      const entry = kept.entries.get(checkedKey(asked.key));
      return entry ? { value: entry.value, revision: entry.revision } : null;
    }
    return method === "kv-list" ? list(kept, asked) : this.commit(kept, asked);
  }

  private async commit(kept: Kept, { changes }: { readonly changes?: unknown }): Promise<KvAnswer> {
    if (!Array.isArray(changes) || changes.length === 0 || changes.length > CHANGES_MAX) {
      throw new InvalidOptionError(`kv-commit needs 1 to ${CHANGES_MAX} changes`);
    }
    const checked = changes.map(checkedChange);
    checkRoom(kept, checked);
    const outcome = await new Promise<CommitOutcome>((resolve) => {
      this.state.commit(
        checked.map((change) => ({ ...change, key: PREFIX + change.key })),
        resolve,
      );
    });
    switch (outcome.kind) {
      case "committed":
        for (const { key, value } of checked) kept.write(key, value, outcome.revision);
        return { kind: "committed", revision: outcome.revision };
      case "conflict":
        return { kind: "conflict", key: outcome.key.slice(PREFIX.length), revision: outcome.revision };
      case "failed":
        throw outcome.error;
      default:
        return unreachable(outcome);
    }
  }

  private async read(): Promise<Kept> {
    const kept = new Kept();
    for (const { key, value, revision } of await this.state.list(PREFIX)) {
      kept.write(key.slice(PREFIX.length), value, revision);
    }
    return kept;
  }
}

class Kept {
  readonly entries = new Map<string, { readonly value: Uint8Array; readonly revision: number }>();
  bytes = 0;

  write(key: string, value: Uint8Array | null, revision: number): void {
    this.bytes -= this.sizeOf(key);
    if (value === null) this.entries.delete(key);
    else this.entries.set(key, { value, revision });
    this.bytes += this.sizeOf(key);
  }

  sizeOf(key: string): number {
    const entry = this.entries.get(key);
    return entry ? key.length + entry.value.length : 0;
  }
}

function list(
  { entries: kept }: Kept,
  asked: {
    readonly prefix?: unknown;
    readonly after?: unknown;
    readonly limit?: unknown;
    readonly keysOnly?: unknown;
  },
): Queries["kv-list"]["result"] {
  const { prefix, after = "", limit = KEYS_MAX, keysOnly = false } = asked;
  if (typeof prefix !== "string" || typeof after !== "string" || typeof limit !== "number" || !(limit >= 1)) {
    throw new InvalidOptionError("kv-list needs a prefix, and may have a key `after` and a `limit`");
  }
  const keys = [...kept.keys()].filter((key) => key.startsWith(prefix) && key > after).sort();
  const entries: KvEntry[] = [];
  let bytes = 0;
  for (const key of keys) {
    const { value, revision } = kept.get(key) as { value: Uint8Array; revision: number }; // One of its keys.
    bytes += key.length + (keysOnly === true ? 0 : value.length);
    if (entries.length >= limit || (entries.length > 0 && bytes > LIST_BYTES_MAX)) return { entries, isLast: false };
    entries.push({ key, revision, ...(keysOnly !== true && { value }) });
  }
  return { entries, isLast: true };
}

function checkedKey(key: unknown): string {
  if (typeof key !== "string" || key === "" || key.length > KEY_CHARS_MAX) {
    throw new InvalidOptionError(`a key has 1 to ${KEY_CHARS_MAX} characters`);
  }
  return key;
}

function checkedChange(given: unknown): KvChange {
  const { key, value, expect } = (given ?? {}) as { readonly [field: string]: unknown };
  if (value !== null && !(value instanceof Uint8Array && value.length <= VALUE_BYTES_MAX)) {
    throw new InvalidOptionError(`a value has at most ${VALUE_BYTES_MAX} bytes; null deletes the key`);
  }
  if (expect !== undefined && !(typeof expect === "number" && Number.isSafeInteger(expect) && expect >= 0)) {
    throw new InvalidOptionError("`expect` is the revision that the key has, or 0 if there is to be none");
  }
  return { key: checkedKey(key), value, ...(expect !== undefined && { expect }) };
}

function checkRoom(kept: Kept, changes: readonly KvChange[]): void {
  let [bytes, keys] = [kept.bytes, kept.entries.size];
  for (const { key, value } of changes) {
    bytes += (value === null ? 0 : key.length + value.length) - kept.sizeOf(key);
    keys += (value === null ? 0 : 1) - (kept.entries.has(key) ? 1 : 0);
  }
  // What makes room is always taken.
  const isFull = (bytes > kept.bytes && bytes > BYTES_MAX) || (keys > kept.entries.size && keys > KEYS_MAX);
  if (!isFull) return;
  throw new MobulaError(
    "KV_FULL",
    "exhausted",
    `control keeps at most ${KEYS_MAX} keys and ${BYTES_MAX} bytes for tools; delete some`,
  );
}
