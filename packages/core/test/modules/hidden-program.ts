/**
 * A program in a folder of its own, which only one of two machines sees: the other is in a mount namespace in which something
 * empty lies over it. Both have networks of their own, so that what goes between them can be counted.
 */

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheDirectory } from "../../src/bin/cache-directory.ts";
import { Machines } from "../cluster/machines.ts";
import { Namespaces } from "../cluster/namespaces.ts";

const mobula = fileURLToPath(new URL("../..", import.meta.url));

export class ProgramFolder {
  readonly folder = mkdtempSync("/tmp/mp-");

  constructor() {
    this.link("node_modules/mobula", mobula);
  }

  write(files: Readonly<Record<string, string | Buffer | object>>): void {
    for (const [name, content] of Object.entries(files)) {
      const path = join(this.folder, name);
      mkdirSync(dirname(path), { recursive: true });
      const isText = typeof content === "string" || Buffer.isBuffer(content);
      writeFileSync(path, isText ? content : JSON.stringify(content));
    }
  }

  link(name: string, target: string): void {
    const path = join(this.folder, name);
    mkdirSync(dirname(path), { recursive: true });
    symlinkSync(target, path);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Machine 0 has the head, and sees the program; machine 1 does not. */
export class BlindMachines extends Machines {
  private readonly networks: Namespaces;

  /** Why there can be none here; undefined when there can. */
  static obstacle(): string | undefined {
    try {
      execFileSync("unshare", ["-m", "true"], { stdio: "pipe" });
      return Namespaces.obstacle();
    } catch (error) {
      return (error as Error).message;
    }
  }

  constructor(hidden: string) {
    const networks = new Namespaces(2);
    const hiding = ["unshare", "-m", "sh", "-c", `mount -t tmpfs tmpfs ${hidden} && exec "$0" "$@"`];
    super(2, (at) => [...networks.command(at), ...(at === 1 ? hiding : [])]);
    this.networks = networks;
  }

  override env(at: number): Record<string, string> {
    // What is compiled of this package is kept for all tests.
    const compiled = { NODE_COMPILE_CACHE: join(cacheDirectory() ?? this.folder(0), "compile") };
    return { ...super.env(at), ...compiled, MOBULA_CACHE_DIR: this.cache(at) };
  }

  cache(at: number): string {
    return join(this.folder(at), "cache");
  }

  async start(): Promise<void> {
    await this.begin({}, "--host", this.networks.address(0));
    await this.join(1, { MOBULA_TOKEN: this.token });
  }

  /** By which a program runs on machine 0. */
  get here(): readonly string[] {
    return this.networks.command(0);
  }

  /** Bytes that have come to machine 1 so far. */
  received(): number {
    const [program = "", ...args] = [...this.networks.command(1), "cat", "/proc/net/dev"];
    const line = execFileSync(program, args, { encoding: "utf8" })
      .split("\n")
      .find((text) => text.includes("eth0:"));
    return Number(line?.split(":")[1]?.trim().split(/\s+/)[0]);
  }

  override async remove(): Promise<void> {
    await super.remove();
    this.networks.remove();
  }
}
