import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type BuildOptions, build } from "esbuild";
import { afterEach, beforeEach, expect, test } from "vitest";
import { mobula } from "./mod.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mobula-plugin-"));
  write("package.json", `{ "type": "module" }`);
  write("node_modules/mobula/package.json", `{ "name": "mobula", "type": "module", "exports": "./index.js" }`);
  write("node_modules/mobula/index.js", "export const remote = (f) => f;");
  write(
    "src/shared.ts",
    "export class Shared {}\nexport const loads: string[] = (globalThis as any).loads ??= [];\nloads.push('shared');",
  );
  write(
    "src/lib/tasks.ts",
    `import { Shared } from "../shared.ts";\nexport const url: string = import.meta.url;\nexport function work(): Shared { return new Shared(); }`,
  );
  write(
    "src/app.ts",
    `import { remote } from "mobula";\nimport { url, work } from "./lib/tasks.ts";\nimport { loads, Shared } from "./shared.ts";\n` +
      `console.log(JSON.stringify({ url, same: remote(work)() instanceof Shared, loads, main: import.meta.url }));`,
  );
});

afterEach(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string): void {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  writeFileSync(join(folder, name), text);
}

const options = (): BuildOptions => ({
  absWorkingDir: folder,
  entryPoints: ["src/app.ts"],
  bundle: true,
  format: "esm",
  platform: "node",
  outdir: join(folder, "out"),
  logLevel: "silent",
});

const runNode = (...args: string[]) =>
  JSON.parse(execFileSync(process.execPath, args, { cwd: folder, encoding: "utf8" }));

test("a task module can be imported by itself, and shares its classes with the main module", async () => {
  await build({ ...options(), plugins: [mobula()] });
  const result = runNode("out/app.js");
  expect(result).toMatchObject({ same: true, loads: ["shared"] });
  expect(result.url).not.toBe(result.main);
  // What a worker does: import the module that holds the function, without running the main module.
  const script = `const m = await import(${JSON.stringify(result.url)}); console.log(JSON.stringify(Object.values(m).map((v) => v.name ?? typeof v)));`;
  expect(runNode("--input-type=module", "-e", script)).toContain("work");
});

test("the program's own entries keep their places, whatever form they are given in", async () => {
  await build({ ...options(), plugins: [mobula()] });
  expect(existsSync(join(folder, "out/app.js"))).toBe(true);
  expect(existsSync(join(folder, "out/lib/tasks.js"))).toBe(true);
  await build({
    ...options(),
    outdir: join(folder, "named"),
    entryPoints: { main: "src/app.ts" },
    plugins: [mobula()],
  });
  await build({
    ...options(),
    outdir: join(folder, "pairs"),
    entryPoints: [{ in: "src/app.ts", out: "main" }],
    plugins: [mobula()],
  });
  for (const out of ["named", "pairs"])
    expect(readdirSync(join(folder, out))).toEqual(expect.arrayContaining(["main.js", "tasks"]));
});

test("only the named task modules are split off when they are given", async () => {
  await build({ ...options(), plugins: [mobula({ taskModules: ["src/shared.ts"] })] });
  expect(existsSync(join(folder, "out/shared.js"))).toBe(true);
  expect(existsSync(join(folder, "out/lib/tasks.js"))).toBe(false);
});

test.each([
  [{ format: "cjs" as const }, 'set format: "esm"'],
  [{ bundle: false }, "set bundle: true"],
])("a build that cannot be split is refused with what to set: %j", async (overrides, advice) => {
  await expect(build({ ...options(), ...overrides, plugins: [mobula()] })).rejects.toThrow(advice);
});

test("one output file and an unknown task module are refused", async () => {
  const { outdir: _outdir, ...rest } = options();
  await expect(build({ ...rest, outfile: join(folder, "out.js"), plugins: [mobula()] })).rejects.toThrow("set outdir");
  await expect(build({ ...options(), plugins: [mobula({ taskModules: ["src/typo.ts"] })] })).rejects.toThrow(
    "src/typo.ts is not part",
  );
});
