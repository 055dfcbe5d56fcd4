import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Folders } from "./folders.ts";

let folder = "";
/** Processes that run, as "pid-started". */
let running: Set<string>;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mf-"));
  running = new Set([`${process.pid}-1`, `${process.pid}-2`]);
});
afterEach(() => rmSync(folder, { recursive: true }));

/** As another process of the machine has it. */
const foldersOf = (started: string): Folders =>
  new Folders({ folder, started, node: "n", isRunning: (pid, since) => running.has(`${pid}-${since}`) });
const names = (): string[] =>
  readdirSync(folder)
    .filter((name) => !["uses", "package.json"].includes(name))
    .sort();
const never = new AbortController().signal;
const fill = async (at: string): Promise<number> => {
  writeFileSync(join(at, "file"), "x");
  return 1;
};

describe("folders of a machine", () => {
  test("one is made once, by one process, while others wait for it", async () => {
    const [one, two] = [foldersOf("1"), foldersOf("2")];
    const { promise: mayEnd, resolve: end } = Promise.withResolvers<void>();
    let made = 0;
    const slowly = async (at: string): Promise<number> => {
      made++;
      await mayEnd;
      return fill(at);
    };
    const both = [one.make("u", never, slowly), two.make("u", never, slowly)];
    end();
    expect(await Promise.all(both)).toEqual([join(folder, "u"), join(folder, "u")]);
    expect(made).toBe(1);
    expect(names()).toEqual(["u", "u.json"]);
    expect(one.list()).toMatchObject([{ name: "u", bytes: 1, isUsed: true }]);
  });

  test("what fails leaves nothing, and the next one tries", async () => {
    const one = foldersOf("1");
    await expect(one.make("u", never, () => Promise.reject(new Error("no")))).rejects.toThrow("no");
    const full = Object.assign(new Error("ENOSPC: no space left on device, write"), { code: "ENOSPC" });
    await expect(one.make("u", never, () => Promise.reject(full))).rejects.toMatchObject({
      code: "DISK_FULL",
      message: expect.stringMatching(
        /the disk of .* is full, where this node keeps environments: free some.*MOBULA_ENV_CACHE_BYTES/,
      ),
    });
    expect(names()).toEqual([]);
    expect(await one.make("u", never, fill)).toBe(join(folder, "u"));
  });

  test("whoever waits for another can be stopped", async () => {
    const [one, two] = [foldersOf("1"), foldersOf("2")];
    const { promise: mayEnd, resolve: end } = Promise.withResolvers<void>();
    const first = one.make("u", never, async (at) => {
      await mayEnd;
      return fill(at);
    });
    const stop = new AbortController();
    const second = two.make("u", stop.signal, fill);
    stop.abort(new Error("it takes too long"));
    await expect(second).rejects.toThrow("it takes too long");
    end();
    await first;
  });

  test("a process that died while it made one holds nobody up; what it left is removed", async () => {
    running.add("77-5");
    writeFileSync(join(folder, "u.lock"), "77-5");
    mkdirSync(join(folder, "u.77-5-0123abcd.tmp"));
    running.delete("77-5");
    const one = foldersOf("1");
    expect(await one.make("u", never, fill)).toBe(join(folder, "u"));
    await one.sweep();
    expect(names()).toEqual(["u", "u.json"]);
    // That of a process that runs stays.
    mkdirSync(join(folder, `u.${process.pid}-2-0123abcd.tmp`));
    await one.sweep();
    expect(names()).toContain(`u.${process.pid}-2-0123abcd.tmp`);
  });

  test("what a living process uses is not removed; marks of dead ones count for nothing", async () => {
    const [one, two] = [foldersOf("1"), foldersOf("2")];
    await one.make("u", never, fill);
    expect(await two.remove("u")).toBe(false);
    expect(existsSync(join(folder, "u/file"))).toBe(true);
    running.delete(`${process.pid}-1`);
    expect(two.list()).toMatchObject([{ isUsed: false }]);
    expect(await two.remove("u")).toBe(true);
    expect(names()).toEqual([]);
    expect(two.use("u")).toBe(false);
  });
});
