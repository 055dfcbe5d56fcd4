import { execFile } from "node:child_process";
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { bundleFile } from "../../scripts/bundle.ts";
import { writeProgram } from "../../scripts/programs.ts";
import type { ProcessCommand } from "../../src/bin/snapshot.ts";

const run = promisify(execFile);
const binSource = join(import.meta.dirname, "../../src/bin");
const folder = mkdtempSync(join(tmpdir(), "mobula-snapshot-"));
const lib = join(folder, "lib");
const cache = join(folder, "cache");
const module = join(folder, "user-module.ts");

beforeAll(async () => {
  mkdirSync(lib);
  symlinkSync(join(import.meta.dirname, "../../../../node_modules"), join(folder, "node_modules"));
  writeFileSync(module, "await 1;\nexport const answer: number = 42;\n");
  // A worker that uses what is hard in a snapshot: a native package, SQLite, import(), and facts about the process.
  const worker = `
    import koffi from "koffi";
    import { DatabaseSync } from "node:sqlite";
    import { runEntry } from "./entries.ts";
    const text = "import(x) in a string";
    runEntry(async () => {
      const { answer } = await import(process.argv[2] ?? "");
      console.log(JSON.stringify({
        argv: process.argv.slice(1),
        pid: koffi.load(null as never).func("int getpid()")() === process.pid,
        row: new DatabaseSync(":memory:").prepare("select 1 as one").get(),
        variable: process.env.SNAPSHOT_TEST,
        answer,
        text,
      }));
    });`;
  await writeProgram({ folder: lib, name: "worker", entry: worker, resolveDir: binSource });
  await bundleFile({
    outfile: join(lib, "probe.cjs"),
    resolveDir: binSource,
    entry: `
      import { discardSnapshot, prepareSnapshot, workerCommand } from "./snapshot.ts";
      if (process.argv[2] === "discard") discardSnapshot("worker");
      const work = process.argv[2] === "prepare" ? prepareSnapshot("worker", { onFailure: (e) => { throw e; } }) : Promise.resolve();
      void work.then(() => console.log(JSON.stringify(workerCommand({ nodeOptions: process.argv.slice(3) }))));`,
  });
});

beforeEach(() => {
  writeFileSync(join(lib, "build-id"), "1");
  rmSync(cache, { recursive: true, force: true });
});

afterAll(() => rmSync(folder, { recursive: true }));

async function probe(args: string[], env: Record<string, string> = {}): Promise<ProcessCommand> {
  const { stdout } = await run(process.execPath, [join(lib, "probe.cjs"), ...args], {
    env: { ...process.env, MOBULA_SNAPSHOT: "on", MOBULA_CACHE_DIR: cache, ...env },
  });
  return JSON.parse(stdout) as ProcessCommand;
}

async function start(command: ProcessCommand): Promise<unknown> {
  const { stdout } = await run(command.execPath, [...command.args, module, "--flag"], {
    env: { ...process.env, MOBULA_SNAPSHOT: "on", MOBULA_CACHE_DIR: cache, SNAPSHOT_TEST: "yes" },
  });
  return JSON.parse(stdout);
}

const blobs = () => readdirSync(cache).filter((file) => file !== "compile");
const blob = () => join(cache, blobs()[0] ?? "none");

test("a worker behaves the same from a snapshot as from its file", async () => {
  const plain = await probe(["look"]);
  const frozen = await probe(["prepare", "--max-old-space-size=4096"]);
  expect([plain.fromSnapshot, frozen.fromSnapshot]).toEqual([false, true]);
  const expected = {
    argv: [join(lib, "worker.cjs"), module, "--flag"],
    pid: true,
    row: { one: 1 },
    variable: "yes",
    answer: 42,
    text: "import(x) in a string",
  };
  expect(await start(plain)).toEqual(expected);
  expect(await start(frozen)).toEqual(expected);
});

test("a later process finds the snapshot that an earlier one built", async () => {
  await probe(["prepare"]);
  expect((await probe(["look"])).fromSnapshot).toBe(true);
});

test("a damaged snapshot is deleted and built again", async () => {
  await probe(["prepare"]);
  damage();
  expect((await probe(["look"])).fromSnapshot).toBe(true);
  expect(await start(await probe(["prepare"]))).toMatchObject({ answer: 42 });
  expect(blobs()).toHaveLength(1);
});

test("a snapshot that a process died of is not used again", async () => {
  await probe(["prepare"]);
  damage();
  expect((await probe(["discard"])).fromSnapshot).toBe(false);
  expect(blobs()).toEqual([]);
});

function damage(): void {
  const file = openSync(blob(), "r+");
  writeSync(file, Buffer.from("damaged"), 0, 7, 1_000_000);
  closeSync(file);
}

test("a truncated snapshot is deleted", async () => {
  await probe(["prepare"]);
  truncateSync(blob(), 1_000_000);
  expect((await probe(["look"])).fromSnapshot).toBe(false);
  expect(blobs()).toEqual([]);
});

test("a snapshot of another build of the package is not used", async () => {
  await probe(["prepare"]);
  writeFileSync(join(lib, "build-id"), "2");
  expect((await probe(["look"])).fromSnapshot).toBe(false);
  expect(blobs()).toHaveLength(1);
});

test("several processes that build at once all end with a snapshot that works, and leave no temporary file", async () => {
  const commands = await Promise.all([1, 2, 3].map(() => probe(["prepare"])));
  expect(commands.map((command) => command.fromSnapshot)).toEqual([true, true, true]);
  expect(blobs().filter((file) => !file.endsWith(".blob"))).toEqual([]);
  for (const command of commands) expect(await start(command)).toMatchObject({ answer: 42 });
});

test("a folder that others can write is not used", async () => {
  mkdirSync(cache);
  chmodSync(cache, 0o777);
  expect((await probe(["prepare"])).fromSnapshot).toBe(false);
  expect(blobs()).toEqual([]);
});

test("a cache that cannot be made means plain starts", async () => {
  writeFileSync(join(folder, "file"), "");
  const command = await probe(["prepare"], { MOBULA_CACHE_DIR: join(folder, "file/cache") });
  expect(command.fromSnapshot).toBe(false);
  expect(await start(command)).toMatchObject({ answer: 42 });
});

test("snapshots are skipped when they are off and when a loader must run first", async () => {
  await probe(["prepare"]);
  expect((await probe(["look"], { MOBULA_SNAPSHOT: "off" })).fromSnapshot).toBe(false);
  expect((await probe(["look", "--import=tsx"])).fromSnapshot).toBe(false);
  expect((await probe(["look"], { NODE_OPTIONS: `--import=${join(lib, "import.cjs")}` })).fromSnapshot).toBe(false);
});
