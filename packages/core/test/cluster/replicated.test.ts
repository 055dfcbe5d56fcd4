/** Two heads on real servers of NATS and of etcd: whatever becomes of the one that leads, the other one does within 5 s. */
import { existsSync, writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, test as each, expect } from "vitest";
import { get, getActor, isInitialized, nodes, remote, runtimeContext, shutdown } from "../../src/api/mod.ts";
import { etcdServer, natsServer } from "../../src/control/fixtures/servers.ts";
import { connectTool } from "../../src/head/ask.ts";
import { askHead } from "../../src/head/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import type { HeadsInfo } from "../../src/wire/queries.ts";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";

const TAKEOVER_MS = 5_000;
const KINDS = [
  // As documented: NATS elects another leader of its stream after 4 to 9 s.
  { control: "nats", server: natsServer, variable: "MOBULA_NATS_SERVER", electionMs: 9_000 },
  { control: "etcd", server: etcdServer, variable: "MOBULA_ETCD_SERVER", electionMs: 2_000 },
] as const;

class Counter {
  private count = 0;
  add(): number {
    return ++this.count;
  }
}
const counters = remote(Counter);

describe.each(KINDS)(
  "heads on state in $control",
  { timeout: 120_000 },
  ({ control, server, variable, electionMs }) => {
    const test = each.skipIf(server === undefined);
    let cluster: LocalCluster;
    let first = "";
    let second = "";

    beforeEach(async () => {
      if (server === undefined) return;
      process.env[variable] = server;
      cluster = await LocalCluster.start({ nodes: 2, control });
      [first = "", second = ""] = cluster.address.split(",");
      await cluster.connect();
    });
    afterEach(async () => {
      if (server !== undefined) await cluster.stop();
      if (isInitialized()) await shutdown();
    });

    const heads = (): Promise<HeadsInfo> => askHead(cluster, "heads", null);

    async function secondLeads(since: number): Promise<void> {
      await eventually(async () => {
        // It alone: it may refer to the first, which may be cut off just after it has been reached, and then does not answer.
        const tool = await connectTool({ ...cluster, address: second }, TAKEOVER_MS).catch(() => undefined);
        const info = await tool?.ask("heads", null).catch(() => undefined);
        tool?.close();
        return info?.leader === second;
      }, "the standby leads");
      expect(performance.now() - since).toBeLessThan(TAKEOVER_MS);
    }

    const states = async (): Promise<string[]> => (await nodes()).map(({ state }) => state);
    const ALL_ALIVE = ["alive", "alive", "alive", "alive"];

    test("one leads, the other stands by and says who leads, and whoever asks is told where the state is", async () => {
      const info = await eventually(async () => {
        const found = await askHead({ ...cluster, address: second }, "heads", null);
        return found.standbys.length > 0 ? found : undefined;
      }, "the standby is known");
      expect(info).toMatchObject({ leader: first, epoch: 1, standbys: [second] });
      expect(info?.state).toMatch(new RegExp(`^${control}://127\\.0\\.0\\.1:\\d+,.*/cluster$`));
    });

    test("the leader is killed: actors, their names and what runs are there, and it comes back as a standby", async () => {
      const counter = counters.options({ name: "counter" }).remote();
      expect(await get(counter.add.remote())).toBe(1);
      const marker = newFolder();
      const running = remote(async (at: string) => {
        const { existsSync: exists, writeFileSync: write } = await import("node:fs");
        write(`${at}/begun`, "");
        while (!exists(`${at}/go`)) await new Promise((resolve) => setTimeout(resolve, 10));
        return runtimeContext().nodeId;
      }).remote(marker);
      await eventually(() => existsSync(`${marker}/begun`), "a task begins");
      const since = performance.now();
      await cluster.killHead();
      await secondLeads(since);
      expect(await states()).toEqual(ALL_ALIVE);
      // Some nodes may not be back yet, and no demand is infeasible for that.
      const next = remote(() => runtimeContext().nodeId).remote();
      expect(cluster.nodes.map(({ id }) => id)).toContain(await get(next));
      writeFileSync(`${marker}/go`, "");
      expect(cluster.nodes.map(({ id }) => id)).toContain(await get(running));
      const again = await getActor<Counter>("counter");
      expect(await get(again.add.remote())).toBe(2);
      await expect(get(counters.options({ name: "counter" }).remote().add.remote())).rejects.toMatchObject({
        code: "NAME_TAKEN",
      });
      await cluster.restartHead();
      await eventually(async () => (await heads()).standbys.includes(first), "the old leader stands by");
      expect(await heads()).toMatchObject({ leader: second, epoch: 2 });
    });

    test("the leader is stopped past its lease and goes on: it does no harm, and stands by", async () => {
      const counter = counters.options({ name: "counter" }).remote();
      expect(await get(counter.add.remote())).toBe(1);
      const since = performance.now();
      await cluster.kill(cluster.head, "SIGSTOP");
      await secondLeads(since);
      await cluster.kill(cluster.head, "SIGCONT");
      await eventually(async () => (await heads()).standbys.includes(first), "the old leader stands by");
      expect(await heads()).toMatchObject({ leader: second, epoch: 2 });
      expect(await get((await getActor<Counter>("counter")).add.remote())).toBe(2);
      expect(await states()).toEqual(ALL_ALIVE);
    });

    test("the leader is cut off from all others: another leads, and it stands by when the cut has healed", async () => {
      const counter = counters.options({ name: "counter" }).remote();
      expect(await get(counter.add.remote())).toBe(1);
      const { standby } = cluster;
      if (!standby) throw new Error("there is a standby");
      const since = performance.now();
      // The machine's node is cut off from the others, but not from its head.
      cluster.partition([cluster.head], [...cluster.nodes, standby, ...cluster.servers, "driver"]);
      await secondLeads(since);
      expect(await get((await getActor<Counter>("counter")).add.remote())).toBe(2);
      cluster.heal();
      await eventually(async () => (await heads()).standbys.includes(first), "the old leader stands by");
      expect(await heads()).toMatchObject({ leader: second, epoch: 2 });
    });

    test("one of the three servers is killed: what must be written down waits at most until another one leads", async () => {
      const [server] = cluster.servers;
      if (!server) throw new Error("there are servers");
      await cluster.kill(server);
      const since = performance.now();
      expect(await get(counters.options({ name: "later" }).remote().add.remote())).toBe(1);
      expect(performance.now() - since).toBeLessThan(electionMs + 1_000);
      expect(await states()).toEqual(ALL_ALIVE);
    });
  },
);
