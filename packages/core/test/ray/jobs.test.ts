/**
 * Ray's own command line and Python SDK, unmodified, with jobs: the same commands go to Mobula and to a real Ray, and what they say is
 * compared. They are installed by .ci/run, or by `bench/peers/install.ts`, into .cache/ray-default.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { LocalCluster } from "../../src/testing/mod.ts";

const bin = fileURLToPath(new URL("../../../../.cache/ray-default/venv/bin/", import.meta.url));
const hasRay = existsSync(join(bin, "ray"));
const START_MS = 90_000;

interface Ran {
  readonly code: number | null;
  readonly text: string;
}

interface Side {
  readonly url: string;
  readonly env: NodeJS.ProcessEnv;
}

const folder = mkdtempSync("/tmp/ray-");
const work = join(folder, "work");
let cluster: LocalCluster | undefined;
let ray: ChildProcess | undefined;
let mobulaSide: Side;
let raySide: Side;

/** A Ray that runs already has those of the last time. */
const id = (name: string): string => `${name}-${process.pid}`;

const plain = {
  ...process.env,
  RAY_USAGE_STATS_ENABLED: "0",
  RAY_COLOR_MODE: "false",
  NO_COLOR: "1",
  PYTHONWARNINGS: "ignore",
};

async function run(side: Side, program: string, ...args: string[]): Promise<Ran> {
  const child = spawn(join(bin, program), args, { env: { ...side.env, RAY_ADDRESS: side.url } });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (text += chunk));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, text };
}
const job = (side: Side, command: string, ...args: string[]): Promise<Ran> =>
  run(side, "ray", "job", command, "--address", side.url, ...args);

