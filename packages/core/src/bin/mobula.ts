/** The command `mobula`: a node that stands on this machine, for programs that join it with `address: "auto"`. */
import { readFileSync } from "node:fs";
import { Command, InvalidArgumentError } from "commander";
import { newProcessId, WIRE_VERSION } from "../base/mod.ts";
import { defaultStateFolder, startStandingHead, stopStandingHead } from "../head/mod.ts";
import {
  findStandingNode,
  localAddressTowards,
  type StandingNode,
  startStandingNode,
  stopStandingNode,
} from "../node/mod.ts";
import { connectUnix, type Peer } from "../transport/mod.ts";
import type { ActorInfo, NodeInfo } from "../wire/queries.ts";

// The manifest lies two folders up both from `src/bin` and from `dist/lib`.
const manifest = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")) as {
  readonly version: string;
  readonly description: string;
};

const ANSWER_TIMEOUT_MS = 5_000;

const program = new Command("mobula")
  .description(manifest.description)
  .version(manifest.version, "-v, --version", "print the version")
  .helpOption("-h, --help", "print this help")
  .showHelpAfterError("(mobula --help lists what there is)")
  .addHelpText(
    "after",
    `
Examples:
  $ mobula start                             a node with everything this machine has
  $ mobula start --head                      the same, as the head of a cluster that others can join
  $ mobula start --cpus 4 --resource disk=2  with less, and with a resource of your own
  $ MOBULA_ADDRESS=auto node app.ts          a program that joins it
  $ mobula status
  $ mobula stop`,
  );

program
  .command("start")
  .description('start a node in the background; programs join it with init({ address: "auto" })')
  .option("--head", "begin a cluster here (or go on with the one of --state), or")
  .option("--address <host:port>", "join the cluster whose head listens there; its token is read from MOBULA_TOKEN")
  .option("--host <address>", "with --head: where to listen (default: 127.0.0.1, this machine only)")
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
  .addHelpText(
    "after",
    `
Examples:
  $ mobula start
  $ mobula start --cpus 2 --object-store 1GiB --resource licence=1
  $ mobula start --head --host 0.0.0.0
  $ MOBULA_TOKEN=... mobula start --address head:6380 --label rack=a4`,
  )
  .action(async (options: StartOptions) => {
    const { cpus, gpus, memory, objectStore, spillDirectory, name } = options;
    const cluster = await clusterOf(options);
    if (options.head && findStandingNode()?.cluster === cluster?.address) {
      print(`The head goes on at ${cluster?.address}, where it was; its nodes find it by themselves.`);
      return;
    }
    const starting = startStandingNode({
      resources: {
        ...options.resource,
        ...(cpus !== undefined ? { cpu: cpus } : {}),
        ...(gpus !== undefined ? { gpu: gpus } : {}),
        ...(memory !== undefined ? { memory } : {}),
      },
      ...(name !== undefined ? { name } : {}),
      ...(objectStore !== undefined ? { objectStoreBytes: objectStore } : {}),
      ...(spillDirectory !== undefined ? { spillDirectory } : {}),
      ...(cluster
        ? {
            cluster: {
              ...cluster,
              labels: options.label ?? {},
              host: await localAddressTowards(cluster.address),
              ports: options.ports ?? 0,
            },
          }
        : {}),
    });
    // A head that has no node yet is of no use; what it had written down stays.
    const node = await starting.catch(async (error) => {
      if (options.head) await stopStandingHead({ keepState: true });
      throw error;
    });
    if (options.head) {
      print(`A cluster has begun at ${cluster?.address} (node pid ${node.pid}). Others join it with:`);
      print(`  MOBULA_TOKEN=${cluster?.token} mobula start --address ${cluster?.address}`);
    } else if (cluster) print(`A node runs (pid ${node.pid}) and has joined the cluster at ${cluster.address}.`);
    else print(`A node runs (pid ${node.pid}).`);
    if (cluster)
      print("Clusters are being built: tasks run on all nodes, stored arguments and actors stay on their own.");
    print('Programs on this machine join it with init({ address: "auto" }) or MOBULA_ADDRESS=auto.');
    print("`mobula status` shows it, `mobula stop` ends it.");
  });

