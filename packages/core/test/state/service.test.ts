/** The state service with real processes: of a program with a node of its own, and of a cluster. */
import { readdirSync, readFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import {
  type Context,
  get,
  init,
  isInitialized,
  placementGroup,
  put,
  release,
  remote,
  shutdown,
} from "../../src/api/mod.ts";
import { type Listed, type Row, type RowKind, readOnlyToken } from "../../src/state/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";

const open: LocalCluster[] = [];
afterEach(async () => {
  if (isInitialized()) await shutdown();
  await Promise.all(open.splice(0).map((cluster) => cluster.stop()));
});

class Counter {
  n = 0;
  add(): number {
    return ++this.n;
  }
}

interface Api {
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** By the link, as a browser comes in. */
async function follow({ dashboardUrl = "" }: Context): Promise<Api> {
  const url = new URL(dashboardUrl);
  const response = await fetch(url, { redirect: "manual" });
  expect(response.status).toBe(303);
  expect(response.headers.get("location")).toBe("/");
  const [cookie = ""] = (response.headers.get("set-cookie") ?? "").split(";");
  return { url: url.origin, headers: { cookie } };
}

async function list<K extends RowKind>({ url, headers }: Api, kind: K, params = ""): Promise<Listed<Row<K>>> {
  const response = await fetch(`${url}/api/v1/${kind}?${params}`, { headers });
  expect(response.status).toBe(200);
  return (await response.json()) as Listed<Row<K>>;
}

const parentOf = (pid: number | string): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
};

/** Children of this process's nodes that run the service. */
const servicePids = (): number[] =>
  readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const isService = /bin\/state\.ts\0?$/.test(readFileSync(`/proc/${name}/cmdline`, "latin1"));
      return isService && parentOf(parentOf(name)) === process.pid ? Number(name) : [];
    } catch {
      return []; // It has ended meanwhile.
    }
  });

