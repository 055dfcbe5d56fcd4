/** `context.timeline(file)`: what ran where, nested tasks and actors' calls included, in a file that Perfetto opens. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { newFolder } from "../new-folder.ts";
import { runProgram } from "./run-program.ts";

const folder = newFolder();

interface TraceEvent {
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur: number;
  readonly id: number;
  readonly cat: string;
  readonly name: string;
  readonly args: Readonly<Record<string, unknown>>;
}

test.each(["local", "inline"])("%s: stages of every task and call, and the arrows between", async (address) => {
  const file = join(folder, `${address}.json`);
  const ran = await runProgram("timeline", [file, address]);
  expect(ran.code, ran.err.join("\n")).toBe(0);
  const { traceEvents, otherData } = JSON.parse(readFileSync(file, "utf8")) as {
    traceEvents: TraceEvent[];
    otherData: Record<string, unknown>;
  };
  const runs = traceEvents.filter(({ ph, cat }) => ph === "X" && cat !== "submit");
  expect(runs.map(({ name }) => name).sort()).toEqual([
    "Adder.add",
    "Adder.constructor",
    "chained",
    "failing",
    "napping",
    "one more",
    "outer",
    "spinning",
    "spinning",
  ]);
  expect(otherData).toMatchObject({ attempts: 9, recorded: 9, sampling: "all 9 attempts are in this file" });
  expect(runs.find(({ name }) => name === "failing")?.args.outcome).toBe("error");
  expect(runs.find(({ name }) => name === "failing")?.args.error).toMatch(/^failing failed \(.*\): /);
  const spins = runs.filter(({ name }) => name === "spinning");
  for (const { args, dur } of spins) {
    expect(args.ranMs).toBeGreaterThanOrEqual(3);
    expect(dur).toBeGreaterThanOrEqual(3_000);
  }
  const chained = runs.find(({ name }) => name === "chained");
  expect(chained?.args.waitedForArgumentsMs).toBeGreaterThanOrEqual(29);
  // Each run has one arrow, from the process that submitted it.
  for (const run of runs) {
    const arrow = traceEvents.find(
      ({ ph, pid, tid, ts }) => ph === "f" && pid === run.pid && tid === run.tid && ts === run.ts,
    );
    const from = traceEvents.find(({ ph, id }) => ph === "s" && id === arrow?.id);
    expect(from?.pid).toBe(run.args.submittedBy);
    expect(from?.ts).toBeLessThanOrEqual(run.ts);
  }
  const outer = runs.find(({ name }) => name === "outer");
  for (const { args } of spins) expect(args).toMatchObject({ submittedBy: outer?.pid, submittedIn: "outer" });
  expect(outer?.args.submittedIn).toBeUndefined();
  // No two runs of one row overlap.
  const rows = new Map<string, TraceEvent[]>();
  for (const run of runs) rows.set(`${run.pid}.${run.tid}`, [...(rows.get(`${run.pid}.${run.tid}`) ?? []), run]);
  for (const row of rows.values()) {
    row.sort((a, b) => a.ts - b.ts);
    for (const [at, run] of row.entries()) {
      const next = row[at + 1];
      // Starts and ends are rounded to whole microseconds.
      if (next) expect(next.ts).toBeGreaterThanOrEqual(run.ts + run.dur - 1);
    }
  }
  const processes = traceEvents.filter(({ name }) => name === "process_name").map(({ args }) => String(args.name));
  expect(processes.filter((name) => name.startsWith("driver "))).toHaveLength(1);
});
