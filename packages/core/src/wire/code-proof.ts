/**
 * A node gives files of its machine to other nodes only when a process of its own has named them: the proof says that one has.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { CodeWanted } from "./queries.ts";

type Named = Pick<CodeWanted, "job" | "modules" | "origins">;

export const proofOf = ({ job, modules, origins }: Named, key: string): string =>
  createHmac("sha256", key)
    .update(JSON.stringify([job, modules, origins]))
    .digest("base64url");

export function isProven(named: Named, proof: string, key: string): boolean {
  const [given, right] = [Buffer.from(proof), Buffer.from(proofOf(named, key))];
  return given.length === right.length && timingSafeEqual(given, right);
}
