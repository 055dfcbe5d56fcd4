/** `mobula start`: a node of this machine, and with `--head` the head of a cluster beside it. */
import { networkInterfaces } from "node:os";
import type { Command } from "commander";
import { defaultStateFolder, type StandingHead, startStandingHead, stopStandingHead } from "../head/mod.ts";
import {
  findStandingNode,
  localAddressTowards,
  type RunningProcess,
  type StandingNode,
  type Started,
  startStandingNode,
  stopStandingNode,
} from "../node/mod.ts";
import { amount, bytes, label, port, resource } from "./cli-options.ts";
import { print } from "./cli-print.ts";

/** All addresses of this machine, of both families where it has both. */
const everywhere = (): string => {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  return addresses.some(({ family }) => family === "IPv6") ? "::" : "0.0.0.0";
};

interface StartOptions {
  readonly head?: true;
  readonly address?: string;
  readonly host?: string;
  readonly port?: string;
  readonly advertise?: string;
  readonly state?: string;
  readonly name?: string;
  readonly label?: Readonly<Record<string, string>>;
  readonly ports?: string;
  readonly cpus?: number;
  readonly gpus?: number;
  readonly memory?: number;
  readonly objectStore?: number;
  readonly spillDirectory?: string;
  readonly resource?: Readonly<Record<string, number>>;
  readonly healthPort?: number;
  readonly headHealthPort?: number;
  readonly foreground?: true;
  readonly json?: true;
}

export function addStart(program: Command): void {
  program
    .command("start")
    .description('start a node in the background; programs join it with init({ address: "auto" })')
    .option("--head", "begin a cluster here (or go on with the one of --state), or")
    .option("--address <host:port>", "join the cluster whose head listens there; its token is read from MOBULA_TOKEN")
    .option("--host <address>", "with --head: where to listen (default: all addresses of this machine)")
    .option("--port <n>", "with --head: a port, or a range such as 6380-6390 (default: 6380)")
    .option("--advertise <host>", "with --head: where others reach it, if not at --host")
    .option("--state <folder>", "with --head: where the cluster's state is kept")
    .option("--ports <range>", "in a cluster: ports of the node and its workers, e.g. 20000-20100 (default: any)")
    .option("--name <name>", "what to call this node (default: the machine's name)")
    .option("--label <key=value>", "a label of this node in its cluster; may be repeated", label)
    .option("--cpus <n>", "CPUs to offer (default: all)", amount)
    .option("--gpus <n>", "GPUs to offer (default: what the driver finds)", amount)
    .option("--memory <bytes>", "memory to offer to tasks that ask for it, e.g. 8GiB", bytes)
    .option("--object-store <bytes>", "size of the object store, e.g. 4GiB (default: 30 % of the memory)", bytes)
    .option("--spill-directory <folder>", "where objects go that do not fit (default: the session's folder)")
    .option("--resource <name=amount>", "a resource of your own; may be repeated", resource)
    .option("--health-port <n>", "answer /healthz and /readyz of the node there over HTTP (default: nowhere)", port)
    .option("--head-health-port <n>", "with --head: the same for the head", port)
    .option("--foreground", "stay until it ends; SIGTERM ends it in order (for containers and service managers)")
    .option("--json", "say where it is as JSON, with the token of a cluster that has begun")
    .addHelpText(
      "after",
      `
Examples:
  $ mobula start
  $ mobula start --cpus 2 --object-store 1GiB --resource licence=1
  $ mobula start --head
  $ MOBULA_TOKEN=... mobula start --address head:6380 --label rack=a4`,
    )
    .action(start);
}

async function start(options: StartOptions): Promise<void> {
  const standing = findStandingNode();
  if (standing && options.foreground) throw new Error(`a node is running already (pid ${standing.pid})`);
  const cluster = await clusterOf(options);
  if (options.head && standing && standing.cluster === cluster?.address) {
    say(options, standing, cluster, "The head goes on where it was, and its nodes find it by themselves.");
    return;
  }
  // A head that has no node yet is of no use; what it had written down stays.
  const node = await startNode(options, cluster).catch(async (error) => {
    if (options.head) await stopStandingHead({ keepState: true });
    throw error;
  });
  say(options, node, cluster, "A cluster has begun.");
  if (options.foreground) await stay(node, cluster?.head);
}

/** What stays in the foreground ends with this process, however that ends, and writes where this one does. */
const lifeOf = ({ foreground }: StartOptions) =>
  foreground ? { driverPid: process.pid, onStderr: (text: string) => void process.stderr.write(text) } : {};

