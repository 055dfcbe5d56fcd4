/** Objects as the service lists them: where they are, who made them, who holds them. */
import { afterEach, expect, test } from "vitest";
import { type Context, get, init, isInitialized, placementGroup, put, remote, shutdown } from "../../src/api/mod.ts";
import type { Listed, Row } from "../../src/state/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";

const MIB = 2 ** 20;
const open: LocalCluster[] = [];
afterEach(async () => {
  if (isInitialized()) await shutdown();
  await Promise.all(open.splice(0).map((cluster) => cluster.stop()));
});

async function cookieOf({ dashboardUrl = "" }: Context) {
  const response = await fetch(dashboardUrl, { redirect: "manual" });
  return {
    origin: new URL(dashboardUrl).origin,
    headers: { cookie: (response.headers.get("set-cookie") ?? "").split(";")[0] ?? "" },
  };
}

test("a stored object is listed with its call site, its owner and its holders", async () => {
  const context = await init({ resources: { cpu: 1 } });
  const { origin, headers } = await cookieOf(context);
  const list = async () =>
    ((await (await fetch(`${origin}/api/v1/objects`, { headers })).json()) as Listed<Row<"objects">>).rows;
  const kept = put(new Uint8Array(4 * MIB));
  class Keeper {
    refs: unknown[] = [];
    keep(refs: unknown[]): number {
      return this.refs.push(...refs);
    }
  }
  const keeper = remote(Keeper).remote();
  expect(await get(keeper.keep.remote([kept]))).toBe(1);
  const row = await eventually(async () => (await list()).find(({ objectId }) => objectId === kept.id), "the object");
  expect(row).toMatchObject({ state: "memory", ownerPid: process.pid, jobId: context.jobId, nodes: [context.nodeId] });
  expect(row?.sizeBytes).toBeGreaterThanOrEqual(4 * MIB);
  expect(row?.callSite).toMatch(/objects\.test\.ts:\d+/);
  expect(row?.name).toBe("put");
  expect(Math.abs(Date.now() - (row?.createdAtMs ?? 0))).toBeLessThan(60_000);
  expect(row?.holders).toEqual(expect.arrayContaining([expect.stringMatching(/^worker \d+$/)]));
  const { rows: sites } = (await (await fetch(`${origin}/api/v1/summary/objects`, { headers })).json()) as {
    rows: { callSite: string; objects: number; sizeBytes: number }[];
  };
  const site = sites.find(({ callSite }) => callSite.includes("objects.test.ts"));
  expect(site).toMatchObject({ objects: 1 });
  const filtered = await fetch(`${origin}/api/v1/objects?filter=sizeBytes>${8 * MIB}`, { headers });
  expect(((await filtered.json()) as Listed<Row<"objects">>).rows).toEqual([]);
});

test("a stored result has the name of the function that gave it, and a placement group the time when it was made", async () => {
  const context = await init({ resources: { cpu: 2 } });
  const { origin, headers } = await cookieOf(context);
  const ask = async <R>(path: string) =>
    ((await (await fetch(`${origin}/api/v1/${path}`, { headers })).json()) as { rows: readonly R[] }).rows;
  const beganMs = Date.now();
  const load = remote(function load(bytes: number) {
    return new Uint8Array(bytes);
  });
  const refs = [load.remote(MIB), load.remote(MIB)];
  await Promise.all(refs.map((ref) => get(ref)));
  const results = () => ask<Row<"objects">>("objects?filter=name=load");
  await eventually(async () => (await results()).length === 2, "the results");
  for (const { createdAtMs, state } of await results()) {
    expect(state).toBe("memory");
    expect(createdAtMs ?? 0).toBeGreaterThan(beganMs - 1_000);
  }
  // One site for both.
  const sites = await ask<{ callSite: string; objects: number }>("summary/objects");
  expect(sites).toContainEqual(expect.objectContaining({ callSite: "result of load", objects: 2 }));
  const group = placementGroup([{ cpu: 1 }]);
  await get(group.ready());
  const groups = () => ask<Row<"placement-groups">>("placement-groups");
  await eventually(async () => (await groups()).length === 1, "the group");
  const [made] = await groups();
  expect(Math.abs((made?.createdAtMs ?? 0) - Date.now())).toBeLessThan(60_000);
  await group.remove();
});

test("one that several nodes have a copy of is one row", async () => {
  const cluster = await LocalCluster.start({ nodes: 2, dashboard: true });
  open.push(cluster);
  await cluster.connect();
  const headers = { authorization: `Bearer ${cluster.token}` };
  const big = put(new Uint8Array(MIB), { copies: 2 });
  const row = await eventually(async () => {
    const { rows } = (await (await fetch(`${cluster.dashboardUrl}/api/v1/objects`, { headers })).json()) as Listed<
      Row<"objects">
    >;
    return rows.find(({ sizeBytes, nodes }) => (sizeBytes ?? 0) >= MIB && nodes.length >= 2);
  }, "both copies");
  expect(row?.state).toBe("memory");
  await get(big);
});
