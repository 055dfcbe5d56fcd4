/** Modules, packages and files of a program reach machines that do not have them. */
import { execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BlindMachines, ProgramFolder } from "./hidden-program.ts";

const obstacle = BlindMachines.obstacle();
const LARGE_BYTES = 3_000_000;

const main = `
import { get, init, nodes, remote, shutdown } from "mobula";
import { fail, work, Point } from "./lib/work.ts";
import { Passing } from "./lib/errors.ts";
import { padded } from "@acme/pad/left";

await init({ address: process.env.MOBULA_ADDRESS ?? "auto" });
const there = (await nodes()).find(({ name }) => name === "m1");
const schedulingStrategy = { nodeId: there.nodeId, soft: false };
const direct = remote(work, { schedulingStrategy });
const closure = remote(async (name: string) => {
  const { late } = await import("./lib/late.ts");
  return [padded(name), late(), import.meta.filename, new Point(1, 2)];
}, { schedulingStrategy });
class Counter {
  #at = new Point(0, 0);
  step() { this.#at = new Point(this.#at.x + 1, 0); return this.#at; }
  #runs = 0;
  passing() {
    // The module of the rule's class is not imported for this.
    class Passing extends Error {}
    this.#runs += 1;
    if (this.#runs < 3) throw new Passing("it passes");
    return this.#runs;
  }
}
const counter = remote(Counter, { schedulingStrategy, numCpus: 0 }).remote();
const [padding, late, filename, point] = await get(closure.remote("a"));
const step = await get(counter.step.remote());
const runs = await get(counter.passing.options({ maxTaskRetries: 5, retryExceptions: [Passing] }).remote());
const { cause } = await get(remote(fail, { schedulingStrategy }).remote()).catch((error) => error);
const frame = cause.stack.split("\\n")[1].trim();
console.log(JSON.stringify({ frame, work: await get(direct.remote(3)), padding, late, filename, isPoint: point instanceof Point && step instanceof Point, x: step.x, runs }));
await shutdown();
`;

/** Calls what another module exports, waits for a line, and calls it once more in another process. */
const twice = `
import { get, init, nodes, remote, shutdown } from "mobula";
import { work } from "./lib/work.ts";

await init();
const there = (await nodes()).find(({ name }) => name === "m1");
class Worker {
  work() { return work(3)[2]; }
}
const inProcess = remote(Worker, { schedulingStrategy: { nodeId: there.nodeId, soft: false }, numCpus: 0 });
const say = async () => console.log("found", JSON.stringify(await get(inProcess.remote().work.remote())));
await say();
await new Promise((resolve) => process.stdin.once("data", resolve));
await say();
await shutdown();
process.exit();
`;

