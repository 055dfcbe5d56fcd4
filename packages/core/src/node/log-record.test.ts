import { expect, test } from "vitest";
import { byTime, type LogRecord, logFormat, logLine, parseLogLine } from "./log-record.ts";

const printed: LogRecord = {
  timeMs: Date.parse("2026-11-27T02:14:15.123Z"),
  level: "info",
  node: "a".repeat(32),
  source: "worker",
  pid: 4711,
  worker: "0123456789abcdef",
  job: "0b1c2d3e",
  stream: "stderr",
  task: "1".repeat(48),
  actor: "2".repeat(32),
  name: "Counter.add",
  message: 'said "so": {a}\tand more: yes',
};
const told: LogRecord = {
  ...printed,
  ...{
    level: "warn",
    source: "node",
    worker: null,
    pid: null,
    job: null,
    stream: null,
    task: null,
    actor: null,
    name: null,
  },
};

test("what is written as JSON is read back whole; as text without node and worker", () => {
  for (const record of [printed, told]) {
    const json = logLine(record, "json");
    expect(json).toMatch(/^\{"timeMs":1795745655123,.*\}\n$/);
    expect(parseLogLine(json.trimEnd())).toEqual(record);
    const text = logLine(record, "text").trimEnd();
    expect(parseLogLine(text, "node.log.1")).toEqual({ ...record, node: null, worker: null });
  }
  const bare = { ...printed, job: null, task: null, actor: null, name: null };
  expect(logLine(bare, "text")).toBe(`2026-11-27T02:14:15.123Z - 4711 stderr -: ${printed.message}\n`);
  expect(parseLogLine(logLine(bare, "text").trimEnd())).toEqual({ ...bare, node: null, worker: null });
});

test("lines of both kinds are in the order of their times; what is no line of ours is said to be none", () => {
  const at = (timeMs: number, format: "text" | "json") => logLine({ ...printed, timeMs }, format);
  const lines = [at(3_000, "text"), at(2_000, "json"), at(1_000, "text"), at(4_000, "json")];
  expect(lines.toSorted(byTime)).toEqual([lines[2], lines[1], lines[0], lines[3]]);
  expect(parseLogLine("hello: world")).toBeUndefined();
  expect(parseLogLine('{"timeMs":')).toBeUndefined();
});

test("the format is text or json", () => {
  expect([logFormat(""), logFormat("text"), logFormat("json")]).toEqual(["text", "text", "json"]);
  expect(() => logFormat("xml")).toThrow(/MOBULA_LOG_FORMAT is "xml"; it may be text or json/);
});
