/** Machines of a cluster as their users see them: the command line, in a temporary folder for each. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { findStandingHead } from "../../src/head/mod.ts";
import { findStandingNode, type StandingNode } from "../../src/node/mod.ts";
import type { NodeInfo } from "../../src/wire/mod.ts";
import { eventually } from "../eventually.ts";

const cli = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
export const SMALL = ["--cpus", "1", "--object-store", "16MiB"];

export class Machines {
  readonly folders: readonly string[];
  /** Of the cluster that `begin` has begun. */
  address = "";
  token = "";
  private readonly command: (at: number) => readonly string[];

  /** @param command what each command is run by; by default it is run as it is. */
  constructor(count: number, command: (at: number) => readonly string[] = () => []) {
    this.folders = Array.from({ length: count }, () => mkdtempSync("/tmp/mm-"));
    this.command = command;
  }

  folder(at: number): string {
    return this.folders[at] ?? "";
  }

  env(at: number): Record<string, string> {
    return { TMPDIR: this.folder(at), XDG_STATE_HOME: join(this.folder(at), "state") };
  }

  /** The state folder of the head that runs there. */
  get stateDir(): string {
    return join(this.folder(0), "state", "mobula", "cluster");
  }

  async mobula(at: number, env: object, ...args: string[]): Promise<string> {
    const [program = "", ...rest] = [...this.command(at), process.execPath, cli, ...args];
    const { MOBULA_TOKEN: _token, ...inherited } = process.env;
    return (await promisify(execFile)(program, rest, { env: { ...inherited, ...this.env(at), ...env } })).stdout;
  }

  /** A head, and a node beside it, on machine 0. */
  async begin(env: object, ...args: string[]): Promise<void> {
    const here = args.includes("--host") ? [] : ["--host", "127.0.0.1"];
    const begun = await this.mobula(
      0,
      env,
      "start",
      "--head",
      "--port",
      "0",
      ...here,
      "--name",
      "m0",
      ...SMALL,
      ...args,
    );
    [, this.token = "", this.address = ""] = /MOBULA_TOKEN=(\S+) mobula start --address (\S+)/.exec(begun) ?? [];
  }

  join(at: number, env: object, ...args: string[]): Promise<string> {
    return this.mobula(at, env, "start", "--address", this.address, "--name", `m${at}`, ...SMALL, ...args);
  }

  standing(at: number): StandingNode {
    const file = join(this.base(at), "standing.json");
    return JSON.parse(readFileSync(file, "utf8")) as StandingNode;
  }

  /** Of the head on machine 0. */
  get headPid(): number {
    return this.standingHead(0)?.pid ?? 0;
  }

  /** What runs on a machine, but for what its node and its head look after. */
  pids(at: number): number[] {
    const found = [this.standingHead(at)?.pid, findStandingNode(this.base(at))?.pid];
    return found.filter((pid) => pid !== undefined);
  }

  private base(at: number): string {
    return join(this.folder(at), `mobula-${process.getuid?.()}`);
  }

  private standingHead(at: number) {
    return findStandingHead(this.base(at));
  }

  async nodes(at = 0): Promise<Record<string, NodeInfo["state"]>> {
    const { nodes } = JSON.parse(await this.mobula(at, {}, "status", "--json")) as { nodes: readonly NodeInfo[] };
    return Object.fromEntries(nodes.map(({ name, state }) => [name, state]));
  }

  /** Nobody tells the command line: it asks again and again. */
  async untilNodes(isSo: (nodes: Record<string, NodeInfo["state"]>) => boolean, withinMs = 15_000): Promise<void> {
    let nodes: Record<string, NodeInfo["state"]> = {};
    const areThey = async () => {
      nodes = await this.nodes();
      return isSo(nodes);
    };
    await eventually(areThey, () => `the nodes are as they should be, and not ${JSON.stringify(nodes)}`, withinMs);
  }

  async remove(): Promise<void> {
    for (const at of [...this.folders.keys()].reverse()) await this.mobula(at, {}, "stop", "--now");
    for (const folder of this.folders) rmSync(folder, { recursive: true, force: true });
  }
}
