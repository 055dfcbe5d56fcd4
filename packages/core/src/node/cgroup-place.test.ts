/** Where limits can be kept, found in a tree of files as the kernel shows it. */
import { execFile } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { findPlace, type Sight } from "./cgroup-place.ts";

let folder = "";
let group = "";
const SELF = process.pid;

beforeEach(() => {
  folder = mkdtempSync("/tmp/mg-");
  group = join(folder, "cgroup fs", "system.slice", "mobula.service");
  for (const path of [join(folder, "self"), join(group, "mobula-node")]) mkdirSync(path, { recursive: true });
  for (const path of [group, join(group, "mobula-node")]) show(path, {});
  inGroup("/system.slice/mobula.service");
  mounted(`/ ${join(folder, "cgroup fs").replace(" ", "\\040")}`);
  writeFileSync(join(folder, "cgroups"), "#subsys_name\thierarchy\ncpu\t0\nmemory\t0\n");
});
afterEach(() => rmSync(folder, { recursive: true }));

function show(path: string, files: Readonly<Record<string, string>>): void {
  const usual = {
    "cgroup.type": "domain\n",
    "cgroup.controllers": "cpuset cpu io memory pids\n",
    "cgroup.subtree_control": "\n",
    "cgroup.procs": `${SELF}\n`,
  };
  for (const [name, text] of Object.entries({ ...usual, ...files })) writeFileSync(join(path, name), text);
}
const inGroup = (path: string): void => writeFileSync(join(folder, "self/cgroup"), `1:cpu:/old\n0::${path}\n`);
const mounted = (rootAndPoint: string): void =>
  writeFileSync(
    join(folder, "self/mountinfo"),
    `21 1 0:19 / /sys rw - sysfs sysfs rw\n31 21 0:26 ${rootAndPoint} rw,nosuid shared:4 - cgroup2 cgroup2 rw\n`,
  );
/** Whoever has started this process, and two others: one that it has started, and one of somebody else. */
const parents = new Map([
  [SELF, 40],
  [40, 30],
  [41, 40],
  [50, 30],
]);
const find = (more: Sight = {}) =>
  findPlace({ proc: folder, isDelegated: async () => true, parentOf: (pid) => parents.get(pid), ...more });
const failure = (more: Sight = {}) =>
  find(more).then(
    (place) => ({ place }),
    ({ message, advice }) => ({ message, advice }),
  );

describe("a place for limits", () => {
  test("is the cgroup that this process is in, with the controllers that it has", async () => {
    expect(await find()).toEqual({ folder: group, controllers: ["memory", "cpu"] });
    show(group, { "cgroup.controllers": "pids cpu\n" });
    expect(await find()).toEqual({ folder: group, controllers: ["cpu"] });
  });

  test("is the one around it when an earlier node has moved it inside", async () => {
    inGroup("/system.slice/mobula.service/mobula-node");
    show(group, { "cgroup.procs": "" });
    expect(await find()).toEqual({ folder: group, controllers: ["memory", "cpu"] });
  });

  test("is found below what a container has mounted of it", async () => {
    mounted(`/system.slice ${join(folder, "cgroup\\040fs", "system.slice")}`);
    expect(await find()).toMatchObject({ folder: group });
    mounted(`/kubepods ${join(folder, "cgroup\\040fs")}`);
    expect(await failure()).toMatchObject({ message: expect.stringContaining("outside of what is mounted") });
  });

  test("may hold who has started this process and what that has started, and nobody else", async () => {
    show(group, { "cgroup.procs": `${SELF}\n40\n41\n30\n` });
    expect(await find()).toMatchObject({ folder: group });
    show(group, { "cgroup.procs": `${SELF}\n50\n` });
    expect(await failure()).toMatchObject({ message: expect.stringContaining("1 other processes are in its cgroup") });
    // Processes outside of a container have no number in it.
    show(group, { "cgroup.procs": `${SELF}\n0\n` });
    expect(await failure()).toMatchObject({ message: expect.stringContaining("(0)") });
  });

  test("is none that systemd manages and has not handed over", async () => {
    const asked: unknown[] = [];
    const isDelegated = async (...question: unknown[]) => {
      asked.push(question);
      return false;
    };
    expect(await failure({ isDelegated })).toMatchObject({
      message: "systemd has not handed over its cgroup mobula.service",
    });
    expect(asked).toEqual([["mobula.service", false]]);
  });

  test("is none without controllers, and where version 1 has them that is said", async () => {
    show(group, { "cgroup.controllers": "pids\n" });
    expect(await failure()).toMatchObject({ message: expect.stringContaining("neither the memory nor the cpu") });
    writeFileSync(join(folder, "cgroups"), "#subsys_name\thierarchy\ncpu\t1\nmemory\t4\n");
    expect(await failure()).toMatchObject({
      message: expect.stringContaining("they belong to version 1"),
      advice: expect.stringContaining("systemd.unified_cgroup_hierarchy=1"),
    });
    // Also at the root, where most processes of such a machine are.
    rmSync(join(group, "cgroup.type"));
    expect(await failure()).toMatchObject({ message: expect.stringContaining("they belong to version 1") });
  });

  test("is none in threads, at the root of the machine, or without cgroups at all", async () => {
    show(group, { "cgroup.type": "threaded\n" });
    expect(await failure()).toMatchObject({ message: `its cgroup ${group} is threaded` });
    rmSync(join(group, "cgroup.type"));
    expect(await failure()).toMatchObject({ message: "its cgroup is the root of all of this machine" });
    writeFileSync(join(folder, "self/cgroup"), "4:memory:/\n");
    expect(await failure()).toMatchObject({ message: "no cgroups of version 2 are mounted here" });
    rmSync(join(folder, "self"), { recursive: true });
    expect(await failure()).toMatchObject({ message: "no cgroups of version 2 are mounted here" });
  });

  test.skipIf(process.getuid?.() !== 0)(
    "is none that belongs to somebody else (needs root to be somebody else)",
    async () => {
      chmodSync(folder, 0o755);
      const script = `
      const { findPlace } = await import(${JSON.stringify(join(import.meta.dirname, "cgroup-place.ts"))});
      await findPlace({ proc: ${JSON.stringify(folder)} }).catch(({ message }) => console.log(message));
    `;
      const other = { uid: 65_534, gid: 65_534, cwd: "/", env: { PATH: process.env.PATH } };
      const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "-e", script], other);
      expect(stdout).toBe(`its cgroup ${group} belongs to somebody else\n`);
    },
  );
});
