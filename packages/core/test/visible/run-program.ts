/** Runs one of the fixture programs to its end. */
import { spawn } from "node:child_process";
import { join } from "node:path";

export interface Ran {
  readonly code: number | null;
  readonly out: readonly string[];
  readonly err: readonly string[];
  /** What it told the test: lines of JSON on standard output, joined into one. */
  readonly told: Readonly<Record<string, unknown>>;
}

const programs = join(import.meta.dirname, "fixtures/programs.ts");

export async function runProgram(
  name: string,
  args: readonly string[] = [],
  env: NodeJS.ProcessEnv = {},
): Promise<Ran> {
  const child = spawn(process.execPath, ["--conditions=mobula-source", programs, name, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    // Before the test's own limit, so that nothing is left when it hangs.
    timeout: 50_000,
    killSignal: "SIGKILL",
    env: { ...process.env, MOBULA_LOG: undefined, ...env },
  });
  const text = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"] as const) {
    child[stream].setEncoding("utf8").on("data", (chunk: string) => {
      text[stream] += chunk;
    });
  }
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  const lines = (all: string): string[] => all.split("\n").filter((line) => line !== "");
  const out = lines(text.stdout);
  const told = out.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as Record<string, unknown>);
  return { code, out, err: lines(text.stderr), told: Object.assign({}, ...told) as Record<string, unknown> };
}
