/** The test kit of users: `mobula/testing`, everything in its interface. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import { get, init, isInitialized, nodes, remote, runtimeContext, shutdown } from "../../src/api/mod.ts";
import { type ClusterNode, LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";
import { Program } from "../failures/programs.ts";
import { newFolder } from "../new-folder.ts";

const open: LocalCluster[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map((cluster) => cluster.stop()));
  if (isInitialized()) await shutdown();
});

async function start(...args: Parameters<typeof LocalCluster.start>): Promise<LocalCluster> {
  const cluster = await LocalCluster.start(...args);
  open.push(cluster);
  return cluster;
}

const whereAmI = remote(() => runtimeContext().nodeId);

/** A node of a list that must be that long. */
function at(list: readonly ClusterNode[], index: number): ClusterNode {
  const node = list[index];
  if (!node) throw new Error(`there is no node ${index}`);
  return node;
}

const states = async (): Promise<Record<string, string>> =>
  Object.fromEntries((await nodes()).map(({ name, state }) => [name, state]));

const stateOf = (pid: number): string | undefined => {
  if (!existsSync(`/proc/${pid}`)) return undefined;
  const text = readFileSync(`/proc/${pid}/stat`, "latin1");
  return text.charAt(text.lastIndexOf(")") + 2);
};

