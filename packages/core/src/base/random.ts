/**
 * Random bytes from the system's own source: loading `node:crypto` takes a new process milliseconds, which every worker
 * would pay at its start. Read ahead, or each id would take three calls of the system.
 */
import { closeSync, openSync, readSync } from "node:fs";

const AHEAD_BYTES = 1_024;
let ahead: Buffer = Buffer.alloc(0);

export function randomBytes(bytes: number): Buffer {
  if (bytes > ahead.length) ahead = readRandom(Math.max(bytes, AHEAD_BYTES));
  const random = Buffer.from(ahead.subarray(0, bytes));
  // Some are secrets: nothing else keeps what was given out.
  ahead.fill(0, 0, bytes);
  ahead = ahead.subarray(bytes);
  return random;
}

function readRandom(bytes: number): Buffer {
  const random = Buffer.alloc(bytes);
  const fd = openSync("/dev/urandom", "r");
  try {
    for (let at = 0; at < bytes; ) at += readSync(fd, random, at, bytes - at, null);
  } finally {
    closeSync(fd);
  }
  return random;
}
