/**
 * `npm run mutants`: breaks one behaviour after the other on purpose, in a copy of the sources, and runs the test file
 * that is to find it. A mutant that no test finds is a hole in the tests, and fails the run.
 *
 *   npm run mutants                 all of them, ten minutes on two cores
 *   npm run mutants -- cancel       those whose behaviour contains one of the words
 */
import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { type Mutant, mutants } from "./mutants.ts";

const root = join(import.meta.dirname, "../..");
const VITEST = "node_modules/vitest/vitest.mjs";
/** A broken behaviour is often one that is waited for. */
const TEST_MS_MAX = 20_000;
const RUN_MS_MAX = 300_000;

interface Run {
  readonly passed: readonly string[];
  readonly failed: readonly string[];
  /** What was said when no report was left: the test's process died, for example. */
  readonly output: string;
}

function main(words: readonly string[]): boolean {
  const chosen = mutants.filter(
    ({ behaviour }) => words.length === 0 || words.some((word) => behaviour.includes(word)),
  );
  if (chosen.length === 0) throw new Error(`no behaviour has one of these words: ${words.join(", ")}`);
  const cache = join(root, ".cache");
  mkdirSync(cache, { recursive: true });
  const copy = mkdtempSync(join(cache, "mutants-"));
  try {
    copySources(copy);
    for (const file of new Set(chosen.map(({ test }) => test))) {
      const { passed, failed, output } = runTests(copy, file);
      if (passed.length > 0 && failed.length === 0) continue;
      throw new Error(`${file} fails although nothing is broken: ${failed.join(", ") || output}`);
    }
    const survivors = chosen.filter((mutant) => !isFound(copy, mutant));
    console.log(`${chosen.length - survivors.length} found, ${survivors.length} not found`);
    return survivors.length === 0;
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

function isFound(copy: string, { behaviour, file, code, broken, test }: Mutant): boolean {
  const path = join(copy, file);
  const whole = readFileSync(path, "utf8");
  writeFileSync(
    path,
    whole.replace(code, () => broken),
  );
  const { passed, failed, output } = runTests(copy, test);
  writeFileSync(path, whole);
  const isCrash = passed.length + failed.length === 0;
  console.log(`${isCrash || failed.length > 0 ? "✓" : "✗"} ${behaviour}`);
  for (const name of failed.slice(0, 3)) console.log(`    fails: ${name}`);
  if (failed.length > 3) console.log(`    and ${failed.length - 3} more`);
  if (isCrash) console.log(`    the tests' process ended: ${output}`);
  return isCrash || failed.length > 0;
}

function runTests(copy: string, file: string): Run {
  const report = join(copy, "report.json");
  rmSync(report, { force: true });
  const args = [VITEST, "run", file, "--retry=0", `--testTimeout=${TEST_MS_MAX}`, `--hookTimeout=${TEST_MS_MAX}`];
  const { stdout, stderr } = spawnSync(process.execPath, [...args, "--reporter=json", `--outputFile=${report}`], {
    cwd: copy,
    encoding: "utf8",
    timeout: RUN_MS_MAX,
    env: { ...process.env, PATH: `${join(root, "node_modules/.bin")}:${process.env.PATH}` },
  });
  const output = `${stdout}${stderr}`.trim().split("\n").at(-1) ?? "";
  let results: readonly { readonly fullName: string; readonly status: string }[] = [];
  try {
    const { testResults } = JSON.parse(readFileSync(report, "utf8"));
    results = testResults.flatMap((result: { assertionResults: typeof results }) => result.assertionResults);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
  const named = (status: string) => results.filter((one) => one.status === status).map(({ fullName }) => fullName);
  return { passed: named("passed"), failed: named("failed"), output };
}

/** The files of the repository as they are now, with the packages that it has installed. */
function copySources(copy: string): void {
  const listed = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard", "-z"], { cwd: root });
  for (const file of listed.toString().split("\0")) {
    if (file !== "") cpSync(join(root, file), join(copy, file), { errorOnExist: false });
  }
  for (const folder of [".", "packages/core", "docs/reference"]) linkPackages(join(root, folder), join(copy, folder));
}

/** Links to packages of the repository lead to those of the copy; all others are shared. */
function linkPackages(from: string, to: string): void {
  const names = readdirSync(join(from, "node_modules")).filter((name) => name !== ".cache");
  const scoped = names.flatMap((name) =>
    name.startsWith("@") ? readdirSync(join(from, "node_modules", name)).map((inner) => join(name, inner)) : name,
  );
  for (const name of scoped) {
    const [source, target] = [join(from, "node_modules", name), join(to, "node_modules", name)];
    mkdirSync(dirname(target), { recursive: true });
    symlinkSync(lstatSync(source).isSymbolicLink() ? readlinkSync(source) : source, target);
  }
}

process.exitCode = main(process.argv.slice(2)) ? 0 : 1;
