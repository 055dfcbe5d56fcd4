import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { etcdServer, natsServer } from "../../src/control/fixtures/servers.ts";
import { InstalledProject, type NodeVersion, repository } from "./installed-project.ts";
import {
  commonJsProgram,
  esmProgram,
  hardProgram,
  programWithTaskModule,
  taskModule,
  typescriptProgram,
  vitestProgram,
  waitingModule,
} from "./user-program.ts";

const OLDEST_TRIED = "16.20.2";
const NEXT_MAJOR = "26.10.0";
const node24: NodeVersion = { version: process.versions.node, path: process.execPath };
let project: InstalledProject;
let node26: NodeVersion;
let oldNode: NodeVersion;

const { devDependencies } = JSON.parse(readFileSync(join(repository, "package.json"), "utf8")) as {
  devDependencies: Record<string, string>;
};
const exact = (name: string) => `${name}@${devDependencies[name]}`;

beforeAll(async () => {
  project = await InstalledProject.create(["tsx", "esbuild", "vitest", "typescript", "@types/node"].map(exact));
  node26 = await project.installNode(NEXT_MAJOR);
  oldNode = await project.installNode(OLDEST_TRIED);
  project.write("program.mjs", esmProgram);
  project.write("program.cjs", commonJsProgram);
  project.write("program.ts", typescriptProgram);
}, 300_000);

afterAll(() => project?.[Symbol.dispose]());

async function expectOk(node: NodeVersion, args: readonly string[]): Promise<void> {
  expect(await project.run(node.path, args)).toEqual({ code: 0, stdout: "OK\n", stderr: "" });
}

describe.each([
  ["24", () => node24],
  ["26", () => node26],
] as const)("with Node.js %s", (_major, node) => {
  test("an ES module runs", () => expectOk(node(), ["program.mjs"]));
  test("a CommonJS module runs", () => expectOk(node(), ["program.cjs"]));
  // In a project without "type", Node.js warns that it had to look at program.ts to see what it is.
  test("a TypeScript module runs without a build step", () =>
    expectOk(node(), ["--disable-warning=MODULE_TYPELESS_PACKAGE_JSON", "program.ts"]));
  test("a TypeScript module runs under tsx", () => {
    project.write("program.mts", typescriptProgram);
    return expectOk(node(), ["node_modules/tsx/dist/cli.mjs", "program.mts"]);
  });

  test.each([
    ["esm", "mjs"],
    ["cjs", "cjs"],
  ])("a program bundled by esbuild as %s, without the plugin, runs", async (format, ending) => {
    const outfile = `bundle.${ending}`;
    const build = `require("esbuild").buildSync({ entryPoints: ["program.${format === "cjs" ? "cjs" : "ts"}"], bundle: true, platform: "node", format: "${format}", outfile: "${outfile}" })`;
    expect(await project.run(node().path, ["-e", build])).toEqual({ code: 0, stdout: "", stderr: "" });
    await expectOk(node(), [outfile]);
  });

  test("a program bundled by esbuild with the plugin runs, its task module in a file of its own", async () => {
    project.write("tasks/multiply.ts", taskModule);
    project.write("bundled.ts", programWithTaskModule);
    const build = `import { build } from "esbuild"; import { mobula } from "mobula/esbuild";
      await build({ entryPoints: ["bundled.ts"], bundle: true, platform: "node", format: "esm", outdir: "split", outExtension: { ".js": ".mjs" }, plugins: [mobula()] });`;
    const built = await project.run(node().path, ["--input-type=module", "-e", build]);
    expect(built).toEqual({ code: 0, stdout: "", stderr: "" });
    await expectOk(node(), ["split/bundled.mjs"]);
    expect(project.read("split/bundled.mjs")).not.toContain("this text is in the task module");
  });

  test("a test that runs inside vitest passes", async () => {
    project.write("works.test.ts", vitestProgram);
    const finished = await project.run(node().path, ["node_modules/vitest/vitest.mjs", "run", "works.test.ts"]);
    expect(finished).toEqual({ code: 0, stdout: expect.stringMatching(/1 passed/), stderr: "" });
  });

  test("require and import in one process are one runtime", async () => {
    project.write(
      "both.mjs",
      `import * as imported from "mobula";\nimport { createRequire } from "node:module";\n` +
        `const required = createRequire(import.meta.url)("mobula");\n` +
        `await imported.init({ resources: { cpu: 1 } });\n` +
        `const value = await required.get(imported.put(required.isInitialized()));\n` +
        `const sameClasses = Object.keys(imported).filter((name) => imported[name] !== required[name]);\n` +
        `await required.shutdown();\nconsole.log(value, imported.isInitialized(), sameClasses.join());\n`,
    );
    expect(await project.run(node().path, ["both.mjs"])).toEqual({
      code: 0,
      stdout: "true false \n",
      stderr: "",
    });
  });
});

