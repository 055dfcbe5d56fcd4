/** A driver that nobody can dial: it has a node of its own, which listens nowhere and has connections to all others. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { get, nodes, put, release, remote } from "../../src/api/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";
import { Program } from "../failures/programs.ts";

const MIB = 2 ** 20;
let cluster: LocalCluster;
beforeAll(async () => {
  const node = (name: string) => ({ name, resources: { cpu: 1, [name]: 1 }, objectStoreBytes: 96 * MIB });
  cluster = await LocalCluster.start({ nodes: [node("one"), node("two")] });
  await cluster.connect({ namespace: "shared" });
});
afterAll(() => cluster.stop());

const on = (name: string) => ({ resources: { [name]: 1 } });

/** Ports on which processes that this one has started listen, by the node's own folder in their environment. */
function portsOf(pid: number): number {
  const inodes = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return []; // Closed meanwhile.
      }
    }),
  );
  const listening = ["tcp", "tcp6"].flatMap((table) =>
    readFileSync(`/proc/net/${table}`, "utf8")
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[3] === "0A" && inodes.has(fields[9] ?? "")),
  );
  return listening.length;
}

function childrenOf(pid: number): number[] {
  return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
}

test("it listens on no port", () => {
  const family = childrenOf(process.pid).filter((pid) =>
    readFileSync(`/proc/${pid}/environ`, "utf8").includes("driver-"),
  );
  expect(family.length).toBeGreaterThan(0);
  for (const pid of family) expect(portsOf(pid)).toBe(0);
});

test("what it puts is read elsewhere, and what was made elsewhere is read by it", async () => {
  const sum = remote((bytes: Uint8Array) => bytes.reduce((a, b) => a + b, 0));
  const given = put(new Uint8Array(8 * MIB).fill(1));
  expect(await get([sum.options(on("one")).remote(given), sum.options(on("two")).remote(given)])).toEqual([
    8 * MIB,
    8 * MIB,
  ]);
  const made = remote((bytes: number) => new Uint8Array(bytes).fill(2))
    .options(on("two"))
    .remote(4 * MIB);
  expect((await get(made))[9]).toBe(2);
  release(given, made);
  await eventually(
    async () => (await nodes()).every(({ objectStore }) => objectStore.usedBytes === 0),
    "all stores are empty",
  );
});

test("tasks of its that are submitted elsewhere tell it what they hold, and actors call each other's refs", async () => {
  class Box {
    private kept: unknown[] = [];
    keep(refs: unknown[]): number {
      return this.kept.push(...refs);
    }
    async read(): Promise<number> {
      return ((await get(this.kept[0] as never)) as Uint8Array).length;
    }
  }
  const box = remote(Box).options(on("one")).remote();
  const given = put(new Uint8Array(2 * MIB));
  expect(await get(box.keep.remote([given]))).toBe(1);
  release(given);
  expect(await get(box.read.remote())).toBe(2 * MIB);
});

test("of two such drivers neither can ask the other: a ref of the other's is an error that says so, at once", async () => {
  class Box {
    private readonly kept: unknown[] = [];
    keep(refs: unknown[]): number {
      return this.kept.push(...refs);
    }
    give(): unknown[] {
      return this.kept;
    }
  }
  const box = remote(Box, { name: "box" }).options(on("one")).remote();
  await get(box.keep.remote([put(new Uint8Array(MIB))]));
  const args = ["shared"];
  const program = new Program("../../cluster/fixtures/objects.ts", "borrows", { env: { ...cluster.env }, args });
  expect(await program.line("code")).toBe("OWNER_DIED");
  await program.exited;
});
