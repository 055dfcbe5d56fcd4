/** What the engines of a run are told, written down, and told them again: they have to do the same. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

const SIMULATION = new URL("../../packages/sim/src/main.ts", import.meta.url).pathname;

export class Recordings {
  private readonly folder = process.env.MOBULA_RECORD || mkdtempSync("/tmp/recordings-");
  private readonly isKept = process.env.MOBULA_RECORD === this.folder;

  /** Of all processes that are started from now on. */
  begin(): void {
    process.env.MOBULA_RECORD = this.folder;
  }

  /** To be called when they have ended. @throws Error when an engine does something else now; the recordings stay then. */
  check(print: (line: string) => void): void {
    const sizes = readdirSync(this.folder).map((name) => statSync(join(this.folder, name)).size);
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    print(`${sizes.length} recordings of engines, ${(bytes / 2 ** 20).toFixed(1)} MiB; they are replayed`);
    // It runs the sources, of which what was recorded is built.
    const args = ["--conditions=mobula-source", SIMULATION, "--replay", this.folder];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8", maxBuffer: 1 << 26 });
    for (const line of stdout.trimEnd().split("\n")) print(`  ${line}`);
    if (status !== 0) throw new Error(`what was recorded in ${this.folder} is not repeated: ${stderr}`);
    if (!this.isKept) rmSync(this.folder, { recursive: true });
  }
}
