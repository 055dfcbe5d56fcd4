/** The command line for clusters, as people on several machines use it: each has a temporary folder of its own. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";

const cli = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
const small = ["--cpus", "1", "--object-store", "16MiB"];
const atHome = ["--head", "--host", "127.0.0.1", "--port", "0"];
let base = "";
let folders: string[] = [];
const running: ChildProcess[] = [];

beforeEach(() => {
  base = mkdtempSync("/tmp/mc-");
  folders = [0, 1].map(() => mkdtempSync("/tmp/mc-"));
});
afterEach(async () => {
  for (const child of running.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGTERM");
    await once(child, "exit");
  }
  for (const at of [1, 0]) await mobula(at, {}, "stop", "--now");
  for (const folder of [base, ...folders]) rmSync(folder, { recursive: true, force: true });
});

const environment = (at: number, env: object): NodeJS.ProcessEnv => ({
  ...process.env,
  TMPDIR: folders[at],
  XDG_STATE_HOME: join(base, "state"),
  ...env,
});

async function mobula(at: number, env: object, ...args: string[]): Promise<string> {
  return (await promisify(execFile)(process.execPath, [cli, ...args], { env: environment(at, env) })).stdout;
}

/** Begins a cluster on the first machine, and joins it from the second. */
async function clusterOfTwo(...more: string[]): Promise<{ MOBULA_TOKEN: string; MOBULA_ADDRESS: string }> {
  const begun = JSON.parse(await mobula(0, {}, "start", ...atHome, "--json", "--name", "one", ...small));
  const env = { MOBULA_TOKEN: begun.token as string, MOBULA_ADDRESS: begun.address as string };
  await mobula(1, env, "start", "--address", env.MOBULA_ADDRESS, "--name", "two", ...small, ...more);
  return env;
}

describe("a cluster", () => {
  test("begins, is joined, shown and ended", async () => {
    const begun = await mobula(0, {}, "start", ...atHome, "--name", "one", ...small);
    const [, token, address = ""] = /MOBULA_TOKEN=(\w+) mobula start --address (\S+)/.exec(begun) ?? [];
    await expect(mobula(1, {}, "start", "--address", address, ...small)).rejects.toThrow(/MOBULA_TOKEN is not set/);
    const labels = ["--label", "rack=a4", "--resource", "disk=2"];
    await mobula(1, { MOBULA_TOKEN: token }, "start", "--address", address, "--name", "two", ...small, ...labels);
    const shown = await mobula(0, {}, "status");
    expect(shown).toContain(`cluster at ${address}: 2 nodes alive\n`);
    expect(shown).toMatch(/^one \* {2}alive {2}\d\/1 .* \d+\/16 MiB/m);
    expect(shown).toMatch(/^two {4}alive {2}\d\/1 .*rack=a4 disk 0\/2$/m);
    for (const line of shown.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
    await mobula(1, {}, "stop");
    expect(await mobula(0, {}, "status")).toMatch(/^two {4}dead$/m);
    expect(await mobula(0, {}, "stop")).toContain("The head has ended, and its cluster with it.");
    expect(readdirSync(join(base, "state", "mobula"))).toEqual([]);
  });

  test("by default others reach the head, at an address of this machine that it prints", async () => {
    const { address } = JSON.parse(await mobula(0, {}, "start", "--head", "--port", "0", "--json", ...small));
    expect(address).not.toMatch(/^(0\.0\.0\.0|\[::\]):/);
    expect(await mobula(0, {}, "status")).toContain(`cluster at ${address}: 1 node alive`);
  });

  test("a head is reached where it is said to be, and its node where this machine reaches that", async () => {
    const advertised = ["--advertise", "localhost", "--port", "0", "--json", ...small];
    const { address } = JSON.parse(await mobula(0, {}, "start", "--head", ...advertised));
    expect(address).toMatch(/^localhost:/);
    expect(await mobula(0, {}, "status")).toContain(`cluster at ${address}: 1 node alive`);
  });

  test.each([
    ["head", ["--host", "127.0.0.1", "--port"]],
    ["node", ["--host", "127.0.0.1", "--port", "0", "--health-port"]],
  ])("begins whole or not at all: the %s finds its port taken", async (_which, options) => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const { port } = other.address() as AddressInfo; // It listens on TCP.
    try {
      await expect(mobula(0, {}, "start", "--head", ...small, ...options, `${port}`)).rejects.toThrow(
        /no port is free|EADDRINUSE/,
      );
    } finally {
      other.close();
    }
    await expect(mobula(0, {}, "status")).rejects.toMatchObject({ code: 3 });
    const [user = ""] = readdirSync(folders[0] ?? "");
    // The logs of what ended by itself are kept.
    const left = readdirSync(join(folders[0] ?? "", user)).filter((name) => name !== "broken");
    expect(left).toEqual([]);
  });

  test("whose head has ended cannot be asked, and that is said", async () => {
    const env = await clusterOfTwo();
    await mobula(0, {}, "stop");
    await expect(mobula(0, env, "status")).rejects.toThrow(/cannot connect to 127\.0\.0\.1/);
    await expect(mobula(1, {}, "drain")).rejects.toThrow(/control \(127.* did not answer within 5000 ms/);
  });
});

describe("draining", () => {
  test("a node is drained by its name, from another machine; it has ended then", async () => {
    await clusterOfTwo();
    await expect(mobula(0, {}, "drain", "three")).rejects.toThrow(
      /no node is called "three"; those that live: (one, two|two, one)/,
    );
    await expect(mobula(0, {}, "drain", "two", "--deadline", "soon")).rejects.toThrow(/30s, 5m or 500ms/);
    expect(await mobula(0, {}, "drain", "two", "--deadline", "20s")).toBe(
      "Node two takes nothing new; what runs there has 20 s.\nNode two has ended.\n",
    );
    expect(await mobula(0, {}, "status")).toMatch(/^two {4}dead$/m);
    await expect(mobula(0, {}, "drain", "two")).rejects.toThrow(/node "two" is dead already/);
    await expect(mobula(1, {}, "status")).rejects.toMatchObject({ code: 3 });
  });

  test("without a name it is this machine's node, and without a cluster there is nothing to drain", async () => {
    await expect(mobula(1, {}, "drain")).rejects.toThrow(/no node is running here; set MOBULA_ADDRESS/);
    const env = await clusterOfTwo();
    expect(await mobula(1, {}, "drain")).toMatch(/^Node two has ended\.$/m);
    // With the address of the cluster, a machine without a node can ask too.
    expect(await mobula(1, env, "status")).toMatch(/^one +alive/m);
    await mobula(1, {}, "start", ...small);
    await expect(mobula(1, {}, "drain")).rejects.toThrow(/is in no cluster; `mobula stop` ends it/);
  });
});

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0);
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (typeof address !== "object" || !address) throw new Error("it has no port");
  return address.port;
}

