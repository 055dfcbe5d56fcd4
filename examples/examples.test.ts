/** The small examples run as they stand, and print what they are meant to show. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";

const EXPECTED: Readonly<Record<string, readonly string[]>> = {
  "hello.ts": [
    "powers [ 1, 8, 27 ]",
    "sum 35",
    "quotient and rest [ 3, 2 ]",
    "fibonacci 21",
    "failed with RangeError: there is no spoon",
    "ran outside this process true",
  ],
  "actors.ts": [
    "balance 60",
    "by name 100",
    "restarted true with balance 0",
    "squares [ 1, 4, 9, 16 ]",
    "from the queue [ 'one', 'two', 'three' ]",
  ],
  "streaming.ts": [
    "counted [ 5, 4, 3, 2, 1 ]",
    "first of a thousand million 1000000000",
    "halves [ 2, 1.5, 1, 0.5 ]",
    "slept 321 ms in all",
  ],
  "big-arrays.ts": [
    "sum 7999998000000 true",
    "inside the task -1 and outside 0",
    "last, doubled twice 15999996",
    "sevens 16777216",
  ],
};

test.each(Object.entries(EXPECTED))("%s prints what it is meant to show", (file, lines) => {
  const path = join(import.meta.dirname, file);
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--conditions=mobula-source", path], {
    encoding: "utf8",
    timeout: 50_000,
  });
  expect(status, stderr).toBe(0);
  for (const line of lines) expect(stdout).toContain(line);
});
