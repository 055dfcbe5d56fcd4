/** Metrics: as documented, right for Prometheus' own checker, and scraped by a real Prometheus. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { get, isInitialized, remote, shutdown } from "../../src/api/mod.ts";
import { isInFirstNamespace } from "../../src/node/gpus.ts";
import { type FakeSmi, fakeSmi } from "../../src/node/test-smi.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";

const root = join(import.meta.dirname, "../../../..");
const monitoring = join(root, "deploy/monitoring");
const hasPrometheus =
  spawnSync("prometheus", ["--version"]).status === 0 && spawnSync("promtool", ["--version"]).status === 0;
const open: LocalCluster[] = [];
const running: ChildProcess[] = [];
const folders: string[] = [];
const { PATH, MOBULA_GPU_SAMPLING } = process.env;
let smi: FakeSmi;
beforeAll(() => {
  smi = fakeSmi();
  smi.say({ gpus: "0, GPU-aa11, 97, 2613, 81559, 41, 352.17, 700.00, NVIDIA H100", processes: "GPU-aa11, 1, 2604" });
  Object.assign(process.env, { PATH: smi.path, MOBULA_GPU_SAMPLING: "nvidia-smi" });
});
afterAll(() => {
  process.env.PATH = PATH;
  if (MOBULA_GPU_SAMPLING === undefined) delete process.env.MOBULA_GPU_SAMPLING;
  smi.remove();
});
afterEach(async () => {
  for (const child of running.splice(0)) {
    child.kill("SIGTERM");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  }
  if (isInitialized()) await shutdown();
  await Promise.all(open.splice(0).map((cluster) => cluster.stop()));
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

async function clusterWithWork(): Promise<LocalCluster> {
  const cluster = await LocalCluster.start({
    nodes: [{ resources: { cpu: 1 } }, { name: "gpu-1", resources: { cpu: 1, gpu: 1 } }],
    dashboard: true,
  });
  open.push(cluster);
  await cluster.connect();
  const work = remote((n: number) => n, { name: 'a "quoted"\nname' });
  await get(Array.from({ length: 10 }, (_, n) => work.remote(n)));
  const failing = remote(
    () => {
      throw new Error("on purpose");
    },
    { name: "failing" },
  );
  await get(failing.remote()).catch(() => {}); // It is there to fail.
  class Idle {
    ready(): true {
      return true;
    }
  }
  const idle = remote(Idle, { lifetime: "detached", name: "idle", namespace: "metrics" }).remote();
  await get(idle.ready.remote());
  return cluster;
}

async function scrape({ dashboardUrl, token }: LocalCluster): Promise<string> {
  const response = await fetch(`${dashboardUrl}/metrics`, { headers: { authorization: `Bearer ${token}` } });
  expect(response.status).toBe(200);
  expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
  return response.text();
}

test("what is there is documented, and what is documented is there; attempts are counted exactly", async () => {
  const cluster = await clusterWithWork();
  const text = await eventually<string | undefined>(async () => {
    const now = await scrape(cluster);
    return /mobula_task_attempts_total\{name="failing",kind="task",outcome="failed"\} 1\n/.test(now) &&
      now.includes("mobula_node_cpu_ratio{") &&
      now.includes("mobula_gpu_power_watts{") &&
      now.includes("mobula_gpu_foreign_memory_bytes{") &&
      (!isInFirstNamespace() || !/mobula_gpu_foreign_memory_bytes\{.*\} 0/.test(now))
      ? now
      : undefined;
  }, "the attempts are reported");
  const said = new Set([...(text ?? "").matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => `${name} ${type}`));
  const table = readFileSync(join(root, "docs/metrics.md"), "utf8");
  const documented = new Set(
    [...table.matchAll(/^\| `(\S+)` \| (\w+) \|/gm)].map(([, name, type]) => `${name} ${type}`),
  );
  expect([...said].filter((one) => !documented.has(one))).toEqual([]);
  // Nothing has happened yet that events tell of.
  expect([...documented].filter((one) => !said.has(one) && one !== "mobula_events_total counter")).toEqual([]);
  expect(text).toContain(
    'mobula_task_attempts_total{name="a \\"quoted\\"\\nname",kind="task",outcome="finished"} 10\n',
  );
  const gpu = `node="gpu-1",node_id="[0-9a-f]{32}",gpu="0",name="NVIDIA H100"`;
  const metric = (name: string) =>
    Number(new RegExp(`^mobula_gpu_${name}\\{${gpu}\\} (.*)$`, "m").exec(text ?? "")?.[1]);
  expect(["busy_ratio", "power_watts", "leased_ratio", "problem"].map(metric)).toEqual([0.97, 352.17, 0, 0]);
  expect(["memory_used_bytes", "foreign_memory_bytes"].map(metric)).toEqual([
    2613 * 2 ** 20,
    isInFirstNamespace() ? 2604 * 2 ** 20 : 0,
  ]);
  // The machine of the driver is a node too.
  expect(text).toMatch(/mobula_nodes\{state="alive"\} 4\n/);
  expect(text).toMatch(/mobula_actors\{state="alive"\} 1\n/);
});

test("the dashboard for Grafana and the alerts ask for metrics that there are", () => {
  const known = new Set(
    [...readFileSync(join(root, "docs/metrics.md"), "utf8").matchAll(/^\| `(\S+)` \|/gm)].map(([, name]) => name),
  );
  const dashboard = JSON.parse(readFileSync(join(monitoring, "grafana-dashboard.json"), "utf8")) as {
    panels: { targets: { expr: string }[] }[];
  };
  const asked = [
    ...dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr)),
    readFileSync(join(monitoring, "alerts.yml"), "utf8"),
  ];
  const names = asked.flatMap((text) => text.match(/\bmobula_\w+/g) ?? []);
  expect(names.length).toBeGreaterThan(20);
  expect(names.filter((name) => !known.has(name))).toEqual([]);
});

describe.skipIf(!hasPrometheus)("Prometheus (needs Debian's prometheus)", () => {
  test("its checker finds nothing wrong with what is said", async () => {
    const text = await scrape(await clusterWithWork());
    const { status, stdout, stderr } = spawnSync("promtool", ["check", "metrics"], { input: text, encoding: "utf8" });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "", stderr: "" });
  });

  test("the alert rules are right, and fire on what they are for", () => {
    execFileSync("promtool", ["check", "config", "--syntax-only", join(monitoring, "prometheus.yml")]);
    execFileSync("promtool", ["check", "rules", join(monitoring, "alerts.yml")]);
    expect(
      execFileSync("promtool", ["test", "rules", join(monitoring, "alerts.test.yml")], { encoding: "utf8" }),
    ).toContain("SUCCESS");
  });

  test("a real one scrapes a cluster, with the token, by the configuration that is given", async () => {
    const cluster = await clusterWithWork();
    const folder = mkdtempSync("/tmp/mp-");
    folders.push(folder);
    writeFileSync(join(folder, "token"), cluster.token, { mode: 0o600 });
    const configuration = readFileSync(join(monitoring, "prometheus.yml"), "utf8")
      .replaceAll("/etc/prometheus/mobula-token", join(folder, "token"))
      .replace("127.0.0.1:8265", new URL(cluster.dashboardUrl ?? "").host)
      .replace("scrape_interval: 15s", "scrape_interval: 1s")
      .replace("alerts.yml", join(monitoring, "alerts.yml"));
    writeFileSync(join(folder, "prometheus.yml"), configuration);
    const port = await freePort();
    const server = spawn("prometheus", [
      `--config.file=${join(folder, "prometheus.yml")}`,
      `--storage.tsdb.path=${join(folder, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ]);
    running.push(server);
    let log = "";
    server.stderr.setEncoding("utf8").on("data", (text: string) => {
      log += text;
    });
    const ask = async (query: string): Promise<string | undefined> => {
      const response = await fetch(`http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(query)}`).catch(
        () => undefined,
      );
      // It is not ready at once.
      const found = (response?.ok ? await response.json() : undefined) as
        | { data?: { result?: { value: [number, string] }[] } }
        | undefined;
      return found?.data?.result?.[0]?.value[1];
    };
    await eventually(
      async () => (await ask('mobula_nodes{state="alive"}')) === "4",
      () => log,
      30_000,
    );
    await eventually(
      async () => (await ask('sum(mobula_task_attempts_total{outcome="finished"})')) !== undefined,
      () => log,
    );
    expect(await ask('up{job="mobula"}')).toBe("1");
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
