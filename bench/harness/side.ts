/** One side's process: started for a session, asked one thing at a time, and ended with everything it started. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { identify, killProcesses, type ProcessIdentity, processTree } from "./processes.ts";
import type { Measurement, OpenOptions, Reply, Request, Sizes } from "./protocol.ts";

export interface SideCommand {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Exact version, for the report. */
  readonly version: string;
}

/** Enough of a side's output to explain a failure. */
const OUTPUT_KEPT_CHARS = 4000;
const CLOSE_TIMEOUT_MS = 60_000;

export class Side implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #name: string;
  #output = "";
  #exit: string | undefined;
  #waiter: { resolve(reply: Reply): void; reject(error: Error): void } | undefined;
  readonly #exited: Promise<void>;

  constructor(command: SideCommand) {
    this.#name = command.name;
    this.#child = spawn(command.command, [...command.args], {
      stdio: ["pipe", "pipe", "pipe", "pipe"],
      env: { ...process.env, ...command.env },
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => {
        this.#output = (this.#output + text).slice(-OUTPUT_KEPT_CHARS);
      });
    }
    // A side that died is reported through its exit; the broken pipe says nothing more.
    this.#child.stdin?.on("error", () => {});
    // stdio[3] was asked for as a pipe, which makes it a duplex stream.
    createInterface({ input: this.#child.stdio[3] as Readable }).on("line", (line) => {
      const waiter = this.#waiter;
      this.#waiter = undefined;
      waiter?.resolve(JSON.parse(line) as Reply);
    });
    this.#exited = new Promise((resolve) => {
      const ended = (how: string): void => {
        this.#exit ??= how;
        this.#waiter?.reject(this.#failure(how));
        this.#waiter = undefined;
        resolve();
      };
      this.#child.on("error", (error) => ended(`could not start: ${error.message}`));
      this.#child.on("exit", (code, signal) => ended(`ended with ${signal ?? `exit code ${code}`}`));
    });
  }

  get pid(): number {
    const pid = this.#child.pid;
    if (pid === undefined) throw this.#failure(this.#exit ?? "has no process");
    return pid;
  }

  get isAlive(): boolean {
    return this.#exit === undefined;
  }

  /** Alive and not busy with a request that has timed out. */
  get isIdle(): boolean {
    return this.isAlive && this.#waiter === undefined;
  }

  open(options: OpenOptions, timeoutMs: number): Promise<Measurement | undefined> {
    return this.#ask({ op: "open", options }, timeoutMs);
  }

  async run(workload: string, sizes: Sizes, options: OpenOptions, timeoutMs: number): Promise<Measurement> {
    const measurement = await this.#ask({ op: "run", workload, sizes, options }, timeoutMs);
    if (measurement === undefined) throw this.#failure(`answered "${workload}" without a measurement`);
    return measurement;
  }

  async cleanup(timeoutMs: number): Promise<void> {
    await this.#ask({ op: "cleanup" }, timeoutMs);
  }

  /** Closes in order; what is then left of the side's processes (Ray's take a while to end) is killed. */
  async close(): Promise<void> {
    if (!this.isAlive) return;
    const tree = identifiedTree(this.pid);
    await this.#ask({ op: "close" }, CLOSE_TIMEOUT_MS);
    this.#child.stdin?.end();
    await this.#withTimeout(this.#exited, CLOSE_TIMEOUT_MS, "did not exit after closing");
    killProcesses(tree);
  }

  /** The way out after a failure: ends the whole tree at once. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.isAlive && this.#child.pid !== undefined) killProcesses(identifiedTree(this.#child.pid));
    await this.#exited;
  }

  async #ask(request: Request, timeoutMs: number): Promise<Measurement | undefined> {
    if (this.#exit !== undefined) throw this.#failure(this.#exit);
    if (this.#waiter !== undefined) throw new Error(`${this.#name} is still busy with an earlier request`);
    const answer = new Promise<Reply>((resolve, reject) => {
      this.#waiter = { resolve, reject };
    });
    this.#child.stdin?.write(`${JSON.stringify(request)}\n`);
    const what = request.op === "run" ? `workload "${request.workload}"` : request.op;
    const reply = await this.#withTimeout(answer, timeoutMs, `${what} took more than ${timeoutMs} ms`);
    if (!reply.ok) throw this.#failure(`${what} failed: ${reply.error}`);
    return reply.measurement;
  }

  async #withTimeout<T>(promise: Promise<T>, timeoutMs: number, message: string): Promise<T> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(this.#failure(message)), timeoutMs);
    });
    try {
      return await Promise.race([promise, timeout]);
    } finally {
      clearTimeout(timer);
    }
  }

  #failure(message: string): Error {
    const output = this.#output.trim();
    return new Error(`${this.#name} ${message}${output === "" ? "" : `\n--- last output ---\n${output}`}`);
  }
}

const identifiedTree = (root: number): ProcessIdentity[] => processTree(root).flatMap((pid) => identify(pid) ?? []);
