/**
 * Worker, node, head, driver and network fail in all pairs, two of a kind too, while a load runs that checks its own answers.
 * Both faults begin in the same moment, when work of every kind is under way. Two clusters have a pair each at a time.
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { askHead } from "../../src/head/mod.ts";
import { type ClusterNode, LocalCluster, type NodeSpec } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";
import { Program } from "../failures/programs.ts";
import { newFolder } from "../new-folder.ts";

type Fault = "worker" | "node" | "head" | "driver" | "network";
type Pair = readonly [Fault, Fault];
const FAULTS: readonly Fault[] = ["worker", "node", "head", "driver", "network"];
const PAIRS: readonly Pair[] = FAULTS.flatMap((one, at) => FAULTS.slice(at).map((other) => [one, other] as const));

const SPEC: NodeSpec = { resources: { cpu: 2, lasting: 4 }, objectStoreBytes: 32 * 2 ** 20 };
const NODES = 3;
/** From the end of the last fault until every answer is there. */
const SETTLED_MS = 20_000;
/** Of a driver that is killed nothing is left anywhere after this. */
const CLEAN_MS = 10_000;
/** Most of it is waiting for a turn. */
const TEST_MS = 240_000;

interface Place {
  readonly node: string;
  readonly pid: number;
}

/** A driver with its load. */
class Load {
  readonly program: Program;
  private rounds = 0;

  constructor({ env }: LocalCluster) {
    this.program = new Program("../../cluster/fixtures/pairs.ts", "", { env, args: [newFolder()] });
  }

  async begin(): Promise<{ own: Place; endless: Place }> {
    await this.program.line("ready");
    this.program.tell("begin");
    return this.program.line(`under way ${++this.rounds}`);
  }

  async isRight(): Promise<{ turns: number; unknown: number }> {
    this.program.tell("settle");
    return this.program.line(`right ${this.rounds}`, SETTLED_MS);
  }

  async end(): Promise<void> {
    this.program.tell("end");
    await this.program.line(`ended ${this.rounds}`);
  }
}

/** What a pair fails on; two of a kind never on the same. */
interface Targets {
  readonly workers: readonly [Place, Place];
  readonly nodes: readonly [ClusterNode, ClusterNode];
  readonly cut: readonly [ClusterNode, ClusterNode];
  readonly drivers: readonly Load[];
}

/** A cluster with the drivers that live. */
class Ground {
  readonly cluster: LocalCluster;
  private readonly loads: Load[] = [];

  constructor(cluster: LocalCluster) {
    this.cluster = cluster;
  }

  async close(): Promise<void> {
    for (const { program } of this.loads) program.remove();
    await this.cluster.stop();
  }

  loadsOf(count: number): readonly Load[] {
    while (this.loads.length < count) this.loads.push(new Load(this.cluster));
    return this.loads.slice(0, count);
  }

  gone(loads: readonly Load[] = this.loads): void {
    for (const load of [...loads]) {
      load.program.remove();
      this.loads.splice(this.loads.indexOf(load), 1);
    }
  }

  // ── what control says ──────────────────────────────────────────────────────────────────────────────────────────────

  private nodes() {
    return askHead(this.cluster, "nodes", null);
  }

  private async untilState(node: ClusterNode, state: string): Promise<void> {
    const { cluster } = this;
    await eventually(
      async () => (await this.nodes()).some((one) => one.nodeId === node.id && one.state === state),
      () => `${node.name} of ${cluster.address} is not ${state}`,
    );
  }

  /** Of the detached actor, while it lives. */
  async kept(): Promise<readonly string[]> {
    const actors = await askHead(this.cluster, "list-actors", { namespace: null });
    return actors.filter(({ name, state }) => name === "kept" && state !== "dead").map(({ actorId }) => actorId);
  }

  /** What is not as it is when nobody does anything; empty when there is nothing like that. */
  private async whatIsLeft(): Promise<string> {
    for (const { name, state, objectStore, resources, available } of await this.nodes()) {
      if (state === "dead") continue;
      const bytes = objectStore.usedBytes + objectStore.spilledBytes;
      if (bytes > 0) return `${name} holds ${bytes} bytes`;
      for (const [what, amount] of Object.entries(resources))
        if (available[what] !== amount) return `${name} has ${available[what]} of ${amount} ${what}`;
    }
    const [waiting] = await askHead(this.cluster, "waiting-demands", null);
    if (waiting) return `${waiting.kind} ${waiting.name} waits`;
    const actors = await askHead(this.cluster, "list-actors", { namespace: null });
    const left = actors.find(({ state, name }) => state !== "dead" && name !== "kept");
    return left ? `actor ${left.actorId} is ${left.state}` : "";
  }

