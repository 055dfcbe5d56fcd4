/** What becomes of environments when nodes die, share a machine, or have too many. */
import { execFile, execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { get, init, nodes, remote, shutdown } from "mobula";
import { LocalCluster } from "mobula/testing";
import { afterEach, beforeEach, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { BlindMachines } from "../modules/hidden-program.ts";
import { newFolder } from "../new-folder.ts";
import { folderWith, kept, leftovers, sleepy, withPackages } from "./programs.ts";

let cache = "";

beforeEach(() => {
  cache = newFolder();
  process.env.MOBULA_CACHE_DIR = cache;
});
afterEach(async () => {
  await shutdown();
  delete process.env.MOBULA_CACHE_DIR;
  delete process.env.MOBULA_ENV_CACHE_BYTES;
});

const importOf = remote(async (name: string) => (await import(name)).default);
const isAlive = (pid: number): boolean => existsSync(`/proc/${pid}`);

/** A package whose installation says its process in `told`, once for each, and waits for `go`. */
function waiting(name: string): { npm: { path: string; allowScripts: true }; told: string; go: string } {
  const folder = newFolder();
  const [told, go] = [join(folder, "told"), join(folder, "go")];
  const install = `echo $$ >> ${told}; while [ ! -e ${go} ]; do sleep 0.02; done`;
  const more = { scripts: { install }, hasInstallScript: true };
  return { npm: { path: withPackages(newFolder(), [{ name, version: "1.0.0", more }]), allowScripts: true }, told, go };
}

const pidsIn = (file: string): number[] =>
  existsSync(file) ? readFileSync(file, "utf8").trim().split("\n").map(Number) : [];

test("a node that is killed while it installs: npm ends with it, and the next one begins anew and removes what was left", async () => {
  const { npm, told, go } = waiting("half");
  await init({ resources: { cpu: 1 } });
  const lost = get(importOf.options({ runtimeEnv: { npm } }).remote("half")).catch((error) => error);
  const script = await eventually(() => pidsIn(told)[0] ?? 0, "npm runs");
  const node = Number(execFileSync("pgrep", ["-P", String(process.pid), "-f", "bin/node"], { encoding: "utf8" }));
  process.kill(node, "SIGKILL");
  expect(await lost).toMatchObject({ code: "CONNECTION_LOST" });
  await eventually(() => !isAlive(script), "what npm had started has ended");
  await shutdown();
  expect(kept(cache, "npm")).toEqual([]);
  expect(leftovers(cache)).not.toEqual([]);
  writeFileSync(go, "");
  await init({ resources: { cpu: 1 } });
  expect(await get(importOf.options({ runtimeEnv: { npm } }).remote("half"))).toBe("half 1.0.0");
  expect(kept(cache, "npm")).toHaveLength(1);
  await eventually(() => leftovers(cache).length === 0, "nothing is left half made");
});

test("a program that ends while npm runs leaves nothing of it", async () => {
  const { npm, told } = waiting("ended");
  await init({ resources: { cpu: 1 } });
  void get(importOf.options({ runtimeEnv: { npm } }).remote("ended")).catch(() => {});
  const script = await eventually(() => pidsIn(told)[0] ?? 0, "npm runs");
  await shutdown();
  await eventually(() => !isAlive(script), "what npm had started has ended");
  await eventually(() => leftovers(cache).length === 0, "nothing is left half made");
});

test("two nodes of one machine install a package once, and each has it", async () => {
  const { npm, told, go } = waiting("shared");
  const cluster = await LocalCluster.start({ nodes: [{ resources: { cpu: 1 } }, { resources: { cpu: 1 } }] });
  try {
    await cluster.connect();
    const there = (await nodes()).filter(({ resources }) => resources.cpu);
    const found = there.map(({ nodeId }) =>
      importOf.options({ runtimeEnv: { npm }, schedulingStrategy: { nodeId, soft: false } }).remote("shared"),
    );
    await eventually(() => pidsIn(told).length > 0, "one of them installs");
    writeFileSync(go, "");
    expect(await get(found)).toEqual(["shared 1.0.0", "shared 1.0.0"]);
    expect(pidsIn(told)).toHaveLength(1);
  } finally {
    await cluster.stop();
  }
});

test("an environment that fails on another node fails its tasks there", async () => {
  const path = withPackages(newFolder(), [{ name: "wrong", version: "1.0.0" }]);
  writeFileSync(join(path, "wrong-1.0.0.tgz"), "this is no archive");
  const cluster = await LocalCluster.start({ nodes: [{ resources: { cpu: 1 } }, { resources: { cpu: 1 } }] });
  try {
    await cluster.connect();
    for (const { nodeId } of (await nodes()).filter(({ resources }) => resources.cpu)) {
      const options = { runtimeEnv: { npm: path }, schedulingStrategy: { nodeId, soft: false } } as const;
      const error = await get(importOf.options(options).remote("wrong")).catch((reason) => reason);
      expect(error).toMatchObject({ code: "RUNTIME_ENV", message: expect.stringMatching(/`npm ci .*` failed/) });
    }
  } finally {
    await cluster.stop();
  }
});

test("what nobody uses goes when there is too much, the longest unused first; what is used stays", async () => {
  process.env.MOBULA_ENV_CACHE_BYTES = String(2.5 * 2 ** 20);
  const ofMiB = (letter: string) => ({ workingDir: folderWith({ "data.txt": letter.repeat(2 ** 20) }) });
  const [a, b, c, d] = ["a", "b", "c", "d"].map(ofMiB);
  const first = remote(async () => (await import("node:fs")).readFileSync("data.txt", "utf8").slice(0, 1));
  const run = (runtimeEnv = {}): Promise<string> => get(first.options({ runtimeEnv }).remote());
  await init({ resources: { cpu: 2 } });
  expect([await run(a), await run(b), await run(c)]).toEqual(["a", "b", "c"]);
  // Their workers are there: all are used.
  expect(kept(cache, "files")).toHaveLength(3);
  await shutdown();
  await init({ resources: { cpu: 2 } });
  // Used last, and again.
  expect(await run(a)).toBe("a");
  expect(await run(d)).toBe("d");
  await eventually(
    () => kept(cache, "files").length === 2,
    () => `2 are left of ${kept(cache, "files")}`,
  );
  expect([await run(a), await run(d)]).toEqual(["a", "d"]);
  const data = kept(cache, "files").map(
    (name) => readFileSync(join(cache, "environments", name, "data.txt"), "utf8")[0],
  );
  expect(data.sort()).toEqual(["a", "d"]);
  expect(readdirSync(join(cache, "environments")).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test("a job's own packages; what npm does is told on the program's terminal", async () => {
  const program = join(import.meta.dirname, "fixtures/install.ts");
  const { stdout, stderr } = await promisify(execFile)(
    process.execPath,
    ["--conditions=mobula-source", program, sleepy("told", 0.1), "told"],
    { timeout: 50_000 },
  );
  expect(JSON.parse(stdout.split("\n")[0] ?? "")).toEqual(["told 1.0.0", "yes"]);
  const lines = stderr.split("\n").filter((line) => line.startsWith("(environment pid="));
  expect(lines.map((line) => line.replace(/^\S+ \S+ /, ""))).toEqual([
    expect.stringMatching(/^npm ci begins for \/.*\/environments\/npm-[0-9a-f]{32}$/),
    expect.stringMatching(/^npm ci ended/),
    expect.stringMatching(/^ready after \d+ s$/),
  ]);
});

const obstacle = BlindMachines.obstacle();
test.skipIf(obstacle !== undefined)(
  `a full disk is an error that says so, and nothing half made stays${obstacle ? ` (not here: ${obstacle})` : ""}`,
  async () => {
    // npm takes nothing that was packed a thousand times smaller.
    const lines = Array.from({ length: 400_000 }, (_, index) => `${index}${"x".repeat(95)}`);
    const files = { "large.txt": lines.join("\n") };
    const npm = withPackages(newFolder(), [{ name: "large", version: "1.0.0", files }]);
    const program = join(import.meta.dirname, "fixtures/install.ts");
    const small = `mount -t tmpfs -o size=16m,mode=700 tmpfs ${cache} && exec "$0" "$@"`;
    const args = ["-m", "sh", "-c", small, process.execPath, "--conditions=mobula-source", program, npm, "large"];
    const { stdout } = await promisify(execFile)("unshare", args, { timeout: 50_000 });
    const [error, left] = stdout.split("\n").map((line) => JSON.parse(line || "null"));
    expect(error).toMatchObject({ code: "RUNTIME_ENV" });
    expect(error.message).toMatch(
      /the disk of .*environments is full, where this node keeps environments: free some of it/,
    );
    expect(left).toEqual([]);
  },
);

test("an init whose folder cannot be packed leaves nothing behind, and another one goes", async () => {
  await expect(init({ runtimeEnv: { workingDir: "/no/such/folder" } })).rejects.toThrow(
    /init\(\) option "runtimeEnv\.workingDir" is "\/no\/such\/folder"/,
  );
  await init({ resources: { cpu: 1 }, runtimeEnv: { workingDir: folderWith({ "a.txt": "here" }) } });
  const read = remote(async () => (await import("node:fs")).readFileSync("a.txt", "utf8"));
  expect(await get(read.remote())).toBe("here");
});
