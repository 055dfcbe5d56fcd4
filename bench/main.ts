/** `npm run bench`: see README.md. */
import { readFile, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { join, resolve } from "node:path";
import corePackage from "../packages/core/package.json" with { type: "json" };
import { type CommandLine, parseCommandLine, USAGE } from "./cli.ts";
import { benchmarkPages } from "./harness/document.ts";
import { takeBenchmarkLock } from "./harness/lock.ts";
import { describeMachine, storeBytes } from "./harness/machine.ts";
import { type BenchmarkReport, type RowReport, reportRows } from "./harness/report.ts";
import { runSession } from "./harness/runner.ts";
import type { SideCommand } from "./harness/side.ts";
import { tableCells, textTable } from "./harness/table.ts";
import { compileSide } from "./mobula/compile.ts";
import { piscinaCommand, rayCommand } from "./peers/install.ts";
import type { Session, SideName } from "./plan/plan.ts";
import { allSessions } from "./plan/sessions.ts";

/** What the goals were set for. More would not make the sides unequal, but the goals meaningless. */
const CPUS_MAX = 2;
const QUICK_STORE_BYTES = 256 * 2 ** 20;

const nodeSide = (name: string, script: string, version: string): SideCommand => ({
  name,
  command: process.execPath,
  args: [resolve(import.meta.dirname, script)],
  version: `${version} (Node.js ${process.version})`,
});

function chosenSessions(only: RegExp | undefined): Session[] {
  if (only === undefined) return [...allSessions];
  return allSessions.flatMap((session) => {
    const workloads = session.workloads.filter((workload) =>
      [session.name, workload.name, ...workload.rows.map((row) => row.name)].some((name) => only.test(name)),
    );
    return workloads.length === 0 ? [] : [{ ...session, workloads }];
  });
}

async function measure(line: CommandLine, sessions: readonly Session[]): Promise<BenchmarkReport> {
  // Quick runs prove that the benchmark works; they may share the machine, a measurement may not.
  await using _lock = line.quick ? undefined : await takeBenchmarkLock();
  const progress = (text: string): void => {
    process.stderr.write(`${text}\n`);
  };
  const machine = describeMachine();
  const sides = new Map<SideName, SideCommand>();
  if (!line.withoutMobula) {
    sides.set("mobula", nodeSide("mobula", await compileSide(), `Mobula ${corePackage.version}`));
  }
  for (const peer of line.peers) sides.set(peer, await (peer === "ray" ? rayCommand : piscinaCommand)(progress));
  const options = {
    cpus: Math.min(CPUS_MAX, availableParallelism()),
    storeBytes: line.quick ? QUICK_STORE_BYTES : storeBytes(),
  };
  const settings = {
    rounds: line.rounds,
    quick: line.quick,
    options,
    sides,
    limits: nodeSide("limits", "limits/side.ts", "the machine's limits"),
    progress,
  };
  const startedAt = new Date().toISOString();
  const rows: RowReport[] = [];
  const errors: string[] = [];
  for (const session of sessions) {
    for (const result of await runSession(session, settings)) {
      rows.push(...reportRows(result, line.peers));
      errors.push(...result.errors);
    }
  }
  return {
    machine,
    startedAt,
    quick: line.quick,
    rounds: line.rounds,
    ...options,
    versions: Object.fromEntries([...sides].map(([name, side]) => [name, side.version])),
    rows,
    errors,
  };
}

async function main(): Promise<number> {
  const line = parseCommandLine(process.argv.slice(2));
  if (line.help) {
    console.log(USAGE);
    return 0;
  }
  const sessions = chosenSessions(line.only);
  if (sessions.length === 0) throw new Error(`no workload matches ${line.only}; --list names them`);
  if (line.list) {
    for (const { workloads } of sessions)
      for (const { name, rows } of workloads) console.log(`${name}: ${rows.map((row) => row.name).join(" · ")}`);
    return 0;
  }
  if (process.platform !== "linux") throw new Error("the benchmark reads memory from /proc and runs on Linux only");
  const report =
    line.fromFile === undefined
      ? await measure(line, sessions)
      : // A file that --json wrote; another one fails at the first thing it lacks.
        (JSON.parse(await readFile(line.fromFile, "utf8")) as BenchmarkReport);
  if (line.jsonFile !== undefined) await writeFile(line.jsonFile, `${JSON.stringify(report, null, 2)}\n`);
  if (line.writeDocument)
    for (const [file, page] of benchmarkPages(report))
      await writeFile(join(import.meta.dirname, "..", "docs", file), page);
  console.log(
    Object.entries(report.versions)
      .map(([name, version]) => `${name}: ${version}`)
      .join("   "),
  );
  if (report.quick) console.log("--quick: tiny inputs, the figures mean nothing");
  console.log(textTable(tableCells(report)));
  for (const error of new Set(report.errors)) console.error(`\nFAILED: ${error}`);
  return report.errors.length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