program
  .command("stop")
  .description("end the node of this machine; actors run their shutdown hooks first")
  .option("--now", "at once, without waiting for actors")
  .addHelpText("after", "\nExamples:\n  $ mobula stop\n  $ mobula stop --now")
  .action(async ({ now = false }: { readonly now?: boolean }) => {
    const didRun = await stopStandingNode({ atOnce: now });
    print(didRun ? "The node has ended." : "No node is running.");
    if (await stopStandingHead()) print("The head has ended, and its cluster with it.");
  });

program
  .command("status")
  .description("show the node of this machine: resources, object store, actors")
  .option("--json", "as JSON, for programs")
  .addHelpText("after", "\nExamples:\n  $ mobula status\n  $ mobula status --json | jq .nodes[0].available")
  .action(async ({ json = false }: { readonly json?: boolean }) => {
    const node = findStandingNode();
    if (!node) {
      if (json) print(JSON.stringify({ running: false }));
      else print("No node is running. Start one with `mobula start`.");
      process.exitCode = 3;
      return;
    }
    const { nodes, actors } = await ask(node);
    if (json) print(JSON.stringify({ running: true, pid: node.pid, startedAtMs: node.startedAtMs, nodes, actors }));
    else describe(node, nodes, actors);
  });

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
}

/** The cluster that the node begins or joins, if any. */
async function clusterOf(options: StartOptions): Promise<{ address: string; token: string } | undefined> {
  const { head, address, host, port, advertise, state } = options;
  if (head && address !== undefined) throw new Error("--head begins a cluster and --address joins one: choose");
  if (!head && (host ?? port ?? advertise ?? state) !== undefined) {
    throw new Error("--host, --port, --advertise and --state are for --head");
  }
  if (address !== undefined) {
    const token = process.env.MOBULA_TOKEN;
    if (!token) throw new Error("MOBULA_TOKEN is not set: `mobula start --head` printed it, its state folder keeps it");
    return { address, token };
  }
  if (!head) return undefined;
  return startStandingHead({
    stateDir: state ?? defaultStateFolder(),
    ...(host !== undefined ? { host } : {}),
    ...(port !== undefined ? { port } : {}),
    ...(advertise !== undefined ? { advertise } : {}),
  });
}

function label(text: string, earlier: Readonly<Record<string, string>> = {}): Record<string, string> {
  const [key = "", ...value] = text.split("=");
  if (key.trim() === "" || value.length === 0) throw new InvalidArgumentError("It must be key=value.");
  return { ...earlier, [key.trim()]: value.join("=") };
}

function amount(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0) {
    throw new InvalidArgumentError("It must be a number of at least 0.");
  }
  return value;
}

function bytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(?:(Ki|Mi|Gi|Ti)?B?)$/i.exec(text.trim());
  const power = ["", "ki", "mi", "gi", "ti"].indexOf((match?.[2] ?? "").toLowerCase());
  if (!match) throw new InvalidArgumentError("It must be a number of bytes, such as 1073741824, 512MiB or 4GiB.");
  return Math.round(Number(match[1]) * 1024 ** power);
}

function resource(text: string, earlier: Readonly<Record<string, number>> = {}): Record<string, number> {
  const at = text.indexOf("=");
  const name = text.slice(0, Math.max(0, at)).trim();
  if (name === "" || ["cpu", "gpu", "memory"].includes(name)) {
    throw new InvalidArgumentError("It must be name=amount, and CPUs, GPUs and memory have options of their own.");
  }
  return { ...earlier, [name]: amount(text.slice(at + 1)) };
}

