/** The soak and the chaos run in a short form: one after another, because in the few seconds of its load each wants all of the machine. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { createRandom } from "./load/random.ts";

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

const run = (program: string, ...args: string[]): Promise<Ended> =>
  new Promise((resolve) => {
    const path = join(import.meta.dirname, program);
    const options = { timeout: 230_000 };
    const child = execFile(
      process.execPath,
      ["--conditions=mobula-source", path, ...args],
      options,
      (_, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
  });

test.each([
  [
    "soak.ts",
    [],
    /^seed 1, 6 s, 0.02 kills .*\n\d+ operations with the right result, \d+ workers killed; nothing was left behind\n$/s,
  ],
  [
    "chaos.ts",
    ["--nodes", "0"],
    /^seed 1, 6 s, 0.2 kills of workers per operation\n.*\n\d+ operations .*, [1-9]\d* workers killed; nothing was left behind\n\d+ recordings .*\n {2}0 recordings differ\n$/s,
  ],
  [
    "chaos.ts",
    ["--nodes", "3", "--seconds", "12"],
    /^seed 1, 12 s, .* on 3 nodes\n.*, \d+ workers killed, [1-9]\d* other faults; nothing was left behind\n\d+ recordings .*\n {2}0 recordings differ\n$/s,
  ],
])(
  "%s %j, shortly: every result is right, and nothing is left behind",
  async (program, options, expected) => {
    const { code, stdout, stderr } = await run(program, "--seconds", "6", "--seed", "1", ...options);
    expect(code, stdout + stderr).toBe(0);
    expect(stdout).toMatch(expected);
  },
  240_000,
);

test("a wrong option is one line", async () => {
  const { code, stderr } = await run("soak.ts", "--seconds", "never");
  expect(code).toBe(1);
  expect(stderr).toBe("soak: --seconds is never; it must be a number above 0 (see --help)\n");
});

test("the same seed gives the same numbers, and forks differ", () => {
  const draw = (seed: number) => Array.from({ length: 5 }, () => createRandom(seed).fork(3).between(0, 1_000_000));
  const many = (seed: number) => {
    const random = createRandom(seed);
    return Array.from({ length: 5 }, () => random.between(0, 1_000_000));
  };
  expect(draw(1)).toEqual(draw(1));
  expect(many(1)).toEqual(many(1));
  expect(new Set(many(1)).size).toBe(5);
  expect(createRandom(1).fork(1).next()).not.toBe(createRandom(1).fork(2).next());
});
