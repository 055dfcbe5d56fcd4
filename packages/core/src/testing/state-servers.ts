/** Three servers of NATS or etcd for the state of a cluster's heads: real ones, which can be killed and stopped. */
import { type ChildProcess, spawn } from "node:child_process";
import { accessSync, constants, mkdirSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { InvalidOptionError } from "../base/errors.ts";
import { randomBytes } from "../base/random.ts";
import { marked, processesOf, signalAll } from "./processes.ts";
import type { ClusterServer } from "./types.ts";

const STORE_BYTES = 1 << 30;
/** Its end goes with that of this process, also when that is killed: its input ends then. */
const SCRIPT = '"$0" "$@" & read -r _; kill -9 $!';

export class StateServer implements ClusterServer {
  readonly name: string;
  readonly address: string;
  /** What its end of a link is called. */
  readonly link: string;
  readonly host: string;
  private readonly mark: string;
  private readonly shell: ChildProcess;

  constructor({ name, host, port, data }: ServerParts, program: string, args: readonly string[]) {
    this.name = name;
    this.link = name;
    this.host = host;
    this.address = `${host}:${port}`;
    this.mark = data;
    this.shell = spawn("/bin/sh", ["-c", SCRIPT, program, ...args], {
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

interface ServerParts {
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** Of all servers. */
  readonly hosts: readonly string[];
  /** A folder of its own. */
  readonly data: string;
}

interface Kind {
  readonly program: string;
  readonly variable: string;
  readonly needs: string;
  /** The arguments of the program; files that they name are written. */
  args(parts: ServerParts): string[];
}

const KINDS: Readonly<Record<"nats" | "etcd", Kind>> = {
  nats: {
    program: "nats-server",
    variable: "MOBULA_NATS_SERVER",
    needs: "nats-server 2.12 or newer",
    args({ name, host, port, hosts, data }) {
      const routes = hosts.map((one) => `nats://${one}:${port + 1}`);
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
      return ["-c", config];
    },
  },
  etcd: {
    program: "etcd",
    variable: "MOBULA_ETCD_SERVER",
    needs: "etcd 3.5.5 or newer",
    args({ name, host, port, hosts, data }) {
      const [client, peer] = [`http://${host}:${port}`, `http://${host}:${port + 1}`];
      const cluster = hosts.map((one, n) => `${nameOf(n)}=http://${one}:${port + 1}`).join(",");
      return [
        ...["--name", name, "--data-dir", data, "--log-outputs", `${data}.log`, "--log-level", "warn"],
        ...["--listen-client-urls", client, "--advertise-client-urls", client],
        ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
        ...["--initial-cluster", cluster, "--initial-cluster-state", "new"],
      ];
    },
  },
};

const nameOf = (at: number): string => `s${at + 1}`;

/** @throws InvalidOptionError when there is no program to start. */
export function startStateServers(kind: "nats" | "etcd", folder: string, hosts: readonly string[]): StateServer[] {
  const { variable, program: name, needs, args } = KINDS[kind];
  const program = findServer(variable, name);
  if (program === undefined || process.platform !== "linux") {
    throw new InvalidOptionError(
      `LocalCluster.start() option "control" is "${kind}", which needs Linux and ${needs}: put it on the PATH, or name it in ${variable}`,
    );
  }
  // Addresses of their own, so that any port is free but for another cluster's with the same ones.
  const [a = 0, b = 0] = randomBytes(2);
  const port = 20_000 + (((a << 8) | b) % 9_000);
  return hosts.map((host, n) => {
    const data = join(folder, nameOf(n));
    mkdirSync(data, { mode: 0o700 });
    const parts = { name: nameOf(n), host, port, hosts, data };
    return new StateServer(parts, program, args(parts));
  });
}

export const STATE_SERVERS = 3;

function findServer(variable: string, name: string): string | undefined {
  const { [variable]: given, PATH = "" } = process.env;
  const candidates = given ? [given] : PATH.split(delimiter).map((folder) => join(folder, name));
  return candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
