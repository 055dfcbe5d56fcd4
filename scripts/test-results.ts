import { existsSync, readFileSync } from "node:fs";

export interface TestResults {
  readonly passed: number;
  readonly failed: number;
  /** Full names of the tests that did not run. */
  readonly skipped: string[];
  /** What went wrong outside of a test; each counts as a failure. */
  readonly problems: string[];
}

interface JsonReport {
  readonly testResults: ReadonlyArray<{
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: ReadonlyArray<{ readonly fullName: string; readonly status: string }>;
  }>;
}

const MESSAGE_LINES_MAX = 10;

/**
 * Counts vitest's JSON report. Vitest can end with an error although no test failed (a file that does not load, an
 * unhandled rejection, a crash before the report), and none of that may look green.
 */
export function readResults(reportPath: string, exitCode: number): TestResults {
  if (!existsSync(reportPath)) {
    return { passed: 0, failed: 0, skipped: [], problems: [`vitest ended with code ${exitCode} and left no report`] };
  }
  const report = JSON.parse(readFileSync(reportPath, "utf8")) as JsonReport;
  let passed = 0;
  let failed = 0;
  const skipped: string[] = [];
  const problems: string[] = [];
  for (const file of report.testResults) {
    const withStatus = (status: string) => file.assertionResults.filter((test) => test.status === status).length;
    passed += withStatus("passed");
    failed += withStatus("failed");
    if (file.status === "failed" && withStatus("failed") === 0) {
      // Its preparation failed, so that none of its tests ran: one cause, told once.
      problems.push(`${file.name}: ${file.message.trim().split("\n").slice(0, MESSAGE_LINES_MAX).join("\n  ")}`);
      continue;
    }
    for (const { fullName, status } of file.assertionResults) {
      if (status !== "passed" && status !== "failed") skipped.push(`${fullName} (${file.name})`);
    }
  }
  if (exitCode !== 0 && failed === 0 && problems.length === 0) {
    problems.push(`vitest ended with code ${exitCode} although no test failed: see the errors above`);
  }
  return { passed, failed, skipped, problems };
}
