/**
 * Ray's own command line and Python SDK, unmodified, with state: the same commands go to Mobula and to a real Ray where the same kind of
 * work is done, and columns, keys, states and exit codes are compared. They are installed as `jobs.test.ts` says.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { get, kill, placementGroup, put, remote } from "../../src/api/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";

const bin = fileURLToPath(new URL("../../../../.cache/ray-default/venv/bin/", import.meta.url));
const fixtures = fileURLToPath(new URL("fixtures/", import.meta.url));
const hasRay = existsSync(join(bin, "ray"));
const START_MS = 90_000;

interface Side {
  readonly url: string;
  readonly env: NodeJS.ProcessEnv;
  /** Ids of what is there, by what it is called. */
  readonly ids: Readonly<Record<"actor" | "task" | "node", string>>;
}
interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}
interface Tools {
  readonly commands: readonly Ran[];
  readonly sdk: Readonly<Record<string, unknown>> | null;
}
type Rows = readonly Readonly<Record<string, unknown>>[];

const plain = {
  ...process.env,
  ...{ RAY_USAGE_STATS_ENABLED: "0", RAY_COLOR_MODE: "false", NO_COLOR: "1", PYTHONWARNINGS: "ignore" },
};
const folder = mkdtempSync("/tmp/ray-");
const running: ChildProcess[] = [];
const kept: unknown[] = [];
let cluster: LocalCluster | undefined;
let mobulaSide: Side;
let raySide: Side;

async function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv, input = ""): Promise<Ran> {
  const child = spawn(join(bin, program), args, { env });
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk;
  });
  child.stderr.on("data", (chunk: Buffer) => {
    err += chunk;
  });
  child.stdin.end(input);
  const [code] = (await once(child, "close")) as [number | null];
  return { code, out, err };
}

/** Many commands of Ray's command line in one process, and its SDK. */
async function tools(side: Side, commands: readonly (readonly string[])[], sdk = false): Promise<Tools> {
  const asked = JSON.stringify({ address: side.url, commands, sdk });
  const { code, out, err } = await run("python", [join(fixtures, "state_tools.py")], side.env, asked);
  expect(code, err).toBe(0);
  return JSON.parse(out) as Tools;
}

