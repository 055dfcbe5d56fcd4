/**
 * Keys and values that tools and actors keep with control, through the questions `kv-get`, `kv-list` and `kv-commit`: what must
 * outlive them, and the head too. Everything lies under a prefix of its own in the state store, and all of it is bounded.
 */
import { InvalidOptionError, MobulaError } from "../base/errors.ts";
import type { KvChange, KvEntry, Queries } from "../wire/queries.ts";
import type { StateStore } from "./kv.ts";

const PREFIX = "kv/";
const KEY_CHARS_MAX = 512;
const VALUE_BYTES_MAX = 256 * 1024;
const CHANGES_MAX = 100;
const KEYS_MAX = 100_000;
const BYTES_MAX = 512 * 2 ** 20;
/** Of one answer, which must fit into a frame. */
const LIST_MAX = 1_000;
const LIST_BYTES_MAX = 8 * 2 ** 20;

type KvMethod = "kv-get" | "kv-list" | "kv-commit";
export const isAboutKv = ({ method }: { readonly method: string }): boolean =>
  method === "kv-get" || method === "kv-list" || method === "kv-commit";

export class KvQuestions {
  private readonly state: Pick<StateStore, "get" | "list" | "commit">;
  /** Bytes of each key and its value; read once, since nobody else writes below the prefix. */
  private sizes: Promise<Map<string, number>> | undefined;

  constructor(state: Pick<StateStore, "get" | "list" | "commit">) {
    this.state = state;
  }

  /** @throws InvalidOptionError; MobulaError when the limit is reached, or the store cannot write. */
  answer({
    method,
    params,
  }: {
    readonly method: string;
    readonly params: unknown;
  }): Promise<Queries[KvMethod]["result"]> {
    // Whoever asks may be of another version: what it says is checked.
    const asked = (params ?? {}) as { readonly [field: string]: unknown };
    if (method === "kv-get") return this.get(asked);
    return method === "kv-list" ? this.list(asked) : this.commit(asked);
  }

  private async get({ key }: { readonly key?: unknown }): Promise<Queries["kv-get"]["result"]> {
    const entry = await this.state.get(PREFIX + checkedKey(key));
    return entry ? { value: entry.value, revision: entry.revision } : null;
  }

  private async list(asked: {
    readonly prefix?: unknown;
    readonly after?: unknown;
    readonly limit?: unknown;
    readonly keysOnly?: unknown;
  }): Promise<Queries["kv-list"]["result"]> {
    const { prefix, after = "", limit = LIST_MAX, keysOnly = false } = asked;
    if (typeof prefix !== "string" || typeof after !== "string" || typeof limit !== "number" || !(limit >= 1)) {
      throw new InvalidOptionError("kv-list needs a prefix, and may have a key `after` and a `limit`");
    }
    const all = await this.state.list(PREFIX + prefix);
    const entries: KvEntry[] = [];
    let bytes = 0;
    let at = all.findIndex(({ key }) => key > PREFIX + after);
    for (; at >= 0 && at < all.length; at++) {
      const { key, value, revision } = all[at] as (typeof all)[number];
      bytes += key.length + (keysOnly === true ? 0 : value.length);
      if (entries.length >= Math.min(limit, LIST_MAX) || (entries.length > 0 && bytes > LIST_BYTES_MAX)) break;
      entries.push({ key: key.slice(PREFIX.length), revision, ...(keysOnly !== true && { value }) });
    }
    return { entries, isLast: at < 0 || at >= all.length };
  }

  private async commit({ changes }: { readonly changes?: unknown }): Promise<Queries["kv-commit"]["result"]> {
    if (!Array.isArray(changes) || changes.length === 0 || changes.length > CHANGES_MAX) {
      throw new InvalidOptionError(`kv-commit needs 1 to ${CHANGES_MAX} changes`);
    }
    const checked = changes.map(checkedChange);
    this.sizes ??= this.sizesNow();
    const sizes = await this.sizes;
    checkRoom(sizes, checked);
    const outcome = await new Promise<Parameters<Parameters<StateStore["commit"]>[1]>[0]>((resolve) => {
      this.state.commit(
        checked.map((change) => ({ ...change, key: PREFIX + change.key })),
        resolve,
      );
    });
    switch (outcome.kind) {
      case "committed":
        for (const { key, value } of checked) {
          if (value === null) sizes.delete(key);
          else sizes.set(key, key.length + value.length);
        }
        return { kind: "committed", revision: outcome.revision };
      case "conflict":
        return { kind: "conflict", key: outcome.key.slice(PREFIX.length), revision: outcome.revision };
      case "failed":
        throw outcome.error;
    }
  }

  private async sizesNow(): Promise<Map<string, number>> {
    const entries = await this.state.list(PREFIX);
    return new Map(
      entries.map(({ key, value }) => [key.slice(PREFIX.length), key.length - PREFIX.length + value.length]),
    );
  }
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

function checkRoom(sizes: ReadonlyMap<string, number>, changes: readonly KvChange[]): void {
  const grows = changes.some(({ key, value }) => value !== null && key.length + value.length > (sizes.get(key) ?? 0));
  if (!grows) return;
  let bytes = 0;
  for (const size of sizes.values()) bytes += size;
  let keys = sizes.size;
  for (const { key, value } of changes) {
    bytes += (value === null ? 0 : key.length + value.length) - (sizes.get(key) ?? 0);
    keys += (value === null ? 0 : 1) - (sizes.has(key) ? 1 : 0);
  }
  if (keys <= KEYS_MAX && bytes <= BYTES_MAX) return;
  throw new MobulaError(
    "KV_FULL",
    "exhausted",
    `control keeps at most ${KEYS_MAX} keys and ${BYTES_MAX} bytes for tools; delete some`,
  );
}
