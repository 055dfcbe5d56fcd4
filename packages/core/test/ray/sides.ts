/**
 * What Ray's tools are tried on: a cluster of Mobula, and a real Ray where the same kind of work was done. `ray[default]` is installed by
 * .ci/run, or by `bench/peers/install.ts`, into .cache/ray-default.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect } from "vitest";
import { type ActorHandle, get, kill, placementGroup, put, remote } from "../../src/api/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";

export const bin = fileURLToPath(new URL("../../../../.cache/ray-default/venv/bin/", import.meta.url));
const fixtures = fileURLToPath(new URL("fixtures/", import.meta.url));
export const hasRay = existsSync(join(bin, "ray"));
export const START_MS = 150_000;

export interface Side {
  /** Of the dashboard. */
  readonly url: string;
  /** Of the control store: `host:port`. */
  readonly address: string;
  readonly env: NodeJS.ProcessEnv;
  /** Ids of what is there, by what it is called. */
  readonly ids: Readonly<Record<"actor" | "killed" | "task" | "node", string>>;
  /** Of the process of the actor, and the node where it is. */
  readonly pid: number;
  readonly workerNode: string;
}
export interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
  /** Both, as they came. */
  readonly text: string;
}
interface Tools {
  readonly commands: readonly Ran[];
  readonly sdk: Readonly<Record<string, unknown>> | null;
}
export type Rows = readonly Readonly<Record<string, unknown>>[];

export const plain = {
  ...process.env,
  ...{ RAY_USAGE_STATS_ENABLED: "0", RAY_COLOR_MODE: "false", NO_COLOR: "1", PYTHONWARNINGS: "ignore" },
};
const folder = mkdtempSync("/tmp/ray-");
const running: ChildProcess[] = [];
const kept: unknown[] = [];
let cluster: LocalCluster | undefined;
/** For all tests of Ray's tools: a Ray takes a core for half a minute to start. */
export const sides = {} as { mobula: Side; ray: Side }; // Set by `startSides`, before any test.

export async function run(program: string, args: readonly string[], env: NodeJS.ProcessEnv): Promise<Ran> {
  const child = spawn(join(bin, program), args, { env });
  let [out, err, text] = ["", "", ""];
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk;
    text += chunk;
  });
  child.stderr.on("data", (chunk: Buffer) => {
    err += chunk;
    text += chunk;
  });
  child.stdin.end();
  const [code] = (await once(child, "close")) as [number | null];
  return { code, out, err, text };
}

/** Many commands of Ray's command line in one process, which takes seconds to start, and its SDK. */
class RayTools {
  private readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;
  private err = "";
  /** What was asked before is answered before. */
  private last: Promise<unknown> = Promise.resolve();

  constructor(env: NodeJS.ProcessEnv) {
    const child = spawn(join(bin, "python"), [join(fixtures, "state_tools.py")], { env, detached: true });
    running.push(child);
    child.stderr.on("data", (chunk: Buffer) => {
      this.err += chunk;
    });
    this.child = child;
    this.lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  }

  ask(asked: object): Promise<Tools> {
    const answer = this.last.then(async () => {
      this.child.stdin?.write(`${JSON.stringify(asked)}\n`);
      const { value, done } = await this.lines.next();
      if (done) throw new Error(`Ray's tools have ended: ${this.err}`);
      return JSON.parse(value) as Tools;
    });
    this.last = answer.catch(() => {});
    return answer;
  }
}
const rayTools = new Map<NodeJS.ProcessEnv, RayTools>();

export function tools(
  { env, ...side }: Side,
  commands: readonly (readonly string[])[],
  { sdk = false, at = "url" as "url" | "address" } = {},
): Promise<Tools> {
  const process = rayTools.get(env) ?? new RayTools(env);
  rayTools.set(env, process);
  return process.ask({ address: side[at], commands, sdk });
}

