/**
 * What goes wrong with a cluster under load: nodes and the head are killed, stand still, are cut off or slow, or are taken
 * out, one or two of them at a time. After each the cluster must be whole again within a time. When the next comes follows
 * from the progress of the load and not from a clock.
 */
import { setTimeout as delay } from "node:timers/promises";
import { isError, nodes } from "mobula";
import type { ClusterNode, ClusterServer, LocalCluster, NodeSpec } from "mobula/testing";
import type { SmallDisk } from "./disk.ts";
import type { Random } from "./random.ts";

/** A node is given up after 4 s without a word. */
const PASSING_MS = [200, 2_000] as const;
const DEADLY_MS = [6_000, 8_000] as const;
const HEAD_AWAY_MS = [0, 3_000] as const;
const DRAIN_MS = [0, 3_000] as const;
const SLOW_MS = [5, 100] as const;
const FULL_MS = [200, 6_000] as const;
/** Operations that begin between two. */
const PAUSE_OPERATIONS = [5, 40] as const;
/** From the end of a fault until every node is alive and nobody takes a dead one for alive. */
const WHOLE_MS_MAX = 30_000;
const POLL_MS = 50;
const TWO_AT_ONCE = 0.3;

export interface Faults {
  /** From now on. */
  begin(): void;
  /** An operation begins. */
  began(): void;
  /** Rejects with the first thing that goes wrong; does not resolve. */
  readonly failed: Promise<never>;
  /** Resolves when the last one is over. */
  stop(): Promise<void>;
  /** Whether a program may be told that now because of one of them. */
  mayRefuse(error: unknown): boolean;
  /** How often each happened. */
  readonly counts: ReadonlyMap<string, number>;
}

/** What a fault needs for itself while it lasts. */
type Need = "node" | "head" | "network";

interface Fault {
  readonly needs: readonly Need[];
  /** Only where the state of control is in servers of its own. */
  readonly isReplicated?: true;
  /** Only where they have a disk of their own, and nothing else at the same time. */
  readonly isOfDisk?: true;
  run(stage: Stage, node: ClusterNode): Promise<void>;
}

interface Stage {
  readonly cluster: LocalCluster;
  readonly random: Random;
  readonly disk: SmallDisk | undefined;
  /** Adds a node for one that is gone. */
  replace(): Promise<void>;
  /** What a node is cut off from. */
  others(node: ClusterNode): (ClusterNode | "head" | "driver")[];
}

const between = (random: Random, [from, to]: readonly [number, number]): number => random.between(from, to);

async function standStill(cluster: LocalCluster, node: ClusterNode | ClusterServer, ms: number): Promise<void> {
  await cluster.kill(node, "SIGSTOP");
  await delay(ms);
  await cluster.kill(node, "SIGCONT");
}

async function cutOff({ cluster, others }: Stage, node: ClusterNode, ms: number): Promise<void> {
  cluster.partition([node], others(node));
  await delay(ms);
  cluster.heal();
}

const faults: Readonly<Record<string, Fault>> = {
  "a node is killed": {
    needs: ["node"],
    async run({ cluster, replace }, node) {
      await cluster.kill(node);
      await replace();
    },
  },
  "a node stands still": {
    needs: ["node"],
    run: ({ cluster, random }, node) => standStill(cluster, node, between(random, PASSING_MS)),
  },
  "a node stands still until it is given up": {
    needs: ["node"],
    run: ({ cluster, random }, node) => standStill(cluster, node, between(random, DEADLY_MS)),
  },
  "a node is cut off": {
    needs: ["node", "network"],
    run: (stage, node) => cutOff(stage, node, between(stage.random, PASSING_MS)),
  },
  "a node is cut off until it is given up": {
    needs: ["node", "network"],
    run: (stage, node) => cutOff(stage, node, between(stage.random, DEADLY_MS)),
  },
  "two nodes cannot reach each other": {
    needs: ["node", "network"],
    async run({ cluster, random, others }, node) {
      cluster.partition([node], [random.pick(others(node).filter((other) => typeof other !== "string"))]);
      await delay(between(random, DEADLY_MS));
      cluster.heal();
    },
  },
  "the ways to a node are slow": {
    needs: ["node", "network"],
    async run({ cluster, random, others }, node) {
      cluster.delay(node, others(node), between(random, SLOW_MS));
      await delay(between(random, PASSING_MS));
      cluster.heal();
    },
  },
  "a node is drained": {
    needs: ["node"],
    async run({ cluster, random, replace }, node) {
      const deadlineMs = between(random, DRAIN_MS);
      const givenUpAtMs = performance.now() + WHOLE_MS_MAX;
      for (;;) {
        try {
          await cluster.drain(node, { deadlineMs });
          break;
        } catch (error) {
          // The head may be away, and may have heard of it before.
          const isAway = isError(error, "CONNECTION_LOST") && performance.now() < givenUpAtMs;
          if (node.alive() && !isAway) throw error;
          if (!node.alive()) break;
          await delay(POLL_MS);
        }
      }
      await replace();
    },
  },
  "the disk of all of them is full": {
    needs: [],
    isOfDisk: true,
    async run({ disk, random }) {
      disk?.fill();
      await delay(between(random, FULL_MS));
      disk?.empty();
    },
  },
  "the head is killed": {
    needs: ["head"],
    async run({ cluster, random }) {
      await cluster.killHead();
      await delay(between(random, HEAD_AWAY_MS));
      await cluster.restartHead();
    },
  },
  "the head's machine stands still": {
    needs: ["head"],
    run: ({ cluster, random }) => standStill(cluster, cluster.head, between(random, HEAD_AWAY_MS)),
  },
  "a server of the state stands still": {
    needs: ["head"],
    isReplicated: true,
    run: ({ cluster, random }) => standStill(cluster, random.pick(cluster.servers), between(random, DEADLY_MS)),
  },
  "a server of the state is cut off from the others": {
    needs: ["head", "network"],
    isReplicated: true,
    async run({ cluster, random }) {
      const server = random.pick(cluster.servers);
      const others = cluster.servers.filter((other) => other !== server);
      cluster.partition([server], [...others, "head", ...(cluster.standby ? [cluster.standby] : [])]);
      await delay(between(random, DEADLY_MS));
      cluster.heal();
    },
  },
};

