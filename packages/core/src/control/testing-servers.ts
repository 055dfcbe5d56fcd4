/** Real servers of replicated state for tests: three of NATS or etcd on free ports, and a proxy that can cut a way. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, mkdirSync, mkdtempSync, openSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

/** The program that a variable names, or the one on the PATH; undefined when there is none. */
export function findServer(variable: string, name: string): string | undefined {
  const given = process.env[variable];
  const folders = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, name));
  return (given ? [given] : folders).find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export const natsServer = findServer("MOBULA_NATS_SERVER", "nats-server");
export const etcdServer = findServer("MOBULA_ETCD_SERVER", "etcd");

/** One server: it can be killed, stopped and started again on its data. */
export class TestServer {
  readonly address: string;
  private readonly command: readonly string[];
  private readonly logFile: string;
  private child: ChildProcess | undefined;

  constructor(address: string, command: readonly string[], logFile: string) {
    this.address = address;
    this.command = command;
    this.logFile = logFile;
  }

  start(): void {
    const [program = "", ...args] = this.command;
    const log = openSync(this.logFile, "a");
    this.child = spawn(program, args, { stdio: ["ignore", log, log] });
  }

  signal(signal: NodeJS.Signals): void {
    this.child?.kill(signal);
  }

  async kill(): Promise<void> {
    const { child } = this;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, "exit");
    child.kill("SIGKILL");
    await ended;
  }
}

export interface TestServers {
  readonly servers: readonly TestServer[];
  readonly addresses: string[];
  readonly monitors: string[];
  stop(): Promise<void>;
}

export interface NatsOptions {
  /** Default "always". */
  readonly syncInterval?: string;
  readonly bytesMax?: number;
}

export async function startNats(count: number, options: NatsOptions = {}): Promise<TestServers> {
  const folder = mkdtempSync(join(tmpdir(), "mobula-nats-"));
  const ports = await freePorts(3 * count);
  const routes = Array.from({ length: count }, (_, n) => `nats://127.0.0.1:${ports[3 * n + 2]}`);
  const servers = Array.from({ length: count }, (_, n) => {
    const [port, monitor, route] = ports.slice(3 * n, 3 * n + 3);
    const data = join(folder, `n${n}`);
    const config = join(folder, `n${n}.conf`);
    const cluster = `cluster { name: test, listen: "127.0.0.1:${route}", routes: ${JSON.stringify(routes)} }`;
    writeFileSync(
      config,
      `server_name: n${n}
listen: "127.0.0.1:${port}"
http: "127.0.0.1:${monitor}"
jetstream { store_dir: "${data}", sync_interval: ${options.syncInterval ?? "always"}, max_file_store: ${options.bytesMax ?? 1 << 30} }
${count > 1 ? cluster : ""}
`,
    );
    return new TestServer(`127.0.0.1:${port}`, [natsServer ?? "", "-c", config], join(folder, `n${n}.log`));
  });
  const monitors = servers.map((_, n) => `http://127.0.0.1:${ports[3 * n + 1]}`);
  return running(servers, folder, monitors);
}

export async function startEtcd(count: number, extra: readonly string[] = []): Promise<TestServers> {
  const folder = mkdtempSync(join(tmpdir(), "mobula-etcd-"));
  const ports = await freePorts(2 * count);
  const peer = (n: number) => `http://127.0.0.1:${ports[2 * n + 1]}`;
  const cluster = Array.from({ length: count }, (_, n) => `e${n}=${peer(n)}`).join(",");
  const servers = Array.from({ length: count }, (_, n) => {
    const data = join(folder, `e${n}`);
    mkdirSync(data, { mode: 0o700 });
    const client = `http://127.0.0.1:${ports[2 * n]}`;
    const command = [
      ...[etcdServer ?? "", "--name", `e${n}`, "--data-dir", data, "--log-level", "warn"],
      ...["--listen-client-urls", client, "--advertise-client-urls", client],
      ...["--listen-peer-urls", peer(n), "--initial-advertise-peer-urls", peer(n)],
      ...["--initial-cluster", cluster, "--initial-cluster-state", "new"],
      ...extra,
    ];
    return new TestServer(client, command, join(folder, `e${n}.log`));
  });
  return running(servers, folder, []);
}

function running(servers: readonly TestServer[], folder: string, monitors: string[]): TestServers {
  for (const server of servers) server.start();
  return {
    servers,
    addresses: servers.map(({ address }) => address),
    monitors,
    async stop() {
      await Promise.all(servers.map((server) => server.kill()));
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Ports that were free a moment ago. */
async function freePorts(count: number): Promise<number[]> {
  const listeners = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer();
      server.listen(0, "127.0.0.1");
      await once(server, "listening");
      return server;
    }),
  );
  const ports = listeners.map(portOf);
  await Promise.all(listeners.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

const portOf = (server: Server): number => {
  const address = server.address();
  return typeof address === "object" && address ? address.port : 0;
};

/** A way to an address that can be cut: like a cable that is pulled, nothing gets through and nobody is told. */
export class Proxy {
  private readonly server: Server;
  private readonly sockets = new Set<Socket>();
  private isCut = false;
  private readonly target: string;

  private constructor(target: string) {
    this.target = target;
    this.server = createServer({ pauseOnConnect: true }, (near) => this.join(near));
  }

  static async to(target: string): Promise<Proxy> {
    const proxy = new Proxy(target.replace(/^http:\/\//, ""));
    proxy.server.listen(0, "127.0.0.1");
    await once(proxy.server, "listening");
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${portOf(this.server)}`;
  }

  cut(): void {
    this.isCut = true;
    for (const socket of this.sockets) socket.pause();
  }

  /** What was held back goes on its way. */
  mend(): void {
    this.isCut = false;
    for (const socket of this.sockets) socket.resume();
  }

  close(): void {
    this.server.close();
    for (const socket of this.sockets) socket.destroy();
  }

  private join(near: Socket): void {
    const [host = "", port = ""] = this.target.split(":");
    const far = connect(Number(port), host);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.sockets.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.sockets.delete(from);
        to.destroy();
      });
      from.on("data", (chunk: Buffer) => to.write(chunk));
      if (this.isCut) from.pause();
      else from.resume();
    }
  }
}