describe.skipIf(obstacle !== undefined)(
  `a machine that does not see the program${obstacle ? ` (not here: ${obstacle})` : ""}`,
  () => {
    let program: ProgramFolder;
    let machines: BlindMachines;

    beforeAll(async () => {
      program = new ProgramFolder();
      program.write({
        "package.json": { type: "module" },
        "main.ts": main,
        "twice.ts": twice,
        "secrets.json": { password: "nobody needs this" },
        "lib/work.ts": `
          import { existsSync, readFileSync } from "node:fs";
          import words from "./words.json" with { type: "json" };
          import plain from "plain";
          import { deep } from "./deep/deep.ts";
          export class Point { x: number; y: number; constructor(x: number, y: number) { this.x = x; this.y = y; } }
          export function fail(): never { throw new Error("it failed"); }
          export const work = (n: number) => {
            const sees = existsSync(${JSON.stringify(join(program.folder, "main.ts"))});
            const secret = existsSync(new URL(["..", "secrets.json"].join("/"), import.meta.url));
            const text = readFileSync(new URL("./prompt.txt", import.meta.url), "utf8");
            return [words[n], plain(n), deep(), text, sees, secret];
          };`,
        "lib/errors.ts": `export class Passing extends Error {}`,
        "lib/words.json": ["zero", "one", "two", "three"],
        "lib/prompt.txt": "say it",
        "lib/deep/deep.ts": `import type { Never } from "./types-only.ts"; enum_();
          function enum_(): void {}
          export const deep = () => "deep";`,
        "lib/late.ts": `export const late = () => "late";`,
        "node_modules/@acme/pad/package.json": {
          name: "@acme/pad",
          version: "1.0.0",
          type: "module",
          exports: { "./left": "./src/left.js" },
          dependencies: { ink: "1" },
        },
        "node_modules/@acme/pad/src/left.js": `import ink from "ink"; export const padded = (text) => ink.paint(text.padStart(3, "."));`,
        "node_modules/ink/package.json": { name: "ink", version: "1.0.0", main: "./lib" },
        "node_modules/ink/lib/index.js": `exports.paint = (text) => require(["./col", "our"].join(""))(text);`,
        "node_modules/ink/lib/colour.js": `module.exports = (text) => "<" + text + ">";`,
        // As pnpm lays packages out.
        "node_modules/.pnpm/plain@1.0.0/node_modules/plain/package.json": {
          name: "plain",
          version: "1.0.0",
          dependencies: { twice: "1" },
        },
        "node_modules/.pnpm/plain@1.0.0/node_modules/plain/index.js": `const twice = require("twice"); module.exports = (n) => twice(n) + require("./data.json").more;`,
        "node_modules/.pnpm/plain@1.0.0/node_modules/plain/data.json": { more: 1 },
        "node_modules/.pnpm/plain@1.0.0/node_modules/plain/large.bin": randomBytes(LARGE_BYTES),
        "node_modules/.pnpm/twice@1.0.0/node_modules/twice/package.json": { name: "twice", version: "1.0.0" },
        "node_modules/.pnpm/twice@1.0.0/node_modules/twice/index.js": `module.exports = (n) => 2 * n;`,
        "node_modules/unused/package.json": { name: "unused" },
        "node_modules/unused/large.js": Buffer.alloc(5_000_000, "x"),
      });
      program.link("node_modules/plain", ".pnpm/plain@1.0.0/node_modules/plain");
      program.link("node_modules/.pnpm/plain@1.0.0/node_modules/twice", "../../twice@1.0.0/node_modules/twice");
      machines = new BlindMachines(program.folder);
      await machines.start();
    });
    afterAll(async () => {
      await machines.remove();
      program.remove();
    });

    const command = (name: string): readonly [string, string[]] => {
      const path = join(program.folder, name);
      const [first = "", ...args] = [...machines.here, process.execPath, "--conditions=mobula-source", path];
      return [first, args];
    };
    const environment = () => ({ ...process.env, ...machines.env(0), MOBULA_TOKEN: machines.token });

    function start(name: string) {
      const child = spawn(...command(name), {
        env: { ...environment(), MOBULA_ADDRESS: "auto" },
        stdio: ["pipe", "pipe", "inherit"],
      });
      async function* found() {
        for await (const line of createInterface(child.stdout)) yield JSON.parse(line.replace(/^found /, "")) as string;
      }
      return { child, found: found() };
    }

    async function run(name = "main.ts", env: object = {}): Promise<unknown> {
      const { stdout } = await promisify(execFile)(...command(name), {
        env: { ...environment(), ...env },
        timeout: 30_000,
      });
      return JSON.parse(stdout);
    }

    const expected = () => ({
      frame: expect.stringMatching(new RegExp(`^at fail \\(file://${program.folder}/lib/work\\.ts:\\d+:\\d+\\)$`)),
      work: ["three", 7, "deep", "say it", false, false],
      padding: "<..a>",
      late: "late",
      filename: expect.stringMatching(/^.*\/main\.ts$/),
      isPoint: true,
      x: 1,
      runs: 3,
    });

    test("functions, classes and what they import work there as they do here; the files come once", async () => {
      const begun = machines.received();
      expect(await run()).toEqual(expected());
      const first = machines.received() - begun;
      expect(first).toBeGreaterThan(LARGE_BYTES);
      // What nothing imports stayed where it was.
      expect(first).toBeLessThan(LARGE_BYTES + 1_000_000);
      expect(await run()).toEqual(expected());
      expect(machines.received() - begun - first).toBeLessThan(200_000);
    });

    test("from a program with a node of its own, which only dials out, they come too", async () => {
      const TMPDIR = join(machines.folder(0), "apart");
      mkdirSync(TMPDIR);
      program.write({ "lib/late.ts": `export const late = () => "later";` });
      const env = { TMPDIR, MOBULA_ADDRESS: machines.address };
      expect(await run("main.ts", env)).toEqual({ ...expected(), late: "later" });
    });

    test("two runs have each its own version of a module that has changed in between, at the same time", async () => {
      const { child, found } = start("twice.ts");
      expect((await found.next()).value).toBe("deep");
      program.write({ "lib/deep/deep.ts": `export const deep = () => "deeper";` });
      const second = start("twice.ts");
      expect((await second.found.next()).value).toBe("deeper");
      child.stdin.write("go on\n");
      second.child.stdin.write("go on\n");
      expect((await found.next()).value).toBe("deep");
      expect((await second.found.next()).value).toBe("deeper");
      await Promise.all([child, second.child].map((each) => each.exitCode ?? once(each, "exit")));
    });
  },
);
