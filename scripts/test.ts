/**
 * `npm test`: every check of this repository, ending in one line, "N passed, N failed".
 *
 *   npm test                        types, lint and format, import rules, dead code, API reference, then all tests
 *   npm test -- packages/core/src   only the tests whose path contains one of the words
 *   npm run check                   only what needs no running program
 *
 * A check counts as one test. A test that is skipped because the machine lacks something is listed by name; with
 * CI_REQUIRE_ALL=1 it counts as failed, so that nothing stays untested where everything can be installed.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readResults } from "./test-results.ts";

const root = join(import.meta.dirname, "..");
const bin = (path: string) => join(root, "node_modules", path);

const checks: ReadonlyArray<{ readonly name: string; readonly command: readonly string[] }> = [
  { name: "types", command: [bin("typescript/bin/tsc"), "-p", root] },
  { name: "types of the dashboard", command: [bin("typescript/bin/tsc"), "-p", join(root, "packages/dashboard")] },
  { name: "lint and format", command: [bin("@biomejs/biome/bin/biome"), "check", "--error-on-warnings", root] },
  {
    name: "import rules",
    command: [
      bin("dependency-cruiser/bin/dependency-cruise.mjs"),
      "--config",
      join(root, ".dependency-cruiser.cjs"),
      "--output-type",
      "err",
      ...["packages", "examples", "bench", "docs", "scripts", "deploy"].filter((folder) =>
        existsSync(join(root, folder)),
      ),
    ],
  },
  { name: "dead code", command: [bin("knip/bin/knip.js"), "--no-progress", "--treat-config-hints-as-errors"] },
  {
    // It has its own TypeScript, because TypeDoc cannot use version 7 yet.
    name: "API reference",
    command: [
      bin("../docs/reference/node_modules/typedoc/bin/typedoc"),
      "--options",
      join(root, "docs/reference"),
      "--emit",
      "none",
    ],
  },
];

async function main(): Promise<void> {
  const args = process.argv.slice(2);
  const filters = args.filter((arg) => !arg.startsWith("--"));
  let passed = 0;
  let failed = 0;
  if (filters.length === 0) {
    for (const { name, command } of checks) {
      const startedMs = performance.now();
      const isGreen = (await run(command)) === 0;
      console.log(`${isGreen ? "✓" : "✗"} ${name} (${((performance.now() - startedMs) / 1000).toFixed(1)} s)`);
      if (isGreen) passed++;
      else failed++;
    }
  }
  if (!args.includes("--static")) {
    const tests = await runTests(args.filter((arg) => arg !== "--static"));
    passed += tests.passed;
    failed += tests.failed;
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
}

async function runTests(args: readonly string[]): Promise<{ passed: number; failed: number }> {
  const folder = mkdtempSync(join(tmpdir(), "mobula-test-"));
  const report = join(folder, "report.json");
  try {
    const vitest = [bin("vitest/vitest.mjs"), "run", "--root", root];
    const code = await run([
      ...vitest,
      "--reporter=default",
      "--reporter=json",
      `--outputFile.json=${report}`,
      ...args,
    ]);
    const results = readResults(report, code);
    for (const name of results.skipped) console.log(`skipped: ${name}`);
    for (const problem of results.problems) console.log(`✗ ${problem}`);
    const mustRun = process.env.CI_REQUIRE_ALL === "1" ? results.skipped.length : 0;
    if (mustRun > 0) console.log(`✗ ${mustRun} skipped, which CI_REQUIRE_ALL=1 does not allow`);
    return { passed: results.passed, failed: results.failed + results.problems.length + mustRun };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs a program on the Node.js that runs this one and resolves to its exit code; ended by a signal counts as 1. */
function run([program = "", ...args]: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], { cwd: root, stdio: "inherit" });
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? 1));
  });
}

await main();
