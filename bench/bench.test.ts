/** Runs the whole benchmark with tiny inputs: what is measured may be worthless, that it can be measured is not. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { BenchmarkReport } from "./harness/report.ts";
import { allSessions } from "./plan/sessions.ts";

const run = promisify(execFile);
const main = join(import.meta.dirname, "main.ts");
const QUICK_RUN_TIMEOUT_MS = 180_000;
const workloads = allSessions.flatMap((session) => session.workloads);

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "mobula-bench-test-"));
});
afterAll(() => rm(folder, { recursive: true }));

test(
  "every workload runs with small inputs, beside its limit, and gives a figure for each of its rows",
  async () => {
    const file = join(folder, "run.json");
    await run(process.execPath, [main, "--quick", "--json", file]);
    const report = JSON.parse(await readFile(file, "utf8")) as BenchmarkReport;
    expect(report.errors).toEqual([]);
    expect(report.rows.map((row) => row.name)).toEqual(workloads.flatMap(({ rows }) => rows.map(({ name }) => name)));
    for (const row of report.rows) {
      expect(row.mobula, row.name).toBeTypeOf("number");
      if (row.limitName !== null) expect(row.limit, row.name).toBeGreaterThan(0);
    }
  },
  QUICK_RUN_TIMEOUT_MS,
);

test("a pattern that matches nothing is refused", async () => {
  await expect(run(process.execPath, [main, "--only", "no such row"])).rejects.toMatchObject({
    stderr: expect.stringContaining("no workload matches"),
  });
});

test("the list names every row", async () => {
  const { stdout } = await run(process.execPath, [main, "--list"]);
  for (const { rows } of workloads) for (const { name } of rows) expect(stdout).toContain(name);
});

/** Peers come from the network, so they are tested only where a benchmark has already installed them. */
const installed = (path: string): boolean => existsSync(join(import.meta.dirname, path));

test.skipIf(!installed(".venv"))(
  "Ray runs tasks, actor calls and puts with small inputs",
  async () => {
    const file = join(folder, "ray.json");
    const only = "tasks-sync|actor-async|put-small";
    await run(process.execPath, [main, "--quick", "--peer", "ray", "--peers-only", "--only", only, "--json", file]);
    const report = JSON.parse(await readFile(file, "utf8")) as BenchmarkReport;
    expect(report.versions.ray).toMatch(/^Ray 2\.58\./);
    expect(report.rows).toHaveLength(4);
    for (const row of report.rows) expect(row.peers.ray?.summary.median, row.name).toBeGreaterThan(0);
  },
  QUICK_RUN_TIMEOUT_MS,
);

test.skipIf(!installed(".cache/piscina/node_modules"))(
  "Piscina runs every workload that it can do, with small inputs",
  async () => {
    const file = join(folder, "piscina.json");
    await run(process.execPath, [main, "--quick", "--peer", "piscina", "--peers-only", "--json", file]);
    const report = JSON.parse(await readFile(file, "utf8")) as BenchmarkReport;
    expect(report.errors).toEqual([]);
    const expected = workloads.filter(({ on }) => on.includes("piscina")).flatMap(({ rows }) => rows);
    expect(report.rows.filter((row) => row.peer !== null)).toHaveLength(expected.length);
  },
  QUICK_RUN_TIMEOUT_MS,
);
