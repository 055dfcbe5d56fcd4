/** Signals between a test and its tasks, as files: they work in synchronous code and outlive a killed worker. */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { get, type ObjectRef } from "mobula";
import { eventually } from "../eventually.ts";

const POLL_MS = 5;
const EVENTUALLY_MS = 15_000;

export const raise = (folder: string, flag: string): void => writeFileSync(join(folder, flag), "");

export const isRaised = (folder: string, flag: string): boolean => existsSync(join(folder, flag));

/** Adds a line; returns how many there are now. */
export function note(folder: string, line: string): number {
  appendFileSync(join(folder, "notes"), `${line}\n`);
  return notes(folder).length;
}

/** Whole lines: one may be on its way. */
export const notes = (folder: string): string[] =>
  existsSync(join(folder, "notes")) ? readFileSync(join(folder, "notes"), "utf8").split("\n").slice(0, -1) : [];

export const raised = (folder: string, flag: string): Promise<boolean> =>
  eventually(() => isRaised(folder, flag), `flag ${flag} is raised`);

/** Blocks the thread until the flag is raised. */
export function blockUntil(folder: string, flag: string): void {
  const deadline = performance.now() + EVENTUALLY_MS;
  const cell = new Int32Array(new SharedArrayBuffer(4));
  while (!isRaised(folder, flag)) {
    if (performance.now() > deadline) throw new Error(`flag ${flag} was not raised`);
    Atomics.wait(cell, 0, 0, POLL_MS);
  }
}

export type DetailedError = Error & { readonly code?: string; readonly kind?: string; readonly cause?: unknown };

/** The error that a ref, or a promise, rejects with. */
export async function errorOf(rejecting: ObjectRef | Promise<unknown>): Promise<DetailedError> {
  try {
    await (rejecting instanceof Promise ? rejecting : get(rejecting));
  } catch (error) {
    return error as DetailedError;
  }
  throw new Error("it did not reject");
}

export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");
  } catch {
    return false;
  }
};
