/** `context.timeline(file)`: asks the node for the events of all processes and writes them as a trace. */
import { writeFile } from "node:fs/promises";
import { nodeTag, type ProcessId } from "../base/ids.ts";
import type { OwnerPort } from "../client/mod.ts";
import { timelineChunks } from "../events/mod.ts";
import type { Queries } from "../wire/mod.ts";

/** @throws what the node answers with, and what writing the file fails with. */
export async function writeTimeline(port: OwnerPort, driver: ProcessId, file: string): Promise<void> {
  const [{ batches, droppedBatches }, nodes] = await Promise.all([
    port.query("timeline", null) as Promise<Queries["timeline"]["result"]>,
    port.query("nodes", null) as Promise<Queries["nodes"]["result"]>,
  ]);
  const nodeNames = new Map(nodes.map(({ nodeId, name }) => [nodeTag(nodeId), name]));
  await writeFile(file, timelineChunks({ batches, droppedBatches, driver, driverPid: process.pid, nodeNames }));
}
