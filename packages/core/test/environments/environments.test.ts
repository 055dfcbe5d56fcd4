/** Runtime environments on one machine, with real processes and the real npm. */
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { explain, get, init, remote, shutdown } from "mobula";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";
import { folderWith, kept, leftovers, sleepy, withPackages } from "./programs.ts";

const cache = newFolder();

beforeAll(async () => {
  process.env.MOBULA_CACHE_DIR = cache;
  await init({ resources: { cpu: 2 }, logToDriver: false });
});
afterAll(async () => {
  await shutdown();
  delete process.env.MOBULA_CACHE_DIR;
});

const failureOf = (promise: Promise<unknown>): Promise<Error & { code: string; kind: string; cause?: Error }> =>
  promise.then(
    (value) => {
      throw new Error(`it was fulfilled with ${JSON.stringify(value)}`);
    },
    (error) => error,
  );

const plain = remote(() => "ran");
const importOf = remote(async (name: string) => [(await import(name)).default, process.pid] as const);
const requireOf = remote(async (name: string) => (await import("node:module")).createRequire(import.meta.url)(name));

describe("a working folder", () => {
  test("is packed, and workers start in a copy of it that nobody should write to", async () => {
    const workingDir = folderWith({
      "data/greeting.txt": "hello",
      "lib/answer.mjs": "export default 42;",
      ".gitignore": "*.log\n",
      ".npmrc": "//registry/:_authToken=secret",
      "noise.log": "not sent",
    });
    const look = remote(
      async () => {
        const { readFileSync, existsSync, statSync } = await import("node:fs");
        const { default: answer } = await import(`${process.cwd()}/lib/answer.mjs`);
        const mode = statSync("data/greeting.txt").mode & 0o777;
        const absent = [existsSync("noise.log"), existsSync(".npmrc")];
        return [process.cwd(), readFileSync("data/greeting.txt", "utf8"), answer, absent, mode];
      },
      { runtimeEnv: { workingDir } },
    );
    const [cwd, ...rest] = await get(look.remote());
    expect(rest).toEqual(["hello", 42, [false, false], 0o400]);
    expect(cwd).not.toBe(workingDir);
    expect(kept(cache, "files")).toHaveLength(1);
    // Equal files are one environment, wherever they lie.
    const again = folderWith({
      "data/greeting.txt": "hello",
      "lib/answer.mjs": "export default 42;",
      ".gitignore": "*.log\n",
    });
    expect((await get(look.options({ runtimeEnv: { workingDir: again } }).remote()))[0]).toBe(cwd);
  });

  test("excludes, and what they bring back; links stay inside", async () => {
    const workingDir = folderWith({
      "a/one.txt": "1",
      "a/two.txt": "2",
      "build/out.js": "3",
      ".gitignore": "build/\n",
    });
    symlinkSync("a/one.txt", join(workingDir, "link.txt"));
    const runtimeEnv = { workingDir: { path: workingDir, excludes: ["two.txt", "!build"] } };
    const look = remote(
      async () => {
        const { existsSync, readFileSync } = await import("node:fs");
        const there = ["a/one.txt", "a/two.txt", "build/out.js"].filter((path) => existsSync(path));
        return [...there, readFileSync("link.txt", "utf8")];
      },
      { runtimeEnv },
    );
    expect(await get(look.remote())).toEqual(["a/one.txt", "build/out.js", "1"]);
    symlinkSync("/etc/hostname", join(workingDir, "out.txt"));
    const refused = plain.options({ runtimeEnv: { workingDir: { path: workingDir, excludes: ["a"] } } });
    expect(() => refused.remote()).toThrow(/the link out\.txt leads out of it, to \/etc\/hostname/);
  });

  test("what is too large, or is not there, is refused at the call, with what to do", async () => {
    const workingDir = folderWith({ "small.txt": "1", "large/a.bin": "x".repeat(3 * 2 ** 20) });
    const options = { runtimeEnv: { workingDir: { path: workingDir, bytesMax: 2 ** 20 } } };
    expect(() => plain.options(options).remote()).toThrow(
      /has 4 MiB of files, more than 1 MiB; the largest in it: large \(3 MiB\), small\.txt .*\.gitignore/,
    );
    const missing = plain.options({ runtimeEnv: { workingDir: "/no/such/folder" } });
    expect(() => missing.remote()).toThrow(
      /remote\(\) option "runtimeEnv\.workingDir" is "\/no\/such\/folder".*not there/,
    );
    const uri = plain.options({ runtimeEnv: { workingDir: "gcs://abc.zip" } });
    expect(() => uri.remote()).toThrow(/is "gcs:\/\/abc\.zip"; it must be a folder or a \.zip on this machine/);
  });

  test("a zip will do", async () => {
    const folder = folderWith({ "in/zipped.mjs": "export default 'zipped';" });
    const archive = join(folder, "program.zip");
    const { execFileSync } = await import("node:child_process");
    execFileSync("python3", ["-m", "zipfile", "-c", archive, "in"], { cwd: folder });
    const look = importOf.options({ runtimeEnv: { workingDir: archive, setup: "./in/zipped.mjs" } });
    // Its default export is no function, and that it was found at all shows that it was unpacked.
    expect((await failureOf(get(look.remote("x")))).message).toMatch(/setup module \.\/in\/zipped\.mjs.*no function/);
  });

  test("modules that functions of the program name are imported from the copy", async () => {
    const workingDir = folderWith({ "where.mjs": "export const here = () => import.meta.filename;" });
    const { here } = (await import(join(workingDir, "where.mjs"))) as { here: () => string };
    expect(await get(remote(here).remote())).toBe(join(workingDir, "where.mjs"));
    const there = await get(remote(here, { runtimeEnv: { workingDir } }).remote());
    expect(there).toMatch(new RegExp(`^${cache}/environments/files-[0-9a-f]+/where\\.mjs$`));
  });

  test("what those import: this package, and packages beside the program if none was installed in their place", async () => {
    const workingDir = folderWith({
      ".gitignore": "node_modules\n",
      "node_modules/beside/package.json": '{ "name": "beside", "version": "1.0.0", "main": "index.js" }',
      "node_modules/beside/index.js": 'module.exports = "beside 1.0.0";',
      "uses.mjs": `import beside from "beside";
        import { createRequire } from "node:module";
        import { get, isInitialized, put } from "mobula";
        const require = createRequire(import.meta.url);
        export const uses = async () => [beside, require("beside"), isInitialized(), await get(put("stored"))];`,
    });
    mkdirSync(join(workingDir, "node_modules"), { recursive: true });
    symlinkSync(join(import.meta.dirname, "../.."), join(workingDir, "node_modules/mobula"));
    const { uses } = (await import(join(workingDir, "uses.mjs"))) as { uses: () => Promise<unknown[]> };
    const own = remote(uses, { runtimeEnv: { workingDir } });
    expect(await get(own.remote())).toEqual(["beside 1.0.0", "beside 1.0.0", true, "stored"]);
    const npm = withPackages(newFolder(), [{ name: "beside", version: "2.0.0" }]);
    const installed = own.options({ runtimeEnv: { workingDir, npm } });
    expect(await get(installed.remote())).toEqual(["beside 2.0.0", "beside 2.0.0", true, "stored"]);
  });
});

