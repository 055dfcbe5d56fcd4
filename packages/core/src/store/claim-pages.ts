/** Shared memory that the node gave a worker for its claim words, as others than the node map it. */
import { closeSync, openSync } from "node:fs";
import type { ClaimsInfo } from "../wire/mod.ts";
import { mapSharedWords } from "./memory.ts";
import { passNativeGate } from "./native-gate.ts";

/** Maps a page of claim words; undefined where it cannot be had, which costs only the ability to take tasks back early. */
export function mapClaims(info: ClaimsInfo): Int32Array | undefined {
  let fd: number | undefined;
  try {
    const opened = openSync(info.path, "r+");
    fd = opened;
    return passNativeGate(() => mapSharedWords(opened, info.offset, info.bytes));
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
