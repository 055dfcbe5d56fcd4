/**
 * The same job on a cluster of this machine, while machines of it are lost. Each has processes, a store and an address of its
 * own (`mobula/testing`). See README.md.
 *
 * 1. When half of the files are read, a node is killed with SIGKILL, with all its processes.
 * 2. When half of the pairs are compared, the head is killed too, and started again a second later.
 * 3. In the end the groups must be those that one process finds.
 */
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { listActors, nodes } from "mobula";
import { type ClusterNode, LocalCluster } from "mobula/testing";
import { runBaseline } from "./baseline.ts";
import type { Chaos } from "./chaos.ts";
import { readCommand } from "./command-line.ts";
import { runDistributed } from "./distributed.ts";
import { type Listing, listFiles, UsageError } from "./files.ts";
import { agree, asText, type Results } from "./report.ts";

const THRESHOLD = 0.8;
const NODES = 3;
const KILL_NODE_AT = 0.5;
const KILL_HEAD_AT = 0.5;
const HEAD_AWAY_MS = 1_000;

const beganAtMs = performance.now();

function tell(line: string): void {
  console.log(`${((performance.now() - beganAtMs) / 1000).toFixed(2).padStart(6)} s  ${line}`);
}

/** What is done to the cluster while the job runs, and what becomes of it. */
class Faults implements Chaos {
  readonly kills = { tasks: 0, actors: 0 };
  private readonly cluster: LocalCluster;
  /** Batches that each worker has read. */
  private readonly readBy = new Map<number, number>();
  private victim: { readonly node: ClusterNode; readonly killedAtMs: number } | undefined;
  private known: Promise<void> | undefined;
  private head: Promise<void> | undefined;
  private comparedWhileAway = 0;
  private isAway = false;

  constructor(cluster: LocalCluster) {
    this.cluster = cluster;
  }

  async sketched(done: number, total: number, pid: number): Promise<void> {
    this.readBy.set(pid, (this.readBy.get(pid) ?? 0) + 1);
    if (done === total) tell(`all ${total} batches of files are read`);
    if (this.victim || done / total < KILL_NODE_AT) return;
    await this.killNode(pid, total - done);
  }

  async streaming(): Promise<void> {}

  async compared(done: number, total: number): Promise<void> {
    if (this.isAway) this.comparedWhileAway++;
    if (done === total) tell(`all ${total} batches of pairs are compared`);
    if (!this.head && done / total >= KILL_HEAD_AT) this.head = this.loseHead(total - done);
    // A short job must not be over before all of this is.
    if (done === total) await Promise.all([this.known, this.head]);
  }

  /** The node of the worker that has just read a batch: it has work, and something to lose. */
  private async killNode(pid: number, left: number): Promise<void> {
    const { cluster } = this;
    const node = cluster.nodes.find((one) => one.pids().includes(pid)) ?? cluster.nodes[0];
    if (!node) return;
    const info = (await nodes()).find(({ nodeId }) => nodeId === node.id);
    const pids = node.pids();
    const read = pids.reduce((sum, each) => sum + (this.readBy.get(each) ?? 0), 0);
    const stored = ((info?.objectStore.usedBytes ?? 0) / 1e6).toFixed(1);
    this.victim = { node, killedAtMs: performance.now() };
    await cluster.kill(node);
    tell(`${node.name} is killed with SIGKILL, half way: ${pids.length} processes are gone,`);
    tell(`  ${read} batches were read there, ${stored} MB of objects lay there, and what it was at is lost`);
    tell(`  ${left} batches are left to read`);
    this.known = this.tellOfDeath();
  }

  private async tellOfDeath(): Promise<void> {
    const { victim } = this;
    if (!victim) return;
    const isKnown = async (): Promise<boolean> =>
      (await nodes().catch(() => [])).some(({ nodeId, state }) => nodeId === victim.node.id && state === "dead");
    while (!(await isKnown())) await delay(50);
    const seconds = ((performance.now() - victim.killedAtMs) / 1000).toFixed(1);
    tell(`${victim.node.name} is known to be dead, after ${seconds} s: its tasks are run again elsewhere,`);
    tell("  objects that only it had are made again by the tasks that had made them");
    const restarts = (await listActors()).reduce((sum, actor) => sum + actor.restarts, 0);
    if (restarts > 0) tell(`  ${restarts} actors were started again elsewhere, and are filled again`);
  }

  private async loseHead(left: number): Promise<void> {
    const { cluster } = this;
    await cluster.killHead();
    this.isAway = true;
    tell(`the head is killed, with ${left} batches of pairs left: who has work goes on, without it`);
    await delay(HEAD_AWAY_MS);
    const startedAtMs = performance.now();
    await cluster.restartHead();
    this.isAway = false;
    const ms = Math.round(performance.now() - startedAtMs);
    tell(`the head serves again ${ms} ms after it was started, from what it had written down;`);
    tell(`  ${this.comparedWhileAway} batches of pairs were compared while it was away`);
  }
}

async function run(listing: Listing, nodeCount: number): Promise<boolean> {
  tell(`comparing ${listing.files.length.toLocaleString("en-US")} files in one process, for the right answer`);
  const baseline = runBaseline(listing, THRESHOLD);
  tell(`${baseline.groups.length} groups in ${baseline.seconds.toFixed(2)} s; now on a cluster`);
  await using cluster = await LocalCluster.start({ nodes: nodeCount });
  const names = cluster.nodes.map(({ name }) => name).join(", ");
  tell(`a cluster runs at ${cluster.address}: a head, and ${names} with a CPU each`);
  // The job itself knows nothing of it: it finds its cluster as every program does.
  Object.assign(process.env, cluster.env);
  const faults = new Faults(cluster);
  const distributed = await runDistributed(listing, {
    threshold: THRESHOLD,
    withProgress: false,
    chaos: faults,
  });
  tell("the job is done");
  const results: Results = { listing, threshold: THRESHOLD, baseline, distributed };
  console.log(`\n${asText(results)}`);
  return agree(results) === true;
}

const HELP = `The job of main.ts on a cluster of this machine, while a node and then the head are killed.

  node examples/near-duplicates/cluster.ts [FOLDER] [options]

  FOLDER     where to look (default: the installed node_modules)
  --nodes N  how many nodes (default: ${NODES}); at least 2, since one is lost
  --limit N  read at most N files
  --help     print this`;

function readArguments(): { readonly listing: Listing; readonly nodeCount: number } | undefined {
  const options = { nodes: { type: "string" }, limit: { type: "string" }, help: { type: "boolean" } } as const;
  const { values, positionals } = parseArgs({ allowPositionals: true, options });
  if (values.help) return undefined;
  const nodeCount = Number(values.nodes ?? NODES);
  if (!Number.isInteger(nodeCount) || nodeCount < 2) {
    throw new UsageError(`--nodes is ${values.nodes}; it must be a whole number of at least 2`);
  }
  const command = readCommand([...positionals, ...(values.limit === undefined ? [] : ["--limit", values.limit])]);
  return { listing: listFiles(command.folder, command.filesMax), nodeCount };
}

try {
  const given = readArguments();
  if (!given) console.log(HELP);
  else if (!(await run(given.listing, given.nodeCount))) {
    console.error("near-duplicates: the two runs found different groups; did files change meanwhile?");
    process.exitCode = 1;
  }
} catch (error) {
  const isUsage =
    error instanceof UsageError || String((error as { code?: unknown }).code).startsWith("ERR_PARSE_ARGS");
  if (!isUsage) throw error;
  console.error(`near-duplicates: ${(error as Error).message}`);
  process.exitCode = 1;
}