/** The same commands on both sides. */
async function both(commands: (ids: Side["ids"]) => readonly (readonly string[])[]): Promise<[Ran[], Ran[]]> {
  const [ours, theirs] = await Promise.all([mobulaSide, raySide].map((side) => tools(side, commands(side.ids))));
  return [[...(ours?.commands ?? [])], [...(theirs?.commands ?? [])]];
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

const api = async (url: string, kind: string, env: NodeJS.ProcessEnv = {}): Promise<Rows> => {
  const headers = { authorization: `Bearer ${env.RAY_AUTH_TOKEN}` };
  const answer = await fetch(`${url}/api/v0/${kind}?detail=true`, { headers });
  if (!answer.ok) return [];
  return ((await answer.json()) as { data: { result: { result: Rows } } }).data.result.result;
};

/** When all that was done is told: what has run is told later than it ran. */
async function sideOf(url: string, env: NodeJS.ProcessEnv): Promise<Side> {
  const ids = await eventually(async (): Promise<Side["ids"] | undefined> => {
    const [actors, tasks, nodes] = await Promise.all(["actors", "tasks", "nodes"].map((kind) => api(url, kind, env)));
    const named = (rows: Rows = [], key: string, value: string) => rows.filter((row) => row[key] === value);
    const [actor] = named(actors, "name", "visits");
    const [task] = named(tasks, "name", "square");
    const isWhole =
      named(tasks, "name", "square").filter(({ state }) => state === "FINISHED").length === 5 &&
      named(tasks, "state", "FAILED").length === 1 &&
      named(tasks, "state", "RUNNING").length === 1 &&
      named(tasks, "name", "queued").length === 1 &&
      named(actors, "state", "DEAD").length === 1 &&
      named(actors, "class_name", "Waiting").length === 1;
    if (!isWhole || !actor || !task) return undefined;
    return { actor: String(actor.actor_id), task: String(task.task_id), node: String(nodes?.[0]?.node_id) };
  }, `all work is told by ${url}`);
  return { url, env, ids: ids as Side["ids"] };
}

async function startRay(): Promise<Side> {
  // One that runs already and has done its work, to work on these tests.
  const { MOBULA_TEST_RAY_STATE_URL: url } = process.env;
  if (url) return sideOf(url, plain);
  const [port, dashboard, client, agent, agentGrpc, metrics] = await Promise.all(Array.from({ length: 6 }, freePort));
  const args = [
    ...["start", "--head", "--block", "--num-cpus=1", "--object-store-memory=80000000", `--temp-dir=${folder}/t`],
    ...[`--port=${port}`, `--dashboard-port=${dashboard}`, `--ray-client-server-port=${client}`],
    ...["--dashboard-host=127.0.0.1", `--dashboard-agent-listen-port=${agent}`],
    ...[`--dashboard-agent-grpc-port=${agentGrpc}`, `--metrics-export-port=${metrics}`],
  ];
  running.push(spawn(join(bin, "ray"), args, { env: plain, detached: true, stdio: "ignore" }));
  const started = `http://127.0.0.1:${dashboard}`;
  await eventually(
    () =>
      fetch(`${started}/api/v0/nodes`).then(
        ({ ok }) => ok,
        () => false,
      ),
    "Ray's dashboard answers",
    START_MS,
  );
  const work = spawn(join(bin, "python"), [join(fixtures, "state_work.py"), `127.0.0.1:${port}`], {
    env: plain,
    detached: true,
  });
  running.push(work);
  let said = "";
  for (const stream of [work.stdout, work.stderr])
    stream.on("data", (chunk: Buffer) => {
      said += chunk;
    });
  await eventually(
    () => said.includes("ready"),
    () => `Ray's work is done: ${said}`,
    START_MS,
  );
  return sideOf(started, plain);
}

class Counter {
  n = 0;
  add(k: number): number {
    this.n += k;
    return this.n;
  }
}
class Waiting {
  wait(): void {}
}

/** What fixtures/state_work.py does. */
async function startMobula(): Promise<Side> {
  cluster = await LocalCluster.start({ nodes: [{ resources: { cpu: 1 } }], network: "direct", dashboard: true });
  await cluster.connect({ namespace: "state-test", logToDriver: false });
  const small = { numCpus: 0.1 };
  const square = remote(function square(x: number): number {
    console.log("squared", x);
    return x * x;
  }, small);
  const fail = remote(
    function fail(): never {
      throw new Error("planted");
    },
    { ...small, maxRetries: 0 },
  );
  const slow = remote(function slow(): Promise<never> {
    return new Promise(() => {});
  }, small);
  const queued = remote(() => 1, { numCpus: 1, name: "queued" });
  await get([0, 1, 2, 3, 4].map((x) => square.remote(x)));
  await expect(get(fail.remote())).rejects.toThrow("planted");
  kept.push(slow.remote());
  const visits = remote(Counter, { ...small, name: "visits" }).remote();
  await get(visits.add.remote(2));
  const killed = remote(Counter, small).remote();
  await get(killed.add.remote(1));
  await kill(killed);
  const pair = placementGroup([{ cpu: 0.1 }], { name: "pair", strategy: "PACK" });
  await pair.ready();
  kept.push(visits, pair, put(Buffer.alloc(300_000, "x")));
  kept.push(queued.remote(), remote(Waiting, { numCpus: 1 }).remote(), placementGroup([{ cpu: 1 }], { name: "never" }));
  return sideOf(cluster.dashboardUrl as string, {
    ...plain,
    ...{ RAY_AUTH_MODE: "token", RAY_AUTH_TOKEN: cluster.token },
  });
}

beforeAll(async () => {
  if (!hasRay) return;
  [mobulaSide, raySide] = await Promise.all([startMobula(), startRay()]);
}, 2 * START_MS);

afterAll(async () => {
  kept.splice(0);
  await cluster?.stop();
  for (const child of running.reverse()) {
    if (child.pid === undefined || child.exitCode !== null) continue;
    const gone = once(child, "exit");
    // Its own processes are in its group.
    process.kill(-child.pid, "SIGTERM");
    const late = setTimeout(() => process.kill(-(child.pid ?? 0), "SIGKILL"), 10_000);
    await gone;
    clearTimeout(late);
  }
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
}, 60_000);

/** Kinds that have rows on both sides, and what of their rows must be the same; Ray's list of tasks has creations of actors too. */
const KINDS = {
  actors: ["class_name", "state", "name", "ray_namespace"],
  nodes: ["state"],
  tasks: ["name", "state", "type", "attempt_number", "error_type"],
  workers: ["is_alive", "worker_type", "exit_type"],
  jobs: ["type", "status", "submission_id", "error_type"],
  "placement-groups": ["name", "state"],
  objects: ["task_status", "attempt_number", "type"],
} as const;
/** Ray lists also what was, and what is held of actors. */
const SUPERSETS: ReadonlySet<string> = new Set(["objects", "nodes", "workers"] satisfies (keyof typeof KINDS)[]);
const kinds = Object.keys(KINDS) as (keyof typeof KINDS)[];

const unique = (texts: readonly string[]): readonly string[] => [...new Set(texts)].sort();
const rowsOf = ({ code, out, err }: Ran): Rows => {
  expect(code, err).toBe(0);
  return JSON.parse(out) as Rows;
};
const isListed = (row: Rows[number]): boolean => row.type !== "ACTOR_CREATION_TASK";
const keysOf = (rows: Rows): readonly string[] => unique(rows.map((row) => Object.keys(row).join(" ")));
const headingOf = ({ out }: Ran): readonly string[] =>
  (out.split("\n").find((line) => /^ +[A-Z_]+ /.test(line)) ?? "").trim().split(/\s+/);
const isOfType = (value: unknown): string => (value === null ? "null" : Array.isArray(value) ? "list" : typeof value);

describe.skipIf(!hasRay)("Ray's command line", { timeout: 120_000 }, () => {
  test("lists everything with the same keys, types and states", async () => {
    const [ours, theirs] = await both(() =>
      kinds.flatMap((kind) => [
        ["list", kind, "--format", "json"],
        ["list", kind, "--format", "json", "--detail"],
      ]),
    );
    for (const [at, kind] of kinds.entries()) {
      const [our, their, ourDetail, theirDetail] = [
        ours[2 * at],
        theirs[2 * at],
        ours[2 * at + 1],
        theirs[2 * at + 1],
      ].map((ran) => rowsOf(ran as Ran).filter(isListed)) as unknown as [Rows, Rows, Rows, Rows];
      expect(our.length, kind).toBeGreaterThan(0);
      expect(keysOf(our), kind).toEqual(keysOf(their));
      expect(keysOf(ourDetail), kind).toEqual(keysOf(theirDetail));
      const values = (rows: Rows): readonly string[] =>
        unique(rows.map((row) => JSON.stringify(KINDS[kind].map((key) => row[key]))));
      if (SUPERSETS.has(kind)) expect(values(their), kind).toEqual(expect.arrayContaining([...values(our)]));
      else expect(values(our), kind).toEqual(values(their));
      for (const key of Object.keys(our[0] ?? {})) {
        const types = (rows: Rows) => unique(rows.map((row) => isOfType(row[key]))).filter((type) => type !== "null");
        const [own, other] = [types(our), types(their)];
        if (own.length > 0 && other.length > 0) expect(own, `${kind}.${key}`).toEqual(other);
      }
    }
  });

  test("prints the same columns as a table and as YAML, and cuts and filters alike", async () => {
    const [ours, theirs] = await both(() => [
      ...kinds.map((kind) => ["list", kind]),
      ["list", "actors", "--filter", "state=ALIVE", "--filter", "CLASS_NAME!=waiting"],
      ["list", "tasks", "--limit", "2", "--filter", "name=square"],
    ]);
    expect(ours.map(headingOf)).toEqual(theirs.map(headingOf));
    const totals = (ran: readonly Ran[]) => ran.slice(-2).map(({ out }) => /Total: \d+/.exec(out)?.[0]);
    expect(totals(ours)).toEqual(["Total: 1", "Total: 2"]);
    expect(totals(theirs)).toEqual(totals(ours));
  });

  test("gets one by its id", async () => {
    const [ours, theirs] = await both(({ actor, task, node }) => [
      ["get", "actors", actor],
      ["get", "tasks", task],
      ["get", "nodes", node],
      ["get", "actors", "0".repeat(32)],
      ["get", "tasks", "0".repeat(48)],
      ["get", "objects", "0".repeat(56)],
    ]);
    const keys = ({ out }: Ran): readonly (string | undefined)[] =>
      [...out.matchAll(/^[- ] {3}(\w+):/gm)].map(([, key]) => key);
    for (const [at, ran] of ours.slice(0, 3).entries()) {
      expect(keys(ran).length).toBeGreaterThan(5);
      expect(keys(ran)).toEqual(keys(theirs[at] as Ran));
    }
    expect(ours.slice(3).map(({ code, out }) => ({ code, out }))).toEqual(
      theirs.slice(3).map(({ code, out }) => ({ code, out })),
    );
    expect(ours.map(({ code }) => code)).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test("sums up", async () => {
    const [ours, theirs] = await both(() => [
      ["summary", "actors"],
      ["summary", "tasks"],
      ["summary", "objects"],
    ]);
    const lines = ({ out }: Ran = { code: 0, out: "", err: "" }): readonly string[] =>
      out
        .split("\n")
        .filter((line) => !/={8}|__init__|total_actor_scheduled/.test(line))
        .map((line) =>
          line
            .replace(/^\d+ +/, "")
            .replace(/ +/g, " ")
            .trim(),
        )
        .sort();
    expect(lines(ours[0])).toEqual(lines(theirs[0]));
    expect(lines(ours[1])).toEqual(lines(theirs[1]));
    const names = ({ out }: Ran = { code: 0, out: "", err: "" }): readonly (string | undefined)[] => [
      ...[...out.matchAll(/^(\w+): /gm)].map(([, name]) => name),
      ...(out.split("\n").find((line) => line.includes("TOTAL_OBJECTS")) ?? "").trim().split(/\s+/),
    ];
    expect(names(ours[2])).toEqual(names(theirs[2]));
    expect(ours.map(({ code }) => code)).toEqual([0, 0, 0]);
  });

  test("ends with the same exit codes, and for the same reasons, when it is used wrongly", async () => {
    const [ours, theirs] = await both(() => [
      ["get", "actors", "00"],
      ["get", "actors", "no hex"],
      ["get", "tasks", "00"],
      ["list", "actors", "--filter", "nope=1"],
      ["list", "actors", "--filter", "is_detached=true"],
      ["list", "actors", "--filter", "state"],
      ["list", "actors", "--filter", "pid=abc"],
      ["list", "actors", "--limit", "20000"],
      ["list", "actors", "--format", "xml"],
      ["list", "nothing"],
      ["list", "jobs", "--filter", "entrypoint=x"],
      ["list", "actors", "--filter", "state=ALIVE", "--filter", "state=DEAD"],
      ["list", "runtime-envs"],
      ["logs", "cluster"],
    ]);
    expect(ours.map(({ code }) => code)).toEqual(theirs.map(({ code }) => code));
    const why = ({ err }: Ran): string =>
      /Error: ([^.]*\.? ?[^.:{]*)/.exec(err.split("\n").filter(Boolean).at(-1) ?? "")?.[1] ?? "";
    const same = [0, 2, 3, 5, 6, 8, 9];
    expect(same.map((at) => why(ours[at] as Ran))).toEqual(same.map((at) => why(theirs[at] as Ran)));
    expect(ours.map(({ code }) => code)).toEqual([2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 0, 0, 2]);
  });

  test("as it is installed, takes the token from its environment, and is turned away without it", async () => {
    const { url, env } = mobulaSide;
    const list = (given: NodeJS.ProcessEnv) => run("ray", ["list", "actors", "--address", url], given);
    const [with_, without, wrong] = await Promise.all([
      list(env),
      list(plain),
      list({ ...env, RAY_AUTH_TOKEN: "wrong" }),
    ]);
    expect(with_, with_.err).toMatchObject({ code: 0, out: expect.stringContaining("visits") });
    for (const { code, err } of [without, wrong]) {
      expect(code).toBe(1);
      expect(err).toContain("AuthenticationError");
    }
  });
});

describe.skipIf(!hasRay)("Ray's SDK", { timeout: 120_000 }, () => {
  test("hears the same of state", async () => {
    const [ours, theirs] = await Promise.all(
      [mobulaSide, raySide].map(async (side) => (await tools(side, [], true)).sdk),
    );
    expect(ours).toEqual(theirs);
    expect(ours).toMatchObject({ alive: [["Counter", "visits", "ALIVE"]], same: true, nobody: null, failed: ["fail"] });
  });
});

describe.skipIf(!hasRay)("logs over HTTP, as Ray's SDK asks for them once it knows where", { timeout: 60_000 }, () => {
  const ask = async ({ url, env }: Side, path: string): Promise<readonly [isGood: boolean, text: string]> => {
    const answer = await fetch(`${url}/api/v0/logs${path}`, {
      headers: { authorization: `Bearer ${env.RAY_AUTH_TOKEN}` },
    });
    return [answer.ok, await answer.text()];
  };
  const asked = (path: (ids: Side["ids"]) => string) =>
    Promise.all([mobulaSide, raySide].map((side) => ask(side, path(side.ids))));

  test("of a task, by its stream, and the last lines only", async () => {
    const paths = ["lines=100", "lines=-1&attempt_number=0", "lines=100&suffix=err", "lines=100&attempt_number=7"];
    for (const path of paths) {
      const [[isGood, ours], [isTheirs, theirs]] = (await asked(({ task }) => `/file?task_id=${task}&${path}`)) as [
        readonly [boolean, string],
        readonly [boolean, string],
      ];
      expect(isGood, path).toBe(isTheirs);
      // Each says which one it is by what it was called with; Ray puts marks of its own around it.
      const words = (text: string) => /squared \d/.test(text);
      if (isGood) expect(words(ours), path).toBe(words(theirs));
    }
    const [isGood, text] = await ask(mobulaSide, `/file?task_id=${mobulaSide.ids.task}&lines=100`);
    expect([isGood, text]).toEqual([true, expect.stringMatching(/^squared \d\n$/)]);
  });

  test("of a process and of a file of a node, whose files are listed", async () => {
    const files = JSON.parse((await ask(mobulaSide, `?node_id=${workerNode()}&glob=worker-*`))[1]);
    const [file] = files.data.result.worker_out as string[];
    expect(Object.keys(files.data.result)).toEqual(["worker_out"]);
    const pid = /\d+/.exec(file ?? "")?.[0];
    const [, whole] = await ask(mobulaSide, `/file?node_id=${workerNode()}&filename=${file}&lines=1`);
    expect(whole.split("\n")).toHaveLength(2);
    expect((await ask(mobulaSide, `/file?node_id=${workerNode()}&pid=${pid}`))[0]).toBe(true);
  });

  test("are refused where there is none, and where nothing is named", async () => {
    const paths = [
      "",
      "?node_ip=9.9.9.9",
      "/file?lines=10",
      `/file?actor_id=${"0".repeat(32)}&lines=10`,
      `/file?task_id=${"0".repeat(48)}&lines=10`,
      "/file?node_id=00&filename=x",
      "/file?filename=x",
    ];
    for (const path of paths) {
      const [ours, theirs] = await asked(() => path);
      expect([ours?.[0], theirs?.[0]], path).toEqual([false, false]);
    }
  });

  test("are followed", async () => {
    const ending = new AbortController();
    const answer = await fetch(`${mobulaSide.url}/api/v0/logs/stream?task_id=${mobulaSide.ids.task}&lines=10`, {
      headers: { authorization: `Bearer ${mobulaSide.env.RAY_AUTH_TOKEN}` },
      signal: ending.signal,
    });
    const first = await answer.body?.getReader().read();
    expect(new TextDecoder().decode(first?.value)).toMatch(/^squared \d\n$/);
    ending.abort();
  });

  test("of a job that was submitted, also while it is followed to its end", async () => {
    const submitted = await fetch(`${mobulaSide.url}/api/jobs/`, {
      method: "POST",
      headers: { authorization: `Bearer ${mobulaSide.env.RAY_AUTH_TOKEN}`, "content-type": "application/json" },
      body: JSON.stringify({ entrypoint: "echo one; echo two", submission_id: "logged" }),
    });
    expect(submitted.status).toBe(200);
    const of = `submission_id=logged&node_id=${workerNode()}`;
    expect(await ask(mobulaSide, `/stream?${of}`)).toEqual([true, "one\ntwo\n"]);
    expect(await ask(mobulaSide, `/file?${of}&lines=1`)).toEqual([true, "two\n"]);
    expect((await ask(mobulaSide, "/stream?submission_id=nothing"))[0]).toBe(false);
  });

  const workerNode = (): string => String(cluster?.nodes[0]?.id);
});
