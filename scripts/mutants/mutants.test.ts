import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { mutants } from "./mutants.ts";

const root = join(import.meta.dirname, "../..");

test.each(mutants)("can still be broken: $behaviour", ({ file, code, broken, test: testFile }) => {
  expect(readFileSync(join(root, file), "utf8").split(code)).toHaveLength(2);
  expect(broken).not.toBe(code);
  expect(existsSync(join(root, testFile))).toBe(true);
});