  async nothingIsLeft(): Promise<void> {
    let left = "";
    await eventually(
      async () => {
        left = await this.whatIsLeft();
        return left === "";
      },
      () => left,
    );
  }

  // ── faults ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  node(id: string): ClusterNode {
    const found = this.cluster.nodes.find((node) => node.id === id);
    if (!found) throw new Error(`no node is ${id}`);
    return found;
  }

  private living(): readonly ClusterNode[] {
    return this.cluster.nodes.filter((node) => node.alive());
  }

  async fail(fault: Fault, { workers, nodes, cut, drivers }: Targets, at: 0 | 1): Promise<void> {
    const { cluster } = this;
    switch (fault) {
      case "worker":
        process.kill(workers[at].pid, "SIGKILL");
        return;
      case "node":
        return cluster.kill(nodes[at]);
      case "head":
        return cluster.killHead();
      case "driver":
        drivers[at]?.program.kill();
        await drivers[at]?.program.exited;
        return;
      case "network":
        cluster.partition([cut[at]], [...this.living().filter((one) => one !== cut[at]), "head", "driver"]);
    }
  }

  async failBoth([one, other]: Pair, targets: Targets): Promise<void> {
    if (one === "head" && other === "head") {
      // It serves again, and nobody is back yet.
      await this.cluster.killHead();
      await this.cluster.restartHead();
      await this.cluster.killHead();
    } else await Promise.all([this.fail(one, targets, 0), this.fail(other, targets, one === other ? 1 : 0)]);
  }

  /** Beside a node's end, a cut lasts until both are given up; else until the other fault has had its effect. */
  async mend(pair: Pair, { nodes, cut, drivers }: Targets): Promise<void> {
    const { cluster } = this;
    const count = (fault: Fault): number => pair.filter((one) => one === fault).length;
    if (count("head") > 0) await cluster.restartHead();
    const isLong = count("network") === 2 || count("node") > 0;
    const lost = [...nodes.slice(0, count("node")), ...(isLong ? cut.slice(0, count("network")) : [])];
    for (const node of lost) await this.untilState(node, "dead");
    const ended = drivers.slice(0, count("driver")).map(({ program }) => `driver-${program.pid}`);
    await eventually(
      async () => (await this.nodes()).every(({ name, state }) => !ended.includes(name) || state === "dead"),
      () => `the nodes ${ended} live`,
    );
    cluster.heal();
    for (let lives = this.living().length; lives < NODES; lives++) await cluster.addNode(SPEC);
    for (const node of this.living()) await this.untilState(node, "alive");
  }
}

const grounds: Ground[] = [];
/** Who waits for one. */
const waiting: ((ground: Ground) => void)[] = [];
const free: Ground[] = [];
async function onGround<T>(act: (ground: Ground) => Promise<T>): Promise<T> {
  const ground = free.pop() ?? (await new Promise<Ground>((resolve) => void waiting.push(resolve)));
  try {
    return await act(ground);
  } catch (error) {
    // The next pair begins with drivers that have seen nothing.
    ground.gone();
    throw error;
  } finally {
    const next = waiting.shift();
    if (next) next(ground);
    else free.push(ground);
  }
}

beforeAll(async () => {
  const start = async (): Promise<void> => {
    grounds.push(new Ground(await LocalCluster.start({ nodes: Array.from({ length: NODES }, () => SPEC) })));
  };
  await Promise.all([start(), start()]);
  free.push(...grounds);
});
afterAll(async () => {
  for (const ground of grounds) await ground.close();
});

async function survives(pair: Pair, ground: Ground): Promise<void> {
  const isKilled = pair.includes("driver");
  const drivers = ground.loadsOf(pair[0] === "driver" && pair[1] === "driver" ? 2 : 1);
  const [first] = await Promise.all(drivers.map((load) => load.begin()));
  if (!first) throw new Error("there is no load");
  const [here, there] = [ground.node(first.own.node), ground.node(first.endless.node)];
  const targets: Targets = { workers: [first.own, first.endless], nodes: [there, here], cut: [here, there], drivers };
  const kept = await ground.kept();
  const failedAt = performance.now();
  await ground.failBoth(pair, targets);
  await ground.mend(pair, targets);
  for (const load of isKilled ? [] : drivers) {
    await load.isRight();
    await load.end();
  }
  await ground.nothingIsLeft();
  if (isKilled) {
    expect(performance.now() - failedAt).toBeLessThan(CLEAN_MS);
    ground.gone(drivers);
  }
  expect(await ground.kept()).toEqual(kept);
}

test.concurrent.each(PAIRS)(
  "%s and %s fail at once: answers are right, no call runs twice, what is detached lives, and nothing else is left",
  (...pair) => onGround((ground) => survives(pair, ground)),
  TEST_MS,
);
