/** Reads an inspection of a process to its end: a stack, a profile, or a heap snapshot, which is passed on as it comes. */
import { setTimeout as delay } from "node:timers/promises";
import { ConnectionLostError } from "../base/errors.ts";
import type { FoundProcess, InspectedThing, SnapshotProgress } from "../wire/inspection.ts";
import type { Queries } from "../wire/queries.ts";

type Asks = <M extends "inspect-begin" | "inspect-read">(
  method: M,
  params: Queries[M]["params"],
) => Promise<Queries[M]["result"]>;

export type InspectOptions = Omit<Queries["inspect-begin"]["params"], "pid" | "what" | "nodeId">;

/** A read is answered within a second; of one that was lost on the way the answer is asked for again. */
const READS_LOST_MAX = 5;
const READ_AGAIN_MS = 200;

/** Resolves to what it gives: JSON, or a profile. @throws what the node says of it. */
export async function inspect(
  ask: Asks,
  target: Pick<FoundProcess, "pid" | "nodeId">,
  what: InspectedThing,
  options: InspectOptions = {},
): Promise<Buffer> {
  const slices: Buffer[] = [];
  for await (const { bytes } of inspected(ask, target, what, options)) slices.push(bytes);
  return Buffer.concat(slices);
}

export interface InspectedSlice {
  readonly bytes: Buffer;
  readonly totalBytes: number;
  readonly inspection: string;
  /** Of a snapshot: what the process stood still for. */
  readonly stillMs: number | undefined;
}

/** The same in pieces; the first comes when all of it is at the node. */
export async function* inspected(
  ask: Asks,
  { pid, nodeId }: Pick<FoundProcess, "pid" | "nodeId">,
  what: InspectedThing,
  options: InspectOptions = {},
  onProgress?: (progress: SnapshotProgress) => void,
): AsyncGenerator<InspectedSlice> {
  const { inspection } = await ask("inspect-begin", { pid, nodeId, what, ...options });
  let offset = 0;
  for (let lost = 0; ; ) {
    let read: Queries["inspect-read"]["result"];
    try {
      read = await ask("inspect-read", { inspection, nodeId, offset });
      lost = 0;
    } catch (error) {
      // The machine may be busy, or a connection be made anew.
      if (!(error instanceof ConnectionLostError) || ++lost > READS_LOST_MAX) throw error;
      await delay(READ_AGAIN_MS);
      continue;
    }
    if (!read.isDone) {
      if (read.progress) onProgress?.(read.progress);
      continue;
    }
    const { totalBytes, stillMs } = read;
    offset += read.bytes.length;
    yield { inspection, bytes: Buffer.from(read.bytes), totalBytes, stillMs };
    if (offset >= totalBytes) return;
  }
}
