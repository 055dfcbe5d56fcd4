/** The job on a cluster that loses a node and its head, as `npm run cluster` runs it. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Fixture, makeFixture, makeText, random } from "./fixture.ts";

let fixture: Fixture;
const temporary = mkdtempSync("/tmp/nd-");
beforeAll(() => {
  fixture = makeFixture();
  const next = random(11);
  for (let index = 0; index < 60; index++) {
    const text = makeText(40_000, next).join(" ");
    fixture.write(`originals/${index}.txt`, text);
    if (index % 3 === 0) fixture.write(`copies/${index}.txt`, text);
  }
});
afterAll(() => {
  fixture[Symbol.dispose]();
  rmSync(temporary, { recursive: true, force: true });
});

const run = (...args: string[]) =>
  spawnSync(process.execPath, ["--conditions=mobula-source", join(import.meta.dirname, "../cluster.ts"), ...args], {
    encoding: "utf8",
    timeout: 100_000,
    env: { ...process.env, TMPDIR: temporary },
  });

test("a node and the head are killed half way, it is told what was lost, and the result is the same", () => {
  const { status, stdout, stderr } = run(fixture.folder);
  expect(stderr.replaceAll(/^\[mobula node\].*\n/gm, "")).toBe("");
  const lines = stdout.split("\n");
  const told = [
    /node-\d is killed with SIGKILL, half way: \d+ processes are gone,$/,
    /\d+ batches were read there, [\d.]+ MB of objects lay there/,
    /node-\d is known to be dead, after [1-4]\.\d s/,
    /the head is killed, with \d+ batches of pairs left/,
    /the head serves again \d+ ms after it was started/,
    /^groups of both runs {10}identical$/,
  ];
  for (const pattern of told)
    expect(
      lines.find((line) => pattern.test(line)),
      `${pattern} in ${stdout}`,
    ).toBeDefined();
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(100);
  expect(status).toBe(0);
  expect(readdirSync(temporary).filter((name) => !/^mobula-\d+$/.test(name))).toEqual([]);
  expect(readFileSync("/proc/net/unix", "latin1")).not.toContain(temporary);
}, 120_000);

test("a wrong option is one line on standard error and a failure", () => {
  for (const args of [["--nodes", "1"], ["--noodles"], ["--limit", "no"]]) {
    const { status, stderr } = run(...args);
    expect([status, stderr.trim().split("\n").length]).toEqual([1, 1]);
    expect(stderr).toContain(args[0]);
  }
});
