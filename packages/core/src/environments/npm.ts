/** Runs npm: a process of its own, with low priority, of which the last lines are known when it fails. */
import { type ChildProcess, spawn } from "node:child_process";
import { setPriority } from "node:os";
import { delimiter, dirname } from "node:path";
import type { Readable } from "node:stream";
import { RuntimeEnvError } from "../base/errors.ts";

export interface NpmRun {
  readonly folder: string;
  readonly args: readonly string[];
  readonly signal: AbortSignal;
  /** So many packages have been fetched. */
  onFetched(count: number): void;
  /** It runs: whoever outlives this process can end it. */
  onStarted(pid: number): void;
}

const TAIL_LINES = 20;
const LINE_CHARS_MAX = 2_000;
/** Behind everything that computes. */
const NICE = 10;
const FETCHED = /^npm (?:http|HTTP|info http)/;
const NOISE = /A complete log of this run|npm (?:error|ERR!) {4}.*_logs/;
/** What npm says to programs that it runs itself, and secrets of this process. */
const NOT_INHERITED =
  /^(?:npm_(?:package|lifecycle|command|execpath|node_execpath|config_(?:local_prefix|global_prefix|prefix|user_agent))|INIT_CWD$|NODE_OPTIONS$|NODE_COMPILE_CACHE$|NODE_ENV$|MOBULA_)/i;
/** `https://name:password@host`, and tokens as npm's configuration has them. */
const SECRETS: readonly (readonly [RegExp, string])[] = [
  [/\/\/[^/\s:@]+:[^/\s@]+@/g, "//***@"],
  [/(_auth(?:Token)?|_password)(["']?\s*[=:]\s*)\S+/g, "$1$2***"],
  [/(Bearer|Basic)\s+[\w.~+/=-]{8,}/g, "$1 ***"],
];

/** `MOBULA_NPM` names another program than the `npm` beside Node.js or on the PATH. */
const program = (): string => process.env.MOBULA_NPM || "npm";

/** @throws RuntimeEnvError with the command and its last lines. @param run.signal aborted with an error that says why. */
export async function runNpm({ folder, args, signal, onFetched, onStarted }: NpmRun): Promise<void> {
  signal.throwIfAborted();
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !NOT_INHERITED.test(name)));
  const child = spawn(program(), args, {
    cwd: folder,
    // It is ended with all that it starts.
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...env, PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH ?? ""}` },
  });
  const tail: string[] = [];
  let fetched = 0;
  for (const stream of [child.stdout, child.stderr]) {
    byLine(stream, (line) => {
      if (FETCHED.test(line)) {
        onFetched(++fetched);
        return;
      }
      if (line.trim() === "" || NOISE.test(line)) return;
      tail.push(withoutSecrets(line.slice(0, LINE_CHARS_MAX)));
      if (tail.length > TAIL_LINES) tail.shift();
    });
  }
  const ended = new Promise<string | undefined>((resolve) => {
    child.once("error", (error: NodeJS.ErrnoException) => {
      if (child.pid !== undefined) return;
      resolve(
        error.code === "ENOENT"
          ? `there is no program "${program()}" on this machine: install npm beside Node.js, or name it in MOBULA_NPM`
          : error.message,
      );
    });
    child.once("close", (code, by) => resolve(code === 0 ? undefined : by ? `ended by ${by}` : `exit code ${code}`));
  });
  const end = (): void => killGroup(child);
  signal.addEventListener("abort", end, { once: true });
  try {
    if (child.pid !== undefined) {
      lowerPriority(child.pid);
      onStarted(child.pid);
    }
    const problem = await ended;
    if (problem === undefined) return;
    const output = tail.length > 0 ? `; its last lines:\n${tail.map((line) => `  ${line}`).join("\n")}` : "";
    const why = signal.aborted ? `was ended, because ${(signal.reason as Error).message}` : `failed: ${problem}`;
    throw new RuntimeEnvError(`\`npm ${args.join(" ")}\` ${why}${output}`);
  } finally {
    signal.removeEventListener("abort", end);
    // What it started may outlive it.
    killGroup(child);
  }
}

/** `node:readline` would be loaded by every node at its start. */
function byLine(stream: Readable, take: (line: string) => void): void {
  let begun = "";
  stream.setEncoding("utf8");
  stream.on("data", (text: string) => {
    const lines = (begun + text).split("\n");
    begun = lines.pop()?.slice(0, LINE_CHARS_MAX) ?? "";
    for (const line of lines) take(line);
  });
  stream.on("end", () => {
    if (begun !== "") take(begun);
  });
}

function lowerPriority(pid: number): void {
  try {
    setPriority(pid, NICE);
  } catch {
    // It has ended already, which is seen elsewhere.
  }
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

const withoutSecrets = (line: string): string =>
  SECRETS.reduce((text, [pattern, instead]) => text.replace(pattern, instead), line);
