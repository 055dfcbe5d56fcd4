/** Runtime environments on one machine, with real processes and the real npm. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { get, init, remote, shutdown } from "mobula";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { newFolder } from "../new-folder.ts";
import { folderWith, withPackages } from "./programs.ts";

const cache = newFolder();

beforeAll(async () => {
  process.env.MOBULA_CACHE_DIR = cache;
  await init({ resources: { cpu: 2 }, logToDriver: false });
});
afterAll(async () => {
  await shutdown();
  delete process.env.MOBULA_CACHE_DIR;
});

const kept = (kind: string): string[] =>
  existsSync(join(cache, "environments"))
    ? readdirSync(join(cache, "environments")).filter((name) => new RegExp(`^${kind}-[0-9a-f]{32}$`).test(name))
    : [];

describe("a working folder", () => {
  test("is packed, and workers start in a copy of it that nobody should write to", async () => {
    const workingDir = folderWith({
      "data/greeting.txt": "hello",
      "lib/answer.mjs": "export default 42;",
      ".gitignore": "*.log\n",
      "noise.log": "not sent",
    });
    const look = remote(
      async () => {
        const { readFileSync, existsSync, statSync } = await import("node:fs");
        const { default: answer } = await import(`${process.cwd()}/lib/answer.mjs`);
        const mode = statSync("data/greeting.txt").mode & 0o777;
        return [process.cwd(), readFileSync("data/greeting.txt", "utf8"), answer, existsSync("noise.log"), mode];
      },
      { runtimeEnv: { workingDir } },
    );
    const [cwd, ...rest] = await get(look.remote());
    expect(rest).toEqual(["hello", 42, false, 0o400]);
    expect(cwd).not.toBe(workingDir);
    expect(kept("files")).toHaveLength(1);
  });
});

describe("npm", () => {
  test("a lockfile is installed once for many tasks", async () => {
    const workingDir = withPackages(folderWith({ "app.mjs": "" }), [{ name: "tiny", version: "1.2.3" }]);
    const version = remote(async (name: string) => [(await import(name)).default, process.pid], {
      runtimeEnv: { workingDir, npm: true },
    });
    const found = await get(Array.from({ length: 8 }, () => version.remote("tiny")));
    expect(new Set(found.map(([text]) => text))).toEqual(new Set(["tiny 1.2.3"]));
    expect(kept("npm")).toHaveLength(1);
  });
});
