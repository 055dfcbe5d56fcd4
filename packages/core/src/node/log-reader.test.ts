import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { logFiles, logLines } from "./log-reader.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync("/tmp/ml-");
});
afterEach(() => rmSync(folder, { recursive: true }));

const line = (second: number, text: string): string =>
  `2026-01-01T00:00:${String(second).padStart(2, "0")}.000Z job 1 stdout - ${text}\n`;
const all = { file: null, id: null, search: null, lines: 100, after: null };

test("the last lines of a file, also when it is larger than what is read at once", async () => {
  writeFileSync(
    join(folder, "worker-1.log"),
    Array.from({ length: 20_000 }, (_, n) => `line ${n} ${"x".repeat(40)}\n`).join(""),
  );
  const { lines } = await logLines(folder, { ...all, file: "worker-1.log", lines: 9_000 });
  expect(lines.length).toBe(9_000);
  expect(lines.map((text) => Number(text.split(" ")[1]))).toEqual(Array.from({ length: 9_000 }, (_, n) => 11_000 + n));
});

test("a line that is longer than what is read at once is whole", async () => {
  const long = "y".repeat(700_000);
  writeFileSync(join(folder, "worker-1.log"), `first\n${long}\nlast\n`);
  expect((await logLines(folder, { ...all, file: "worker-1.log" })).lines).toEqual(["first", long, "last"]);
});

test("lines of all workers are in the order of their times, and chosen by id and by text", async () => {
  writeFileSync(join(folder, "worker-1.log"), line(1, "task-a one") + line(4, "task-b four"));
  writeFileSync(join(folder, "worker-2.log"), line(2, "task-a two") + line(3, "task-a three"));
  writeFileSync(join(folder, "node.log"), line(0, "task-a not of a worker"));
  const texts = async (more: object) =>
    (await logLines(folder, { ...all, ...more })).lines.map((text) => text.split(" ").at(-1));
  expect(await texts({})).toEqual(["one", "two", "three", "four"]);
  expect(await texts({ id: "task-a", lines: 2 })).toEqual(["two", "three"]);
  expect(await texts({ search: "four" })).toEqual(["four"]);
});

test("what has come since is read once, whole lines only, and from the beginning when the file was rotated", async () => {
  const file = join(folder, "worker-1.log");
  writeFileSync(file, "one\n");
  const first = await logLines(folder, all);
  appendFileSync(file, "two\nthr");
  const second = await logLines(folder, { ...all, after: first.after });
  expect(second.lines).toEqual(["two"]);
  appendFileSync(file, "ee\n");
  const third = await logLines(folder, { ...all, after: second.after });
  expect(third.lines).toEqual(["three"]);
  writeFileSync(file, "new\n");
  writeFileSync(join(folder, "worker-2.log"), "other\n");
  const fourth = await logLines(folder, { ...all, after: third.after });
  expect(fourth.lines.toSorted()).toEqual(["new", "other"]);
  expect((await logLines(folder, { ...all, after: fourth.after })).lines).toEqual([]);
});

test.each(["../node.log", "a/b", ""])("%j is no log file", async (file) => {
  await expect(logLines(folder, { ...all, file })).rejects.toThrow(/is no log file/);
});

test("files are listed, the newest first", async () => {
  writeFileSync(join(folder, "worker-1.log"), "12345");
  expect(await logFiles(folder)).toMatchObject([{ file: "worker-1.log", sizeBytes: 5 }]);
  await expect(logLines(folder, { ...all, file: "worker-9.log" })).rejects.toThrow(/no log file "worker-9.log"/);
});
