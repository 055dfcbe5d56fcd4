import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { BucketTable, dealBands } from "../buckets.ts";
import { planComparisons } from "../comparisons.ts";
import { type Batch, makeBatches } from "../files.ts";
import { makeGroups, UnionFind } from "../groups.ts";
import { BANDS, HASHES, writeSeededSignature, writeSignature } from "../minhash.ts";
import { SHINGLE_WORDS, shinglesOf } from "../shingles.ts";
import type { ShingleSets } from "../sketch.ts";
import { similarity } from "../verify.ts";
import { change, makeText, random } from "./fixture.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const shingles = (words: readonly string[]) => shinglesOf(bytes(words.join(" ")));

/** Jaccard by definition, on sets of joined words. */
function jaccard(a: readonly string[], b: readonly string[]): number {
  const set = (words: readonly string[]) =>
    new Set(words.slice(SHINGLE_WORDS - 1).map((_, at) => words.slice(at, at + SHINGLE_WORDS).join(" ")));
  const left = set(a);
  const right = set(b);
  const shared = [...left].filter((each) => right.has(each)).length;
  return shared / (left.size + right.size - shared);
}

function sets(...each: Uint32Array[]): ShingleSets {
  const starts = new Uint32Array(each.length + 1);
  for (const [index, shingles] of each.entries()) starts[index + 1] = (starts[index] ?? 0) + shingles.length;
  const all = new Uint32Array(starts.at(-1) ?? 0);
  for (const [index, shingles] of each.entries()) all.set(shingles, starts[index]);
  return { starts, shingles: all, contents: Uint32Array.from({ length: each.length * 2 }, (_, at) => at + 1) };
}

describe("shingles", () => {
  test("there is one for each run of five words, each once, ascending", () => {
    const words = makeText(300, random(1));
    const found = shingles(words);
    expect(found.length).toBe(new Set(words.slice(4).map((_, at) => words.slice(at, at + 5).join(" "))).size);
    expect([...found]).toEqual([...found].sort((a, b) => a - b));
    expect(new Set(found).size).toBe(found.length);
  });

  test("a window depends on its own words only, wherever it stands", () => {
    fc.assert(
      fc.property(fc.array(fc.stringMatching(/^[a-z]{1,6}$/), { maxLength: 20 }), (before) => {
        const tail = ["one", "two", "three", "four", "five"];
        const [alone] = shingles(tail);
        expect(shingles([...before, ...tail])).toContain(alone);
      }),
    );
  });

  test("the order of words matters, punctuation and spaces do not", () => {
    expect(shinglesOf(bytes("a, b; (c)\n\td = e"))).toEqual(shinglesOf(bytes("a b c d e")));
    expect(shinglesOf(bytes("b a c d e"))).not.toEqual(shinglesOf(bytes("a b c d e")));
    expect(shinglesOf(bytes("ä ö ü é è"))).toHaveLength(1);
  });

  test("few words and binary content give none, and one-letter words never overflow", () => {
    expect(shinglesOf(bytes("just four words here"))).toHaveLength(0);
    expect(shinglesOf(bytes(""))).toHaveLength(0);
    expect(shinglesOf(new Uint8Array([97, 32, 98, 32, 0, 32, 99, 32, 100, 32, 101]))).toHaveLength(0);
    const words = Array.from({ length: 1_000 }, (_, at) => String.fromCharCode(97 + ((at * 7) % 26)));
    expect(shingles(words).length).toBe(26);
  });
});

describe("MinHash", () => {
  test("the share of equal numbers is close to the Jaccard similarity", () => {
    const next = random(2);
    for (const share of [0, 0.01, 0.03, 0.1, 0.3]) {
      const words = makeText(2_000, next);
      const changed = change(words, share, next);
      const signatures = new Int32Array(HASHES * 2);
      writeSignature(shingles(words), signatures, 0);
      writeSignature(shingles(changed), signatures, HASHES);
      let equal = 0;
      for (let hash = 0; hash < HASHES; hash++) if (signatures[hash] === signatures[HASHES + hash]) equal++;
      // Four standard deviations of an estimate from 120 draws.
      expect(Math.abs(equal / HASHES - jaccard(words, changed))).toBeLessThan(4 * Math.sqrt(0.25 / HASHES));
    }
  });

  test("seeded signatures are equal for equal seeds and share no number otherwise", () => {
    const signatures = new Int32Array(HASHES * 3);
    writeSeededSignature(5, signatures, 0);
    writeSeededSignature(5, signatures, HASHES);
    writeSeededSignature(6, signatures, HASHES * 2);
    expect(signatures.subarray(0, HASHES)).toEqual(signatures.subarray(HASHES, HASHES * 2));
    for (let hash = 0; hash < HASHES; hash++) expect(signatures[hash]).not.toBe(signatures[HASHES * 2 + hash]);
  });
});

