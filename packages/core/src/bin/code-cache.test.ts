import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, test } from "vitest";
import { bundleFile } from "../../scripts/bundle.ts";

const run = promisify(execFile);
let folder: string;
let launcher: string;

/** Says what is around it, and lives until its cache is written if the second argument says so. */
const program = `
const fs = require("node:fs");
const [cache, until] = process.argv.slice(2);
console.log(JSON.stringify([typeof require("node:os").cpus, __filename.endsWith("main.cjs"), process.env.MOBULA_CODE_CACHE ?? null]));
const stamp = () => fs.statSync(cache, { throwIfNoEntry: false })?.mtimeMs;
const before = stamp();
if (until === "written") {
  const timer = setInterval(() => stamp() !== before && clearInterval(timer), 20);
}
`;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "mobula-code-"));
  launcher = join(folder, "program.cjs");
  writeFileSync(join(folder, "program.main.cjs"), program);
  await bundleFile({
    outfile: launcher,
    entry: `import { runBundle } from "./code-cache.ts";\nrunBundle(__filename.replace(/cjs$/, "main.cjs"));\n`,
    resolveDir: import.meta.dirname,
  });
});

afterEach(() => rmSync(folder, { recursive: true }));

async function start(cache: string, until = ""): Promise<unknown> {
  const { stdout } = await run(process.execPath, [launcher, cache, until], {
    env: { ...process.env, MOBULA_CODE_CACHE: cache },
  });
  return JSON.parse(stdout);
}

test("a program runs as a module would, and leaves its compiled code to the next one", async () => {
  const cache = join(folder, "code/1-a.cache");
  expect(await start(cache, "written")).toEqual(["function", true, null]);
  const { size, mtimeMs } = statSync(cache);
  expect(size).toBeGreaterThan(0);
  expect(await start(cache)).toEqual(["function", true, null]);
  expect(statSync(cache).mtimeMs).toBe(mtimeMs);
});

test("code of another program is refused and replaced", async () => {
  const cache = join(folder, "code/1-a.cache");
  await start(cache, "written");
  const other = readFileSync(cache);
  writeFileSync(join(folder, "program.main.cjs"), `${program}\n// longer`);
  expect(await start(cache, "written")).toEqual(["function", true, null]);
  expect(readFileSync(cache).equals(other)).toBe(false);
});

test("damaged code is not used, and replaced", async () => {
  const cache = join(folder, "code/1-a.cache");
  await start(cache, "written");
  const damaged = readFileSync(cache).map((byte, at) => (at > 100 && at % 97 === 0 ? byte ^ 0x5a : byte));
  writeFileSync(cache, damaged);
  expect(await start(cache, "written")).toEqual(["function", true, null]);
  expect(readFileSync(cache).equals(damaged)).toBe(false);
  writeFileSync(cache, "");
  expect(await start(cache, "written")).toEqual(["function", true, null]);
});

test("the code of older builds is removed, that of other programs is not", async () => {
  for (const name of ["1-a", "2-a", "1-b"]) await start(join(folder, `code/${name}.cache`), "written");
  expect(readdirSync(join(folder, "code")).sort()).toEqual(["1-b.cache", "2-a.cache"]);
});

test("a folder that cannot be made means a start without", async () => {
  writeFileSync(join(folder, "file"), "");
  expect(await start(join(folder, "file/code/1-a.cache"))).toEqual(["function", true, null]);
});
