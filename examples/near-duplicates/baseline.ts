/** The whole algorithm in one process: what the distributed run is measured against, and must agree with. */
import { BucketTable, dealBands } from "./buckets.ts";
import { type Listing, makeBatches } from "./files.ts";
import { type Group, makeGroups, type SimilarPair } from "./groups.ts";
import { type ShingleSets, sketch } from "./sketch.ts";
import { similarity } from "./verify.ts";

export interface Outcome {
  readonly groups: readonly Group[];
  readonly bytesRead: number;
  readonly filesUnreadable: number;
  readonly pairsCompared: number;
  readonly seconds: number;
}

/** @param onRead called with the number of files of each batch that was read. */
export function runBaseline(listing: Listing, threshold: number, onRead: (files: number) => void = () => {}): Outcome {
  const startedAtMs = performance.now();
  const [bands = []] = dealBands(1);
  const table = new BucketTable(bands);
  const batches = makeBatches(listing.files);
  const sets: ShingleSets[] = [];
  // For each file, its batch and its place there.
  const batchOf = new Uint32Array(listing.files.length);
  let bytesRead = 0;
  let filesUnreadable = 0;
  for (const batch of batches) {
    const result = sketch(listing.folder, batch);
    table.add(batch.index, batch.first, result.signatures);
    sets.push(result.sets);
    batchOf.fill(batch.index, batch.first, batch.first + batch.files.length);
    bytesRead += result.bytesRead;
    filesUnreadable += result.filesUnreadable;
    onRead(batch.files.length);
  }
  const place = (file: number) => {
    const batch = batchOf[file] ?? 0;
    const found = sets[batch];
    const first = batches[batch]?.first;
    if (found === undefined || first === undefined) throw new RangeError(`there is no file ${file}`);
    return { sets: found, index: file - first };
  };
  const similar: SimilarPair[] = [];
  let pairsCompared = 0;
  for (const chunk of table.candidates()) {
    for (let at = 0; at < chunk.length; at += 2) {
      const a = chunk[at] ?? 0;
      const b = chunk[at + 1] ?? 0;
      const value = similarity(place(a), place(b));
      if (value >= threshold) similar.push({ a, b, similarity: value });
      pairsCompared++;
    }
  }
  const groups = makeGroups(listing.files, similar);
  return { groups, bytesRead, filesUnreadable, pairsCompared, seconds: (performance.now() - startedAtMs) / 1000 };
}
