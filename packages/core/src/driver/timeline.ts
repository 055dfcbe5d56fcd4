/** `context.timeline(file)`: asks the node for the events of all processes and writes them as a trace. */
import { writeFile } from "node:fs/promises";
import type { OwnerPort } from "../client/mod.ts";
import { timelineChunks } from "../events/mod.ts";
import type { Queries } from "../wire/mod.ts";

/** @throws what the node answers with, and what writing the file fails with. */
export async function writeTimeline(port: OwnerPort, file: string): Promise<void> {
  const { batches, droppedBatches } = (await port.query("timeline", null)) as Queries["timeline"]["result"];
  await writeFile(file, timelineChunks({ batches, droppedBatches, driverPid: process.pid }));
}
