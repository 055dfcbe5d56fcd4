/**
 * The last that a job has printed, kept at control: it is there when the node on which it ran is not any more. Written while it prints,
 * and at its end. Bounded: a few KiB of each job, of those that have ended the last ones (jobs/manager.ts).
 */
import type { AskKv } from "./records.ts";

/** A hundred lines and more. */
export const KEPT_BYTES_MAX = 16 * 1024;
export const OUTPUT_PREFIX = "job-output/";
export const outputKey = (submissionId: string): string => OUTPUT_PREFIX + submissionId;

export interface KeptOutput {
  readonly bytes: Uint8Array;
  /** Where they begin in what it has printed. */
  readonly from: number;
  /** When it was written, since 1970. */
  readonly atMs: number;
  /** Where it ran. */
  readonly nodeId: string;
}

const HEAD_BYTES = 20;

/** Its layout is the first byte. */
export function encodeOutput({ bytes, from, atMs, nodeId }: KeptOutput): Uint8Array {
  const node = Buffer.from(nodeId);
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt8(1, 0);
  head.writeUInt8(node.length, 1);
  head.writeDoubleLE(from, 2);
  head.writeDoubleLE(atMs, 10);
  return Buffer.concat([head, node, bytes]);
}

/** Undefined for what a later version has written. */
function decodeOutput(value: Uint8Array): KeptOutput | undefined {
  const kept = Buffer.from(value.buffer, value.byteOffset, value.length);
  if (kept.readUInt8(0) !== 1) return undefined;
  const bytesFrom = HEAD_BYTES + kept.readUInt8(1);
  return {
    nodeId: kept.toString("utf8", HEAD_BYTES, bytesFrom),
    from: kept.readDoubleLE(2),
    atMs: kept.readDoubleLE(10),
    bytes: kept.subarray(bytesFrom),
  };
}

export async function findOutput(ask: AskKv, submissionId: string): Promise<KeptOutput | undefined> {
  const kept = await ask("kv-get", { key: outputKey(submissionId) });
  return kept ? decodeOutput(kept.value) : undefined;
}