export interface FaultOptions {
  readonly cluster: LocalCluster;
  /** What each node is. */
  readonly spec: NodeSpec;
  /** It is no member. */
  readonly driverNode: string;
  readonly random: Random;
  readonly print: (line: string) => void;
  /** On which all of them have their files; undefined when they share it with the machine. */
  readonly disk: SmallDisk | undefined;
}

export function createFaults({ cluster, spec, driverNode, random, print, disk }: FaultOptions): Faults {
  const counts = new Map<string, number>();
  let left = 0;
  let replaced = 0;
  let next: (() => void) | undefined;
  let stopped = false;
  let running: Promise<void> | undefined;
  const { promise: failed, reject: fail } = Promise.withResolvers<never>();
  // Who waits for it is told.
  failed.catch(() => {});

  const possible = Object.entries(faults)
    .filter(([, { isReplicated, isOfDisk }]) => !(isReplicated && cluster.servers.length === 0) && !(isOfDisk && !disk))
    .map(([name]) => name);
  const living = (): ClusterNode[] => cluster.nodes.filter((node) => node.alive());
  const stage: Stage = {
    cluster,
    random,
    disk,
    replace: async () => {
      await cluster.addNode({ ...spec, name: `new-${++replaced}` });
    },
    others: (node) => [...living().filter((other) => other !== node), "head", "driver"],
  };
  const runOne = async (name: string, fault: Fault, node: ClusterNode): Promise<void> => {
    counts.set(name, (counts.get(name) ?? 0) + 1);
    print(`    ${name}${fault.needs.includes("node") ? `: ${node.name}` : ""}`);
    try {
      await fault.run(stage, node);
    } catch (cause) {
      throw new Error(`"${name}" (${node.name}) did not end as it should: ${(cause as Error).message}`, { cause });
    }
  };
  const runSome = async (): Promise<void> => {
    const names = [random.pick(possible)];
    const second = random.pick(possible);
    const needs = (name: string): readonly Need[] => faults[name]?.needs ?? [];
    const [first = ""] = names;
    const isAlone = faults[first]?.isOfDisk || faults[second]?.isOfDisk;
    const clash = isAlone || needs(first).some((need) => need !== "node" && needs(second).includes(need));
    if (random.chance(TWO_AT_ONCE) && !clash) names.push(second);
    const free = living();
    await Promise.all(
      names.map((name) => {
        const node = random.pick(free);
        free.splice(free.indexOf(node), 1);
        const fault = faults[name];
        return fault && runOne(name, fault, node);
      }),
    );
    await whole(cluster, driverNode, names);
  };
  const run = async (): Promise<void> => {
    while (!stopped) {
      const { promise, resolve } = Promise.withResolvers<void>();
      [left, next] = [between(random, PAUSE_OPERATIONS), resolve];
      await promise;
      // A short run on a slow machine has one, too.
      if (!stopped || counts.size === 0) await runSome();
    }
  };
  return {
    counts,
    failed,
    mayRefuse: (error) => disk?.wasFull === true && causes(error).some((cause) => isError(cause, "DISK_FULL")),
    begin() {
      running = run().catch(fail);
    },
    began() {
      if (--left <= 0) next?.();
    },
    async stop() {
      stopped = true;
      next?.();
      await Promise.race([running, failed]);
    },
  };
}

function causes(error: unknown): unknown[] {
  const found: unknown[] = [];
  for (let cause = error; cause instanceof Error && !found.includes(cause); cause = cause.cause) found.push(cause);
  return found;
}

/** Resolves when control and the processes agree on who lives. */
async function whole(cluster: LocalCluster, driverNode: string, after: readonly string[]): Promise<void> {
  const deadline = performance.now() + WHOLE_MS_MAX;
  for (;;) {
    const found = await unlike(cluster, driverNode);
    if (found === undefined) return;
    if (performance.now() > deadline) {
      throw new Error(`${found}, ${WHOLE_MS_MAX / 1_000} s after: ${after.join(", ")}`);
    }
    await delay(POLL_MS);
  }
}

/** Where control and the processes do not agree on who lives. */
export async function unlike(cluster: LocalCluster, driverNode: string): Promise<string | undefined> {
  let known: Awaited<ReturnType<typeof nodes>>;
  try {
    known = await nodes();
  } catch (error) {
    return `control does not answer (${(error as Error).message})`;
  }
  const members = [cluster.head, ...cluster.nodes];
  for (const member of members) {
    const state = known.find(({ nodeId }) => nodeId === member.id)?.state;
    const isAlive = state === "alive" || state === "draining";
    if (member.alive() !== isAlive) {
      return `${member.name} ${member.alive() ? "runs" : "has ended"}, and is ${state ?? "unknown"} to control`;
    }
  }
  const ids = new Set<string>([driverNode, ...members.map(({ id }) => id)]);
  const ghost = known.find(({ nodeId, state }) => state === "alive" && !ids.has(nodeId));
  return ghost && `${ghost.name} is alive to control, and nobody's`;
}
