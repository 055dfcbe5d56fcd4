/** `mobula start`: a node of this machine, and with `--head` the head of a cluster beside it. */
import { type Command, Option } from "commander";
import { type HeadOptions, type StandingHead, stopStandingHead } from "../head/mod.ts";
import {
  DASHBOARD_PORTS,
  findStandingNode,
  type StandingNode,
  type Started,
  startStandingNode,
  stopStandingNode,
} from "../node/mod.ts";
import { type ChosenCluster, type ClusterChoice, clusterOf, withClusterOptions } from "./cli-cluster.ts";
import { amount, bytes, port, resource } from "./cli-options.ts";
import { print } from "./cli-print.ts";
import { limitsLines } from "./status-table.ts";

interface StartOptions extends ClusterChoice {
  readonly name?: string;
  readonly cpus?: number;
  readonly gpus?: number;
  readonly memory?: number;
  readonly objectStore?: number;
  readonly spillDirectory?: string;
  readonly resource?: Readonly<Record<string, number>>;
  readonly envCache?: number;
  readonly healthPort?: number;
  /** False with --no-dashboard. */
  readonly dashboard: boolean;
  readonly dashboardHost?: string;
  readonly dashboardPort?: string;
  readonly cgroup: "auto" | "on" | "off";
  readonly foreground?: true;
  readonly json?: true;
}

export function addStart(program: Command): void {
  withClusterOptions(program.command("start"))
    .description('start a node in the background; programs join it with init({ address: "auto" })')
    .option("--name <name>", "what to call this node (default: the machine's name)")
    .option("--cpus <n>", "CPUs to offer (default: all)", amount)
    .option("--gpus <n>", "GPUs to offer (default: what the driver finds)", amount)
    .option("--memory <bytes>", "memory to offer to tasks that ask for it, e.g. 8GiB", bytes)
    .option("--object-store <bytes>", "size of the object store, e.g. 4GiB (default: 30 % of the memory)", bytes)
    .option("--spill-directory <folder>", "where objects go that do not fit (default: the session's folder)")
    .option("--resource <name=amount>", "a resource of your own; may be repeated", resource)
    .option("--env-cache <bytes>", "what to keep of runtime environments, e.g. 20GiB (default: 10GiB)", bytes)
    .option("--health-port <n>", "answer /healthz and /readyz of the node there over HTTP (default: nowhere)", port)
    .option("--dashboard-host <address>", "where the dashboard and the HTTP API listen (default: 127.0.0.1)")
    .option("--dashboard-port <n>", "a port, or a range such as 8265-8300 (default: the first free one from 8265 on)")
    .option("--no-dashboard", "without them")
    .addOption(
      new Option(
        "--cgroup <when>",
        "keep tasks and actors to their CPUs and memory by cgroup v2: where that is allowed, or not at all",
      )
        .choices(["auto", "on", "off"])
        .default("auto"),
    )
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
  const cluster = await clusterOf(options, { ...lifeOf(options), ...headDashboard(options) });
  if (options.head && standing && standing.cluster === (await cluster?.node.address)) {
    await say(options, standing, cluster, "The head goes on where it was, and its nodes find it by themselves.");
    return;
  }
  // A head that has no node yet is of no use; what it had written down stays.
  const node = await startNode(options, cluster).catch(async (error) => {
    const hasBegun = await cluster?.head?.begun.then(
      () => true,
      () => false,
    );
    if (hasBegun) await stopStandingHead({ keepState: true });
    throw error;
  });
  await say(options, node, cluster, "A cluster has begun.");
  if (options.foreground) await stay(node, await cluster?.head?.begun);
}

/** What stays in the foreground ends with this process, however that ends, and writes where this one does. */
const lifeOf = ({ foreground }: StartOptions) =>
  foreground ? { driverPid: process.pid, onStderr: (text: string) => void process.stderr.write(text) } : {};

interface DashboardChoice {
  readonly dashboard?: Exclude<HeadOptions["dashboard"], undefined>;
}

/** Of a head. */
function headDashboard({ dashboard, dashboardHost, dashboardPort }: StartOptions): DashboardChoice {
  if (dashboard === false) return { dashboard: null };
  if (dashboardHost === undefined && dashboardPort === undefined) return {};
  return {
    dashboard: {
      ...(dashboardHost !== undefined && { host: dashboardHost }),
      ...(dashboardPort !== undefined && { ports: dashboardPort }),
    },
  };
}

/** Of a node without a cluster. */
function nodeDashboard(options: StartOptions): { readonly dashboard?: { host: string; ports: string } | null } {
  const { dashboard } = headDashboard(options);
  if (dashboard === undefined) return {};
  const { host = "127.0.0.1", ports = DASHBOARD_PORTS } = dashboard ?? {};
  return { dashboard: dashboard === null ? null : { host, ports } };
}

async function startNode(options: StartOptions, cluster: ChosenCluster | undefined): Promise<Started<StandingNode>> {
  const { cpus, gpus, memory, objectStore, spillDirectory, name, envCache, healthPort, cgroup } = options;
  return startStandingNode({
    ...lifeOf(options),
    cgroup,
    resources: {
      ...options.resource,
      ...(cpus !== undefined ? { cpu: cpus } : {}),
      ...(gpus !== undefined ? { gpu: gpus } : {}),
      ...(memory !== undefined ? { memory } : {}),
    },
    ...(name !== undefined ? { name } : {}),
    ...(objectStore !== undefined ? { objectStoreBytes: objectStore } : {}),
    ...(spillDirectory !== undefined ? { spillDirectory } : {}),
    ...(envCache !== undefined ? { envCacheBytes: envCache } : {}),
    ...(healthPort !== undefined ? { healthPort } : {}),
    ...(cluster ? { cluster: cluster.node } : nodeDashboard(options)),
  });
}

async function say(
  { json }: StartOptions,
  { pid, limits }: StandingNode,
  cluster: ChosenCluster | undefined,
  begun: string,
): Promise<void> {
  const address = await cluster?.node.address;
  const token = cluster?.head?.token;
  if (json) {
    print(JSON.stringify({ pid, ...(cluster && { address }), ...(token !== undefined && { token }), limits }));
    return;
  }
  if (cluster?.head) {
    const { replicated } = await cluster.head.begun;
    if (replicated === undefined) print(`${begun} Its head is at ${address}, with a node (pid ${pid}).`);
    else {
      print(`A head of the cluster in ${replicated} is at ${address}, with a node (pid ${pid}).`);
      print("`mobula status` says which of its heads leads; nodes and programs may be told any of them, or all.");
    }
    print("Other machines join it with:");
    print(`  MOBULA_TOKEN=${token} mobula start --address ${address}`);
    print("Programs anywhere use it with:");
    print(`  MOBULA_TOKEN=${token} MOBULA_ADDRESS=${address} node app.ts`);
    if (cluster.node.tls)
      print("each with certificates of its own: --tls-cert, --tls-key, or MOBULA_TLS_CERT, MOBULA_TLS_KEY.");
  } else if (cluster) print(`A node runs (pid ${pid}) and has joined the cluster at ${address}.`);
  else print(`A node runs (pid ${pid}).`);
  print('Programs on this machine join it with init({ address: "auto" }) or MOBULA_ADDRESS=auto.');
  print("`mobula status` shows it, `mobula dashboard` in a browser; `mobula stop` ends it.");
  for (const line of limitsLines(limits)) print(line);
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
