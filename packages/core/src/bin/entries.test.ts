import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { expect, test } from "vitest";
import { entryPath, inheritedExecArgv } from "./entries.ts";

test("from the sources, a program is a TypeScript file beside this one that resolves mobula to the sources", () => {
  const { path, execArgv } = entryPath("worker");
  expect(dirname(path)).toBe(import.meta.dirname);
  expect(path.endsWith("/worker.ts")).toBe(true);
  expect(execArgv).toEqual(["--conditions=mobula-source"]);
  expect(existsSync(dirname(path))).toBe(true);
});

test("workers inherit how modules are found and loaded, and nothing else", () => {
  const execArgv = [
    "--inspect",
    "-r",
    "./a.cjs",
    "--import=tsx",
    "--max-old-space-size=100",
    "-C",
    "x",
    "--test",
    "-e",
    "1",
  ];
  expect(inheritedExecArgv(execArgv)).toEqual(["-r", "./a.cjs", "--import=tsx", "-C", "x"]);
});

test("an option whose value is missing is passed on as it is", () => {
  expect(inheritedExecArgv(["--import"])).toEqual(["--import"]);
});
