/**
 * A node that stands by itself on this machine. `standing.json` in the user's folder (mode 0600) says where it is and
 * holds its token: whoever can read the file may join.
 */
import { readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ConnectionLostError, MobulaError } from "../base/errors.ts";
import { type NodeId, newNodeId } from "../base/ids.ts";
import { type LaunchOptions, launchNode } from "./launch.ts";
import { baseFolder, isAlive, processStart, removeSession } from "./session-folder.ts";

export interface StandingNode {
  readonly nodeId: NodeId;
  readonly pid: number;
  /** With the pid it names the process for good. */
  readonly started: string | null;
  readonly nodeSocket: string;
  readonly token: string;
  readonly sessionDir: string;
  /** Milliseconds since the epoch. */
  readonly startedAtMs: number;
}

const ADDRESS_FILE = "standing.json";
const POLL_MS = 20;
/** Actors have 30 s for their shutdown hooks. */
const STOP_TIMEOUT_MS = 40_000;
const KILL_TIMEOUT_MS = 3_000;

/** The standing node of this user, or undefined. */
export function findStandingNode(base: string = baseFolder()): StandingNode | undefined {
  let text: string;
  try {
    text = readFileSync(join(base, ADDRESS_FILE), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  const node = JSON.parse(text) as StandingNode; // Written whole by startStandingNode, and renamed into place.
  return isRunning(node) ? node : undefined;
}

/** Joins what `address: "auto"` means. @throws ConnectionLostError when no node stands. */
export function requireStandingNode(base: string = baseFolder()): StandingNode {
  const node = findStandingNode(base);
  if (!node) throw new ConnectionLostError("no node is running on this machine; start one with `mobula start`");
  return node;
}

/** @throws MobulaError `ALREADY_RUNNING` when one stands already. */
export async function startStandingNode(options: LaunchOptions = {}): Promise<StandingNode> {
  const base = options.base ?? baseFolder();
  const existing = findStandingNode(base);
  if (existing) {
    throw new MobulaError(
      "ALREADY_RUNNING",
      "invalid",
      `a node is running already (pid ${existing.pid}); join it with init({ address: "auto" }) or end it with \`mobula stop\``,
    );
  }
  const nodeId = options.nodeId ?? newNodeId();
  const launched = await launchNode({ ...options, nodeId, base, standing: true });
  const { pid, nodeSocket, token, sessionDir } = launched;
  const node: StandingNode = {
    nodeId,
    pid,
    started: processStart(pid) ?? null,
    nodeSocket,
    token,
    sessionDir,
    startedAtMs: Date.now(),
  };
  const file = join(base, ADDRESS_FILE);
  writeFileSync(`${file}.${process.pid}`, JSON.stringify(node), { mode: 0o600 });
  renameSync(`${file}.${process.pid}`, file);
  return node;
}

/** Ends the standing node, in order unless `atOnce`. False when there was none. */
export async function stopStandingNode({ base = baseFolder(), atOnce = false } = {}): Promise<boolean> {
  const node = findStandingNode(base);
  if (!node) {
    rmSync(join(base, ADDRESS_FILE), { force: true });
    return false;
  }
  process.kill(node.pid, "SIGTERM");
  // Two different signals: equal ones can become one on the way.
  if (atOnce) process.kill(node.pid, "SIGINT");
  if (!(await ended(node, atOnce ? KILL_TIMEOUT_MS : STOP_TIMEOUT_MS))) {
    process.kill(node.pid, "SIGKILL");
    await ended(node, KILL_TIMEOUT_MS);
  }
  removeSession(node.sessionDir);
  rmSync(join(base, ADDRESS_FILE), { force: true });
  return true;
}

async function ended(node: StandingNode, timeoutMs: number): Promise<boolean> {
  // It is nobody's child here, so there is no event to wait for.
  for (const deadline = Date.now() + timeoutMs; isRunning(node); ) {
    if (Date.now() > deadline) return false;
    await delay(POLL_MS);
  }
  return true;
}

function isRunning(node: StandingNode): boolean {
  const started = processStart(node.pid);
  if (started !== undefined) return node.started === null || node.started === started;
  return process.platform !== "linux" && isAlive(node.pid);
}
