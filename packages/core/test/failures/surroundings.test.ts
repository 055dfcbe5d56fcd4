/** Machines that lack something, disks that are full, other users, leftovers, Ctrl-C. */
import { execFileSync } from "node:child_process";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { afterEach, describe, expect, test } from "vitest";
import { Program, type ProgramOptions, pidsRunning } from "./programs.ts";

const programs: Program[] = [];
const mounts: string[] = [];
function start(scenario: string, options?: ProgramOptions): Program {
  const program = new Program("driver.ts", scenario, options);
  programs.push(program);
  return program;
}
afterEach(() => {
  for (const program of programs.splice(0)) program.remove();
  for (const mount of mounts.splice(0)) {
    execFileSync("umount", ["-l", mount]);
    rmSync(mount, { recursive: true, force: true });
  }
});

const isRoot = process.getuid?.() === 0;

/** A file system of so many MiB; undefined where mounting is not allowed. */
function smallFileSystem(mib: number): string | undefined {
  const folder = mkdtempSync("/tmp/mm-");
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${mib}m`, "tmpfs", folder], { stdio: "ignore" });
  } catch {
    rmSync(folder, { recursive: true });
    return undefined;
  }
  mounts.push(folder);
  return folder;
}
const canMount = (() => {
  const folder = smallFileSystem(1);
  return folder !== undefined;
})();

describe("where the store lies", () => {
  test.each([
    ["shm", /lies in \/dev\/shm: objects are as fast as ever, but the space is shared/],
    ["file", /lies in an ordinary file: .* puts run at disk speed/],
  ])("without memfd: %s works, and a warning names the cost", async (backing, words) => {
    const program = start("works", { env: { MOBULA_STORE_BACKING: backing } });
    expect(await program.line("worked")).toMatchObject({ byte: 5 });
    await program.line("done");
    expect(await program.exitWithin(2_000)).toEqual({ code: 0, signal: null });
    expect(program.stderr).toMatch(words);
    await program.leavesNothing(200);
    expect(readdirSync("/dev/shm").filter((name) => name.includes(`-${program.pid}-`))).toEqual([]);
  });

  test("with memfd there is nothing to warn of", async () => {
    const program = start("works");
    await program.line("done");
    await program.exited;
    expect(program.stderr).toBe("");
  });
});

describe("temporary folders", () => {
  test("a TMPDIR that does not exist is passed over for one that works", async () => {
    const program = start("works", { env: { TMPDIR: "/proc/no-such-folder" } });
    await program.line("done");
    expect(await program.exitWithin(2_000)).toMatchObject({ code: 0 });
    expect(program.family()).toEqual([]);
  });

  test.runIf(canMount)("a read-only one too", async () => {
    const folder = smallFileSystem(4);
    if (folder === undefined) throw new Error("it was possible a moment ago");
    execFileSync("mount", ["-o", "remount,ro", folder]);
    const program = start("works", { env: { TMPDIR: folder } });
    await program.line("done");
    expect(await program.exitWithin(2_000)).toMatchObject({ code: 0 });
  });

  test.runIf(isRoot)("one that is somebody else's under our name is not used", async () => {
    const folder = mkdtempSync("/tmp/ms-");
    chmodSync(folder, 0o1777);
    const stranger = `${folder}/mobula-0`;
    mkdirSync(stranger);
    execFileSync("chown", ["12345", stranger]);
    try {
      const program = start("works", { env: { TMPDIR: folder } });
      await program.line("done");
      await program.exited;
      expect(readdirSync(stranger)).toEqual([]);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe("a disk that is full", () => {
  test.runIf(canMount)(
    "while objects are spilled: put says so, and everything that was stored is read back",
    async () => {
      const folder = smallFileSystem(40);
      const program = start("spills", { args: [folder ?? ""] });
      const { failure, first, kept, wrong } = await program.line<{
        failure: { code: string; kind: string; message: string } | undefined;
        first: { kind: string } | undefined;
        kept: number;
        wrong: number;
      }>("full", 40_000);
      expect(wrong).toBe(0);
      expect(kept).toBeGreaterThanOrEqual(7);
      expect(kept).toBeLessThan(40);
      expect(failure).toMatchObject({ kind: "exhausted" });
      if (first) expect(first).toMatchObject({ kind: "exhausted" });
      expect(["DISK_FULL", "STORE_FULL"]).toContain(failure?.code);
      expect(failure?.message).toMatch(/ENOSPC|no space|95 %|disk/i);
      await program.line("done");
      await program.exited;
      await program.leavesNothing(200);
      if (folder) expect(readdirSync(folder)).toEqual([]);
    },
  );
});

describe("others on the machine", () => {
  test.runIf(isRoot)("two users and two drivers of one of them work side by side in one temporary folder", async () => {
    const first = start("user");
    const second = start("user", { folder: first.folder });
    const third = start("user", { folder: first.folder, uid: 65_534, env: { HOME: "/nonexistent" } });
    expect(await first.line("ready")).toMatchObject({ uid: 0 });
    expect(await second.line("ready")).toMatchObject({ uid: 0 });
    expect(await third.line("ready")).toMatchObject({ uid: 65_534, id: "65534" });
    first.kill();
    await first.exited;
    // The others go on: their nodes are alive.
    for (const program of [second, third]) expect(pidsRunning("node", program.family()).length).toBe(1);
    third.kill();
    second.kill();
    for (const program of [first, second, third]) await program.leavesNothing(2_000);
  });
});

test("a token that is meant for a cluster does not keep a program from a node of its own", async () => {
  const program = start("user", { env: { MOBULA_TOKEN: "of a cluster" } });
  await program.line("ready");
  program.kill();
  await program.leavesNothing(2_000);
});

describe("leftovers of dead runs", () => {
  test("are swept at the next start, and what is not ours stays", async () => {
    const dead = start("busy");
    await dead.line("ready");
    for (const pid of dead.family()) process.kill(pid, "SIGKILL");
    await dead.exited;
    const base = `${dead.folder}/mobula-${process.getuid?.()}`;
    expect(readdirSync(base).length).toBe(1);
    writeFileSync(`${base}/a-file-of-the-user`, "kept");
    const next = start("works", { folder: dead.folder });
    await next.line("done");
    await next.exited;
    expect(readdirSync(base)).toEqual(["a-file-of-the-user"]);
    expect(existsSync(`${base}/a-file-of-the-user`)).toBe(true);
  });
});

describe("Ctrl-C", () => {
  test("the first ends everything in order: actors run their hooks, then the program ends by the signal", async () => {
    const program = start("interrupted", { args: ["200"] });
    await program.line("ready");
    program.interrupt();
    await program.prints(/careful has ended/, 5_000);
    expect(await program.exitWithin(5_000)).toEqual({ code: null, signal: "SIGINT" });
    expect(await program.line("rejected")).toMatchObject({ code: "CONNECTION_LOST" });
    await program.leavesNothing(200);
  });

  test("a program that does not catch what it waits for ends in the same order, and shows no fault", async () => {
    const program = start("interrupted", { args: ["200", "uncaught"] });
    await program.line("ready");
    program.interrupt();
    await program.prints(/careful has ended/, 5_000);
    expect(await program.exitWithin(5_000)).toEqual({ code: null, signal: "SIGINT" });
    expect(program.stderr).toBe("");
    await program.leavesNothing(200);
  });

  test("a second one ends it at once", async () => {
    const program = start("interrupted", { args: ["20000"] });
    await program.line("ready");
    program.interrupt();
    await program.line("rejected");
    // What the first one began goes on in the background until the second.
    await program.prints(/careful is ending/);
    expect(program.family().length).toBeGreaterThan(1);
    const before = performance.now();
    program.interrupt();
    await program.exitWithin(3_000);
    await program.leavesNothing(2_500);
    expect(performance.now() - before).toBeLessThan(3_000);
  });
});
