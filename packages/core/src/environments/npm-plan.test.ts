import { describe, expect, test } from "vitest";
import { planNpm } from "./npm-plan.ts";

const LINUX = { platform: "linux", arch: "x64" };
const plan = (files: Readonly<Record<string, object | string>>, more: object = {}, machine = LINUX) =>
  planNpm(
    {
      has: (path) => path in files,
      text: (path) => (typeof files[path] === "object" ? JSON.stringify(files[path]) : files[path]),
    },
    { allowScripts: false, dev: false, ...more },
    machine,
  );
const commands = (planned: ReturnType<typeof planNpm>): string[] =>
  planned.steps.map(({ args }) =>
    args.filter((arg) => !/^--(no-audit|no-fund|no-update|loglevel)/.test(arg)).join(" "),
  );

describe("what npm is told", () => {
  test("a lockfile: npm ci, without scripts and without what is for development", () => {
    const files = { "package.json": {}, "package-lock.json": { packages: { "": {} } } };
    expect(plan(files).needs).toEqual(["package.json", "package-lock.json"]);
    expect(commands(plan(files))).toEqual(["ci --omit=dev --ignore-scripts"]);
    expect(commands(plan(files, { allowScripts: true, dev: true }))).toEqual(["ci"]);
    const shrunk = { "package.json": {}, "npm-shrinkwrap.json": {}, "package-lock.json": {} };
    expect(plan(shrunk).needs).toEqual(["package.json", "npm-shrinkwrap.json"]);
  });

  test("what the lockfile takes from the folder comes along", () => {
    const packages = {
      "": {},
      "node_modules/a": { resolved: "file:vendor/a-1.0.0.tgz" },
      "node_modules/b": { resolved: "packages/b", link: true },
      "packages/b": { version: "1.0.0" },
      "node_modules/c": { resolved: "https://registry/c.tgz" },
    };
    const files = { "package.json": {}, "package-lock.json": { packages } };
    expect(plan(files).needs).toEqual(["package.json", "package-lock.json", "vendor/a-1.0.0.tgz", "packages/b"]);
    const outside = { "node_modules/b": { resolved: "../b", link: true } };
    expect(() => plan({ "package.json": {}, "package-lock.json": { packages: outside } })).toThrow(
      /node_modules\/b is taken from \.\.\/b, which lies outside/,
    );
  });

  test("optional packages for this platform that the lockfile lacks are added, with their exact versions", () => {
    const of = (...locked: string[]) => ({
      "package.json": {},
      "package-lock.json": {
        packages: {
          "": {},
          "node_modules/esbuild": {
            optionalDependencies: {
              "@esbuild/linux-x64": "0.21.5",
              "@esbuild/linux-arm64": "0.21.5",
              "@esbuild/darwin-arm64": "0.21.5",
            },
          },
          "node_modules/rollup": {
            optionalDependencies: { "@rollup/rollup-linux-x64-gnu": "4.1.0", "@rollup/rollup-linux-x64-musl": "4.1.0" },
          },
          ...Object.fromEntries(locked.map((name) => [`node_modules/${name}`, {}])),
        },
      },
    });
    const planned = plan(of("@esbuild/darwin-arm64"));
    expect(commands(planned)).toEqual([
      "ci --omit=dev --ignore-scripts",
      "install --no-save --no-package-lock --omit=dev --ignore-scripts @esbuild/linux-x64@0.21.5 @rollup/rollup-linux-x64-gnu@4.1.0",
    ]);
    expect(planned.steps[1]?.reason).toMatch(
      /made on another platform.*@esbuild\/linux-x64 \(optional dependency of esbuild\)/,
    );
    expect(plan(of("@esbuild/linux-x64", "@rollup/rollup-linux-x64-musl")).steps).toHaveLength(1);
    expect(plan(of("@esbuild/linux-x64", "@rollup/rollup-linux-x64-gnu"), {}, LINUX).steps).toHaveLength(1);
  });

  test("without a lockfile every version must be exact", () => {
    const dependencies = { a: "1.2.3", b: "npm:c@2.0.0-rc.1", d: "https://host/d-1.tgz", e: "file:vendor/e.tgz" };
    const planned = plan({ "package.json": { dependencies, devDependencies: { f: "*" } } });
    expect(planned.needs).toEqual(["package.json", "vendor/e.tgz"]);
    expect(planned.steps).toMatchObject([
      { reason: "there is no lockfile, and every dependency has an exact version" },
    ]);
    expect(commands(planned)).toEqual(["install --no-package-lock --omit=dev --ignore-scripts"]);
    for (const version of ["^1.0.0", "1.x", "latest", "*", "1.2", "github:a/b", ">=1.0.0"]) {
      expect(() => plan({ "package.json": { dependencies: { a: version } } })).toThrow(/dependency a has the version/);
    }
  });

  test("what is no program is refused", () => {
    expect(() => plan({})).toThrow(/no package\.json/);
    expect(() => plan({ "package.json": "{" })).toThrow(/package\.json is not JSON/);
  });
});
