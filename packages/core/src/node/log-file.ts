/** A log file that is rotated: `<name>.log`, then `<name>.log.1` and so on, the oldest deleted. */
import { closeSync, fstatSync, openSync, renameSync, rmSync, writeSync } from "node:fs";

const FILE_BYTES_MAX = 100 * 2 ** 20;
const FILES_KEPT = 5;

export class RotatingFile {
  private readonly path: string;
  private readonly bytesMax: number;
  private fd: number | undefined;
  private bytes = 0;
  /** Why nothing is written any more; output is then only forwarded. */
  problem: string | undefined;

  constructor(path: string, bytesMax = FILE_BYTES_MAX) {
    this.path = path;
    this.bytesMax = bytesMax;
  }

  write(text: string): void {
    if (this.problem !== undefined) return;
    try {
      if (this.fd === undefined) {
        this.fd = openSync(this.path, "a", 0o600);
        this.bytes = fstatSync(this.fd).size;
      }
      this.bytes += writeSync(this.fd, text);
      if (this.bytes >= this.bytesMax) this.rotate();
    } catch (error) {
      // A full disk must not stop the node; the lines still reach the driver.
      this.problem = (error as Error).message;
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
