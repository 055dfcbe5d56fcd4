/**
 * Starting a node from a driver or from the command line. Nothing heavy is imported here: this is on the way to a
 * program's first result.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import type { Duplex, Readable } from "node:stream";
import { ConnectionLostError, errorFromCode } from "../base/errors.ts";
import { newNodeId } from "../base/ids.ts";
import { INFEASIBLE_TIMEOUT_MS, PUT_TIMEOUT_MS } from "../base/limits.ts";
import { randomBytes } from "../base/random.ts";
import { compileCacheEnvironment } from "../bin/cache-directory.ts";
import { codeCacheEnvironment, codeCachePath, type ProcessCommand, processCommand } from "../bin/entries.ts";
import { logLevel, MEMORY_MONITOR_DEFAULTS, NODE_VARIABLE, type NodeConfig } from "./config.ts";
import { Tail } from "./log-lines.ts";
import type { NodeNews } from "./main.ts";
import { baseFolder, createSession, logFolderOf, removeSession, socketPathOf } from "./session-folder.ts";

/** All optional: what is left out has the default of {@link NodeConfig}. */
export interface LaunchOptions extends Partial<Omit<NodeConfig, "sessionDir" | "nodeSocket" | "memoryMonitor">> {
  readonly memoryMonitor?: Partial<NodeConfig["memoryMonitor"]>;
  /** Where sessions lie; default the user's folder in the system's temporary one. */
  readonly base?: string;
  /** How to start it; tests start a program of their own. */
  readonly command?: ProcessCommand;
  /** Default 30,000. */
  readonly readyTimeoutMs?: number;
  /** Given what an embedded node writes to standard error, as MOBULA_LOG asks for. */
  readonly onStderr?: (text: string) => void;
}

export interface NodeExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderrTail: string;
  /** It ended because it was told to, and has left nothing behind. */
  readonly isOrderly: boolean;
}

export interface LaunchedNode {
  readonly pid: number;
  readonly nodeSocket: string;
  readonly token: string;
  readonly sessionDir: string;
  /** Resolves once, when the process has ended and what it left, if it was killed, is removed. */
  readonly exited: Promise<NodeExit>;
  /** Ends it in order, at once after `timeoutMs` (default 40,000: actors have 30 s for their shutdown hooks). */
  stop(timeoutMs?: number): Promise<void>;
  /** Ends it at once, in at most two seconds. */
  stopNow(): Promise<void>;
}

const READY_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 40_000;
/** After a second signal, or the end of its lifeline, a node is gone by then; then it is killed. */
const HURRY_MS = 2_000;
/** A line of news is short; a broken peer must not fill our memory. */
const NEWS_BYTES_MAX = 64 * 1024;

/**
 * Starts a node and resolves when it answers on its socket. An embedded one (the default) ends with this process, however
 * that ends, and does not keep it alive. Call it on the main thread: a thread's end would count as the process's.
 *
 * @throws InvalidOptionError when no temporary folder can be used; ConnectionLostError (`unavailable`) when the node ended
 * before it was ready, with the last lines it wrote; what the node itself reports as the reason otherwise.
 */
export async function launchNode(options: LaunchOptions = {}): Promise<LaunchedNode> {
  const sessionDir = createSession(options.base ?? baseFolder());
  const config = configOf(options, sessionDir);
  let child: ChildProcess;
  try {
    child = startProcess(config, options.command ?? processCommand("node"));
  } catch (error) {
    removeSession(sessionDir);
    throw error;
  }
  return follow(child, config, options);
}

function configOf(options: LaunchOptions, sessionDir: string): NodeConfig {
  const { memoryMonitor, base: _base, command: _command, readyTimeoutMs: _ready, onStderr: _stderr, ...rest } = options;
  const standing = options.standing ?? false;
  return {
    nodeId: newNodeId(),
    name: hostname(),
    token: randomBytes(32).toString("hex"),
    resources: {},
    infeasibleTimeoutMs: INFEASIBLE_TIMEOUT_MS,
    putTimeoutMs: PUT_TIMEOUT_MS,
    standing,
    logLevel: logLevel(),
    workerExecArgv: [],
    ...(standing ? {} : { driverPid: process.pid }),
    ...rest,
    sessionDir,
    nodeSocket: socketPathOf(sessionDir),
    memoryMonitor: { ...MEMORY_MONITOR_DEFAULTS, ...memoryMonitor },
  };
}

