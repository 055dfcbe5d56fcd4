/** The same program of basic semantics against "inline" and "local": what passes in one passes in the other. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { get, init, remote, shutdown } from "mobula";
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

test("inline, a call that asks for an environment of its own is refused, and others are not", async () => {
  const where = remote(() => process.cwd(), { runtimeEnv: { workingDir: "/tmp" } });
  class Reader {
    read(): string | undefined {
      return process.env.OF_ITS_OWN;
    }
  }
  const type = remote(Reader, { runtimeEnv: { env: { OF_ITS_OWN: "1" } } });
  await init({ address: "inline" });
  try {
    const refused = (option: string) =>
      expect.objectContaining({ code: "INVALID_OPTION", message: expect.stringContaining(option) });
    // The second call as much as the first.
    for (let call = 0; call < 2; call++) {
      expect(() => where.remote()).toThrow(refused('remote() option "runtimeEnv.workingDir" is "/tmp"'));
      expect(() => type.remote()).toThrow(refused('remote(class) option "runtimeEnv.env"'));
    }
    expect(await get(where.options({ runtimeEnv: {} }).remote())).toBe(process.cwd());
    using reader = type.options({ runtimeEnv: {} }).remote();
    expect(await get(reader.read.remote())).toBeUndefined();
  } finally {
    await shutdown();
  }
});
