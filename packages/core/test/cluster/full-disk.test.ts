/** The disk of a head's state is full: who needs it is told, everything else goes on, and with room it goes on by itself. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
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
  if (isInitialized()) await shutdown();
  await machines?.remove();
  if (disk !== undefined) {
    execFileSync("umount", ["-l", disk]);
    rmSync(disk, { recursive: true, force: true });
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
