/**
 * A node that stands by itself on this machine. `standing.json` in the user's folder (mode 0600) says where it is and
 * holds its token: whoever can read the file may join.
 */
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { ConnectionLostError, MobulaError } from "../base/errors.ts";
import { type NodeId, newNodeId } from "../base/ids.ts";
import type { LimitsInfo } from "../wire/queries.ts";
import { type LaunchedNode, type LaunchOptions, launchNode } from "./launch.ts";
import { endProcessOf, type RunningProcess, readAddressFile, writeAddressFile } from "./running-process.ts";
import { baseFolder, lastBrokenLogs, nodeOf, processStart, removeSession } from "./session-folder.ts";

export interface StandingNode extends RunningProcess {
  readonly nodeId: NodeId;
  readonly nodeSocket: string;
  readonly token: string;
  readonly sessionDir: string;
  /** Milliseconds since the epoch. */
  readonly startedAtMs: number;
  /** Of the cluster that it is a node of, `host:port`. */
  readonly cluster?: string;
  /** Where the state service answers over HTTP, of one without a cluster. */
  readonly dashboard?: string;
  /** Whether the kernel keeps its workers to what their leases say. */
  readonly limits?: LimitsInfo;
}

/** Of a process that this one has started: how it ended, as soon as that is known. */
export type Started<T> = T & Pick<LaunchedNode, "exited">;

const ADDRESS_FILE = "standing.json";

/** The standing node of this user, or undefined. */
export function findStandingNode(base: string = baseFolder()): StandingNode | undefined {
  const node = readAddressFile<StandingNode>(join(base, ADDRESS_FILE));
  return node && { ...node, nodeId: nodeOf(node.sessionDir) ?? node.nodeId };
}

/** Joins what `address: "auto"` means. @throws ConnectionLostError when no node stands. */
export function requireStandingNode(base: string = baseFolder()): StandingNode {
  const node = findStandingNode(base);
  if (!node) {
    const why = whyNoNode(base);
    throw new ConnectionLostError(
      `no node is running on this machine; start one with \`mobula start\`${why === undefined ? "" : ` (${why})`}`,
    );
  }
  return node;
}

/** Where to look when the last node was started, and not stopped, and yet is gone. */
export function whyNoNode(base: string = baseFolder()): string | undefined {
  const logs = existsSync(join(base, ADDRESS_FILE)) ? lastBrokenLogs(base) : undefined;
  return logs && `the last one ended by itself or was killed; its logs are in ${logs}`;
}

/** @throws MobulaError `ALREADY_RUNNING` when one stands already. */
export async function startStandingNode(options: LaunchOptions = {}): Promise<Started<StandingNode>> {
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
  const { pid, nodeSocket, token, sessionDir, limits, dashboard } = launched;
  const node: StandingNode = {
    nodeId,
    pid,
    started: processStart(pid) ?? null,
    nodeSocket,
    token,
    sessionDir,
    startedAtMs: Date.now(),
    ...(options.cluster && { cluster: await options.cluster.address }),
    ...(limits && { limits }),
    ...(dashboard !== undefined && { dashboard }),
  };
  writeAddressFile(join(base, ADDRESS_FILE), node);
  return { ...node, exited: launched.exited };
}

/** Ends the standing node, in order unless `atOnce`. False when there was none. */
export async function stopStandingNode({ base = baseFolder(), atOnce = false } = {}): Promise<boolean> {
  const node = findStandingNode(base);
  if (!node) {
    rmSync(join(base, ADDRESS_FILE), { force: true });
    return false;
  }
  await endProcessOf(node, atOnce);
  removeSession(node.sessionDir);
  rmSync(join(base, ADDRESS_FILE), { force: true });
  return true;
}
