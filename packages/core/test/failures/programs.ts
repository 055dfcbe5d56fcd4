/**
 * Programs that are there to be killed: plain Node.js processes that run a scenario of `fixtures/`, each with a
 * temporary folder of its own, and found again with everything they started by a mark in their environment.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomUUID } from "node:crypto";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const MARK = "MOBULA_TEST_FAMILY";
const STEP_MS = 20;

export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Shares the temporary folder of another program. */
  readonly folder?: string;
  readonly uid?: number;
  readonly execArgv?: readonly string[];
  readonly args?: readonly string[];
  /** What it is run by, such as the network of another machine; default nothing. */
  readonly command?: readonly string[];
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** One program and its family: node, workers, and what they start. */
export class Program {
  readonly folder: string;
  readonly exited: Promise<Exit>;
  readonly lines: string[] = [];
  stderr = "";
  private readonly mark = randomUUID();
  private readonly child: ChildProcess;
  private readonly waiters = new Set<() => void>();
  private hasExited = false;

  /** @param scenario what of the fixture is run; it prints lines that `line` waits for. */
  constructor(fixture: string, scenario: string, options: ProgramOptions = {}) {
    const { env, uid, execArgv = [], args = [], command = [] } = options;
    this.folder = options.folder ?? mkdtempSync("/tmp/mf-");
    if (uid !== undefined) chmodSync(this.folder, 0o1777);
    const path = fileURLToPath(new URL(`./fixtures/${fixture}`, import.meta.url));
    const node = [process.execPath, "--conditions=mobula-source", ...execArgv, path, scenario, ...args];
    const [program = "", ...rest] = [...command, ...node];
    this.child = spawn(program, rest, {
      // A process group of its own, as a terminal gives it: Ctrl-C is a signal to all of the group.
      detached: true,
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, TMPDIR: this.folder, [MARK]: this.mark, ...env },
      ...(uid !== undefined && { uid, gid: uid }),
    });
    this.exited = new Promise((resolve) => {
      this.child.once("close", (code, signal) => {
        this.hasExited = true;
        this.wake();
        resolve({ code, signal });
      });
    });
    const { stdout, stderr } = this.child;
    if (!stdout || !stderr) throw new Error("the pipes were not made");
    createInterface({ input: stdout }).on("line", (line) => {
      this.lines.push(line);
      this.wake();
    });
    stderr.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
      this.wake();
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  private wake(): void {
    for (const waiter of this.waiters) waiter();
  }

  private async until(is: () => boolean, what: string, timeoutMs: number): Promise<void> {
    if (is()) return;
    await new Promise<void>((resolve, reject) => {
      const end = (error?: Error): void => {
        clearTimeout(timer);
        this.waiters.delete(look);
        if (error) reject(error);
        else resolve();
      };
      const told = (): string => `stdout: ${JSON.stringify(this.lines)}; stderr: ${this.stderr}`;
      const look = (): void => {
        if (is()) end();
        else if (this.hasExited) end(new Error(`the program ended without ${what}; ${told()}`));
      };
      const timer = setTimeout(() => end(new Error(`no ${what} within ${timeoutMs} ms; ${told()}`)), timeoutMs);
      this.waiters.add(look);
      look();
    });
  }

  /** What follows `name` on the first line that begins with it; lines are `name` or `name JSON`. */
  async line<T = unknown>(name: string, timeoutMs = 20_000): Promise<T> {
    const find = (): string | undefined => this.lines.find((line) => line === name || line.startsWith(`${name} `));
    await this.until(() => find() !== undefined, `line "${name}"`, timeoutMs);
    const rest = find()?.slice(name.length).trim();
    return (rest ? JSON.parse(rest) : undefined) as T;
  }

  /** A line of its own or of a worker that matches. */
  async prints(pattern: RegExp, timeoutMs = 20_000): Promise<string> {
    const find = (): string | undefined => this.lines.find((line) => pattern.test(line));
    await this.until(() => find() !== undefined, `line like ${pattern}`, timeoutMs);
    return find() ?? "";
  }

  async stderrHas(pattern: RegExp, timeoutMs = 20_000): Promise<void> {
    await this.until(() => pattern.test(this.stderr), `${pattern} on stderr`, timeoutMs);
  }

  async exitWithin(timeoutMs: number): Promise<Exit> {
    await this.until(() => this.hasExited, "end", timeoutMs);
    return this.exited;
  }

  /** A line on its standard input. */
  tell(line: string): void {
    this.child.stdin?.write(`${line}\n`);
  }

  kill(signal: NodeJS.Signals = "SIGKILL"): void {
    this.child.kill(signal);
  }

  /** As Ctrl-C in a terminal does. */
  interrupt(): void {
    process.kill(-this.pid, "SIGINT");
  }

  /** The living processes of the family, the program itself included. */
  family(): number[] {
    return markedWith(this.mark);
  }

  /** What is left of it: processes, and files other than the user's empty folder. */
  leftovers(): string[] {
    const left = this.family().map((pid) => `process ${pid}: ${commandOf(pid)}`);
    if (!existsSync(this.folder)) return left;
    for (const base of readdirSync(this.folder)) {
      if (!/^mobula-\d+$/.test(base)) left.push(`${this.folder}/${base}`);
      else left.push(...readdirSync(`${this.folder}/${base}`).map((name) => `${this.folder}/${base}/${name}`));
    }
    const sockets = readFileSync("/proc/net/unix", "utf8");
    if (sockets.includes(this.folder)) left.push("a socket");
    return left;
  }

  /** Nothing is left within so long; processes and files go in their own time, so they are looked at again. */
  async leavesNothing(timeoutMs = 2_000): Promise<void> {
    for (const deadline = performance.now() + timeoutMs; ; await delay(STEP_MS)) {
      const left = this.leftovers();
      if (left.length === 0) return;
      if (performance.now() > deadline) throw new Error(`after ${timeoutMs} ms there is left: ${left.join(", ")}`);
    }
  }

  /** For the end of a test, also of one that failed. */
  remove(): void {
    for (const pid of this.family()) {
      try {
        process.kill(pid, "SIGKILL");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    }
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

function markedWith(mark: string): number[] {
  const found: number[] = [];
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    try {
      if (!readFileSync(`/proc/${pid}/environ`, "latin1").includes(`${MARK}=${mark}`)) continue;
      // A zombie's environment is empty, but it may have become one a moment ago.
      const status = readFileSync(`/proc/${pid}/stat`, "latin1");
      if (status.charAt(status.lastIndexOf(")") + 2) !== "Z") found.push(pid);
    } catch {
      // It ended while we looked.
    }
  }
  return found;
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
  } catch {
    return "gone";
  }
}

/** Of a family, the process that runs this entry program ("node" or "worker"). */
export const pidsRunning = (entry: "node" | "worker", pids: readonly number[]): number[] =>
  pids.filter((pid) => new RegExp(`bin[/]${entry}[.]ts`).test(commandOf(pid)));
