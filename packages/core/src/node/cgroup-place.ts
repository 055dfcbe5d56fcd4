/**
 * Where this process may make cgroups of version 2: in its own one, when that was handed over to it ("delegated") and nobody
 * else's processes are in it. Looks, and changes nothing.
 */
import { execFile } from "node:child_process";
import { accessSync, constants, existsSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { procStat } from "./proc-stat.ts";

export type Controller = "memory" | "cpu";

export interface CgroupPlace {
  /** The cgroup in which others are made. */
  readonly folder: string;
  /** Those of the two that it can use. */
  readonly controllers: readonly Controller[];
}

/** Why there is none, and what to do about it: for people. */
export class NoPlaceError extends Error {
  readonly advice: string;

  constructor(why: string, advice: string) {
    super(why);
    this.advice = advice;
  }
}

/** What it looks at, for tests. */
export interface Sight {
  /** Default /proc. */
  readonly proc?: string;
  /** Whether systemd has handed over this unit; undefined when it manages none here. */
  readonly isDelegated?: (unit: string, ofUser: boolean) => Promise<boolean | undefined>;
  readonly parentOf?: (pid: number) => number | undefined;
}

/** The node, its head and whoever has started them are moved here, since a cgroup with limits inside may hold no process itself. */
export const NODE_GROUP = "mobula-node";
const OTHERS_NAMED_MAX = 5;
const SYSTEMCTL_TIMEOUT_MS = 2_000;

/** @throws NoPlaceError */
export async function findPlace(sight: Sight = {}): Promise<CgroupPlace> {
  const { proc = "/proc", isDelegated = askSystemd } = sight;
  const own = ownGroup(proc);
  // An earlier node of the same place has moved this process, or the service manager has put it there.
  const isInside = basename(own.path) === NODE_GROUP;
  const folder = isInside ? dirname(own.folder) : own.folder;
  const offered = (readText(join(folder, "cgroup.controllers")) ?? "").split(" ");
  const controllers = (["memory", "cpu"] as const).filter((one) => offered.includes(one));
  if (controllers.length === 0) {
    const isOld = /^(memory|cpu)\t[1-9]/m.test(readText(join(proc, "cgroups")) ?? "");
    const where = isOld ? "; on this machine they belong to version 1" : "";
    throw new NoPlaceError(
      `its cgroup ${folder} has neither the memory nor the cpu controller of version 2${where}`,
      isOld ? "start the machine with systemd.unified_cgroup_hierarchy=1" : howTo(),
    );
  }
  const type = readText(join(folder, "cgroup.type"));
  if (type === undefined) throw new NoPlaceError("its cgroup is the root of all of this machine", howTo());
  if (type !== "domain") throw new NoPlaceError(`its cgroup ${folder} is ${type}`, howTo());
  for (const file of ["", "cgroup.procs", "cgroup.subtree_control"]) requireWritable(join(folder, file));
  const unit = basename(isInside ? dirname(own.path) : own.path);
  if (/\.(scope|service|slice)$/.test(unit)) {
    const ofUser = own.path.includes(`/user@${process.getuid?.()}.service/`);
    if (unit.endsWith(".slice") || (await isDelegated(unit, ofUser)) === false) {
      throw new NoPlaceError(`systemd has not handed over its cgroup ${unit}`, howTo());
    }
  }
  const others = processesIn(folder).filter((pid) => !isOurs(pid, sight.parentOf));
  if (others.length > 0) {
    const named = others.slice(0, OTHERS_NAMED_MAX).join(", ");
    throw new NoPlaceError(`${others.length} other processes are in its cgroup ${folder} (${named})`, howTo());
  }
  return { folder, controllers };
}

/** Those that are in the cgroup itself, not in cgroups below it. */
export const processesIn = (folder: string): number[] =>
  (readText(join(folder, "cgroup.procs")) ?? "").split("\n").filter(Boolean).map(Number);

function ownGroup(proc: string): { readonly path: string; readonly folder: string } {
  const path = /^0::(\/.*)$/m.exec(readText(join(proc, "self/cgroup")) ?? "")?.[1];
  const mounts = (readText(join(proc, "self/mountinfo")) ?? "").split("\n").flatMap((line) => {
    const [before = "", after = ""] = line.split(" - ");
    const [, , , root = "", point = ""] = before.split(" ");
    return after.startsWith("cgroup2 ") ? [{ root: unescapePath(root), point: unescapePath(point) }] : [];
  });
  if (path === undefined || mounts.length === 0) {
    throw new NoPlaceError("no cgroups of version 2 are mounted here", "use a system with cgroup v2");
  }
  for (const { root, point } of mounts) {
    const below =
      root === "/" ? path : path === root ? "/" : path.startsWith(`${root}/`) ? path.slice(root.length) : "/..";
    if (!below.startsWith("/..")) return { path, folder: join(point, below) };
  }
  throw new NoPlaceError(`its cgroup ${path} is outside of what is mounted here`, howTo());
}

/** Spaces and the like are octal numbers there. */
const unescapePath = (text: string): string =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

function requireWritable(path: string): void {
  try {
    accessSync(path, constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const why = code === "EROFS" ? "is mounted read-only" : "belongs to somebody else";
    throw new NoPlaceError(`its cgroup ${path} ${why}`, howTo());
  }
}

function howTo(): string {
  if (!existsSync("/run/systemd/system")) return "start it in a writable cgroup of its own";
  const user = process.getuid?.() === 0 ? "" : " --user";
  return `start it with: systemd-run${user} --scope -p Delegate=yes mobula start; as a service with Delegate=yes`;
}

/** Whoever has started this process, those that started that one, and all that they have started for it. */
function isOurs(pid: number, parentOf = (one: number) => Number(procStat(one)?.[1]) || undefined): boolean {
  // As processes outside of this one's container are called.
  if (pid === 0) return false;
  const ancestors = new Set<number>();
  for (let one: number | undefined = process.pid; one !== undefined && !ancestors.has(one); one = parentOf(one)) {
    ancestors.add(one);
  }
  if (ancestors.has(pid)) return true;
  const launcher = parentOf(process.pid);
  const seen = new Set<number>();
  for (let one: number | undefined = pid; one !== undefined && !seen.has(one); one = parentOf(one)) {
    if (one === process.pid || one === launcher) return true;
    seen.add(one);
  }
  // It has ended meanwhile.
  return parentOf(pid) === undefined;
}

function askSystemd(unit: string, ofUser: boolean): Promise<boolean | undefined> {
  if (!existsSync("/run/systemd/system")) return Promise.resolve(undefined);
  const args = [...(ofUser ? ["--user"] : []), "show", "--property=Delegate", "--value", "--", unit];
  return new Promise((resolve) => {
    // Who cannot be asked has not handed it over.
    execFile("systemctl", args, { timeout: SYSTEMCTL_TIMEOUT_MS }, (error, stdout) =>
      resolve(error === null && stdout.trim() === "yes"),
    );
  });
}

/** Undefined when there is no such file (any more). */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    // ENODEV: the cgroup was removed while the file was open.
    if (code === "ENOENT" || code === "ENODEV") return undefined;
    throw error;
  }
}
