/**
 * Random bytes from the system's own source: loading `node:crypto` takes a new process milliseconds, which every worker
 * would pay at its start.
 */
import { closeSync, openSync, readSync } from "node:fs";

export function randomBytes(bytes: number): Buffer {
  const random = Buffer.alloc(bytes);
  const fd = openSync("/dev/urandom", "r");
  try {
    for (let at = 0; at < bytes; ) at += readSync(fd, random, at, bytes - at, null);
  } finally {
    closeSync(fd);
  }
  return random;
}