/** What was said, without what differs from run to run: times, colours, places, and what Ray logs of itself. */
function essence({ code, text }: Ran): { readonly code: number | null; readonly lines: readonly string[] } {
  const lines = text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with it
    .replace(/\u001b\[[\d;]*m/g, "")
    .split("\n")
    .filter(
      (line) =>
        !/^(Running entrypoint for job|\d{4}-\d\d-\d\d .*\t(INFO|WARNING) (sdk|packaging|dashboard_sdk)\.py)/.test(
          line,
        ),
    )
    .map((line) => line.replace(/^\d{4}-\d\d-\d\d [\d:,]+\t(\w+) \S+ -- /, "$1 ").replace(/http:\S+/g, "URL"))
    .filter((line) => line.trim() !== "" && !/^INFO Job has not exited yet|Runtime env is setting up/.test(line))
    // The text of `ray job logs` is said as its first line begins.
    .map((line) => line.replace(/^INFO /, ""));
  return { code, lines };
}

const failureOf = ({ code, text }: Ran) => ({
  code,
  why: /(\w+Error): Request failed with status code/.exec(text)?.[1],
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

async function startRay(): Promise<Side> {
  // One that runs already, to work on these tests.
  const { MOBULA_TEST_RAY_URL: running } = process.env;
  if (running) return { url: running, env: plain };
  const ports = await Promise.all(Array.from({ length: 6 }, freePort));
  const [port, dashboard, client, agent, agentGrpc, metrics] = ports;
  const args = [
    ...["start", "--head", "--block", "--num-cpus=1", "--object-store-memory=80000000", `--temp-dir=${folder}/t`],
    ...[`--port=${port}`, `--dashboard-port=${dashboard}`, `--ray-client-server-port=${client}`],
    ...["--dashboard-host=127.0.0.1", `--dashboard-agent-listen-port=${agent}`],
    ...[`--dashboard-agent-grpc-port=${agentGrpc}`, `--metrics-export-port=${metrics}`],
  ];
  ray = spawn(join(bin, "ray"), args, { env: plain, detached: true, stdio: "ignore" });
  const side = { url: `http://127.0.0.1:${dashboard}`, env: plain };
  // Its agent takes jobs some seconds after its dashboard answers.
  await vi.waitFor(
    async () => {
      const answer = await fetch(`${side.url}/api/jobs/`);
      expect(answer.status).toBe(200);
    },
    { timeout: START_MS, interval: 250 },
  );
  await vi.waitFor(async () => expect((await job(side, "submit", "--", "true")).code).toBe(0), {
    timeout: START_MS,
    interval: 500,
  });
  return side;
}

beforeAll(async () => {
  if (!hasRay) return;
  const { mkdirSync } = await import("node:fs");
  mkdirSync(work);
  writeFileSync(join(work, "words.txt"), "from the working directory\n");
  const [started, side] = await Promise.all([
    LocalCluster.start({ nodes: [{ resources: { cpu: 2 } }], network: "direct", dashboard: true }),
    startRay(),
  ]);
  cluster = started;
  raySide = side;
  const env = { ...plain, RAY_AUTH_MODE: "token", RAY_AUTH_TOKEN: cluster.token };
  mobulaSide = { url: cluster.dashboardUrl as string, env };
}, 2 * START_MS);

afterAll(async () => {
  await cluster?.stop();
  if (ray?.pid !== undefined && ray.exitCode === null) {
    const gone = once(ray, "exit");
    // Its own processes are in its group.
    process.kill(-ray.pid, "SIGTERM");
    const late = setTimeout(() => process.kill(-(ray?.pid ?? 0), "SIGKILL"), 10_000);
    await gone;
    clearTimeout(late);
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
}, 60_000);

describe.skipIf(!hasRay)("Ray's command line", { timeout: 120_000 }, () => {
  const both = async (ask: (side: Side) => Promise<unknown>): Promise<unknown> => {
    const [ours, theirs] = await Promise.all([ask(mobulaSide), ask(raySide)]);
    expect(ours).toEqual(theirs);
    return ours;
  };

  test("submits with a working directory and an environment, and follows", async () => {
    const env = JSON.stringify({ env_vars: { GREETING: "hello" } });
    const args = ["--submission-id", id("good"), "--working-dir", work, "--runtime-env-json", env];
    const said = await both(async (side) =>
      essence(await job(side, "submit", ...args, "--", "sh", "-c", "cat words.txt; echo $GREETING")),
    );
    expect(said).toMatchObject({ code: 0 });
    expect((said as { lines: string[] }).lines).toEqual(
      expect.arrayContaining(["from the working directory", "hello", `SUCC Job '${id("good")}' succeeded`]),
    );
  });

  test("says how one has failed, by its exit code too", async () => {
    const said = await both(async (side) =>
      essence(await job(side, "submit", "--submission-id", id("bad"), "--", "sh", "-c", "echo no; exit 7")),
    );
    expect(said).toMatchObject({ code: 1 });
    await both(async (side) => essence(await job(side, "status", id("bad"))));
    await both(async (side) => essence(await job(side, "logs", id("bad"))));
    await both(async (side) => essence(await job(side, "logs", "--follow", id("bad"))));
  });

  test("does not wait when it is told so, stops what runs, and deletes it", async () => {
    await both(async (side) => {
      const submitted = essence(
        await job(side, "submit", "--no-wait", "--submission-id", id("long"), "--", "sleep", "100"),
      );
      await vi.waitFor(async () => expect((await job(side, "status", id("long"))).text).toContain("RUNNING"), {
        timeout: 20_000,
        interval: 200,
      });
      return [
        submitted,
        essence(await job(side, "status", id("long"))),
        failureOf(await job(side, "delete", id("long"))),
        essence(await job(side, "stop", id("long"))),
        essence(await job(side, "delete", id("long"))),
        failureOf(await job(side, "status", id("long"))),
      ];
    });
  });

  test("is told of what is not there, and of an id that is taken", async () => {
    await both(async (side) => {
      const asked = [
        ["status", "nothing"],
        ["logs", "nothing"],
        ["stop", "nothing"],
        ["delete", "nothing"],
        ["submit", "--submission-id", id("good"), "--", "true"],
      ];
      return Promise.all(asked.map(async ([command = "", ...args]) => failureOf(await job(side, command, ...args))));
    });
  });

  test("lists jobs with the same columns", async () => {
    await both(async (side) => {
      const { code, text } = await job(side, "list");
      const columns = [...new Set([...text.matchAll(/[( ](\w+)=/g)].map(([, name]) => name))].sort();
      return { code, columns: columns.filter((name) => name?.includes("_")) };
    });
  });

  test("without the token it is turned away", async () => {
    const { code, text } = await job({ ...mobulaSide, env: plain }, "list");
    expect(code).toBe(1);
    expect(text).toMatch(/AuthenticationError/);
  });
});

describe.skipIf(!hasRay)("Ray's SDK", { timeout: 120_000 }, () => {
  test("hears the same of jobs, field by field", async () => {
    const script = fileURLToPath(new URL("fixtures/sdk.py", import.meta.url));
    const [ours, theirs] = await Promise.all(
      [mobulaSide, raySide].map(async (side) => {
        const { code, text } = await run(side, "python", script, side.url, work, id("sdk"));
        expect(code, text).toBe(0);
        return comparable(JSON.parse(text.split("\n").find((line) => line.startsWith("{")) ?? ""));
      }),
    );
    expect(ours).toEqual(theirs);
  });
});

/** Without what is of one cluster or one moment, and what Mobula does not show. */
function comparable(said: Record<string, unknown>): Record<string, unknown> {
  const withoutHeading = (text: unknown): unknown =>
    typeof text === "string"
      ? text.replace(/^(Running entrypoint for job .*|.*Runtime env is setting up\.)\n/gm, "")
      : text;
  return Object.fromEntries(
    Object.entries(said).map(([name, value]) => {
      if (typeof value !== "object" || value === null || Array.isArray(value)) return [name, withoutHeading(value)];
      const details = value as Record<string, unknown>;
      const { runtime_env: env, message, ...rest } = details;
      for (const changing of ["start_time", "end_time", "driver_agent_http_address", "driver_node_id"])
        delete rest[changing];
      const fields = env && {
        ...(env as object),
        env_vars: Object.keys((env as { env_vars?: object }).env_vars ?? {}),
      };
      // What Ray has seen printed holds a line of its own.
      const shown = String(withoutHeading(message)).replace(
        /(, last available logs .*:\n|\. No logs available\.)[\s\S]*$/,
        "",
      );
      return [name, { ...rest, runtime_env: fields, message: shown, hasNode: details.driver_node_id !== null }];
    }),
  );
}