describe("npm", () => {
  test("a lockfile is installed once for many tasks", async () => {
    const workingDir = withPackages(folderWith({ "app.mjs": "" }), [{ name: "tiny", version: "1.2.3" }]);
    const version = importOf.options({ runtimeEnv: { workingDir, npm: true } });
    const before = kept(cache, "npm").length;
    const found = await get(Array.from({ length: 8 }, () => version.remote("tiny")));
    expect(new Set(found.map(([text]) => text))).toEqual(new Set(["tiny 1.2.3"]));
    expect(kept(cache, "npm")).toHaveLength(before + 1);
    // Another program with the same lockfile.
    writeFileSync(join(workingDir, "app.mjs"), "changed();");
    const copy = `${workingDir}/.`;
    const other = importOf.options({ runtimeEnv: { workingDir: { path: copy, excludes: ["nothing"] }, npm: true } });
    expect((await get(other.remote("tiny")))[0]).toBe("tiny 1.2.3");
    expect(kept(cache, "npm")).toHaveLength(before + 1);
  });

  test("two versions of a package side by side, for import and for require", async () => {
    const of = (version: string) => ({ npm: withPackages(newFolder(), [{ name: "pair", version }]) });
    const [one, two] = [of("1.0.0"), of("2.0.0")];
    const calls = [one, two, one, two].map((runtimeEnv) => importOf.options({ runtimeEnv }).remote("pair"));
    expect((await get(calls)).map(([text]) => text)).toEqual(["pair 1.0.0", "pair 2.0.0", "pair 1.0.0", "pair 2.0.0"]);
    expect(await get(requireOf.options({ runtimeEnv: one }).remote("pair"))).toBe("pair 1.0.0");
    expect(await failureOf(get(importOf.remote("pair")))).toMatchObject({ code: "TASK_FAILED" });
  });

  test("an actor has one of its own, and variables and options too", async () => {
    class Holder {
      async look(): Promise<unknown[]> {
        const name = "of-actor";
        return [(await import(name)).default, process.env.COLOUR, process.execArgv.includes("--stack-trace-limit=33")];
      }
    }
    const npm = withPackages(newFolder(), [{ name: "of-actor", version: "3.0.0" }]);
    const runtimeEnv = { npm, env: { COLOUR: "blue" }, nodeOptions: ["--stack-trace-limit=33"] };
    for (const isolation of ["process", "shared"] as const) {
      using holder = remote(Holder, { runtimeEnv, isolation }).remote();
      expect(await get(holder.look.remote())).toEqual(["of-actor 3.0.0", "blue", true]);
    }
  });

  test("what npm said is in the error, and nothing half made is left", async () => {
    const npm = withPackages(newFolder(), [{ name: "broken", version: "1.0.0" }]);
    writeFileSync(join(npm, "broken-1.0.0.tgz"), "this is no archive");
    const error = await failureOf(get(importOf.options({ runtimeEnv: { npm } }).remote("broken")));
    expect(error).toMatchObject({ code: "RUNTIME_ENV", kind: "task", name: "RuntimeEnvError" });
    expect(error.message).toMatch(/importOf|task|anonymous/);
    expect(error.message).toMatch(/`npm ci --omit=dev --ignore-scripts .*` failed: exit code 1; its last lines:\n/);
    expect(error.message).toMatch(/EINTEGRITY|TAR_BAD_ARCHIVE|integrity/);
    // At once, and without another try: it has just failed.
    const again = await failureOf(get(importOf.options({ runtimeEnv: { npm } }).remote("broken")));
    expect(again.message).toBe(error.message);
    class Never {
      hello(): void {}
    }
    using actor = remote(Never, { runtimeEnv: { npm } }).remote();
    const died = await failureOf(get(actor.hello.remote()));
    expect(died).toMatchObject({ code: "ACTOR_DIED", cause: { code: "RUNTIME_ENV" } });
    expect(leftovers(cache)).toEqual([]);
  });

  test("others run while it installs, and explain says what it waits for; too slow is an error", async () => {
    const npm = { path: sleepy("slow", 60), allowScripts: true };
    const ref = importOf.options({ runtimeEnv: { npm, timeoutMs: 4_000 } }).remote("slow");
    await eventually(
      async () => (await explain(ref)).sentences.some((line) => /waits for its environment: npm ci, \d+ s/.test(line)),
      "explain names what it waits for",
    );
    expect(await get([plain.remote(), plain.remote(), plain.remote()])).toEqual(["ran", "ran", "ran"]);
    const error = await failureOf(get(ref));
    expect(error).toMatchObject({ code: "RUNTIME_ENV" });
    expect(error.message).toMatch(/`npm ci .*` was ended, because it was not ready within 4 s; runtimeEnv\.timeoutMs/);
    expect(leftovers(cache)).toEqual([]);
  });

  test("install scripts are off, unless they are allowed", async () => {
    const script = { scripts: { install: "node -e \"require('fs').writeFileSync('made.js', 'module.exports = 1')\"" } };
    const more = { ...script, hasInstallScript: true };
    const path = withPackages(newFolder(), [{ name: "scripted", version: "1.0.0", more }]);
    const of = (allowScripts: boolean) =>
      get(requireOf.options({ runtimeEnv: { npm: { path, allowScripts } } }).remote("scripted/made.js"));
    expect((await failureOf(of(false))).message).toMatch(/Cannot find module 'scripted\/made\.js'/);
    expect(await of(true)).toBe(1);
  });

  test("what cannot be installed is refused at the call", () => {
    const at = (runtimeEnv: object) => plain.options({ runtimeEnv });
    expect(() => at({ npm: { dependencies: { "left-pad": "^1.0.0" } } }).remote()).toThrow(
      /"runtimeEnv\.npm": there is no package-lock\.json, and the dependency left-pad has the version "\^1\.0\.0"/,
    );
    expect(() => at({ npm: newFolder() }).remote()).toThrow(/there is no package\.json/);
    expect(() => at({ npm: true }).remote()).toThrow(/package\.json in the working folder says, and there is none/);
    expect(() => at({ setup: "./x.mjs" }).remote()).toThrow(/must lie in runtimeEnv\.workingDir, which is not given/);
    const workingDir = folderWith({ "a.txt": "" });
    expect(() => at({ workingDir, setup: "./x.mjs" }).remote()).toThrow(/must be the path of a module in/);
    expect(() => at({ nodeOptions: ["--inspect=9229"] })).toThrow(/all workers would want the same port/);
  });
});

