import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

/** What the program says; whenever it loops, it gets a SIGINT. */
async function run(nodeOptions: readonly string[], mode: string, name = "guarded"): Promise<string[]> {
  const path = fileURLToPath(new URL(`fixtures/${name}.ts`, import.meta.url));
  const program = spawn(process.execPath, [...nodeOptions, path, mode], { stdio: ["ignore", "pipe", "inherit"] });
  const lines: string[] = [];
  for await (const line of createInterface({ input: program.stdout })) {
    lines.push(line);
    if (line.endsWith("loops")) program.kill("SIGINT");
  }
  return lines;
}

const bothEnd = (isKept: boolean): string[] =>
  ["first", "second"].flatMap((name) => [`${name} loops`, `${name}: true, kept: ${isKept}`]);

test("a signal ends what runs under the guard, and nothing else, with a watch that is kept", async () => {
  expect(await run([], "kept")).toEqual(bothEnd(true));
});

test("without one too", async () => {
  expect(await run([], "not kept")).toEqual(bothEnd(false));
});

test("where the watch cannot be kept, nothing is lost but time; nobody is told that a binding is deprecated", async () => {
  expect(await run(["--permission", "--allow-fs-read=*"], "kept")).toEqual(bothEnd(false));
  expect(await run(["--pending-deprecation", "--throw-deprecation"], "kept")).toEqual(bothEnd(true));
});

test.each(["a module", "a global"])("%s that loads while a cancel comes is whole afterwards", async (what) => {
  expect(await run([], what, "loading")).toEqual(["broken off, loaded: true"]);
});
