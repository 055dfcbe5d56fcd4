/** Three servers of NATS for the state of a cluster's heads: real ones, which can be killed and stopped. */
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, mkdirSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { InvalidOptionError } from "../base/errors.ts";
import { randomBytes } from "../base/random.ts";
import { marked, processesOf, signalAll } from "./processes.ts";
import type { ClusterServer } from "./types.ts";

const STORE_BYTES = 1 << 30;
/** Its end goes with that of this process, also when that is killed: its input ends then. */
const SCRIPT = '"$0" -c "$1" & read -r _; kill -9 $!';

export class StateServer implements ClusterServer {
  readonly name: string;
  readonly address: string;
  /** What its end of a link is called. */
  readonly link: string;
  readonly host: string;
  private readonly mark: string;
  private readonly shell: ChildProcess;

  constructor(
    program: string,
    parts: { readonly name: string; readonly host: string; readonly port: number; readonly config: string },
  ) {
    this.name = parts.name;
    this.link = parts.name;
    this.host = parts.host;
    this.address = `${parts.host}:${parts.port}`;
    this.mark = parts.config;
    this.shell = spawn("/bin/sh", ["-c", SCRIPT, program, parts.config], {
      stdio: ["pipe", "ignore", "ignore"],
      env: { ...process.env, ...marked(this.mark) },
    });
    this.shell.unref();
    (this.shell.stdin as { unref?: () => void } | null)?.unref?.();
  }

  pids(): number[] {
    return processesOf(this.mark);
  }

  async signal(signal: NodeJS.Signals): Promise<void> {
    await signalAll(() => this.pids(), signal);
  }
}

/** @throws InvalidOptionError when there is no program to start. */
export function startStateServers(folder: string, hosts: readonly string[]): StateServer[] {
  const program = findServer();
  if (program === undefined || process.platform !== "linux") {
    throw new InvalidOptionError(
      'LocalCluster.start() option "control" is "nats", which needs Linux and nats-server 2.12 or newer: put it on the PATH, or name it in MOBULA_NATS_SERVER',
    );
  }
  // Addresses of their own, so that any port is free but for another cluster's with the same ones.
  const [a = 0, b = 0] = randomBytes(2);
  const port = 20_000 + (((a << 8) | b) % 9_000);
  const routes = hosts.map((host) => `nats://${host}:${port + 1}`);
  return hosts.map((host, n) => {
    const name = `s${n + 1}`;
    const data = join(folder, name);
    mkdirSync(data, { mode: 0o700 });
    const config = `${data}.conf`;
    writeFileSync(
      config,
      `server_name: ${name}
listen: "${host}:${port}"
log_file: "${data}.log"
jetstream { store_dir: "${data}", sync_interval: always, max_file_store: ${STORE_BYTES} }
cluster { name: state, listen: "${host}:${port + 1}", routes: ${JSON.stringify(routes)} }
`,
    );
    return new StateServer(program, { name, host, port, config });
  });
}

export const STATE_SERVERS = 3;

function findServer(): string | undefined {
  const { MOBULA_NATS_SERVER: given, PATH = "" } = process.env;
  const candidates = given ? [given] : PATH.split(delimiter).map((folder) => join(folder, "nats-server"));
  return candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
