/** What nodes ask each other for on bulk connections: the list of files by its hash, and runs of the files in it. */
import type { StoredName } from "../base/ids.ts";
import { type FileEntry, type Hash, isFile, type Manifest } from "./manifest.ts";

/** Of one request; a file that is larger comes by itself. */
export const PACK_BYTES = 16 * 2 ** 20;
const NAME = /^code\.([0-9a-f]{64})(?:\.(\d{1,7})\.(\d{1,7}))?$/;

/** Entries of a manifest, from the one at `from` to that before `to`: their files, one after the other. */
export interface Pack {
  readonly manifest: Hash;
  readonly from: number;
  readonly to: number;
}

// Names of objects are all that is asked for otherwise; these are told from them by their beginning.
export const manifestName = (manifest: Hash): StoredName => `code.${manifest}` as StoredName;
export const packName = ({ manifest, from, to }: Pack): StoredName => `code.${manifest}.${from}.${to}` as StoredName;

/** @returns a pack, the hash of a manifest, or undefined when it names neither. */
export function readName(name: string): Pack | Hash | undefined {
  const [, manifest, from, to] = NAME.exec(name) ?? [];
  if (manifest === undefined) return undefined;
  return from === undefined ? manifest : { manifest, from: Number(from), to: Number(to) };
}

export const filesIn = ({ entries }: Manifest, from: number, to: number): readonly FileEntry[] =>
  entries.slice(from, to).filter(isFile);

/** Runs of files that are missing, none larger than a pack should be; each file once, however many there are of it. */
export function packsOf(hash: Hash, { entries }: Manifest, isMissing: (entry: FileEntry) => boolean): Pack[] {
  const packs: Pack[] = [];
  const asked = new Set<Hash>();
  let open: { from: number; bytes: number } | undefined;
  const close = (to: number): void => {
    if (open) packs.push({ manifest: hash, from: open.from, to });
    open = undefined;
  };
  for (const [index, entry] of entries.entries()) {
    if (!isFile(entry)) continue;
    if (asked.has(entry.hash) || !isMissing(entry)) {
      close(index);
      continue;
    }
    asked.add(entry.hash);
    if (open && open.bytes + entry.size > PACK_BYTES) close(index);
    open ??= { from: index, bytes: 0 };
    open.bytes += entry.size;
  }
  close(entries.length);
  return packs;
}
