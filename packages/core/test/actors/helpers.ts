import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { get, type ObjectRef, remote } from "mobula";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";
import { Gate, type GateHandle } from "./classes.ts";

/** The error that a ref rejects with. */
export async function errorOf(ref: ObjectRef): Promise<Error & { readonly code?: string; readonly kind?: string }> {
  try {
    await get(ref);
  } catch (error) {
    return error as Error;
  }
  throw new Error(`${ref.id} did not reject`);
}

export const newGate = (): GateHandle => remote(Gate, { maxConcurrency: 1_000, isolation: "shared" }).remote();

export const waitingAt = (gate: GateHandle, count: number): Promise<boolean> =>
  eventually(async () => (await get(gate.waiting.remote())) >= count, `${count} calls wait at the gate`);

export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");
  } catch {
    return false;
  }
};

/** Gone when the test file has run. */
export const newFile = (): string => join(newFolder(), "notes");

export const linesOf = (file: string): string[] =>
  existsSync(file) ? readFileSync(file, "utf8").split("\n").slice(0, -1) : [];

/** Waits until the actor's process is gone. */
export async function processEnds(pid: number): Promise<void> {
  await eventually(() => !isAlive(pid), `process ${pid} ends`);
}
