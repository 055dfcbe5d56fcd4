/** The command line, as a person uses it: real processes, in a temporary folder of its own. */
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";

const program = fileURLToPath(new URL("./mobula.ts", import.meta.url));
let folder = "";

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mc-"));
});
afterEach(async () => {
  await mobula("stop", "--now");
  rmSync(folder, { recursive: true, force: true });
});

function mobula(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, TMPDIR: folder };
    execFile(process.execPath, [program, ...args], { env, timeout: 60_000 }, (error, out, err) => {
      resolve({ code: error ? Number(error.code ?? -1) : 0, out, err });
    });
  });
}

test("help has examples, also for each command", async () => {
  expect(await mobula("--help")).toMatchObject({ code: 0, out: expect.stringContaining("$ mobula start --cpus 4") });
  expect(await mobula("stop", "--help")).toMatchObject({
    code: 0,
    out: expect.stringContaining("$ mobula stop --now"),
  });
});

test("a wrong option is named, with what it may be", async () => {
  expect(await mobula("start", "--cpus", "many")).toMatchObject({
    code: 1,
    err: expect.stringMatching(/--cpus.*number/s),
  });
  expect(await mobula("start", "--memory", "8 apples")).toMatchObject({ code: 1, err: expect.stringMatching(/4GiB/) });
  expect(await mobula("start", "--resource", "gpu=1")).toMatchObject({
    code: 1,
    err: expect.stringMatching(/name=amount/),
  });
});

test("start, status and stop", async () => {
  expect(await mobula("status")).toMatchObject({ code: 3, out: expect.stringContaining("No node is running") });
  const started = await mobula("start", "--cpus", "2", "--object-store", "64MiB", "--resource", "licence=3");
  expect(started).toMatchObject({ code: 0, out: expect.stringMatching(/A node runs \(pid \d+\)/) });
  expect(await mobula("start")).toMatchObject({ code: 1, err: expect.stringMatching(/running already.*mobula stop/) });
  const status = await mobula("status");
  expect(status.out).toMatch(/cpu: \d of 2 free.*licence: 3 of 3 free.*object store: 0 MiB of 64 MiB/s);
  const json = JSON.parse((await mobula("status", "--json")).out) as { running: boolean; nodes: unknown[] };
  expect(json).toMatchObject({ running: true, nodes: [expect.objectContaining({ state: "alive" })] });
  expect(await mobula("stop")).toMatchObject({ code: 0, out: "The node has ended.\n" });
  expect(await mobula("stop")).toMatchObject({ code: 0, out: "No node is running.\n" });
  expect(readdirSync(join(folder, `mobula-${process.getuid?.()}`))).toEqual([]);
});
