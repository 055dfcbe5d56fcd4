/** Reads an inspection of a process to its end: a stack, or a profile. */
import { setTimeout as delay } from "node:timers/promises";
import { ConnectionLostError } from "../base/errors.ts";
import type { FoundProcess, InspectedThing } from "../wire/inspection.ts";
import type { Queries } from "../wire/queries.ts";

type Asks = <M extends "inspect-begin" | "inspect-read">(
  method: M,
  params: Queries[M]["params"],
) => Promise<Queries[M]["result"]>;

/** A read is answered within a second; of one that was lost on the way the answer is asked for again. */
const READS_LOST_MAX = 5;
const READ_AGAIN_MS = 200;

/** Resolves to what it gives: JSON, or a profile. @throws what the node says of it. */
export async function inspect(
  ask: Asks,
  { pid, nodeId }: Pick<FoundProcess, "pid" | "nodeId">,
  what: InspectedThing,
  seconds?: number,
): Promise<Buffer> {
  const asked = { pid, nodeId, what, ...(seconds !== undefined && { seconds }) };
  const { inspection } = await ask("inspect-begin", asked);
  const slices: Buffer[] = [];
  let offset = 0;
  for (let lost = 0; ; ) {
    try {
      const read = await ask("inspect-read", { inspection, nodeId, offset });
      lost = 0;
      if (!read.isDone) continue;
      slices.push(Buffer.from(read.bytes));
      offset += read.bytes.length;
      if (offset >= read.totalBytes) return Buffer.concat(slices);
    } catch (error) {
      // The machine may be busy, or a connection be made anew.
      if (!(error instanceof ConnectionLostError) || ++lost > READS_LOST_MAX) throw error;
      await delay(READ_AGAIN_MS);
    }
  }
}
