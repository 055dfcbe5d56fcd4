/** Links between machines that are really cut: machines are network namespaces of their own. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { processStart, workersOf } from "../../src/node/mod.ts";
import { Program } from "../failures/programs.ts";
import { Machines } from "./machines.ts";
import { Namespaces } from "./namespaces.ts";

const obstacle = Namespaces.obstacle();

interface Done {
  readonly results: number;
  readonly runs: number;
  readonly again: readonly string[];
}

describe.skipIf(obstacle !== undefined)(
  `machines in network namespaces${obstacle ? ` (not here: ${obstacle})` : ""}`,
  () => {
    let networks: Namespaces;
    let machines: Machines;

    beforeAll(async () => {
      networks = new Namespaces(3);
      machines = new Machines(3, (at) => networks.command(at));
      await machines.begin({}, "--host", networks.address(0));
      for (const at of [1, 2]) await machines.join(at, { MOBULA_TOKEN: machines.token });
    });
    afterAll(async () => {
      for (const at of [0, 1, 2]) networks.heal(at);
      await machines.remove();
      networks.remove();
    });

    /** A driver on machine 1, some of whose tasks run on machine 2. */
    function program(name: string, count: number, ms: number): Program {
      const folder = join(machines.folder(0), name);
      mkdirSync(folder);
      return new Program("../../cluster/fixtures/partitioned.ts", `${count}`, {
        folder: machines.folder(1),
        command: networks.command(1),
        args: [`${ms}`, folder],
      });
    }

    test("a machine that is cut off for two seconds is a pause: every task runs once, and nobody is given up", async () => {
      const before = machines.standing(2);
      const running = program("short", 120, 100);
      await running.line("under way");
      networks.cut(2);
      await delay(2_000);
      networks.heal(2);
      expect(await running.line<Done>("done", 30_000)).toEqual({ results: 120, runs: 120, again: [] });
      expect(await machines.nodes()).toEqual({ m0: "alive", m1: "alive", m2: "alive" });
      expect(machines.standing(2)).toEqual(before);
      expect(readFileSync(join(before.sessionDir, "owner.json"), "utf8")).toContain(before.nodeId);
    });

    test("one whose way is narrow and drops what does not fit is slow, and not given up: large objects arrive as they were", async () => {
      const before = machines.standing(2);
      // 64 kB take 130 ms, behind which what the node reports must get through each second.
      networks.narrow(2, 4_000_000);
      const running = new Program("../../cluster/fixtures/narrow.ts", "3", {
        folder: machines.folder(1),
        command: networks.command(1),
        args: ["300000"],
      });
      expect(await running.line("done", 60_000)).toBe(3);
      expect(networks.passed(2).dropped).toBeGreaterThan(10);
      networks.widen(2);
      expect(await machines.nodes()).toEqual({ m0: "alive", m1: "alive", m2: "alive" });
      expect(machines.standing(2)).toEqual(before);
    });

    test("one that is cut off for longer is given up: its tasks run elsewhere, it ends its own, and comes back as another", async () => {
      const { nodeId, pid, sessionDir } = machines.standing(2);
      const workers = workersOf(sessionDir);
      const running = program("long", 60, 300);
      await running.line("under way");
      networks.cut(2);
      const done = await running.line<Done>("done", 30_000);
      expect(done.results).toBe(60);
      expect(done.again.length).toBeGreaterThan(0);
      expect(done.again).not.toContain("m2");
      expect((await machines.nodes()).m2).toBe("dead");
      // It has not heard of it, and has its workers still.
      expect(readFileSync(join(sessionDir, "owner.json"), "utf8")).toContain(nodeId);
      networks.heal(2);
      await machines.untilNodes((nodes) => nodes.m2 === "alive");
      expect(readFileSync(join(sessionDir, "owner.json"), "utf8")).not.toContain(nodeId);
      expect(processStart(pid)).toBeDefined();
      for (const worker of workers) expect(processStart(worker)).toBeUndefined();
      expect((await program("after", 40, 50).line<Done>("done")).results).toBe(40);
    });
  },
);