const asked = async (port: number, path: string): Promise<[number, string]> => {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  return [response.status, await response.text()];
};

interface Foreground extends ChildProcess {
  out: string;
  readonly exited: Promise<unknown[]>;
}

function foreground(at: number, env: object, ...args: string[]): Foreground {
  const child = spawn(process.execPath, [cli, "start", "--foreground", ...args], {
    env: environment(at, env),
    stdio: ["ignore", "pipe", "inherit"],
  });
  running.push(child);
  const told = Object.assign(child, { out: "", exited: once(child, "exit") });
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    told.out += text;
  });
  return told;
}

test("in the foreground, a node that is killed takes the rest with it, and the exit code says so", async () => {
  const child = foreground(0, {}, ...atHome, "--json", ...small);
  await eventually(() => child.out.includes("\n"), "it has begun");
  process.kill(JSON.parse(child.out).pid, "SIGKILL");
  expect(await child.exited).toEqual([1, null]);
  await expect(mobula(0, {}, "status")).rejects.toMatchObject({ code: 3 });
});

describe("in the foreground, as containers and service managers run it", () => {
  test("health is told over HTTP; SIGTERM ends all in order, and the head goes on on its state", async () => {
    const [nodePort, headPort] = [await freePort(), await freePort()];
    const health = ["--health-port", `${nodePort}`, "--head-health-port", `${headPort}`];
    const state = ["--state", join(base, "kept")];
    const first = foreground(0, {}, ...atHome, "--json", ...small, ...state, ...health);
    await eventually(() => first.out.includes("\n"), "it has begun");
    const { address, token } = JSON.parse(first.out);
    for (const port of [nodePort, headPort]) {
      expect(await asked(port, "/healthz")).toEqual([200, "ok\n"]);
      expect(await asked(port, "/readyz")).toEqual([200, "ok\n"]);
      expect((await asked(port, "/secrets"))[0]).toBe(404);
    }
    first.kill("SIGTERM");
    expect(await first.exited).toEqual([0, null]);
    await expect(mobula(0, {}, "status")).rejects.toMatchObject({ code: 3 });
    await expect(fetch(`http://127.0.0.1:${nodePort}/healthz`)).rejects.toThrow();
    const second = foreground(0, {}, "--head", "--host", "127.0.0.1", "--json", ...small, ...state);
    await eventually(() => second.out.includes("\n"), "it has begun again");
    expect(JSON.parse(second.out)).toMatchObject({ address, token });
  });

  test("a node that is drained is not ready any more, and its process ends by itself", async () => {
    const env = await clusterOfTwo();
    await mobula(1, {}, "stop");
    const port = await freePort();
    const args = ["--address", env.MOBULA_ADDRESS, "--name", "three", "--health-port", `${port}`, ...small];
    const node = foreground(1, env, ...args);
    await eventually(() => node.out.includes("\n"), "it has joined");
    const script = `const {init,remote,get}=await import("mobula");await init({address:"auto"});
      await get(remote(()=>0).remote());console.log("in");await new Promise(r=>process.stdin.once("data",r));process.exit(0)`;
    // A driver that is connected keeps the node until it leaves.
    const driver = spawn(process.execPath, ["--input-type=module", "-e", script], {
      env: environment(1, { NODE_OPTIONS: "--conditions=mobula-source" }),
      stdio: ["pipe", "pipe", "inherit"],
    });
    running.push(driver);
    await once(driver.stdout, "data");
    const draining = mobula(0, {}, "drain", "three", "--deadline", "30s");
    await eventually(async () => (await asked(port, "/readyz"))[0] === 503, "it is not ready");
    expect(await asked(port, "/readyz")).toEqual([503, "this node is being drained\n"]);
    expect(await asked(port, "/healthz")).toEqual([200, "ok\n"]);
    driver.stdin.write("go\n");
    expect(await draining).toContain("Node three has ended.");
    expect(await node.exited).toEqual([0, null]);
  });
});
