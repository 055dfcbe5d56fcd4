/**
 * Starting a node from a driver or from the command line. Nothing heavy is imported here: this is on the way to a
 * program's first result.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync } from "node:fs";
import { hostname } from "node:os";
import type { Duplex } from "node:stream";
import { newNodeId } from "../base/ids.ts";
import { INFEASIBLE_TIMEOUT_MS, PUT_TIMEOUT_MS } from "../base/limits.ts";
import { randomBytes } from "../base/random.ts";
import { compileCacheEnvironment } from "../bin/cache-directory.ts";
import { codeCacheEnvironment, codeCachePath, type ProcessCommand, processCommand } from "../bin/entries.ts";
import type { AccessFiles, TlsFiles } from "../wire/mod.ts";
import type { LimitsInfo } from "../wire/queries.ts";
import {
  type ClusterConfig,
  defaultDashboard,
  logLevel,
  MEMORY_MONITOR_DEFAULTS,
  NODE_VARIABLE,
  type NodeConfig,
  outlivesLauncher,
} from "./config.ts";
import { follow, type LaunchedProcess } from "./launched-process.ts";
import { type LauncherWord, LIFELINE_FD } from "./lifeline.ts";
import { baseFolder, createSession, keepToken, openStderr, removeSession, socketPathOf } from "./session-folder.ts";

/** All optional: what is left out has the default of {@link NodeConfig}. */
export interface LaunchOptions
  extends Partial<Omit<NodeConfig, "sessionDir" | "nodeSocket" | "memoryMonitor" | "cluster">> {
  readonly cluster?: ClusterOptions | undefined;
  readonly memoryMonitor?: Partial<NodeConfig["memoryMonitor"]>;
  /** Where sessions lie; default the user's folder in the system's temporary one. */
  readonly base?: string;
  /** How to start it; tests start a program of their own. */
  readonly command?: ProcessCommand;
  /** Default 30,000. */
  readonly readyTimeoutMs?: number;
  /** Given what an embedded node writes to standard error, as MOBULA_LOG asks for. */
  readonly onStderr?: (text: string) => void;
  /** For it and its workers, beside what this process has. */
  readonly env?: Readonly<Record<string, string>> | undefined;
}

/** The token of the cluster as text, or in a file that is read again when it changes. */
export type ClusterOptions = Omit<ClusterConfig, "access" | "address"> & {
  /** Of the head, `host:port`; of one that begins at the same time, when it has. The node joins then. */
  readonly address: string | Promise<string>;
  readonly tls?: TlsFiles | undefined;
} & ({ readonly token: string } | { readonly tokenFile: string });

export interface LaunchedNode extends LaunchedProcess {
  /** Where the state service answers over HTTP. */
  readonly dashboard: string | undefined;
  readonly nodeSocket: string;
  readonly token: string;
  readonly limits: LimitsInfo | undefined;
}

/**
 * Starts a node and resolves when it answers on its socket. An embedded one (the default) ends with this process, however
 * that ends, and does not keep it alive; so does a standing one that is given this process as `driverPid`. Call it on the main thread: a thread's end would count as the process's.
 *
 * @throws InvalidOptionError when no temporary folder can be used; ConnectionLostError (`unavailable`) when the node ended
 * before it was ready, with the last lines it wrote; what the node itself reports as the reason otherwise; why the head has not begun.
 */
export async function launchNode(options: LaunchOptions = {}): Promise<LaunchedNode> {
  const sessionDir = createSession(options.base ?? baseFolder());
  const config = configOf(options, sessionDir);
  let child: ChildProcess;
  try {
    child = startProcess(config, options.command ?? processCommand("node"), options.env);
  } catch (error) {
    removeSession(sessionDir);
    throw error;
  }
  const { nodeSocket, token } = config;
  const { readyTimeoutMs, onStderr } = options;
  const outlives = outlivesLauncher(config);
  const address = options.cluster?.address;
  if (typeof address === "object") sayWhen(child, address);
  let limits: LimitsInfo | undefined;
  let dashboard: string | undefined;
  const following = follow(child, {
    ...{ name: "node", sessionDir, outlives, readyTimeoutMs, onStderr },
    onReady: (news) => {
      limits = news.limits;
      dashboard = news.dashboard;
    },
  });
  const launched = await following.catch(async (error) => {
    await address; // Without a head there is no node, and why there is none says more.
    throw error;
  });
  return { ...launched, nodeSocket, token, limits, dashboard };
}

/** A node loads its code while the head does. */
function sayWhen(child: ChildProcess, address: Promise<string>): void {
  const say = (word: LauncherWord) => (child.stdio[LIFELINE_FD] as Duplex).write(`${JSON.stringify(word)}\n`);
  address.then(
    (known) => say({ address: known }),
    () => child.kill("SIGKILL"),
  );
}

function configOf(options: LaunchOptions, sessionDir: string): NodeConfig {
  const {
    memoryMonitor,
    base: _base,
    command: _command,
    readyTimeoutMs: _ready,
    onStderr: _stderr,
    env: _env,
    cluster,
    ...rest
  } = options;
  const standing = options.standing ?? false;
  const dashboard = defaultDashboard();
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
    ...(!cluster && dashboard && { dashboard }),
    ...rest,
    ...(cluster && { cluster: clusterOf(cluster, sessionDir) }),
    sessionDir,
    nodeSocket: socketPathOf(sessionDir),
    memoryMonitor: { ...MEMORY_MONITOR_DEFAULTS, ...memoryMonitor },
  };
}

function clusterOf({ tls, ...options }: ClusterOptions, sessionDir: string): ClusterConfig {
  const { address, labels, host, ports, advertise } = options;
  const tokenFile = "token" in options ? keepToken(sessionDir, options.token) : options.tokenFile;
  const access: AccessFiles = { tokenFile, ...(tls && { tls }) };
  return {
    ...(typeof address === "string" && { address }),
    ...{ access, labels, host, ports },
    ...(advertise !== undefined && { advertise }),
  };
}

function startProcess(config: NodeConfig, command: ProcessCommand, env: LaunchOptions["env"]): ChildProcess {
  const outlives = outlivesLauncher(config);
  // What it writes when its launcher is gone must have somewhere to go.
  const stderr = outlives ? openStderr(config.sessionDir, "node") : "pipe";
  // It is in a file, and nothing that tasks start is to inherit it.
  const { MOBULA_TOKEN, ...inherited } = process.env;
  try {
    return spawn(command.execPath, command.args, {
      stdio: ["ignore", "ignore", stderr, "pipe"],
      // A group of its own: the terminal's Ctrl-C is for the driver, which ends the node in order.
      detached: true,
      cwd: outlives ? "/" : undefined,
      env: {
        ...inherited,
        ...(MOBULA_TOKEN !== undefined && !config.cluster && { MOBULA_TOKEN }),
        ...env,
        ...compileCacheEnvironment(),
        ...codeCacheEnvironment(codeCachePath("node", [])),
        [NODE_VARIABLE]: JSON.stringify(config),
      },
    });
  } finally {
    if (typeof stderr === "number") closeSync(stderr);
  }
}
