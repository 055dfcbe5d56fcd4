/** A cluster on this machine, started as its users start it: `mobula start`, each node with folders of its own. */
import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { init, shutdown } from "mobula";
import { cli } from "./cli.ts";

const run = promisify(execFile);
const base = tmpdir();

export interface NodeParts {
  readonly name: string;
  readonly cpus: number;
  readonly storeBytes: number;
  /** Each of the node's own resources: how much. */
  readonly resources?: Readonly<Record<string, number>>;
}

interface Started {
  readonly name: string;
  readonly folder: string;
  readonly pid: number;
}

export class BenchCluster {
  private readonly nodes: Started[] = [];
  private readonly environment: Record<string, string | undefined>;
  private token = "";
  private address = "";
  private readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
    this.environment = { ...process.env, XDG_STATE_HOME: folder };
  }

  /** The head, and a node on its machine. @param options with `tls` between all processes. */
  static async start(first: NodeParts, { tls = false }: { readonly tls?: boolean } = {}): Promise<BenchCluster> {
    const cluster = new BenchCluster(await mkdtemp(join(base, "mobula-bench-")));
    if (tls) await cluster.useTls();
    const { address, token } = await cluster.begin(first, ["--head", "--port", "0", "--host", "127.0.0.1"]);
    cluster.address = address;
    cluster.token = token;
    return cluster;
  }

  private async useTls(): Promise<void> {
    const [key, cert] = [join(this.folder, "tls.key"), join(this.folder, "tls.pem")];
    const made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    const name = ["-subj", "/CN=bench", "-addext", "subjectAltName=IP:127.0.0.1"];
    await run("openssl", ["req", "-x509", ...made, ...name, "-keyout", key, "-out", cert]);
    Object.assign(this.environment, { MOBULA_TLS_CERT: cert, MOBULA_TLS_KEY: key });
  }

  async add(node: NodeParts): Promise<void> {
    await this.begin(node, ["--address", this.address]);
  }

  private async begin(node: NodeParts, where: readonly string[]): Promise<{ address: string; token: string }> {
    const { name, cpus, storeBytes, resources = {} } = node;
    const folder = await mkdtemp(join(base, "mb-"));
    const { stdout } = await run(
      process.execPath,
      [
        ...[
          ...process.execArgv,
          cli,
          "start",
          "--json",
          "--name",
          name,
          "--cpus",
          `${cpus}`,
          "--object-store",
          `${storeBytes}`,
          ...where,
        ],
        ...Object.entries(resources).flatMap(([resource, amount]) => ["--resource", `${resource}=${amount}`]),
      ],
      { env: { ...this.environment, TMPDIR: folder, MOBULA_TOKEN: this.token } },
    );
    const started = JSON.parse(stdout) as { pid: number; address: string; token: string }; // What `--json` says.
    this.nodes.push({ name, folder, pid: started.pid });
    return started;
  }

  /** The program becomes a driver of the first node. */
  async connect(): Promise<void> {
    process.env.TMPDIR = this.nodes[0]?.folder ?? base;
    await init({ address: "auto" });
  }

  /** The node's own process; its workers end with it. */
  kill(name: string): void {
    const at = this.nodes.findIndex((node) => node.name === name);
    const [node] = this.nodes.splice(at, 1);
    if (!node) throw new Error(`there is no node ${name}`);
    process.kill(node.pid, "SIGKILL");
    this.killed.push(node.folder);
  }
  private readonly killed: string[] = [];

  readonly stop = async (): Promise<void> => {
    await shutdown();
    process.env.TMPDIR = base;
    for (const { folder } of [...this.nodes].reverse()) {
      await run(process.execPath, [...process.execArgv, cli, "stop", "--now"], {
        env: { ...this.environment, TMPDIR: folder },
      });
    }
    const folders = [...this.nodes.map(({ folder }) => folder), ...this.killed, this.folder];
    for (const folder of folders) await rm(folder, { recursive: true, force: true });
  };
}