test("the test kit starts a cluster, whose driver is the program's own runtime", async () => {
  project.write(
    "cluster.mjs",
    `import { LocalCluster } from "mobula/testing";\nimport { get, isInitialized, remote, runtimeContext } from "mobula";\n` +
      `const cluster = await LocalCluster.start({ nodes: 1 });\nawait cluster.connect();\n` +
      `const task = remote(async () => [runtimeContext().nodeId, typeof (await import("mobula/testing")).LocalCluster]);\n` +
      `const [nodeId, kind] = await get(task.remote());\nconsole.log(nodeId === cluster.nodes[0].id, kind);\n` +
      `await cluster.stop();\nconsole.log(isInitialized());\n`,
  );
  expect(await project.run(node24.path, ["cluster.mjs"])).toEqual({
    code: 0,
    stdout: "true function\nfalse\n",
    stderr: "",
  });
});

describe.each([
  ["nats", natsServer, "MOBULA_NATS_SERVER"],
  ["etcd", etcdServer, "MOBULA_ETCD_SERVER"],
] as const)("with servers of %s", (control, server, variable) => {
  test.skipIf(server === undefined)("a cluster's state is in them, is backed up, and outlives a head", async () => {
    project.write(
      "replicated.mjs",
      `import { execFileSync } from "node:child_process";\nimport { LocalCluster } from "mobula/testing";\nimport { get, getActor, remote } from "mobula";\n` +
        `const cluster = await LocalCluster.start({ nodes: 1, control: "${control}" });\nawait cluster.connect();\n` +
        `class Counter { n = 0; add() { return ++this.n; } }\n` +
        `console.log(await get(remote(Counter, { name: "counter", lifetime: "detached" }).remote().add.remote()));\n` +
        `const cli = ["node_modules/mobula/dist/cli.cjs", "backup", "${control}.backup"];\n` +
        `execFileSync(process.execPath, cli, { env: { ...process.env, ...cluster.env } });\n` +
        `await cluster.killHead();\nconsole.log(await get((await getActor("counter")).add.remote()));\n` +
        `await cluster.stop();\n`,
    );
    const { code, stdout, stderr } = await project.run(node24.path, ["replicated.mjs"], { [variable]: server ?? "" });
    expect([code, stdout], stderr).toEqual([0, "1\n2\n"]);
  });
});

test("a head and its node run in the foreground, tell their health, and end in order", async () => {
  project.write(
    "foreground.mjs",
    `import { spawn } from "node:child_process";\nimport { once } from "node:events";\nimport { createServer } from "node:net";\n` +
      `const freePort = async () => { const s = createServer().listen(0); await once(s, "listening"); const { port } = s.address(); s.close(); return port; };\n` +
      `const [node, head] = [await freePort(), await freePort()];\n` +
      `const args = ["--foreground", "--json", "--head", "--host", "127.0.0.1", "--port", "0", "--state", "./state", "--cpus", "1"];\n` +
      `const health = ["--health-port", node, "--head-health-port", head].map(String);\n` +
      `const child = spawn(process.execPath, ["node_modules/mobula/dist/cli.cjs", "start", ...args, ...health], { stdio: ["ignore", "pipe", "inherit"] });\n` +
      `const ended = once(child, "exit");\n` +
      `await Promise.race([once(child.stdout, "data"), ended]);\n` +
      `for (const port of [node, head]) console.log((await fetch(\`http://127.0.0.1:\${port}/readyz\`)).status);\n` +
      `child.kill("SIGTERM");\nconsole.log((await ended).join());\n`,
  );
  // What it logs of its node, which leaves, goes where the command writes.
  const { code, stdout } = await project.run(node24.path, ["foreground.mjs"]);
  expect([code, stdout]).toEqual([0, "200\n200\n0,\n"]);
});

