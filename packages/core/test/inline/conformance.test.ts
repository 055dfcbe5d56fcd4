/** The same program of basic semantics against "inline" and "local": what passes in one passes in the other. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { describe, expect, test } from "vitest";

interface Outcome {
  readonly name: string;
  readonly ok: boolean;
  readonly detail?: string;
}

const program = join(import.meta.dirname, "fixtures/conformance.ts");

/** Runs it to its end; lines that are not outcomes (forwarded output with its prefix) may hold one. */
async function run(address: string): Promise<{ outcomes: Outcome[]; code: number | null; stderr: string }> {
  const child = spawn(process.execPath, ["--conditions=mobula-source", program, address], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const outcomes: Outcome[] = [];
  createInterface(child.stdout).on("line", (line) => {
    const start = line.indexOf('{"name"');
    if (start >= 0) outcomes.push(JSON.parse(line.slice(start)) as Outcome);
  });
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  return { outcomes, code, stderr };
}

describe.each(["inline", "local"])("%s", (address) => {
  test("basic semantics hold, and the process ends by itself", async () => {
    const { outcomes, code, stderr } = await run(address);
    expect(outcomes.filter(({ ok }) => !ok)).toEqual([]);
    expect(outcomes.length, stderr).toBeGreaterThanOrEqual(26);
    expect(outcomes.map(({ name }) => name)).toContain("onShutdown runs at shutdown");
    expect(code, stderr).toBe(0);
  });
});
