import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openArena } from "./arena.ts";
import { MIB, startHarness, until } from "./fixtures/harness.ts";

const temporary = (): string => mkdtempSync(join(tmpdir(), "mobula-failures-"));

describe("failures of processes", () => {
  it("a client killed while it writes loses what it had not sealed, and nothing else", async () => {
    await using harness = await startHarness({ capacityBytes: 64 * MIB });
    const child = await harness.child();
    const reader = await harness.child();
    const sealed = await child.call("put", 2 * MIB, 5);
    await child.call("startWriting", 16 * MIB);
    expect(harness.server.stats().unsealedBytes).toBeGreaterThanOrEqual(16 * MIB);
    await child.kill("SIGKILL");
    // Nobody has told the store: it finds out by itself.
    await until(
      () => harness.server.stats().unsealedBytes,
      (bytes) => bytes === 0,
    );
    expect(await reader.call("read", sealed)).toMatchObject({ length: 2 * MIB, first: 5, same: true });
    expect(harness.server.keysSealedBy(child.processId)).toEqual([{ key: sealed, owner: child.processId }]);
  });

  it("pins of a killed process are taken back", async () => {
    await using harness = await startHarness({ capacityBytes: 64 * MIB });
    const child = await harness.child();
    const reader = await harness.child();
    const key = await child.call("put", 8 * MIB, 5);
    await reader.call("keepView", key);
    harness.server.free([key]);
    await reader.kill("SIGKILL");
    harness.server.processGone(reader.processId);
    await until(
      () => harness.server.stats().objects,
      (count) => count === 0,
    );
  });

  it("a put ends with an error when the node is gone", async () => {
    await using harness = await startHarness({ capacityBytes: 64 * MIB });
    const child = await harness.child();
    await child.call("put", MIB, 1);
    await harness.server.close();
    expect(await child.call("tryPut", 32 * MIB)).toMatchObject({ code: "CONNECTION_LOST", kind: "unavailable" });
  });

  it("views stay readable after the client and the store have closed", async () => {
    await using harness = await startHarness({ capacityBytes: 64 * MIB });
    const child = await harness.child();
    await child.call("keepView", await child.call("put", 8 * MIB, 5));
    await child.call("close", false);
    await harness.server.close();
    expect(await child.call("keptIsAll", 5)).toBe(true);
  });

  it("views of a client that leaves a store which lives on keep their bytes though the place is used again", async () => {
    await using harness = await startHarness({ capacityBytes: 16 * MIB });
    const child = await harness.child();
    const other = await harness.child();
    const key = await child.call("put", 8 * MIB, 5);
    await child.call("keepView", key);
    await child.call("close", true);
    harness.server.processGone(child.processId);
    harness.server.free([key]);
    for (let round = 0; round < 4; round++) harness.server.free([await other.call("put", 7 * MIB, 9)]);
    expect(await child.call("keptIsAll", 5)).toBe(true);
  });

  it("close leaves no file, no socket and no memory behind", async () => {
    await using harness = await startHarness({ capacityBytes: 32 * MIB });
    const child = await harness.child();
    await child.call("putMany", 60, MIB);
    await child.kill("SIGKILL");
    await harness.server.close();
    expect(readdirSync(harness.directory)).toEqual([]);
    expect(openStoreFiles()).toEqual([]);
  });

  it.each(["memfd", "shm", "file"])(
    "a node killed with SIGKILL leaves nothing but its socket (%s)",
    async (backing) => {
      const directory = temporary();
      const shmBefore = readdirSync("/dev/shm").filter((name) => name.startsWith("mobula"));
      const script = `
      import { startStore } from ${JSON.stringify(new URL("./mod.ts", import.meta.url).href)};
      const directory = ${JSON.stringify(directory)};
      const server = await startStore({ directory, spillDirectory: directory, capacityBytes: 16 * 2 ** 20, spillBytesMax: 2 ** 30, putTimeoutMs: 1000,
        now: () => performance.now(), log: () => {}, requestCollect: () => {}, onPinned: () => {} });
      console.log(server.backing);
      setInterval(() => {}, 1000);`;
      const node = spawn(process.execPath, ["--input-type=module", "-e", script], {
        stdio: ["ignore", "pipe", "inherit"],
        env: { ...process.env, MOBULA_STORE_BACKING: backing },
      });
      const [line] = await once(node.stdout, "data");
      expect(String(line).trim()).toBe(backing);
      node.kill("SIGKILL");
      await once(node, "exit");
      expect(readdirSync(directory)).toEqual(["store.sock"]);
      expect(readdirSync("/dev/shm").filter((name) => name.startsWith("mobula"))).toEqual(shmBefore);
      rmSync(directory, { recursive: true });
    },
  );
});

describe("failures of the machine", () => {
  it.each(["shm", "file"] as const)("without a memfd the store works on the next backing (%s)", async (backing) => {
    await using harness = await startHarness({ capacityBytes: 64 * MIB, backing });
    expect(harness.server.backing).toBe(backing);
    const child = await harness.child();
    const made = await child.call("putMany", 150, MIB);
    expect(await child.call("checkMany", made)).toBe(0);
    const key = await child.call("putPattern", 40 * MIB, 7);
    expect(await child.call("checkOne", key, 40 * MIB, 7)).toBe(true);
  });

  it("a /dev/shm that is too small is passed over, with a warning that names the cost", () => {
    const directory = temporary();
    const warnings: string[] = [];
    const { bavail, bsize } = statfsSync("/dev/shm");
    const arena = openArena({
      bytes: bavail * bsize + 4096,
      directory,
      log: (message) => void warnings.push(message),
      backing: "shm",
    });
    arena.close();
    expect(arena.backing).toBe("file");
    expect(warnings).toEqual([expect.stringMatching(/ordinary file.*disk speed.*\/dev\/shm has .* free, less than/)]);
    expect(readdirSync(directory)).toEqual([]);
    rmSync(directory, { recursive: true });
  });

  it("when no backing can be had, the error names each and what to do", () => {
    expect(() =>
      openArena({ bytes: 4096, directory: "/no/such/folder", log: () => {}, backing: "shm", shmDirectory: "/no/shm" }),
    ).toThrow(/shm: .*ENOENT.*file: .*ENOENT.*objectStoreBytes/s);
  });

  it("a spill folder that cannot be written turns spilling off with a warning, and the store works", async () => {
    await using harness = await startHarness({ capacityBytes: 32 * MIB, spillDirectory: "/proc/1", putTimeoutMs: 100 });
    expect(harness.logs).toEqual([expect.stringMatching(/\/proc\/1 cannot be written.*spillDirectory/)]);
    const child = await harness.child();
    const key = await child.call("put", 20 * MIB, 3);
    expect(await child.call("read", key)).toMatchObject({ first: 3, same: true });
    expect(await child.call("tryPut", 20 * MIB)).toMatchObject({
      code: "STORE_FULL",
      message: expect.stringMatching(/spilling to disk is off/),
    });
  });

  it("a folder whose path is too long for a socket is refused in words", async () => {
    const parent = temporary();
    const directory = join(parent, "x".repeat(100));
    mkdirSync(directory);
    await expect(startHarness({ capacityBytes: MIB, directory })).rejects.toThrow(/too long for a socket/);
    rmSync(parent, { recursive: true });
  });
});

/** Store files that this process still has open. */
function openStoreFiles(): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.includes("mobula-store-") && !target.includes("-test-")
        ? [target]
        : target.includes("memfd:mobula")
          ? [target]
          : [];
    } catch {
      // The descriptor of this very listing.
      return [];
    }
  });
}
