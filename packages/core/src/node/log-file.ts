/** A log file that is rotated: `<name>.log`, then `<name>.log.1` and so on, the oldest deleted. */
import { closeSync, fstatSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { monotonicMs } from "../base/clock.ts";

const FILE_BYTES_MAX = 100 * 2 ** 20;
const FILES_KEPT = 5;
const AGAIN_MS = 5_000;

export class RotatingFile {
  private readonly path: string;
  private readonly bytesMax: number;
  private fd: number | undefined;
  private bytes = 0;
  /** Since a write failed: a disk that is full may have room again. Output is only forwarded meanwhile. */
  private failedAtMs: number | undefined;

  constructor(path: string, bytesMax = FILE_BYTES_MAX) {
    this.path = path;
    this.bytesMax = bytesMax;
  }

  write(text: string): void {
    if (this.failedAtMs !== undefined && monotonicMs() - this.failedAtMs < AGAIN_MS) return;
    try {
      if (this.fd === undefined) {
        this.fd = openSync(this.path, "a", 0o600);
        this.bytes = fstatSync(this.fd).size;
      }
      this.bytes += writeSync(this.fd, text);
      if (this.bytes >= this.bytesMax) this.rotate();
      this.failedAtMs = undefined;
    } catch {
      // A full disk must not stop the node; the lines still reach the driver.
      this.failedAtMs = monotonicMs();
      this.close();
    }
  }

  close(): void {
    if (this.fd !== undefined) closeSync(this.fd);
    this.fd = undefined;
  }

  private rotate(): void {
    this.close();
    rmSync(`${this.path}.${FILES_KEPT - 1}`, { force: true });
    for (let index = FILES_KEPT - 2; index >= 1; index--) move(`${this.path}.${index}`, `${this.path}.${index + 1}`);
    move(this.path, `${this.path}.1`);
  }
}

function move(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