interface ClusterOfNode {
  readonly address: string;
  readonly token: string;
  readonly head?: Started<StandingHead>;
}

async function startNode(options: StartOptions, cluster: ClusterOfNode | undefined): Promise<Started<StandingNode>> {
  const { cpus, gpus, memory, objectStore, spillDirectory, name, healthPort } = options;
  return startStandingNode({
    ...lifeOf(options),
    resources: {
      ...options.resource,
      ...(cpus !== undefined ? { cpu: cpus } : {}),
      ...(gpus !== undefined ? { gpu: gpus } : {}),
      ...(memory !== undefined ? { memory } : {}),
    },
    ...(name !== undefined ? { name } : {}),
    ...(objectStore !== undefined ? { objectStoreBytes: objectStore } : {}),
    ...(spillDirectory !== undefined ? { spillDirectory } : {}),
    ...(healthPort !== undefined ? { healthPort } : {}),
    ...(cluster && {
      cluster: {
        address: cluster.address,
        token: cluster.token,
        labels: options.label ?? {},
        host: await localAddressTowards(cluster.address),
        ports: options.ports ?? 0,
      },
    }),
  });
}

function say(options: StartOptions, { pid }: RunningProcess, cluster: ClusterOfNode | undefined, begun: string): void {
  const { head, json } = options;
  if (json) {
    const { address, token } = cluster ?? {};
    print(JSON.stringify({ pid, ...(address !== undefined && { address }), ...(head && { token }) }));
    return;
  }
  if (head) {
    print(`${begun} Its head is at ${cluster?.address}, with a node (pid ${pid}).`);
    print("Other machines join it with:");
    print(`  MOBULA_TOKEN=${cluster?.token} mobula start --address ${cluster?.address}`);
    print("Programs anywhere use it with:");
    print(`  MOBULA_TOKEN=${cluster?.token} MOBULA_ADDRESS=${cluster?.address} node app.ts`);
  } else if (cluster) print(`A node runs (pid ${pid}) and has joined the cluster at ${cluster.address}.`);
  else print(`A node runs (pid ${pid}).`);
  print('Programs on this machine join it with init({ address: "auto" }) or MOBULA_ADDRESS=auto.');
  print("`mobula status` shows it, `mobula stop` ends it.");
}

/** The cluster that the node begins or joins, if any. */
async function clusterOf(options: StartOptions): Promise<ClusterOfNode | undefined> {
  const { head, address, port: ports, advertise, state, headHealthPort, host } = options;
  if (head && address !== undefined) throw new Error("--head begins a cluster and --address joins one: choose");
  if (!head && (host ?? ports ?? advertise ?? state ?? headHealthPort) !== undefined) {
    throw new Error("--host, --port, --advertise, --state and --head-health-port are for --head");
  }
  if (address !== undefined) {
    const token = process.env.MOBULA_TOKEN;
    if (!token) throw new Error("MOBULA_TOKEN is not set: `mobula start --head` printed it, its state folder keeps it");
    return { address, token };
  }
  if (!head) return undefined;
  const started = await startStandingHead({
    ...lifeOf(options),
    stateDir: state ?? defaultStateFolder(),
    host: host ?? everywhere(),
    ...(ports !== undefined ? { port: ports } : {}),
    ...(advertise !== undefined ? { advertise } : {}),
    ...(headHealthPort !== undefined ? { healthPort: headHealthPort } : {}),
  });
  return { address: started.address, token: started.token, head: started };
}

/**
 * Until one of them ends: in order when this process is told to end, and then the state of a head stays where it is. A node
 * that was drained ends in order too. When one ends otherwise the rest does, and this process says so by its exit code.
 */
async function stay(node: Started<StandingNode>, head: Started<StandingHead> | undefined): Promise<void> {
  const told = new Promise<undefined>((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => resolve(undefined));
  });
  // None of what is waited for keeps a process alive.
  const alive = setInterval(() => {}, 60_000);
  const ended = await Promise.race([
    told,
    node.exited.then(({ isOrderly }) => ({ what: "node", isOrderly })),
    ...(head ? [head.exited.then(() => ({ what: "head", isOrderly: false }))] : []),
  ]);
  await stopStandingNode();
  if (head) await stopStandingHead({ keepState: true });
  clearInterval(alive);
  if (ended && !ended.isOrderly) throw new Error(`the ${ended.what} has died, and everything else here ended with it`);
  print("The node has ended.");
}
