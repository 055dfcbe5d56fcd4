/** Cgroups of the real kernel. It may have no controllers to offer here: who is in which, and what is left, is the same without. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { processesIn } from "./cgroup-place.ts";
import { enter, killAll, leave, makeGroup, move, removeGroup, tryRemove } from "./cgroup-tree.ts";

const mount = / (\/\S+) \S+ .*- cgroup2 /.exec(readFileSync("/proc/self/mountinfo", "utf8"))?.[1];
const place = join(mount ?? "/nowhere", `mobula-test-${process.pid}`);

function canMake(): boolean {
  try {
    mkdirSync(place);
    rmdirSync(place);
    return true;
  } catch {
    return false;
  }
}

describe.skipIf(!canMake())("cgroups of a node (needs a cgroup v2 that can be written)", () => {
  const children: ChildProcess[] = [];
  const running = (): ChildProcess & { readonly pid: number } => {
    const child = spawn("sleep", ["100"]);
    children.push(child);
    return child as ChildProcess & { readonly pid: number };
  };
  const folders = (): string[] => readdirSync(place).filter((name) => name.startsWith("mobula-"));
  const given = { folder: place, controllers: [] };

  beforeEach(() => mkdirSync(place));
  afterEach(() => {
    for (const child of children.splice(0)) child.kill("SIGKILL");
    removeGroup(place);
    expect(existsSync(place)).toBe(false);
  });

  test("what is in the place goes inside, and comes back when nothing else is left", () => {
    const { pid } = running();
    move(pid, place);
    const workers = enter(given);
    expect(processesIn(place)).toEqual([]);
    expect(processesIn(join(place, "mobula-node"))).toEqual([pid]);
    makeGroup(join(workers, "worker-1"));
    leave(workers);
    expect(folders()).toEqual([]);
    expect(processesIn(place)).toEqual([pid]);
    leave(workers);
  });

  test("who begins anew finds its place as it was", () => {
    const { pid } = running();
    move(pid, place);
    const workers = enter(given);
    leave(workers, true);
    expect(folders()).toEqual(["mobula-node"]);
    expect(enter(given)).toBe(workers);
    expect(processesIn(join(place, "mobula-node"))).toEqual([pid]);
    leave(workers);
  });

  test("a node that was killed leaves nothing to the next one; one that lives keeps what it has", async () => {
    const dead = join(place, "mobula-workers-999999999-1", "worker-1");
    const living = join(
      place,
      `mobula-workers-1-${readFileSync("/proc/1/stat", "utf8").split(") ")[1]?.split(" ")[19]}`,
    );
    mkdirSync(dead, { recursive: true });
    mkdirSync(living);
    const orphan = running();
    move(orphan.pid, dead);
    const ended = once(orphan, "exit");
    const workers = enter(given);
    expect(await ended).toEqual([null, "SIGKILL"]);
    expect(existsSync(dead)).toBe(false);
    leave(workers);
    expect(existsSync(workers)).toBe(false);
    // The other one is still here.
    expect(folders().sort()).toEqual(["mobula-node", living.slice(place.length + 1)]);
  });

  test("one that holds a process cannot be removed; what is in it is ended, whatever session it has gone to", async () => {
    const folder = join(place, "worker-1");
    makeGroup(folder);
    makeGroup(folder);
    // In a session of its own, as a daemon.
    const child = spawn("sh", ["-c", `echo $$ >${folder}/cgroup.procs; setsid sleep 100 & echo; wait`]);
    children.push(child);
    await once(child.stdout, "data");
    const ended = once(child, "exit");
    expect(tryRemove(folder)).toBe(false);
    killAll(folder);
    expect(await ended).toEqual([null, "SIGKILL"]);
    removeGroup(folder);
    expect(existsSync(folder)).toBe(false);
    expect(tryRemove(folder)).toBe(true);
    killAll(folder);
  });

  test("a process that has ended is no error, and one that the kernel refuses is", async () => {
    const child = running();
    child.kill("SIGKILL");
    await once(child, "exit");
    expect(move(child.pid, place)).toBe(false);
    expect(() => move(process.pid, join(place, "nowhere"))).toThrow(/ENOENT/);
    writeFileSync(join(place, "cgroup.procs"), String(running().pid));
    // Nobody can be moved below a cgroup of threads.
    const below = join(place, "threads", "below");
    mkdirSync(below, { recursive: true });
    writeFileSync(join(place, "threads", "cgroup.type"), "threaded");
    expect(() => move(running().pid, below)).toThrow(/ENOTSUP/);
  });
});