/** The same commands on both sides. */
export async function askBoth(
  commands: (ids: Side["ids"], side: Side) => readonly (readonly string[])[],
  at: "url" | "address" = "url",
): Promise<[Ran[], Ran[]]> {
  const [ours, theirs] = await Promise.all(
    [sides.mobula, sides.ray].map((side) => tools(side, commands(side.ids, side), { at })),
  );
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
async function sideOf(url: string, address: string, env: NodeJS.ProcessEnv): Promise<Side> {
  const found = await eventually(async (): Promise<Omit<Side, "url" | "address" | "env"> | undefined> => {
    const [actors, tasks, nodes] = await Promise.all(["actors", "tasks", "nodes"].map((kind) => api(url, kind, env)));
    const named = (rows: Rows = [], key: string, value: string) => rows.filter((row) => row[key] === value);
    const [actor] = named(actors, "name", "visits");
    const [task] = named(tasks, "name", "square");
    const [killed] = named(named(actors, "class_name", "Counter"), "state", "DEAD");
    const isWhole =
      named(tasks, "name", "square").filter(({ state }) => state === "FINISHED").length === 5 &&
      named(tasks, "state", "FAILED").length === 1 &&
      named(tasks, "state", "RUNNING").length === 1 &&
      named(tasks, "name", "queued").length === 1 &&
      killed !== undefined &&
      named(actors, "class_name", "Waiting").length === 1;
    if (!isWhole || !actor || !task || !killed) return undefined;
    const [actorId, killedId] = [actor, killed].map((row) => String(row.actor_id)) as [string, string];
    return {
      ids: { actor: actorId, killed: killedId, task: String(task.task_id), node: String(nodes?.[0]?.node_id) },
      pid: Number(actor.pid),
      workerNode: String(actor.node_id),
    };
  }, `all work is told by ${url}`);
  return { url, address, env, ...(found as NonNullable<typeof found>) };
}

async function startRay(): Promise<Side> {
  // One that runs already and has done its work, to work on these tests.
  const { MOBULA_TEST_RAY_URL: url, MOBULA_TEST_RAY_ADDRESS: address } = process.env;
  if (url && address) return sideOf(url, address, plain);
  const [port, dashboard, client, agent, agentGrpc, metrics] = await Promise.all(Array.from({ length: 6 }, freePort));
  const args = [
    ...["start", "--head", "--block", "--num-cpus=1", "--object-store-memory=80000000", `--temp-dir=${folder}/t`],
    ...[`--port=${port}`, `--dashboard-port=${dashboard}`, `--ray-client-server-port=${client}`],
    ...["--dashboard-host=127.0.0.1", `--dashboard-agent-listen-port=${agent}`],
    ...[`--dashboard-agent-grpc-port=${agentGrpc}`, `--metrics-export-port=${metrics}`],
  ];
  const start = (): ChildProcess => {
    const child = spawn(join(bin, "ray"), args, { env: plain, detached: true, stdio: "ignore" });
    running.push(child);
    return child;
  };
  let ray = start();
  const started = `http://127.0.0.1:${dashboard}`;
  await eventually(
    () =>
      fetch(`${started}/api/v0/nodes`).then(
        ({ ok }) => ok,
        () => {
          // It gives up after 30 seconds, which a machine with much else to do needs.
          if (ray.exitCode !== null) ray = start();
          return false;
        },
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
  return sideOf(started, `127.0.0.1:${port}`, plain);
}

let actor: ActorHandle<Counter> | undefined;
/** Of the actor "visits" of Mobula's side, once more. */
export const visit = async (k: number): Promise<void> => void (await actor?.add.remote(k));

class Counter {
  n = 0;
  add(k: number): number {
    console.log("adds", k);
    console.error("warns", k);
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
  const url = cluster.dashboardUrl as string;
  // Ray's tools take 127.0.0.1 for another address of this machine, where nothing listens.
  const address = `0.0.0.0:${new URL(url).port}`;
  actor = visits;
  return sideOf(url, address, {
    ...plain,
    ...{ RAY_AUTH_MODE: "token", RAY_AUTH_TOKEN: cluster.token },
  });
}

export async function startSides(): Promise<void> {
  [sides.mobula, sides.ray] = await Promise.all([startMobula(), startRay()]);
}

export async function stopSides(): Promise<void> {
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
}
