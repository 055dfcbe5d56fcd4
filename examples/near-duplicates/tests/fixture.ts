/** Folders with known near-duplicates, made from a seed. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { mix } from "../shingles.ts";

export interface Fixture extends Disposable {
  readonly folder: string;
  write(path: string, content: string | Uint8Array): void;
}

export function makeFixture(): Fixture {
  const folder = mkdtempSync(join(tmpdir(), "near-duplicates-"));
  return {
    folder,
    write(path, content) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), content);
    },
    [Symbol.dispose]() {
      rmSync(folder, { recursive: true });
    },
  };
}

export function random(seed: number): () => number {
  let state = mix(seed);
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    return mix(state) / 2 ** 32;
  };
}

/** So many words, drawn from a vocabulary of 5,000. */
export function makeText(words: number, next: () => number): string[] {
  return Array.from({ length: words }, () => `w${Math.floor(next() * 5_000).toString(36)}`);
}

/** The text with each word replaced with the probability `share`. */
export function change(words: readonly string[], share: number, next: () => number): string[] {
  return words.map((word) => (next() < share ? `x${Math.floor(next() * 1e9).toString(36)}` : word));
}
