/** A working folder and packages on a machine that sees neither. */
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BlindMachines, ProgramFolder } from "../modules/hidden-program.ts";
import { kept, withPackages } from "./programs.ts";

const obstacle = BlindMachines.obstacle();
const LARGE_BYTES = 6_000_000;

const main = `
import { get, init, nodes, remote, shutdown } from "mobula";
import { whereAmI } from "./lib/where.ts";

await init({ address: process.env.MOBULA_ADDRESS ?? "auto", runtimeEnv: { workingDir: ".", npm: true, setup: "./lib/setup.ts" } });
const there = (await nodes()).find(({ name }) => name === "m1");
const found = await get(remote(whereAmI, { schedulingStrategy: { nodeId: there.nodeId, soft: false } }).remote());
console.log(JSON.stringify(found));
await shutdown();
`;

describe.skipIf(obstacle !== undefined)(
  `a machine that does not see the program${obstacle ? ` (not here: ${obstacle})` : ""}`,
  () => {
    let program: ProgramFolder;
    let machines: BlindMachines;

    beforeAll(async () => {
      program = new ProgramFolder();
      program.write({
        "main.ts": main,
        ".gitignore": "node_modules/\n",
        "data/model.bin": randomBytes(LARGE_BYTES),
        "data/prompt.txt": "say it",
        "lib/setup.ts": `export default (): void => { (globalThis as { ready?: string }).ready = "set up"; };`,
        "lib/where.ts": `
          import { existsSync, readFileSync, statSync } from "node:fs";
          import tiny from "tiny";
          export const whereAmI = () => [
            tiny, readFileSync("data/prompt.txt", "utf8"), statSync("data/model.bin").size,
            existsSync(${JSON.stringify(join(program.folder, "main.ts"))}), (globalThis as { ready?: string }).ready,
          ];`,
        // The program's own, which is older.
        "node_modules/tiny/package.json": { name: "tiny", version: "0.1.0" },
        "node_modules/tiny/index.js": `module.exports = "tiny 0.1.0";`,
      });
      withPackages(program.folder, [{ name: "tiny", version: "1.2.3" }], { type: "module" });
      machines = new BlindMachines(program.folder);
      await machines.start();
    });
    afterAll(async () => {
      await machines.remove();
      program.remove();
    });

    async function run(more: object = {}): Promise<unknown> {
      const [command = "", ...args] = [...machines.here, process.execPath, "--conditions=mobula-source", "main.ts"];
      const env = { ...process.env, ...machines.env(0), MOBULA_TOKEN: machines.token, ...more };
      const { stdout } = await promisify(execFile)(command, args, { cwd: program.folder, env, timeout: 40_000 });
      return JSON.parse(stdout);
    }

    test("has them brought once, and installed there; a change brings what has changed", async () => {
      const expected = ["tiny 1.2.3", "say it", LARGE_BYTES, false, "set up"];
      const begun = machines.received();
      expect(await run()).toEqual(expected);
      const first = machines.received() - begun;
      expect(first).toBeGreaterThan(LARGE_BYTES);
      expect(first).toBeLessThan(LARGE_BYTES + 2_000_000);
      expect(kept(machines.cache(1), "npm")).toHaveLength(1);
      expect(await run()).toEqual(expected);
      expect(machines.received() - begun - first).toBeLessThan(300_000);
      const before = machines.received();
      program.write({ "data/prompt.txt": "say more" });
      expect(await run()).toEqual(["tiny 1.2.3", "say more", LARGE_BYTES, false, "set up"]);
      expect(machines.received() - before).toBeLessThan(300_000);
      expect(kept(machines.cache(1), "npm")).toHaveLength(1);
    });

    test("from a program with a node of its own, which only dials out, they come too", async () => {
      const TMPDIR = join(machines.folder(0), "apart");
      mkdirSync(TMPDIR);
      program.write({ "data/prompt.txt": "say it from afar" });
      const found = await run({ TMPDIR, MOBULA_ADDRESS: machines.address });
      expect(found).toEqual(["tiny 1.2.3", "say it from afar", LARGE_BYTES, false, "set up"]);
    });
  },
);