describe("a setup module", () => {
  test("runs once in each worker, before its first task or actor, and may take its time", async () => {
    const workingDir = folderWith({
      "setup.mjs": `export default async () => {
        await new Promise((resolve) => setTimeout(resolve, 50));
        globalThis.runs = (globalThis.runs ?? 0) + 1;
      };`,
    });
    const runtimeEnv = { workingDir, setup: "./setup.mjs" };
    const runs = remote(() => (globalThis as { runs?: number }).runs, { runtimeEnv });
    expect(await get(Array.from({ length: 6 }, () => runs.remote()))).toEqual([1, 1, 1, 1, 1, 1]);
    class Seen {
      readonly atBirth = (globalThis as { runs?: number }).runs;
      look() {
        return this.atBirth;
      }
    }
    using seen = remote(Seen, { runtimeEnv }).remote();
    expect(await get(seen.look.remote())).toBe(1);
  });

  test("its error is that of the task, and a later task tries again", async () => {
    const folder = newFolder();
    const workingDir = folderWith({
      "setup.mjs": `import { existsSync } from "node:fs";
        export default () => {
          if (!existsSync(${JSON.stringify(join(folder, "ready"))})) throw new RangeError("the model is not there");
        };`,
    });
    const task = plain.options({ runtimeEnv: { workingDir, setup: "./setup.mjs" } });
    const error = await failureOf(get(task.remote()));
    expect(error).toMatchObject({ code: "TASK_FAILED", cause: { code: "RUNTIME_ENV", cause: { name: "RangeError" } } });
    expect(error.message).toMatch(/the setup module \.\/setup\.mjs failed in worker \d+: the model is not there/);
    mkdirSync(join(folder, "ready"));
    expect(await get(task.remote())).toBe("ran");
  });

  test("one that does not end is an error too", async () => {
    const workingDir = folderWith({
      "setup.mjs": "export default () => new Promise(() => setTimeout(() => {}, 1e6));",
    });
    const setup = { module: "./setup.mjs", timeoutMs: 200 };
    const error = await failureOf(get(plain.options({ runtimeEnv: { workingDir, setup } }).remote()));
    expect(error.message).toMatch(/it did not end within 0\.2 s/);
  });
});

test("a task's own is merged over that of the task that submits it: variables one by one, the rest replaced", async () => {
  const [outer, inner] = ["outer", "inner"].map((text) => folderWith({ "who.txt": text }));
  const report = async () => {
    const { readFileSync } = await import("node:fs");
    return [readFileSync("who.txt", "utf8"), process.env.ONE, process.env.TWO];
  };
  const nested = remote(
    async (at: string) => {
      const inherits = remote(report);
      const has = remote(report, { runtimeEnv: { workingDir: at, env: { TWO: "2" } } });
      return [await report(), ...(await get([inherits.remote(), has.remote()]))];
    },
    { runtimeEnv: { workingDir: outer ?? "", env: { ONE: "1", TWO: "1" } } },
  );
  expect(await get(nested.remote(inner ?? ""))).toEqual([
    ["outer", "1", "1"],
    ["outer", "1", "1"],
    ["inner", "1", "2"],
  ]);
});

test("the folder of the cache is for this user alone, and holds no secret", () => {
  expect(existsSync(join(cache, "environments"))).toBe(true);
  const files = readdirSync(cache, { recursive: true, encoding: "utf8" });
  expect(files.filter((name) => name.endsWith(".npmrc"))).toEqual([]);
});