describe("starting", () => {
  test("all nodes have joined, each with what it was given, and the head offers nothing", async () => {
    const cluster = await start({
      nodes: [
        { name: "big", resources: { cpu: 2, disk: 3 }, objectStoreBytes: 32 * 2 ** 20, labels: { rack: "a" } },
        { resources: { memory: 2 ** 20 } },
      ],
    });
    const context = await cluster.connect();
    const listed = Object.fromEntries((await nodes()).map((node) => [node.name, node]));
    expect(listed.big).toMatchObject({
      nodeId: at(cluster.nodes, 0).id,
      state: "alive",
      resources: { cpu: 2, disk: 3 },
      labels: { rack: "a" },
      objectStore: { capacityBytes: 32 * 2 ** 20 },
    });
    expect(listed["node-2"]?.resources).toEqual({ memory: 2 ** 20 });
    expect(listed.head).toMatchObject({ nodeId: cluster.head.id, resources: {} });
    expect(cluster.nodes).not.toContain(cluster.head);
    expect(cluster.servers).toEqual([]);
    expect(context.nodeId).not.toBe(cluster.head.id);
  });

  test("a number gives nodes of one CPU, and a head with a spec offers what it says", async () => {
    const cluster = await start({ nodes: 2, head: { name: "first", resources: { cpu: 1, only: 1 } } });
    expect(cluster.nodes.map(({ name }) => name)).toEqual(["node-1", "node-2"]);
    await cluster.connect();
    expect(await get(whereAmI.options({ resources: { only: 1 } }).remote())).toBe(cluster.head.id);
    expect((await nodes()).filter(({ resources }) => resources.cpu === 1)).toHaveLength(3);
  });

  test("what cannot be is refused, and leaves nothing", async () => {
    await expect(LocalCluster.start({ nodes: -1 })).rejects.toMatchObject({ code: "INVALID_OPTION" });
    vi.stubEnv("MOBULA_NATS_SERVER", "/no/such/program");
    await expect(LocalCluster.start({ nodes: 1, control: "nats" })).rejects.toThrow(/needs Linux and nats-server/);
    vi.unstubAllEnvs();
    await expect(LocalCluster.start({ nodes: [{ name: "a" }, { name: "a" }] })).rejects.toThrow(/a node "a" already/);
    const cluster = await start({ nodes: [{ name: "a" }] });
    await expect(cluster.addNode({ name: "a" })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });

  test("every node has processes, a store and folders of its own", async () => {
    const cluster = await start({ nodes: 2 });
    await cluster.connect();
    const mine = remote(() => [process.pid, process.env.TMPDIR, process.env.XDG_STATE_HOME] as const);
    const [first, second] = [at(cluster.nodes, 0), at(cluster.nodes, 1)];
    const all = [cluster.head, first, second].map((node) => node.pids());
    expect(new Set(all.flat()).size).toBe(all.flat().length);
    for (const pids of all) expect(pids.length).toBeGreaterThan(0);
    const answers = await get(Array.from({ length: 8 }, () => mine.remote()));
    for (const [pid, ...folders] of answers) {
      const node = cluster.nodes.find((one) => one.pids().includes(pid));
      expect(node?.workers().map((worker) => worker.pid)).toContain(pid);
      for (const folder of folders) expect(folder).toMatch(/\/mk-\w+\/n[12]/);
    }
  });
});

describe("joining", () => {
  test("a driver of this process has a node of its own, or shares one", async () => {
    const cluster = await start({ nodes: 1 });
    const own = await cluster.connect({ namespace: "n" });
    expect(own.namespace).toBe("n");
    expect((await states())[`driver-${process.pid}`]).toBe("alive");
    expect(await get(whereAmI.remote())).toBe(at(cluster.nodes, 0).id);
    await shutdown();
    const shared = await cluster.connect({ node: at(cluster.nodes, 0) });
    expect(shared.nodeId).toBe(at(cluster.nodes, 0).id);
    expect(await get(whereAmI.remote())).toBe(shared.nodeId);
  });

  test("another program joins with the environment that the cluster gives, and only with its token", async () => {
    const cluster = await start({ nodes: 1 });
    const program = new Program("../../cluster/fixtures/joins.ts", "", { env: cluster.env });
    try {
      expect(await program.line("ran at")).toBe(at(cluster.nodes, 0).id);
      await program.exitWithin(20_000);
      await program.leavesNothing();
    } finally {
      program.remove();
    }
    await expect(init({ address: cluster.address })).rejects.toMatchObject({ code: "AUTHENTICATION" });
    await expect(init({ address: cluster.address, token: "x".repeat(64) })).rejects.toMatchObject({
      code: "AUTHENTICATION",
    });
  });

  test("a node that is added later runs tasks", async () => {
    const cluster = await start({ nodes: 1 });
    await cluster.connect();
    const added = await cluster.addNode({ name: "late", resources: { cpu: 1, late: 1 } });
    expect(cluster.nodes).toHaveLength(2);
    expect(await get(whereAmI.options({ resources: { late: 1 } }).remote())).toBe(added.id);
  });
});

describe("faults", () => {
  test("a killed node is gone with all its processes at once, and is known dead within 5 s", async () => {
    const cluster = await start({ nodes: 2 });
    await cluster.connect();
    const first = at(cluster.nodes, 0);
    const pids = first.pids();
    await cluster.kill(first);
    const killedAt = performance.now();
    expect(pids.map(stateOf).filter((state) => state !== undefined && state !== "Z")).toEqual([]);
    expect(first.pids()).toEqual([]);
    expect(first.alive()).toBe(false);
    await eventually(async () => (await states())["node-1"] === "dead", "it is known dead");
    expect(performance.now() - killedAt).toBeLessThan(5_000);
    expect(await get(whereAmI.remote())).toBe(at(cluster.nodes, 1).id);
  });

  test("a node stands still, and goes on", async () => {
    const cluster = await start({ nodes: 1 });
    const node = at(cluster.nodes, 0);
    await cluster.kill(node, "SIGSTOP");
    expect(new Set(node.pids().map(stateOf))).toEqual(new Set(["T"]));
    expect(node.alive()).toBe(true);
    await cluster.kill(node, "SIGCONT");
    expect(node.pids().map(stateOf)).not.toContain("T");
    await cluster.connect();
    expect(await get(whereAmI.remote())).toBe(node.id);
  });

  test("control alone is killed and comes back at its address, while the nodes live and work", async () => {
    const cluster = await start({ nodes: 1, head: { resources: { cpu: 1 } } });
    await cluster.connect();
    const marker = newFolder();
    const waits = remote(async (folder: string) => {
      const { existsSync, writeFileSync } = await import("node:fs");
      writeFileSync(`${folder}/begun`, "");
      while (!existsSync(`${folder}/go`)) await new Promise((resolve) => setTimeout(resolve, 10));
      return runtimeContext().nodeId;
    });
    const running = waits.remote(marker);
    await eventually(() => existsSync(`${marker}/begun`), "a task begins");
    const before = cluster.nodes.map((node) => node.pids());
    await cluster.killHead();
    expect(await listens(cluster.address)).toBe(false);
    expect([cluster.head.alive(), at(cluster.nodes, 0).alive()]).toEqual([true, true]);
    writeFileSync(`${marker}/go`, "");
    expect([cluster.head.id, at(cluster.nodes, 0).id]).toContain(await get(running));
    // What is asked meanwhile is answered when it serves again.
    const listed = nodes();
    await cluster.restartHead();
    expect((await listed).map(({ name }) => name)).toContain("node-1");
    expect(await listens(cluster.address)).toBe(true);
    await eventually(async () => (await states().catch(() => undefined))?.["node-1"] === "alive", "the node is back");
    expect(at(cluster.nodes, 0).pids()).toEqual(expect.arrayContaining(before[0] ?? []));
    const added = await cluster.addNode({ resources: { added: 1, cpu: 1 } });
    expect(await get(whereAmI.options({ resources: { added: 1 } }).remote())).toBe(added.id);
  });
});

describe("draining", () => {
  test("nothing new begins, what runs goes on, and the node ends when it is done", async () => {
    const cluster = await start({ nodes: [{ name: "stays", resources: { cpu: 1 } }] });
    const goes = await cluster.addNode({ name: "goes", resources: { cpu: 1, here: 1 } });
    await cluster.connect();
    const folder = newFolder();
    const waits = remote(async (at: string) => {
      const { existsSync, writeFileSync } = await import("node:fs");
      writeFileSync(`${at}/begun`, "");
      while (!existsSync(`${at}/go`)) await new Promise((resolve) => setTimeout(resolve, 10));
      return runtimeContext().nodeId;
    });
    const running = waits.options({ resources: { here: 1 } }).remote(folder);
    await eventually(() => existsSync(`${folder}/begun`), "a task begins");
    const drained = cluster.drain(goes, { deadlineMs: 30_000 });
    await eventually(async () => (await states()).goes === "draining", "it is being drained");
    const others = await get(Array.from({ length: 10 }, () => whereAmI.remote()));
    expect(new Set(others)).toEqual(new Set([at(cluster.nodes, 0).id]));
    expect(goes.alive()).toBe(true);
    writeFileSync(`${folder}/go`, "");
    expect(await get(running)).toBe(goes.id);
    await drained;
    expect(goes.pids()).toEqual([]);
    expect((await states()).goes).toBe("dead");
    await expect(cluster.drain(goes, { deadlineMs: 1 })).rejects.toMatchObject({ code: "NODE_NOT_FOUND" });
  });

  test("what waits for the node, and had a place there, runs elsewhere", async () => {
    const cluster = await start({ nodes: 2 });
    await cluster.connect();
    const naps = remote(async () => {
      await new Promise((resolve) => setTimeout(resolve, 50));
      return runtimeContext().nodeId;
    });
    const refs = Array.from({ length: 60 }, () => naps.remote());
    const first = at(cluster.nodes, 0);
    await Promise.any(refs.map(async (ref) => expect(await get(ref)).toBe(first.id)));
    await cluster.drain(first, { deadlineMs: 30_000 });
    const ran = await get(refs);
    expect(ran.filter((id) => id === first.id).length).toBeLessThan(50);
    expect(ran).toHaveLength(60);
  });

  test("at the deadline the node ends all the same", async () => {
    const cluster = await start({ nodes: 1 });
    await cluster.connect();
    const folder = newFolder();
    const stays = remote((file: string) => {
      writeFileSync(file, "");
      for (;;);
    });
    const ref = stays.options({ maxRetries: 0 }).remote(`${folder}/begun`);
    await eventually(() => existsSync(`${folder}/begun`), "a task begins");
    const startedAt = performance.now();
    await cluster.drain(at(cluster.nodes, 0), { deadlineMs: 500 });
    expect(performance.now() - startedAt).toBeGreaterThan(500);
    expect(performance.now() - startedAt).toBeLessThan(5_500);
    await expect(get(ref)).rejects.toMatchObject({ code: "WORKER_DIED" });
  });
});

describe("the network", () => {
  test("across a cut no byte passes and nothing breaks; healed, all of it arrives", async () => {
    const cluster = await start({ nodes: 1 });
    await cluster.connect();
    const node = at(cluster.nodes, 0);
    const folder = newFolder();
    const leaves = remote(async (file: string) => (await import("node:fs")).writeFileSync(file, ""));
    await get(leaves.remote(`${folder}/0`));
    cluster.partition(["driver"], [node]);
    const ref = leaves.remote(`${folder}/1`);
    // By the head, to which both still speak, we know that a second has gone by for all of them.
    const startedAt = performance.now();
    await eventually(
      async () => (await states())["node-1"] === "alive" && performance.now() - startedAt > 1_000,
      "1 s",
    );
    expect(readdirSync(folder)).toEqual(["0"]);
    cluster.heal();
    await get(ref);
    expect(readdirSync(folder)).toEqual(["0", "1"]);
  });

  test("who is cut off from the head is given up, and a node of its side reaches it", async () => {
    const cluster = await start({ nodes: 2 });
    const [first, second] = [at(cluster.nodes, 0), at(cluster.nodes, 1)];
    cluster.partition([first], ["head", "driver"]);
    await cluster.connect();
    await eventually(async () => (await states())["node-1"] === "dead", "it is given up");
    expect((await states())["node-2"]).toBe("alive");
    expect(await get(whereAmI.remote())).toBe(second.id);
  });

  test("a cut that is shorter than a death leaves no trace", async () => {
    const cluster = await start({ nodes: 1 });
    await cluster.connect();
    const node = at(cluster.nodes, 0);
    const cutAt = performance.now();
    cluster.partition([node], ["head"]);
    await eventually(() => performance.now() - cutAt > 2_500, "a cut");
    cluster.heal();
    await eventually(() => performance.now() - cutAt > 5_000, "a death would be known");
    expect((await states())["node-1"]).toBe("alive");
    expect(await get(whereAmI.remote())).toBe(node.id);
  });

  test("who joins across a cut waits until it is healed", async () => {
    const cluster = await start({ nodes: 0 });
    cluster.partition(["driver"], [cluster.head]);
    let isConnected = false;
    const connecting = cluster.connect().then(() => {
      isConnected = true;
    });
    const cutAt = performance.now();
    await eventually(() => performance.now() - cutAt > 1_000, "a second");
    expect(isConnected).toBe(false);
    cluster.heal();
    await connecting;
  });

  test("what is delayed takes that much longer, in each direction", async () => {
    const cluster = await start({ nodes: 1 });
    await cluster.connect();
    const took = async (): Promise<number> => {
      const startedAt = performance.now();
      await get(whereAmI.remote());
      return performance.now() - startedAt;
    };
    await took();
    cluster.delay("driver", at(cluster.nodes, 0), 150);
    expect(await took()).toBeGreaterThanOrEqual(299);
    cluster.heal();
    await took();
    expect(Math.min(await took(), await took(), await took())).toBeLessThan(150);
  });

  test("large values pass in order through a delayed link", async () => {
    const cluster = await start({ nodes: 1 });
    await cluster.connect();
    cluster.delay("driver", at(cluster.nodes, 0), 20);
    const make = remote((bytes: number) => Uint8Array.from({ length: bytes }, (_, i) => i % 251));
    const size = 8 * 2 ** 20;
    const value = await get(make.remote(size));
    expect(value.length === size && value.every((byte, i) => byte === i % 251)).toBe(true);
  });

  test("without the kit's network there is nothing to cut, and it is said", async () => {
    const cluster = await start({ nodes: 1, network: "direct" });
    expect(() => cluster.partition(["head"], [at(cluster.nodes, 0)])).toThrow(/network: "direct"/);
    expect(() => cluster.delay("head", "driver", 1)).toThrow(/network: "direct"/);
    await cluster.connect();
    expect(await get(whereAmI.remote())).toBe(at(cluster.nodes, 0).id);
    await expect(async () => cluster.delay("head", "driver", -1)).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });
});

describe("stopping", () => {
  test("nothing is left: with a driver connected, a node killed, one that stands still and control killed", async () => {
    const inMemory = readdirSync("/dev/shm");
    const cluster = await start({ nodes: 3 });
    await cluster.connect();
    await get(whereAmI.remote());
    const folder = /^(.*\/mk-\w+)\//.exec(await get(remote(() => process.env.TMPDIR ?? "").remote()))?.[1] as string;
    expect(existsSync(folder)).toBe(true);
    // What a task has started and left behind is of its node too.
    const orphan = await get(
      remote(async () => {
        const { spawn } = await import("node:child_process");
        return spawn("sleep", ["1000"], { detached: true, stdio: "ignore" }).pid ?? 0;
      }).remote(),
    );
    const pids = [cluster.head, ...cluster.nodes].flatMap((node) => node.pids());
    expect(pids).toContain(orphan);
    await cluster.kill(at(cluster.nodes, 1));
    await cluster.kill(at(cluster.nodes, 2), "SIGSTOP");
    await cluster.killHead();
    await cluster.stop();
    expect(isInitialized()).toBe(false);
    expect(pids.map(stateOf).filter((state) => state !== undefined && state !== "Z")).toEqual([]);
    expect(existsSync(folder)).toBe(false);
    expect(readdirSync("/dev/shm")).toEqual(inMemory);
    expect(readFileSync("/proc/net/unix", "latin1")).not.toContain(folder);
    // A second time does nothing.
    await cluster.stop();
  });

  test("a driver that was connected elsewhere meanwhile is left alone", async () => {
    const cluster = await start({ nodes: 1 });
    await cluster.connect();
    await shutdown();
    await init({ resources: { cpu: 1 } });
    await cluster.stop();
    expect(await get(whereAmI.remote())).toBe(runtimeContext().nodeId);
  });
});

const listens = (address: string): Promise<boolean> =>
  new Promise((resolve) => {
    const [host, port] = address.split(":");
    const socket = connect(Number(port), host);
    const end = (is: boolean) => (): void => {
      socket.destroy();
      resolve(is);
    };
    socket.once("connect", end(true)).once("error", end(false));
  });
