/** The first step, for one batch: read the files, shingle them, and compute their signatures. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Batch } from "./files.ts";
import { HASHES, writeSeededSignature, writeSignature } from "./minhash.ts";
import { mix, shinglesOf } from "./shingles.ts";

/** The shingles of all files of a batch in one array, so that other processes can view it without copying. */
export interface ShingleSets {
  /** Where each file's shingles begin; one more at the end. */
  readonly starts: Uint32Array;
  readonly shingles: Uint32Array;
  /** Two numbers for each file: the first 64 bits of the SHA-256 of its content. Zeros for one that cannot be read. */
  readonly contents: Uint32Array;
}

export interface Sketch {
  readonly bytesRead: number;
  readonly filesUnreadable: number;
  /** {@link HASHES} numbers for each file. */
  readonly signatures: Int32Array;
  readonly sets: ShingleSets;
}

export function sketch(folder: string, batch: Batch): Sketch {
  const count = batch.files.length;
  const signatures = new Int32Array(count * HASHES);
  const starts = new Uint32Array(count + 1);
  const contents = new Uint32Array(count * 2);
  const found: Uint32Array[] = [];
  let bytesRead = 0;
  let filesUnreadable = 0;
  let total = 0;
  for (const [index, file] of batch.files.entries()) {
    const text = readIfPossible(join(folder, file.path));
    const at = index * HASHES;
    let shingles: Uint32Array = new Uint32Array(0);
    if (text === undefined) {
      filesUnreadable++;
      writeSeededSignature(mix(batch.first + index), signatures, at);
    } else {
      bytesRead += text.length;
      const digest = createHash("sha256").update(text).digest();
      contents[index * 2] = digest.readUInt32LE(0);
      contents[index * 2 + 1] = digest.readUInt32LE(4);
      shingles = shinglesOf(text);
      if (shingles.length > 0) writeSignature(shingles, signatures, at);
      else writeSeededSignature(digest.readUInt32LE(0), signatures, at);
    }
    found.push(shingles);
    total += shingles.length;
    starts[index + 1] = total;
  }
  const shingles = new Uint32Array(total);
  for (const [index, each] of found.entries()) shingles.set(each, starts[index] ?? 0);
  return { bytesRead, filesUnreadable, signatures, sets: { starts, shingles, contents } };
}

/** Undefined for a file that vanished or is not ours to read; it is counted and shown. */
function readIfPossible(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch {
    return undefined;
  }
}