describe("similarity", () => {
  test("it is the Jaccard similarity by definition", () => {
    const next = random(3);
    for (const share of [0, 0.02, 0.1, 0.5, 1]) {
      const words = makeText(400, next);
      const changed = change(words, share, next);
      const place = sets(shingles(words), shingles(changed));
      expect(similarity({ sets: place, index: 0 }, { sets: place, index: 1 })).toBeCloseTo(jaccard(words, changed), 12);
    }
  });

  test("without shingles only equal content is similar, and what could not be read never is", () => {
    const none = sets(new Uint32Array(0), new Uint32Array(0), new Uint32Array(0), new Uint32Array(0));
    none.contents.set([7, 8, 7, 8, 0, 0, 0, 0]);
    const at = (index: number) => ({ sets: none, index });
    expect(similarity(at(0), at(1))).toBe(1);
    expect(similarity(at(0), at(2))).toBe(0);
    expect(similarity(at(2), at(3))).toBe(0);
  });
});

describe("buckets", () => {
  /** Forty texts in batches of ten: ten originals, each with a copy, a near copy and a distant one. */
  function signaturesOf(seed: number) {
    const next = random(seed);
    const texts: string[][] = [];
    for (let original = 0; original < 10; original++) {
      const words = makeText(500, next);
      texts.push(words, words, change(words, 0.01, next), change(words, 0.5, next));
    }
    return Array.from({ length: 4 }, (_, batch) => {
      const signatures = new Int32Array(10 * HASHES);
      for (let file = 0; file < 10; file++)
        writeSignature(shingles(texts[batch * 10 + file] ?? []), signatures, file * HASHES);
      return signatures;
    });
  }
  const pairsOf = (...tables: BucketTable[]) => {
    const pairs = new Set<string>();
    for (const table of tables) {
      for (const chunk of table.candidates()) {
        for (let at = 0; at < chunk.length; at += 2) pairs.add(`${chunk[at]}-${chunk[at + 1]}`);
      }
    }
    return [...pairs].sort();
  };
  const filled = (bands: readonly number[], signatures: readonly Int32Array[], order: readonly number[]) => {
    const table = new BucketTable(bands);
    for (const batch of order) table.add(batch, batch * 10, signatures[batch] ?? new Int32Array(0));
    return table;
  };

  test("copies and near copies become candidates, unrelated texts do not", () => {
    const [bands = []] = dealBands(1);
    const pairs = pairsOf(filled(bands, signaturesOf(4), [0, 1, 2, 3]));
    const related = new UnionFind(40);
    for (const pair of pairs) {
      const [a = 0, b = 0] = pair.split("-").map(Number);
      expect(Math.floor(a / 4)).toBe(Math.floor(b / 4));
      related.union(a, b);
    }
    for (let original = 0; original < 40; original += 4) {
      expect([related.find(original + 1), related.find(original + 2)]).toEqual([original, original]);
    }
  });

  test("the pairs depend neither on the order of adding, nor on repeats, nor on how the bands are dealt", () => {
    const signatures = signaturesOf(5);
    const [all = []] = dealBands(1);
    const expected = pairsOf(filled(all, signatures, [0, 1, 2, 3]));
    expect(pairsOf(filled(all, signatures, [3, 1, 0, 2, 1, 3]))).toEqual(expected);
    for (const tables of [2, 3, 7]) {
      expect(pairsOf(...dealBands(tables).map((bands) => filled(bands, signatures, [2, 0, 3, 1])))).toEqual(expected);
    }
  });

  test("a table names the batches it does not have", () => {
    const table = filled([0], signaturesOf(6), [0, 2]);
    expect(table.missing(4)).toEqual([1, 3]);
    expect(filled([0], signaturesOf(6), []).missing(2)).toEqual([0, 1]);
  });

  test("many equal files cost one pair each", () => {
    const signatures = new Int32Array(500 * HASHES);
    for (let file = 0; file < 500; file++) writeSeededSignature(1, signatures, file * HASHES);
    const table = new BucketTable(dealBands(1)[0] ?? []);
    table.add(0, 0, signatures);
    expect(pairsOf(table)).toHaveLength(499);
  });

  test("every band is dealt to exactly one table", () => {
    for (const tables of [1, 2, 5, BANDS]) {
      expect(
        dealBands(tables)
          .flat()
          .sort((a, b) => a - b),
      ).toEqual(Array.from({ length: BANDS }, (_, band) => band));
    }
  });
});