function startProcess(config: NodeConfig, command: ProcessCommand): ChildProcess {
  // A standing node outlives its launcher: what it writes must have somewhere to go.
  const stderr = config.standing ? openSync(join(logFolderOf(config.sessionDir), "node.stderr"), "a", 0o600) : "pipe";
  try {
    return spawn(command.execPath, command.args, {
      stdio: ["ignore", "ignore", stderr, "pipe"],
      // A group of its own: the terminal's Ctrl-C is for the driver, which ends the node in order.
      detached: true,
      cwd: config.standing ? "/" : undefined,
      env: {
        ...process.env,
        ...compileCacheEnvironment(),
        ...codeCacheEnvironment(codeCachePath("node", [])),
        [NODE_VARIABLE]: JSON.stringify(config),
      },
    });
  } finally {
    if (typeof stderr === "number") closeSync(stderr);
  }
}

async function follow(child: ChildProcess, config: NodeConfig, options: LaunchOptions): Promise<LaunchedNode> {
  const { readyTimeoutMs = READY_TIMEOUT_MS, onStderr } = options;
  const { sessionDir, nodeSocket, token } = config;
  const tail = new Tail();
  const lifeline = child.stdio[3] as Duplex; // "pipe" at index 3 of `stdio`.
  const stderr = child.stderr as Readable | null;
  stderr?.setEncoding("utf8").on("data", (text: string) => {
    tail.push(text.trimEnd());
    onStderr?.(text);
  });
  let hasEndedInOrder = false;
  let isReady = false;

  const exited = new Promise<NodeExit>((resolve) => {
    const end = (code: number | null, signal: NodeJS.Signals | null): void => {
      // What it said last may still be unread.
      setImmediate(() => {
        removeSession(sessionDir);
        lifeline.destroy();
        const isOrderly = hasEndedInOrder;
        resolve({
          code: isOrderly ? 0 : code,
          signal: isOrderly ? null : signal,
          stderrTail: tail.toString(),
          isOrderly,
        });
      });
    };
    child.once("exit", end);
    child.once("error", (error) => {
      if (child.pid !== undefined) return;
      tail.push(error.message);
      end(null, null);
    });
  });

  const ready = new Promise<void>((resolve, reject) => {
    readNews(lifeline, (news) => {
      if (news.kind === "ready") resolve();
      else if (news.kind === "ended") hasEndedInOrder = true;
      else reject(errorFromCode(news.code, news.errorKind, news.message));
    });
    void exited.then(({ code, signal, stderrTail }) => {
      if (isReady) return;
      const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
      reject(new ConnectionLostError(`the node ended before it was ready (${how}): ${stderrTail}`));
    });
    const timer = setTimeout(() => {
      if (!isReady) reject(new ConnectionLostError(`the node was not ready within ${readyTimeoutMs} ms`));
    }, readyTimeoutMs);
    timer.unref();
  });

  try {
    await ready;
    isReady = true;
  } catch (error) {
    child.kill("SIGKILL");
    await exited;
    throw error;
  }
  if (config.standing) {
    // The launcher may end; the node then goes on without it.
    lifeline.destroy();
  }
  // None of this keeps the program alive.
  child.unref();
  for (const stream of [lifeline, stderr]) (stream as unknown as { unref?(): void } | null)?.unref?.();

  const stopNow = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.ref();
      // Two different signals: equal ones can become one on the way.
      child.kill("SIGTERM");
      child.kill("SIGINT");
      const timer = setTimeout(() => child.kill("SIGKILL"), HURRY_MS);
      await exited;
      clearTimeout(timer);
    }
    await exited;
  };
  return {
    pid: child.pid ?? 0,
    nodeSocket,
    token,
    sessionDir,
    exited,
    stopNow,
    async stop(timeoutMs = STOP_TIMEOUT_MS) {
      if (child.exitCode === null && child.signalCode === null) {
        child.ref();
        child.kill("SIGTERM");
        const timer = setTimeout(() => void stopNow(), timeoutMs);
        await exited;
        clearTimeout(timer);
      }
      await exited;
    },
  };
}

function readNews(lifeline: Duplex, onNews: (news: NodeNews) => void): void {
  let text = "";
  lifeline.on("error", () => lifeline.destroy()); // Its end is told by the exit of the process.
  lifeline.setEncoding("utf8").on("data", (chunk: string) => {
    text = (text + chunk).slice(-NEWS_BYTES_MAX);
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      const line = text.slice(0, end);
      text = text.slice(end + 1);
      onNews(JSON.parse(line) as NodeNews); // Written by main.ts.
    }
  });
}
