/**
 * The disk of a head's state is full, or does nothing for seconds: who needs it is told, or waits, everything else goes on, and
 * when the disk does, it goes on by itself.
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { get, getActor, init, isInitialized, listActors, nodes, remote, shutdown } from "../../src/api/mod.ts";
import type { HeadsInfo } from "../../src/wire/queries.ts";
import { eventually } from "../eventually.ts";
import { Machines } from "./machines.ts";

/** Other processes may take the CPU for that long; a disk that held the loop up would do so for seconds. */
const LAG_MS = 500;
let machines: Machines | undefined;
let disk: string | undefined;
afterEach(async () => {
  // Before all else: what waits for it does not even end.
  freezable?.thaw();
  if (isInitialized()) await shutdown();
  await machines?.remove();
  freezable?.remove();
  freezable = undefined;
  if (disk !== undefined) {
    execFileSync("umount", ["-l", disk]);
    rmSync(disk, { recursive: true, force: true });
    disk = undefined;
  }
});

/** A file system of its own, of so many MiB; undefined where mounting is not allowed. */
function smallDisk(mib: number): string | undefined {
  const folder = mkdtempSync("/tmp/md-");
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${mib}m`, "tmpfs", folder], { stdio: "ignore" });
    return folder;
  } catch {
    rmSync(folder, { recursive: true });
    return undefined;
  }
}

/** One that can be made to stand still: whatever writes to it then waits. Undefined where that is not allowed. */
function freezableDisk(): { readonly folder: string; freeze(): void; thaw(): void; remove(): void } | undefined {
  const parent = mkdtempSync("/tmp/mf-");
  const [image, folder] = [join(parent, "image"), join(parent, "disk")];
  let isFrozen = false;
  const run = (command: string, ...args: string[]): void => void execFileSync(command, args, { stdio: "ignore" });
  const thaw = (): void => {
    if (isFrozen) run("fsfreeze", "-u", folder);
    isFrozen = false;
  };
  try {
    mkdirSync(folder);
    writeFileSync(image, new Uint8Array(24 * 2 ** 20));
    run("mkfs.ext4", "-q", image);
    run("mount", "-o", "loop", image, folder);
  } catch {
    rmSync(parent, { recursive: true });
    return undefined;
  }
  return {
    folder,
    freeze() {
      run("fsfreeze", "-f", folder);
      isFrozen = true;
    },
    thaw,
    remove() {
      thaw();
      run("umount", "-l", folder);
      rmSync(parent, { recursive: true });
    },
  };
}

function fill(folder: string): string {
  const file = join(folder, "other");
  const { bavail, bsize } = statfsSync(folder);
  writeFileSync(file, new Uint8Array(bavail * bsize));
  return file;
}

/** How late the head's loop was at most. */
async function lag(): Promise<number | undefined> {
  const { heads } = JSON.parse((await machines?.mobula(0, {}, "status", "--json")) ?? "{}") as { heads?: HeadsInfo };
  return heads?.loopLagMs;
}

class Counter {
  private count = 0;
  add(): number {
    return ++this.count;
  }
}
const counters = remote(Counter, { numCpus: 0, maxRestarts: 1 });
const named = (name: string) => counters.options({ name, lifetime: "detached" }).remote();

disk = smallDisk(1);
const canMount = disk !== undefined;
if (disk !== undefined) execFileSync("umount", [disk]);
disk = undefined;
let freezable = freezableDisk();
const canFreeze = freezable !== undefined;
freezable?.remove();
freezable = undefined;

test.skipIf(!canMount)(
  "a full disk: new names are refused in a sentence, calls and tasks go on, and with room names are given again",
  { timeout: 60_000 },
  async () => {
    disk = smallDisk(8);
    if (disk === undefined) throw new Error("it could be mounted before");
    machines = new Machines(1);
    const state = join(disk, "cluster");
    await machines.begin({}, "--state", state, "--cpus", "2");
    await init({ address: machines.address, token: machines.token, namespace: "ops" });
    const early = named("early");
    const mortal = named("mortal");
    expect(await get([early.add.remote(), mortal.add.remote()])).toEqual([1, 1]);

    const filler = fill(disk);
    const refused = named("late");
    await expect(get(refused.add.remote())).rejects.toMatchObject({
      code: "ACTOR_DIED",
      cause: { code: "DISK_FULL", kind: "exhausted" },
      message: expect.stringMatching(
        /could not be recorded: the state store .*control\.sqlite cannot grow: .*make room/,
      ),
    });
    expect(await get(early.add.remote())).toBe(2);
    const square = remote((n: number) => n * n);
    expect(await get(Array.from({ length: 50 }, (_, n) => square.remote(n)))).toHaveLength(50);
    expect((await nodes()).map(({ state }) => state)).toEqual(["alive", "alive"]);
    // One dies, and cannot be written down as restarted: it waits for room.
    const { pid = 0 } = (await listActors()).find(({ name }) => name === "mortal") ?? {};
    if (pid) process.kill(pid, "SIGKILL");
    await eventually(async () => (await listActors()).some(({ state }) => state === "restarting"), "it is to restart");
    expect(await lag()).toBeLessThan(LAG_MS);

    rmSync(filler);
    const late = named("late");
    expect(await get(late.add.remote())).toBe(1);
    expect(await get((await getActor<Counter>("late")).add.remote())).toBe(2);
    expect(await get(early.add.remote())).toBe(3);
    expect(await get(mortal.add.remote())).toBe(1);

    // All of it is there after a restart of the head.
    process.kill(machines.headPid, "SIGKILL");
    const at = machines.address.split(":")[1] ?? "";
    await machines.mobula(0, {}, "start", "--head", "--host", "127.0.0.1", "--port", at, "--state", state);
    expect(await get((await getActor<Counter>("late")).add.remote())).toBe(3);
  },
);

test.skipIf(!canFreeze)(
  "a disk that stands still: who needs it waits, work goes on, nobody is given up, and the head's loop is not held up",
  { timeout: 60_000 },
  async () => {
    freezable = freezableDisk();
    if (freezable === undefined) throw new Error("it could be mounted before");
    machines = new Machines(1);
    await machines.begin({}, "--state", join(freezable.folder, "cluster"), "--cpus", "2");
    await init({ address: machines.address, token: machines.token, namespace: "ops" });
    const early = named("early");
    expect(await get(early.add.remote())).toBe(1);
    const square = remote((n: number) => n * n);
    await get(square.remote(1));

    freezable.freeze();
    let isMade = false;
    const late = named("late");
    const first = get(late.add.remote()).then((count) => {
      isMade = true;
      return count;
    });
    // For longer than a node may be silent.
    for (const until = performance.now() + 6_000; performance.now() < until; ) {
      expect(await get(Array.from({ length: 50 }, (_, n) => square.remote(n)))).toHaveLength(50);
      await get(early.add.remote());
    }
    expect(isMade).toBe(false);
    expect((await nodes()).map(({ state }) => state)).toEqual(["alive", "alive"]);
    expect(await lag()).toBeLessThan(LAG_MS);

    freezable.thaw();
    expect(await first).toBe(1);
  },
);
