/** Which process of a cluster is meant: each node knows its own. */
import { ConnectionLostError } from "../base/errors.ts";
import type { Member } from "../control/mod.ts";
import type { Asks } from "../node/mod.ts";
import type { FoundProcess } from "../wire/mod.ts";

/** @throws ConnectionLostError when nothing was found and not all nodes have answered. */
export async function findProcesses(
  asks: Asks,
  members: readonly Member[],
  id: string,
): Promise<readonly FoundProcess[]> {
  const silent: string[] = [];
  const found = await Promise.all(
    members.map(({ description: { nodeId, name } }) =>
      asks.ask(nodeId, "find-process", { id, nodeId }).catch(() => {
        silent.push(name);
        return [];
      }),
    ),
  );
  const all = found.flat();
  if (all.length > 0 || silent.length === 0) return all;
  throw new ConnectionLostError(`no process ${id} was found, and these nodes did not answer: ${silent.join(", ")}`);
}
