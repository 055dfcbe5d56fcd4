/** The load on a cluster of this machine: a head, nodes of one CPU each, and the driver's own node. */
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, rmdirSync } from "node:fs";
import { promisify } from "node:util";
import { nodes } from "mobula";
import { type ClusterNode, LocalCluster } from "mobula/testing";
import { cli } from "../mobula/cli.ts";
import { SmallDisk } from "./disk.ts";
import { createFaults, unlike } from "./faults.ts";
import { driverUse, type Place, processesLeft, sharedMemoryOf } from "./place.ts";
import { descendants, isReady, openFiles, ownBytes, type Used } from "./processes.ts";
import type { Random } from "./random.ts";

/** Small, so that objects are written to disk, too. */
const SPEC = { resources: { cpu: 1 }, objectStoreBytes: 64 * 2 ** 20 };

export type State = "sqlite" | "nats" | "etcd";

/** @param state where control keeps it; in servers, there are two heads. */
export async function startCluster(
  count: number,
  state: State,
  random: Random,
  print: (line: string) => void,
): Promise<Place> {
  // Short: sockets lie below it.
  const folder = mkdtempSync("/tmp/load-");
  process.env.TMPDIR = folder;
  // Servers of a state write there too, and do not survive it.
  const disk = state === "sqlite" ? SmallDisk.at(folder) : undefined;
  const cluster = await LocalCluster.start({ control: state, nodes: Array.from({ length: count }, () => SPEC) });
  const context = await cluster.connect();
  // A node that is given up begins anew in its process, so its process id says whether it is the one that it was.
  const nodePids = new Set<number>();
  const seen = (): number[] => {
    const pids = descendants()
      .filter(({ program }) => program === "node")
      .map(({ pid }) => pid);
    for (const pid of pids) nodePids.add(pid);
    return pids;
  };
  const workersOf = (node: ClusterNode): number[] => node.workers().map(({ pid }) => pid);
  const faults = createFaults({ cluster, spec: SPEC, driverNode: context.nodeId, random, print, disk });
  return {
    workers: () => cluster.nodes.flatMap(workersOf).filter(isReady),
    faults,
    used: async () => {
      const kept = new Map((await nodes()).map(({ nodeId, events }) => [nodeId, events.keptBytes]));
      const members = [cluster.head, ...cluster.nodes].filter((node) => node.alive());
      const idOf = new Map(members.flatMap((node) => node.pids().map((pid) => [pid, node] as const)));
      const workers = members.reduce((sum, node) => sum + node.workers().length, 0);
      // All that machines say to each other passes through this process, which is the network too.
      const driver = { ...driverUse(), files: 0 };
      return new Map<string, Used>([
        ["driver", driver],
        ...seen().map((pid): [string, Used] => {
          const node = idOf.get(pid);
          const bytes = ownBytes(pid) - (kept.get(node?.id ?? context.nodeId) ?? 0);
          return [node ? `node ${node.name} (${pid})` : "driver's node", { bytes, files: openFiles(pid), workers }];
        }),
      ]);
    },
    unrest: () => unlike(cluster, context.nodeId),
    async headLag() {
      const env = { ...process.env, ...cluster.env, TMPDIR: "/tmp" };
      const args = [...process.execArgv, cli, "status", "--json"];
      // It may be dead, or stand still, at this moment.
      const { stdout } = await promisify(execFile)(process.execPath, args, { env }).catch(() => ({ stdout: "{}" }));
      return (JSON.parse(stdout) as { heads?: { loopLagMs: number } }).heads?.loopLagMs;
    },
    async stop() {
      seen();
      await cluster.stop();
    },
    left() {
      const files = readdirSync(folder, { recursive: true }).map((name) => `${folder}/${name}`);
      const left = [...processesLeft(), ...files, ...sharedMemoryOf([...nodePids])];
      if (left.length === 0 && !disk) rmdirSync(folder);
      return left;
    },
  };
}
