/** Which processes a run has, from /proc: Linux only. */
import { existsSync, readdirSync, readFileSync } from "node:fs";

export interface Found {
  readonly pid: number;
  readonly program: "node" | "worker" | "other";
}

/** What a process uses that lasts. */
export interface Used {
  /** Memory of its own, but for what it keeps on purpose. */
  readonly bytes: number;
  readonly files: number;
  /** How many workers it has connections to. */
  readonly workers: number;
}

/** Children of this process and theirs. */
export function descendants(root: number = process.pid): Found[] {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readProc(`${name}/stat`);
    if (stat === undefined) continue;
    const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    if (state === "Z") continue;
    const siblings = children.get(Number(parent)) ?? [];
    siblings.push(Number(name));
    children.set(Number(parent), siblings);
  }
  const found: Found[] = [];
  const visit = (pid: number): void => {
    for (const child of children.get(pid) ?? []) {
      found.push({ pid: child, program: programOf(child) });
      visit(child);
    }
  };
  visit(root);
  return found;
}

function programOf(pid: number): Found["program"] {
  const program = /\/(node|worker)\.(?:cjs|ts)(?:\0|$)/.exec(readProc(`${pid}/cmdline`) ?? "")?.[1];
  return program === "node" || program === "worker" ? program : "other";
}

/** A worker that is still starting has no socket yet. */
export function isReady(worker: number): boolean {
  const socket = /"address":"([^"]+)"/.exec(readProc(`${worker}/environ`) ?? "")?.[1];
  return socket !== undefined && existsSync(socket);
}

/** Memory of the process's own: neither files nor what it shares, such as the object store. */
export function ownBytes(pid: number): number {
  const kib = /^Anonymous:\s+(\d+) kB$/m.exec(readProc(`${pid}/smaps_rollup`) ?? "")?.[1];
  return Number(kib ?? 0) * 1024;
}

export function openFiles(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch (error) {
    if (isGone(error)) return 0;
    throw error;
  }
}

function readProc(path: string): string | undefined {
  try {
    return readFileSync(`/proc/${path}`, "utf8");
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}

function isGone(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOENT" || code === "ESRCH";
}
