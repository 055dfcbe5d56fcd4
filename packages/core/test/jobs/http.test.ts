/** Jobs over the HTTP API of the state service, in its own process. */
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { zipSync } from "fflate";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { LocalCluster } from "../../src/testing/mod.ts";

let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.start({ nodes: 1, network: "direct", dashboard: true });
});
afterAll(() => cluster.stop());

const request = (method: string, path: string, body?: string | Uint8Array<ArrayBuffer>): Promise<Response> =>
  fetch(`${cluster.dashboardUrl}${path}`, {
    method,
    headers: { authorization: `Bearer ${cluster.token}`, "content-type": "application/json" },
    ...(body !== undefined && { body }),
  });
async function ask(method: string, path: string, body?: object): Promise<readonly [number, unknown]> {
  const answer = await request(method, path, body && JSON.stringify(body));
  return [answer.status, await answer.json()];
}

/** What a WebSocket is answered with that is not opened. */
async function upgradeStatus(path: string, headers: Record<string, string>): Promise<number> {
  const socket = new WebSocket(`${cluster.dashboardUrl?.replace("http", "ws")}${path}`, { headers });
  const [, response] = (await once(socket, "unexpected-response")) as [unknown, IncomingMessage];
  socket.on("error", () => {});
  socket.terminate();
  return response.statusCode ?? 0;
}

describe("the HTTP API of jobs", () => {
  test("takes one, tells of it, follows it to its end, and forgets it", async () => {
    const asked = { entrypoint: "echo hi", submissionId: "http", metadata: { job_name: "greeter" } };
    expect(await ask("POST", "/api/v1/jobs", asked)).toMatchObject([
      201,
      { submissionId: "http", kind: "submission", entrypoint: "echo hi", name: "greeter" },
    ]);
    const events = await (await request("GET", "/api/v1/jobs/http/logs/follow")).text();
    expect(events).toContain('event: output\ndata: {"text":"hi\\n","next":3}\n\n');
    const end = JSON.parse(/event: end\ndata: (.*)\n/.exec(events)?.[1] ?? "");
    expect(end).toMatchObject({ status: "succeeded", exitCode: 0 });
    expect(await (await request("GET", "/api/v1/jobs/http/logs")).text()).toBe("hi\n");
    expect(await ask("GET", "/api/v1/jobs?filter=submissionId=http")).toMatchObject([200, { rows: [end], total: 1 }]);
    expect(await ask("GET", "/api/v1/jobs/http")).toEqual([200, end]);
    expect(await ask("POST", "/api/v1/jobs/http/stop")).toEqual([200, { stopped: false }]);
    expect(await ask("DELETE", "/api/v1/jobs/http")).toEqual([200, { deleted: true }]);
    expect((await ask("GET", "/api/v1/jobs/http"))[0]).toBe(404);
    const [, { rows }] = (await ask("GET", "/api/v1/events")) as [
      number,
      { rows: { kind: string; subjects: string[]; by: string | null }[] },
    ];
    const audited = rows.filter(({ subjects }) => subjects.includes("http")).map(({ kind }) => kind);
    expect(audited).toEqual(["job-deleted", "job-submitted"]);
    expect(rows.filter(({ kind }) => kind === "job-submitted").every(({ by }) => by?.startsWith("token at "))).toBe(
      true,
    );
  });

  test("refuses what is wrong, by codes", async () => {
    const code = async (...asked: Parameters<typeof ask>) => {
      const [status, answer] = await ask(...asked);
      return [status, (answer as { error: { code: string } }).error.code];
    };
    expect(await code("POST", "/api/v1/jobs", { entrypoint: 7 })).toEqual([400, "INVALID_OPTION"]);
    expect(await code("POST", "/api/v1/jobs", { entrypoint: "true", submissionId: "a/b" })).toEqual([
      400,
      "INVALID_OPTION",
    ]);
    expect(await ask("POST", "/api/v1/jobs", { entrypoint: "sleep 60", submissionId: "twice" })).toMatchObject([
      201,
      {},
    ]);
    expect(await code("POST", "/api/v1/jobs", { entrypoint: "true", submissionId: "twice" })).toEqual([
      409,
      "JOB_EXISTS",
    ]);
    expect(await code("DELETE", "/api/v1/jobs/twice")).toEqual([409, "JOB_NOT_ENDED"]);
    expect(await ask("POST", "/api/v1/jobs/twice/stop")).toEqual([200, { stopped: true }]);
    for (const path of ["/api/v1/jobs/no", "/api/v1/jobs/no/logs", "/api/v1/jobs/no/logs/follow"]) {
      expect((await ask("GET", path))[0]).toBe(404);
    }
    expect(await upgradeStatus("/api/jobs/twice/logs/tail", {})).toBe(401);
    expect(await upgradeStatus("/api/jobs/no/logs/tail", { authorization: `Bearer ${cluster.token}` })).toBe(404);
  });

  test("never shows what may be secret", async () => {
    const asked = {
      entrypoint: "printf %s $SECRET | wc -c",
      submissionId: "secret",
      runtimeEnv: { env: { SECRET: "xyzzy" } },
    };
    expect(JSON.stringify(await ask("POST", "/api/v1/jobs", asked))).not.toContain("xyzzy");
    expect(await (await request("GET", "/api/v1/jobs/secret/logs/follow")).text()).toContain('"5\\n"');
    for (const path of ["/api/v1/jobs", "/api/v1/jobs/secret", "/api/jobs/", "/api/jobs/secret"]) {
      expect(JSON.stringify(await ask("GET", path))).not.toContain("xyzzy");
    }
  });

  test("takes packages, by their names, once", async () => {
    const zip = zipSync({ "word.txt": new TextEncoder().encode("from the package\n") });
    expect((await request("GET", "/api/packages/gcs/w1.zip")).status).toBe(404);
    expect((await request("PUT", "/api/packages/gcs/w1.zip", zip.slice())).status).toBe(200);
    expect((await request("GET", "/api/packages/gcs/w1.zip")).status).toBe(200);
    for (const name of ["..%2f..%2fx.zip", "x.tar", ".zip"]) {
      expect((await request("PUT", `/api/packages/gcs/${name}`, zip.slice())).status).toBeGreaterThanOrEqual(400);
    }
    const asked = { entrypoint: "cat word.txt", submissionId: "package", runtimeEnv: { workingDir: "gcs://w1.zip" } };
    expect((await ask("POST", "/api/v1/jobs", asked))[0]).toBe(201);
    expect(await (await request("GET", "/api/v1/jobs/package/logs/follow")).text()).toContain("from the package");
  });
});
