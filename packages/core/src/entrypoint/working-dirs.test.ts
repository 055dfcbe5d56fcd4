import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { zipSync } from "fflate";
import { describe, expect, test } from "vitest";
import { newFolder } from "../../test/new-folder.ts";
import { packageFolder } from "../bin/entries.ts";
import { WorkingDirs } from "./working-dirs.ts";

const runtime = packageFolder();

const zipOf = (text: string) => {
  const bytes = zipSync({ "a.txt": new TextEncoder().encode(text) });
  return { bytes, hash: createHash("sha256").update(bytes).digest("hex") };
};

async function add(dirs: WorkingDirs, { bytes, hash }: ReturnType<typeof zipOf>): Promise<string> {
  const file = await dirs.newFile();
  writeFileSync(file, bytes);
  return (await dirs.add(hash, file)).folder;
}

const folderOf = async (dirs: WorkingDirs, hash: string): Promise<string | undefined> =>
  (await dirs.find(hash))?.folder;

describe("working directories of a node", () => {
  test("are unpacked once, and found by all", async () => {
    const folder = newFolder();
    const zip = zipOf("one");
    expect(await new WorkingDirs(folder, runtime).find(zip.hash)).toBeUndefined();
    const path = await add(new WorkingDirs(folder, runtime), zip);
    expect(readFileSync(join(path, "a.txt"), "utf8")).toBe("one");
    expect(await folderOf(new WorkingDirs(folder, runtime), zip.hash)).toBe(path);
    const { zip: kept = "" } = (await new WorkingDirs(folder, runtime).find(zip.hash)) ?? {};
    expect(readFileSync(kept)).toEqual(Buffer.from(zip.bytes));
    // Two at the same time come to the same.
    expect(
      await Promise.all([add(new WorkingDirs(folder, runtime), zip), add(new WorkingDirs(folder, runtime), zip)]),
    ).toEqual([path, path]);
    expect(readdirSync(folder).sort()).toEqual([zip.hash, "node_modules"].sort());
    expect(existsSync(join(path, "../../../node_modules/mobula/package.json"))).toBe(true);
  });

  test("that came damaged are refused, and leave nothing", async () => {
    const folder = newFolder();
    const dirs = new WorkingDirs(folder, runtime);
    const { hash } = zipOf("one");
    await expect(add(dirs, { ...zipOf("two"), hash })).rejects.toThrow(/came damaged/);
    await expect(dirs.find("../x")).rejects.toThrow(/is no hash/);
    expect(readdirSync(folder)).toEqual(["node_modules"]);
  });

  test("make room for others when no process uses them", async () => {
    const folder = newFolder();
    const [old, used, fresh] = [zipOf("old"), zipOf("used"), zipOf("new")];
    const dirs = new WorkingDirs(folder, runtime, old.bytes.length * 2 + 10);
    for (const zip of [old, used]) {
      const path = await add(dirs, zip);
      utimesSync(dirname(path), 1, 1);
    }
    // As if its processes had ended: nobody has this number.
    const users = join(folder, old.hash, "users");
    writeFileSync(join(users, "4194999"), "");
    rmSync(join(users, String(process.pid)));
    await add(dirs, fresh);
    expect(existsSync(join(folder, old.hash, "unit"))).toBe(false);
    expect(existsSync(join(folder, used.hash, "unit"))).toBe(true);
    mkdirSync(join(folder, "other"));
    expect(await add(dirs, old)).toContain(old.hash);
  });
});