describe("of a program with a node of its own", () => {
  test("no process is there until the link is opened; then it says what runs", async () => {
    const before = servicePids();
    const context = await init({ resources: { cpu: 2 } });
    const counter = remote(Counter, { name: "visits" }).remote();
    await get(counter.add.remote());
    expect(servicePids()).toEqual(before);
    const api = await follow(context);
    expect(servicePids().length).toBe(before.length + 1);
    const { rows: nodes } = await list(api, "nodes");
    expect(nodes).toMatchObject([{ nodeId: context.nodeId, state: "alive", isHead: true, resources: { cpu: 2 } }]);
    const { rows: actors, total } = await list(api, "actors");
    expect({ total, actors }).toMatchObject({
      total: 1,
      actors: [{ className: "Counter", name: "visits", state: "alive" }],
    });
    const { rows: workers } = await list(api, "workers", "filter=state=actor");
    expect(workers).toMatchObject([{ actorId: actors[0]?.actorId, actors: 1, pid: actors[0]?.pid }]);
    const { rows: jobs } = await list(api, "jobs");
    expect(jobs).toMatchObject([{ jobId: context.jobId, status: "running", driverPid: process.pid }]);
  });

  test("without a cookie nothing is told, a link is good once, and other sites are turned away", async () => {
    const context = await init({ resources: { cpu: 1 } });
    const link = context.dashboardUrl ?? "";
    const { origin } = new URL(link);
    expect((await fetch(`${origin}/api/v1/nodes`)).status).toBe(401);
    const page = await fetch(`${origin}/`, { headers: { accept: "text/html" } });
    expect(page.status).toBe(401);
    expect(await page.text()).toContain("mobula dashboard");
    const first = await fetch(link, { redirect: "manual" });
    const second = await fetch(link, { redirect: "manual" });
    expect(first.headers.get("set-cookie")).toMatch(/HttpOnly; SameSite=Strict/);
    expect(second.headers.get("set-cookie")).toBeNull();
    const [cookie = ""] = (first.headers.get("set-cookie") ?? "").split(";");
    const elsewhere = await fetch(`${origin}/api/v1/nodes`, { headers: { cookie, origin: "http://evil.example" } });
    expect(elsewhere.status).toBe(403);
    expect((await fetch(`${origin}/healthz`)).status).toBe(200);
  });

  test("killed, it is started again, and work goes on meanwhile", async () => {
    const context = await init({ resources: { cpu: 1 } });
    const before = servicePids();
    const api = await follow(context);
    const [pid = 0] = servicePids().filter((one) => !before.includes(one));
    process.kill(pid, "SIGKILL");
    const double = remote((n: number) => 2 * n);
    expect(await get([1, 2, 3].map((n) => double.remote(n)))).toEqual([2, 4, 6]);
    await eventually(async () => {
      const response = await fetch(`${api.url}/api/v1/nodes`, { headers: api.headers }).catch(() => undefined);
      return response?.status === 200;
    }, "the service is not back");
    await eventually(async () => (await list(api, "workers")).rows.length > 0, "the node has not come back");
    expect(servicePids()).not.toContain(pid);
  });

  test("it ends with the program's node", async () => {
    const before = servicePids();
    const context = await init({ resources: { cpu: 1 } });
    await follow(context);
    expect(servicePids()).not.toEqual(before);
    await shutdown();
    await eventually(() => servicePids().every((pid) => before.includes(pid)), "it is still there");
    await expect(fetch(new URL(context.dashboardUrl ?? "").origin)).rejects.toThrow();
  });

  test("requests that are wrong are told what is right", async () => {
    const api = await follow(await init({ resources: { cpu: 1 } }));
    const refused = async (path: string) => {
      const response = await fetch(`${api.url}${path}`, { headers: api.headers });
      return { status: response.status, ...((await response.json()) as object) };
    };
    expect(await refused("/api/v1/actors?filter=colour=red")).toMatchObject({
      status: 400,
      error: { code: "INVALID_OPTION", message: /rows have no "colour" to filter by; they have actorId,/ },
    });
    expect(await refused("/api/v1/actors?filter=state")).toMatchObject({
      status: 400,
      error: { message: /write key=value/ },
    });
    expect(await refused("/api/v1/actors?limit=0")).toMatchObject({ status: 400, error: { message: /limit/ } });
    expect(await refused("/api/v1/actors?cursor=x")).toMatchObject({ status: 400 });
    expect(await refused("/api/v1/actors/none")).toMatchObject({ status: 404, error: { code: "NOT_FOUND" } });
    expect(await refused("/api/v1/colours")).toMatchObject({ status: 404 });
  });

  test("the OpenAPI document names each list with its rows", async () => {
    const api = await follow(await init({ resources: { cpu: 1 } }));
    const document = (await (await fetch(`${api.url}/openapi.json`, { headers: api.headers })).json()) as {
      readonly openapi: string;
      readonly paths: Record<string, object>;
    };
    expect(document.openapi).toBe("3.1.0");
    expect(Object.keys(document.paths)).toEqual(
      expect.arrayContaining(["/api/v1/nodes", "/api/v1/tasks", "/api/v1/actors/{id}", "/api/v1/overview"]),
    );
  });
});

test("what is asked that changes something is noted, with who asked and what came of it; a reader may not", async () => {
  const cluster = await LocalCluster.start({ nodes: 1, dashboard: true });
  open.push(cluster);
  const url = cluster.dashboardUrl ?? "";
  const headers = { authorization: `Bearer ${cluster.token}` };
  const reader = { authorization: `Bearer ${readOnlyToken(cluster.token)}` };
  expect((await fetch(`${url}/api/v1/nodes`, { headers: reader })).status).toBe(200);
  expect((await fetch(`${url}/api/v1/jobs/none`, { method: "DELETE", headers: reader })).status).toBe(403);
  expect((await fetch(`${url}/api/v1/jobs/none`, { method: "DELETE", headers })).status).toBe(404);
  const { rows } = await list({ url, headers }, "events", "filter=kind=job-deleted");
  expect(rows).toMatchObject([
    {
      by: expect.stringMatching(/^token at .*127\.|^token at ::/),
      message: expect.stringMatching(/deleted job none: refused \(404\)$/),
    },
  ]);
});

