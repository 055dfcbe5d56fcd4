import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { readResults } from "./test-results.ts";

const folder = mkdtempSync(join(tmpdir(), "mobula-results-"));
afterAll(() => rmSync(folder, { recursive: true }));

function report(...testResults: object[]): string {
  const path = join(folder, "report.json");
  writeFileSync(path, JSON.stringify({ testResults }));
  return path;
}

const file = (status: string, tests: Record<string, string>, message = "") => ({
  name: "a.test.ts",
  status,
  message,
  assertionResults: Object.entries(tests).map(([fullName, status]) => ({ fullName, status })),
});

test("passed, failed and skipped tests are counted apart", () => {
  const path = report(
    file("failed", { a: "passed", b: "failed", c: "skipped", d: "todo" }),
    file("passed", { e: "passed" }),
  );
  expect(readResults(path, 1)).toEqual({
    passed: 2,
    failed: 1,
    skipped: ["c (a.test.ts)", "d (a.test.ts)"],
    problems: [],
  });
});

test("a file that does not load, or whose preparation fails, is one failure", () => {
  const results = readResults(report(file("failed", { a: "skipped", b: "skipped" }, "Cannot find module\nat x")), 1);
  expect(results.problems).toEqual(["a.test.ts: Cannot find module\n  at x"]);
  expect(results.skipped).toEqual([]);
});

test("an error outside of every test is a failure", () => {
  const results = readResults(report(file("passed", { a: "passed" })), 1);
  expect(results.problems).toEqual(["vitest ended with code 1 although no test failed: see the errors above"]);
});

test("no report at all is a failure", () => {
  expect(readResults(join(folder, "missing.json"), 137).problems).toHaveLength(1);
});
