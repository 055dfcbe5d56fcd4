/** Starting a head. Its lifeline is like a node's. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, rmSync } from "node:fs";
import { InvalidOptionError } from "../base/errors.ts";
import { compileCacheEnvironment } from "../bin/cache-directory.ts";
import { processCommand } from "../bin/entries.ts";
import {
  baseFolder,
  createSession,
  follow,
  type LaunchedProcess,
  logLevel,
  openStderr,
  outlivesLauncher,
  removeSession,
} from "../node/mod.ts";
import { readTokens } from "../transport/mod.ts";
import type { TlsFiles } from "../wire/mod.ts";
import { HEAD_PORT, HEAD_VARIABLE, type HeadConfig } from "./config.ts";
import { hasToken, lastPort, openStateFolder, tokenFileIn } from "./state-folder.ts";

/** All but the folder optional. */
export interface HeadOptions extends Partial<Omit<HeadConfig, "sessionDir" | "access">> {
  readonly stateDir: string;
  /** The cluster's tokens, see {@link AccessFiles}; default: a file in the folder. */
  readonly tokenFile?: string | undefined;
  readonly tls?: TlsFiles | undefined;
  /** Where sessions lie; default the user's folder in the system's temporary one. */
  readonly base?: string | undefined;
  readonly onStderr?: (text: string) => void;
  /** For it, beside what this process has. */
  readonly env?: Readonly<Record<string, string>> | undefined;
}

export interface LaunchedHead extends LaunchedProcess {
  /** `host:port`, as nodes are told. */
  readonly address: string;
  /** The one that new nodes use now. */
  readonly token: string;
  readonly tokenFile: string;
  /** Where its state service answers over HTTP. */
  readonly dashboard: string | undefined;
}

/** One that was started. Its token is known before it serves, so that a node of its own may start beside it. */
export interface BeginningHead {
  readonly token: string;
  readonly tokenFile: string;
  /** Resolves when nodes can join. */
  readonly launched: Promise<LaunchedHead>;
}

/** Servers that were started at the same time need a while to find each other. */
const REPLICATED_READY_MS = 90_000;
const LOOPBACK = "127.0.0.1";

/**
 * Starts a head and resolves when nodes can join. One that was killed goes on where it was, on the same folder.
 *
 * @throws InvalidOptionError for a folder or token that cannot be used; ConnectionLostError when no port is free; what the
 * state store says when it cannot be opened.
 */
export const launchHead = async (options: HeadOptions): Promise<LaunchedHead> => beginHead(options).launched;

/** As {@link launchHead}. @throws InvalidOptionError at once; all else is in `launched`. */
export function beginHead(options: HeadOptions): BeginningHead {
  const { base = baseFolder(), onStderr, env, tokenFile: givenFile, tls, ...given } = options;
  const { stateDir } = given;
  openStateFolder(stateDir);
  const isNew = given.replicated !== undefined && givenFile === undefined && !hasToken(stateDir);
  if (given.replicated !== undefined) requireToken(stateDir, givenFile);
  const tokenFile = givenFile ?? tokenFileIn(stateDir);
  const [token] = readTokens(tokenFile);
  const sessionDir = createSession(base);
  const standing = given.standing ?? false;
  const config: HeadConfig = {
    host: LOOPBACK,
    port: lastPort(stateDir) ?? HEAD_PORT,
    logLevel: logLevel(),
    standing,
    ...(standing ? {} : { driverPid: process.pid }),
    ...(process.env.MOBULA_DASHBOARD === "off" && { dashboard: null }),
    ...given,
    access: { tokenFile, ...(tls && { tls }) },
    sessionDir,
  };
  let child: ChildProcess;
  try {
    child = startProcess(config, env);
  } catch (error) {
    removeSession(sessionDir);
    throw error;
  }
  let address = "";
  let dashboard: string | undefined;
  const following = follow(child, {
    name: "head",
    sessionDir,
    outlives: outlivesLauncher(config),
    onStderr,
    ...(given.replicated !== undefined && { readyTimeoutMs: REPLICATED_READY_MS }),
    onReady: (news) => {
      address = news.address ?? "";
      dashboard = news.dashboard;
    },
  });
  const launched = following.then(
    (process) => ({ ...process, address, token, tokenFile, dashboard }),
    (error) => {
      // The next start may be given another one: this was not that of the cluster, perhaps.
      if (isNew) rmSync(tokenFile);
      throw error;
    },
  );
  return { token, tokenFile, launched };
}

/** Heads on one state are of one cluster, and each on a machine of its own. */
function requireToken(stateDir: string, givenFile: string | undefined): void {
  if (givenFile !== undefined || process.env.MOBULA_TOKEN || hasToken(stateDir)) return;
  throw new InvalidOptionError(
    "all heads of a cluster need the same token: give it as MOBULA_TOKEN or in --token-file (`openssl rand -hex 32` makes one)",
  );
}

function startProcess(config: HeadConfig, env: HeadOptions["env"]): ChildProcess {
  const { execPath, args } = processCommand("head");
  const { MOBULA_TOKEN: _token, ...inherited } = process.env;
  const outlives = outlivesLauncher(config);
  const stderr = outlives ? openStderr(config.sessionDir, "head") : "pipe";
  try {
    return spawn(execPath, args, {
      stdio: ["ignore", "ignore", stderr, "pipe"],
      detached: true,
      cwd: outlives ? "/" : undefined,
      env: { ...inherited, ...env, ...compileCacheEnvironment(), [HEAD_VARIABLE]: JSON.stringify(config) },
    });
  } finally {
    if (typeof stderr === "number") closeSync(stderr);
  }
}
