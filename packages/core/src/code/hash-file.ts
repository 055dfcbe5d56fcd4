import { createHash } from "node:crypto";
import { closeSync, fstatSync, openSync, readFileSync, readSync } from "node:fs";
import { type Hash, hashOf } from "./manifest.ts";
import { Slices } from "./slices.ts";

const CHUNK_BYTES = 2 ** 20;

/** Of a file that may be large. */
export async function hashFile(path: string): Promise<Hash> {
  const fd = openSync(path, "r");
  try {
    if (fstatSync(fd).size <= CHUNK_BYTES) return hashOf(readFileSync(fd));
    const slices = new Slices();
    const hash = createHash("sha256");
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    for (;;) {
      const bytes = readSync(fd, chunk);
      if (bytes === 0) return hash.digest("hex");
      hash.update(chunk.subarray(0, bytes));
      await slices.breathe();
    }
  } finally {
    closeSync(fd);
  }
}
