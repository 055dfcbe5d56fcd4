import { expect, test } from "vitest";
import { parseLogLine } from "./log-line.ts";

test("a line of a worker says when, who and what", () => {
  const task = "5f2c81c0a7be3d41c09f6ab10000000000000017f3a10c52";
  expect(parseLogLine(`2026-11-27T02:12:03.123Z f3a10c52 4711 stderr ${task} embed: a: b`)).toEqual({
    atMs: Date.parse("2026-11-27T02:12:03.123Z"),
    pid: "4711",
    isError: true,
    name: "embed",
    text: "a: b",
  });
  expect(parseLogLine("2026-11-27T02:12:03.123Z f3a10c52 4711 stdout -: ready")).toMatchObject({
    name: "",
    text: "ready",
  });
});

test("another program's line is none", () => {
  expect(parseLogLine("Server listening on 8080")).toBeUndefined();
  expect(parseLogLine("")).toBeUndefined();
});