test("a link to two slashes leads to no other site", async () => {
  const { dashboardUrl = "" } = await init({ resources: { cpu: 1 } });
  const response = await fetch(`${new URL(dashboardUrl).origin}//evil.example/?code=x`, { redirect: "manual" });
  expect(response.headers.get("location")).toBe("/evil.example/");
});

test("why: of a placement group, and of a stored object that its owner has given to nobody; a crash is an alert", async () => {
  const context = await init({ resources: { cpu: 2 } });
  const api = await follow(context);
  const group = await placementGroup([{ cpu: 1 }]);
  await get(group.ready());
  const why = async (id: string) =>
    (await (await fetch(`${api.url}/api/v1/why/${id}`, { headers: api.headers })).json()) as {
      state: string;
      sentences: string[];
    };
  expect(await why(group.id)).toMatchObject({ state: "ready" });
  const own = put(new Uint8Array(2 ** 20));
  const { rows } = await list(api, "objects");
  expect((await why(rows[0]?.objectId ?? "")).sentences[0]).toMatch(
    /in memory on one node and belongs to process \d+, which has given its ref to nobody\. It was made at .*service\.test\.ts/,
  );
  release(own);
  class Fragile {
    pid(): number {
      return process.pid;
    }
  }
  const fragile = remote(Fragile).remote();
  process.kill(await get(fragile.pid.remote()), "SIGKILL");
  const crashes = async () => (await list(api, "events", "filter=kind=actor-died")).rows;
  await eventually(
    async () => (await crashes()).some(({ message }) => /Fragile .* was killed by SIGKILL/.test(message)),
    "the crash",
  );
});

describe("of a cluster", () => {
  test("all nodes come to it; what happens to them and to actors is told as events", async () => {
    const cluster = await LocalCluster.start({ nodes: 2, dashboard: true });
    open.push(cluster);
    const api = { url: cluster.dashboardUrl ?? "", headers: { authorization: `Bearer ${cluster.token}` } };
    await cluster.connect();
    const counter = remote(Counter, { numCpus: 1, maxRestarts: 1 }).remote();
    await get(counter.add.remote());
    await eventually<readonly Row<"workers">[] | undefined>(async () => {
      const { rows, partial } = await list(api, "workers", "filter=kind=worker");
      const isWhole = new Set(rows.map(({ nodeId }) => nodeId)).size >= 2 && partial.length === 0;
      return isWhole && rows.some(({ actors }) => actors === 1) ? rows : undefined;
    }, "workers of both nodes, and the actor in one");
    const [home] = (await list(api, "actors")).rows;
    const victim = cluster.nodes.find(({ id }) => id === home?.nodeId);
    if (!victim) throw new Error("the actor is on no node of the cluster");
    await cluster.kill(victim);
    const events = await eventually<readonly Row<"events">[] | undefined>(async () => {
      const { rows } = await list(api, "events");
      const kinds = rows.map(({ kind }) => kind);
      return kinds.includes("node-died") && kinds.includes("actor-restarted") ? rows : undefined;
    }, "both events");
    expect(events?.find(({ kind }) => kind === "node-died")).toMatchObject({
      severity: "error",
      subjects: [victim.id],
    });
    expect(await get(counter.add.remote())).toBe(1);
  });

  test("a head that is killed and started again has one at the same place", async () => {
    const cluster = await LocalCluster.start({ nodes: 1, dashboard: true });
    open.push(cluster);
    const headers = { authorization: `Bearer ${cluster.token}` };
    const workersAt = async () => {
      const response = await fetch(`${cluster.dashboardUrl}/api/v1/workers`, { headers }).catch(() => undefined);
      return response?.ok ? ((await response.json()) as Listed<Row<"workers">>).rows : [];
    };
    await eventually(async () => (await workersAt()).length > 0, "the node has come to it");
    await cluster.killHead();
    await cluster.restartHead();
    await eventually(async () => (await workersAt()).length > 0, "the node has come to the new one");
  });
});
