/**
 * A standing node that its cluster has given up begins anew: the same process, folder, socket and name, and another node id.
 * The program is started over in its process (execve), so that nothing of the old node is left in memory, whoever waits for the
 * process' end need not learn of it, and the first process of a container may be a node.
 */

import { InternalError } from "../base/errors.ts";
import { newNodeId } from "../base/ids.ts";
import { NODE_VARIABLE, type NodeConfig } from "./config.ts";
import { emptySession } from "./session-folder.ts";

/** Call it when everything has ended. */
export function beginAnew(config: NodeConfig): never {
  emptySession(config.sessionDir);
  const next: NodeConfig = { ...config, nodeId: newNodeId(), restarts: (config.restarts ?? 0) + 1 };
  const args = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  process.execve?.(process.execPath, args, { ...process.env, [NODE_VARIABLE]: JSON.stringify(next) });
  throw new InternalError("this system cannot start a program over in its process");
}
