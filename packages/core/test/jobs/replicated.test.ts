/** Jobs of two heads with state in NATS and in etcd: whichever leads, they go on, and what they need is there. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { zipSync } from "fflate";
import { afterEach, describe, test as each, expect } from "vitest";
import { etcdServer, natsServer } from "../../src/control/fixtures/servers.ts";
import { askHead } from "../../src/head/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";

const KINDS = [
  { control: "nats", server: natsServer, variable: "MOBULA_NATS_SERVER" },
  { control: "etcd", server: etcdServer, variable: "MOBULA_ETCD_SERVER" },
] as const;

interface Job {
  readonly status: string;
  readonly message: string | null;
  readonly nodeId: string | null;
}

describe.each(KINDS)("jobs on state in $control", { timeout: 120_000 }, ({ control, server, variable }) => {
  const test = each.skipIf(server === undefined);
  let cluster: LocalCluster | undefined;
  afterEach(async () => {
    await cluster?.stop();
    cluster = undefined;
  });

  async function begin(): Promise<LocalCluster> {
    process.env[variable] = server;
    cluster = await LocalCluster.start({ nodes: [{ resources: { cpu: 1 } }], control, dashboard: true });
    return cluster;
  }

  /** Of the head that leads. */
  const urlOf = (started: LocalCluster): Promise<string> =>
    eventually(
      async () => (await askHead(started, "heads", null).catch(() => undefined))?.dashboard,
      "the head that leads has a state service",
      30_000,
    ) as Promise<string>;

  const request = (url: string, token: string, method: string, path: string, body?: string | Uint8Array<ArrayBuffer>) =>
    fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      ...(body !== undefined && { body }),
    });

  test("the leader is killed: jobs go on, are followed and stopped, and one that waits gets its package", async () => {
    const started = await begin();
    const { token } = started;
    const first = await urlOf(started);
    const ask = async (url: string, method: string, path: string, body?: object): Promise<unknown> => {
      const answer = await request(url, token, method, path, body && JSON.stringify(body));
      if (!answer.ok) throw new Error(await answer.text());
      return answer.json();
    };
    // Larger than one piece.
    const noise = new Uint8Array(700_000).map((_, at) => (at * at * 31 + (at >> 3)) & 255);
    const zip = zipSync({ "word.txt": new TextEncoder().encode("from the package\n"), noise }, { level: 0 });
    expect((await request(first, token, "PUT", "/api/packages/gcs/words.zip", zip)).status).toBe(200);
    const gate = join(newFolder(), "go");
    await ask(first, "POST", "/api/v1/jobs", {
      submissionId: "goes-on",
      entrypoint: `echo in; while [ ! -e ${gate} ]; do sleep 0.05; done; echo out`,
    });
    await ask(first, "POST", "/api/v1/jobs", { submissionId: "endless", entrypoint: "echo in; sleep 1006" });
    await ask(first, "POST", "/api/v1/jobs", {
      submissionId: "waits",
      entrypoint: "cat word.txt; wc -c < noise",
      resources: { later: 1 },
      runtimeEnv: { workingDir: "gcs://words.zip" },
    });
    const job = async (url: string, id: string): Promise<Job> => (await ask(url, "GET", `/api/v1/jobs/${id}`)) as Job;
    for (const id of ["goes-on", "endless"]) {
      await eventually(async () => (await job(first, id)).status === "running", `${id} runs`);
    }

    await started.kill(started.head);
    const second = await urlOf(started);
    expect(second).not.toBe(first);
    await eventually(async () => (await job(second, "goes-on").catch(() => undefined))?.status === "running", "known");
    const followed = request(second, token, "GET", "/api/v1/jobs/goes-on/logs/follow");
    writeFileSync(gate, "");
    const text = await (await followed).text();
    expect(text).toContain('"text":"in\\n');
    expect(text).toMatch(/out\\n/);
    expect(await job(second, "goes-on")).toMatchObject({ status: "succeeded" });
    expect(await ask(second, "POST", "/api/v1/jobs/endless/stop")).toEqual({ stopped: true });
    await eventually(async () => (await job(second, "endless")).status === "stopped", "it is stopped");
    expect(await job(second, "waits")).toMatchObject({ status: "pending" });
    await started.addNode({ resources: { later: 1 } });
    await eventually(async () => (await job(second, "waits")).status === "succeeded", "its package is there", 30_000);
    const printed = await (await request(second, token, "GET", "/api/v1/jobs/waits/logs")).text();
    expect(printed).toBe("from the package\n700000\n");
  });

  test("a package that is too large for that is with one head, which says so", async () => {
    const started = await begin();
    const url = await urlOf(started);
    const zip = zipSync({ large: new Uint8Array(17 * 2 ** 20) }, { level: 0 });
    const answer = await request(url, started.token, "PUT", "/api/packages/gcs/large.zip", zip);
    expect(await answer.json()).toMatchObject({ note: expect.stringMatching(/kept only by the head that took them/) });
  });
});
