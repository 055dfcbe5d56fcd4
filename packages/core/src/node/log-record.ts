/**
 * Lines of log files, as text for people or as JSON for programs that collect them; both are read back as the same record, and
 * files of one run may hold both. Text: `time job pid stream [task [actor]] name: message` of workers, `time level message` of
 * nodes, heads and the state service.
 */
import { InvalidOptionError } from "../base/errors.ts";
import type { LogLevel } from "./config.ts";

export type LogFormat = "text" | "json";

/** Null: not known, or it has none. `timeMs` stands first: lines begin with when they were written, and are sorted by that. */
export interface LogRecord {
  readonly timeMs: number;
  /** Of what a program prints always `info`: that it goes to stderr does not make it an error. */
  readonly level: LogLevel;
  readonly node: string | null;
  /** Which process wrote it: `worker`, or `node`, `head`, `state`. */
  readonly source: string;
  readonly pid: number | null;
  readonly worker: string | null;
  readonly job: string | null;
  readonly stream: "stdout" | "stderr" | null;
  readonly task: string | null;
  readonly actor: string | null;
  /** Of the task, or of class and method. */
  readonly name: string | null;
  readonly message: string;
}

/** MOBULA_LOG_FORMAT, which nodes and heads inherit from who starts them. */
export function logFormat(text = process.env.MOBULA_LOG_FORMAT): LogFormat {
  if (text === undefined || text === "") return "text";
  if (text === "text" || text === "json") return text;
  throw new InvalidOptionError(`MOBULA_LOG_FORMAT is "${text}"; it may be text or json`);
}

export function logLine(record: LogRecord, format: LogFormat): string {
  if (format === "json") return `${JSON.stringify(record)}\n`;
  const { timeMs, level, source, pid, job, stream, task, actor, name, message } = record;
  const time = new Date(timeMs).toISOString();
  if (source !== "worker") return `${time} ${level} ${message}\n`;
  const ids = [task, actor].filter((id) => id !== null);
  return `${[time, job ?? "-", pid, stream, ...ids, name ?? "-"].join(" ")}: ${message}\n`;
}

const JSON_START = '{"timeMs":';
const OF_WORKER = /^(\S+Z) (\S+) (\d+) (stdout|stderr) ((?:[0-9a-f]{32,} ){0,2})(.*?): (.*)$/s;
const OF_RUNTIME = /^(\S+Z) (error|warn|info|debug) (.*)$/s;

/** @param file it is from: that says whose text it is. Undefined: no line of Mobula's, as the output of a job's command. */
export function parseLogLine(line: string, file = ""): LogRecord | undefined {
  if (line.startsWith(JSON_START)) {
    try {
      return JSON.parse(line) as LogRecord; // As logLine writes it.
    } catch {
      return undefined; // A program has printed something like it into a file of its own.
    }
  }
  const [, time = "", job, pid, stream, ids = "", name = "", message = ""] = OF_WORKER.exec(line) ?? [];
  const timeMs = Date.parse(time);
  if (stream && !Number.isNaN(timeMs)) {
    const [task = null, actor = null] = ids.split(" ").filter(Boolean);
    return {
      ...{ timeMs, level: "info", node: null, source: "worker", pid: Number(pid), worker: null },
      ...{ job: job === "-" ? null : (job ?? null), stream: stream as "stdout" | "stderr", task, actor },
      ...{ name: name === "-" ? null : name, message },
    };
  }
  const [, at = "", level, text = ""] = OF_RUNTIME.exec(line) ?? [];
  const atMs = Date.parse(at);
  if (!level || Number.isNaN(atMs)) return undefined;
  const [source = "node"] = /^(node|head|state)\b/.exec(file) ?? [];
  return {
    ...{ timeMs: atMs, level: level as LogLevel, node: null, source, pid: null, worker: null, job: null },
    ...{ stream: null, task: null, actor: null, name: null, message: text },
  };
}

/** For whoever wants lines as people read them, whatever they were written as. */
export function lineAsText(line: string): string {
  const record = line.startsWith(JSON_START) ? parseLogLine(line) : undefined;
  return record ? logLine(record, "text").slice(0, -1) : line;
}

/** `2026-11-27T02:14:15.123Z`, or `{"timeMs":1764209655123,`. */
const TIME_CHARS = 24;

/** When a line was written, for sorting; 0 of one that does not say. */
export function timeOfLine(line: string): number {
  const start = line.slice(0, TIME_CHARS);
  const ms = start.startsWith(JSON_START) ? Number.parseInt(start.slice(JSON_START.length), 10) : Date.parse(start);
  return Number.isNaN(ms) ? 0 : ms;
}

export const byTime = (a: string, b: string): number => timeOfLine(a) - timeOfLine(b);
