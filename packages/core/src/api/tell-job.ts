/** How a driver says to which submitted job it belongs. */
import type { Client } from "../client/mod.ts";

/** The record of a submitted job names the driver that its command has started. */
export async function tellJob({ port, jobId, nodeId, namespace }: Client, submissionId: string): Promise<void> {
  const { driverKey, encodeLink } = await import("../entrypoint/mod.ts");
  const value = encodeLink({ jobId, pid: process.pid, nodeId, namespace });
  await port.query("kv-commit", { changes: [{ key: driverKey(submissionId), value }] });
}