test("modules that wait at their top level, nested tasks and threads that load streams work in workers", async () => {
  project.write("waits.ts", waitingModule);
  project.write("hard.ts", hardProgram);
  const args = ["--disable-warning=MODULE_TYPELESS_PACKAGE_JSON", "hard.ts"];
  const { code, stdout, stderr } = await project.run(node24.path, args);
  expect(code, stderr).toBe(0);
  expect(JSON.parse(stdout)).toEqual([1_000_000, 42, 0]);
});

test("what the package declares type-checks in a strict project, for import and for require", async () => {
  project.write(
    "types/esm.mts",
    `import { get, remote } from "mobula";\nexport const n: Promise<number> = get(remote((x: number) => x).remote(1));\n`,
  );
  project.write(
    "types/cjs.cts",
    `import { get, remote } from "mobula";\nexport const n: Promise<number> = get(remote((x: number) => x).remote(1));\n`,
  );
  project.write("types/wrong.mts", `import { remote } from "mobula";\nremote((x: number) => x).remote("1");\n`);
  const check = (files: string[]) =>
    project.run(node24.path, [
      "node_modules/typescript/bin/tsc",
      "--noEmit",
      "--strict",
      "--module",
      "node20",
      "--target",
      "es2024",
      "--types",
      "node",
      "--lib",
      "es2024,esnext.disposable",
      "--ignoreConfig",
      ...files,
    ]);
  expect(await check(["types/esm.mts", "types/cjs.cts"])).toEqual({ code: 0, stdout: "", stderr: "" });
  const wrong = await check(["types/wrong.mts"]);
  expect(wrong.code).not.toBe(0);
  expect(wrong.stdout).toMatch(/wrong\.mts\(2,\d+\): error TS\d+/);
});

test("the package needs neither TypeScript nor any tool, and starts without install scripts", () => {
  const lock = JSON.parse(project.read("node_modules/.package-lock.json")) as {
    packages: Record<string, { dependencies?: Record<string, string> }>;
  };
  const packaged = lock.packages["node_modules/mobula"];
  expect(Object.keys(packaged?.dependencies ?? {})).toEqual(["koffi"]);
});

test.each([
  ["an import", ["program.mjs"]],
  ["a require", ["program.cjs"]],
  ["the command", ["node_modules/mobula/dist/cli.cjs", "--version"]],
])("with an old Node.js, %s says in one sentence which version is needed and how to get it", async (_kind, args) => {
  const { code, stderr } = await project.run(oldNode.path, args);
  expect(code).not.toBe(0);
  expect(stderr).toContain(
    `mobula needs Node.js 24 or newer, and this is Node.js ${OLDEST_TRIED}: install it from https://nodejs.org/, or, for this project alone, run \`npm install node-linux-${process.arch}@24\` and start the program with \`npx node\`.`,
  );
  expect(stderr).not.toContain("SyntaxError");
});

test("a bundle that runs where the package is not installed says so", async () => {
  using elsewhere = new InstalledProject();
  const build = `require("esbuild").buildSync({ entryPoints: ["program.cjs"], bundle: true, platform: "node", outfile: "alone.cjs" })`;
  expect(await project.run(node24.path, ["-e", build])).toEqual({ code: 0, stdout: "", stderr: "" });
  const { code, stderr } = await project.run(node24.path, [elsewhere.write("alone.cjs", project.read("alone.cjs"))]);
  expect(code).not.toBe(0);
  expect(stderr).toContain("install mobula where the bundle runs (npm install mobula@");
});

test("an error that nobody catches is shown in lines that a person can read", async () => {
  project.write("mistake.mjs", 'import { init } from "mobula";\nawait init({ cpu: 2 });\n');
  const { code, stderr } = await project.run(node24.path, ["mistake.mjs"]);
  expect(code).toBe(1);
  expect(stderr).toContain('init() has no option "cpu"');
  expect(stderr).toContain("mistake.mjs:2");
  expect(Math.max(...stderr.split("\n").map((line) => line.length))).toBeLessThan(600);
});