describe("comparison tasks", () => {
  test("each pair is in exactly one task, and its places lead back to its files", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.uniqueArray(fc.tuple(fc.nat(), fc.nat()), { maxLength: 300 }),
        (batchCount, drawn) => {
          const batches: Batch[] = Array.from({ length: batchCount }, (_, index) => ({
            index,
            first: index * 5,
            files: Array.from({ length: 5 }, (_, file) => ({ path: `${index}/${file}`, bytes: 1 })),
          }));
          const wanted = new Set(drawn.map(([x, y]) => `${x % (batchCount * 5)}-${y % (batchCount * 5)}`));
          const pairs = Uint32Array.from([...wanted].flatMap((pair) => pair.split("-").map(Number)));
          const seen: string[] = [];
          for (const { batches: needed, places, files } of planComparisons(batches, pairs)) {
            expect(needed.length).toBeLessThanOrEqual(12);
            for (let pair = 0; pair < files.length / 2; pair++) {
              seen.push(`${files[pair * 2]}-${files[pair * 2 + 1]}`);
              for (const side of [0, 1]) {
                const slot = places[pair * 4 + side * 2] ?? -1;
                expect((needed[slot] ?? -1) * 5 + (places[pair * 4 + side * 2 + 1] ?? -1)).toBe(files[pair * 2 + side]);
              }
            }
          }
          expect(seen.sort()).toEqual([...wanted].sort());
        },
      ),
    );
  });

  test("batches hold consecutive files, all of them, and none is empty", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 3_000_000 }), { maxLength: 2_000 }), (sizes) => {
        const files = sizes.map((size, index) => ({ path: `f${index}`, bytes: size }));
        const batches = makeBatches(files);
        expect(batches.flatMap((batch) => batch.files)).toEqual(files);
        let first = 0;
        for (const [index, batch] of batches.entries()) {
          expect(batch).toMatchObject({ index, first });
          expect(batch.files.length).toBeGreaterThan(0);
          first += batch.files.length;
        }
      }),
    );
  });
});

describe("groups", () => {
  test("union-find gives the connected components, named by their smallest member", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(49), fc.nat(49)), { maxLength: 60 }), (edges) => {
        const sets = new UnionFind(50);
        const labels = Array.from({ length: 50 }, (_, index) => index);
        for (const [a, b] of edges) {
          sets.union(a, b);
          const [from, to] = [labels[a] ?? a, labels[b] ?? b];
          for (const [index, label] of labels.entries())
            if (label === from || label === to) labels[index] = Math.min(from, to);
        }
        expect(labels.map((_, index) => sets.find(index))).toEqual(labels);
      }),
    );
  });

  test("waste is what all but the largest file take, and the most wasteful group comes first", () => {
    const files = [10, 20, 300, 7, 300, 5].map((bytes, index) => ({ path: `f${index}`, bytes }));
    const groups = makeGroups(files, [
      { a: 0, b: 1, similarity: 0.9 },
      { a: 2, b: 4, similarity: 1 },
      { a: 1, b: 3, similarity: 0.85 },
    ]);
    expect(
      groups.map(({ wastedBytes, similarity, files }) => [files.map(({ path }) => path), wastedBytes, similarity]),
    ).toEqual([
      [["f2", "f4"], 300, 1],
      [["f0", "f1", "f3"], 17, 0.85],
    ]);
  });
});