/** Joins as a tool and asks; ends with an error within a few seconds when there is no answer. */
function ask(node: StandingNode): Promise<{ nodes: readonly NodeInfo[]; actors: readonly ActorInfo[] }> {
  return new Promise((resolve, reject) => {
    let peer: Peer | undefined;
    const answers = new Map<number, unknown>();
    const fail = (message: string): void => {
      clearTimeout(timer);
      peer?.destroy();
      reject(new Error(message));
    };
    const timer = setTimeout(() => fail(`the node (pid ${node.pid}) gave no answer within 5 s`), ANSWER_TIMEOUT_MS);
    const onMessage = (message: { readonly t: string }): void => {
      const answer = message as {
        t: string;
        id?: number;
        result?: unknown;
        message?: string;
        error?: { message: string };
      };
      if (answer.t === "refused") fail(answer.message ?? "the node refused the connection");
      else if (answer.t === "welcome") {
        peer?.send({ t: "query", id: 1, method: "nodes", params: null });
        peer?.send({ t: "query", id: 2, method: "list-actors", params: { namespace: null } });
      } else if (answer.error) fail(answer.error.message);
      else if (answer.t === "answer" && answer.id !== undefined) {
        answers.set(answer.id, answer.result);
        if (answers.size < 2) return;
        clearTimeout(timer);
        peer?.close();
        resolve({ nodes: answers.get(1) as readonly NodeInfo[], actors: answers.get(2) as readonly ActorInfo[] });
      }
    };
    const onClose = (): void => fail(`the node (pid ${node.pid}) closed the connection`);
    connectUnix(node.nodeSocket, { onMessage, onClose }).then(
      (connected) => {
        peer = connected;
        peer.send({
          t: "hello",
          version: WIRE_VERSION,
          token: node.token,
          language: "js",
          role: "tool",
          processId: newProcessId(node.nodeId),
          pid: process.pid,
        });
      },
      (error: Error) => fail(error.message),
    );
  });
}

function describe(node: StandingNode, nodes: readonly NodeInfo[], actors: readonly ActorInfo[]): void {
  if (node.cluster)
    print(`cluster at ${node.cluster}: ${nodes.filter(({ state }) => state === "alive").length} nodes alive`);
  for (const { nodeId, name, state, resources, available, objectStore } of nodes) {
    const since = `, pid ${node.pid}, since ${new Date(node.startedAtMs).toLocaleString()}`;
    print(`${name}: ${state}${nodeId === node.nodeId ? since : ` (${nodeId})`}`);
    if (state === "dead") continue;
    for (const [what, all] of Object.entries(resources)) {
      const format = (value: number): string => (what === "memory" ? size(value) : String(value));
      print(`  ${what}: ${format(available[what] ?? 0)} of ${format(all)} free`);
    }
    const { usedBytes, capacityBytes, spilledBytes } = objectStore;
    print(`  object store: ${size(usedBytes)} of ${size(capacityBytes)} used, ${size(spilledBytes)} on disk`);
  }
  const living = actors.filter(({ state }) => state !== "dead");
  print(living.length === 0 ? "  no actors" : "  actors:");
  for (const { className, name, namespace, state, pid, restarts } of living) {
    const called = name === null ? "" : ` "${name}" in ${namespace}`;
    print(`    ${className}${called}: ${state}${pid === null ? "" : `, pid ${pid}`}, ${restarts} restarts`);
  }
}

const size = (value: number): string =>
  value >= 2 ** 30 ? `${(value / 2 ** 30).toFixed(1)} GiB` : `${Math.round(value / 2 ** 20)} MiB`;

function print(line: string): void {
  process.stdout.write(`${line}\n`);
}

if (process.argv.length <= 2) program.outputHelp();
else {
  program.parseAsync().catch((error: Error) => {
    process.stderr.write(`mobula: ${error.message}\n`);
    process.exitCode = 1;
  });
}
