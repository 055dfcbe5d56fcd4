/** Folders of programs for tests, with packages that need no registry: archives beside package.json. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { newFolder } from "../new-folder.ts";

/** @param files from path to what is in it. */
export function folderWith(files: Readonly<Record<string, string>>): string {
  const folder = newFolder();
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
  return folder;
}

export interface LocalPackage {
  readonly name: string;
  readonly version: string;
  readonly files?: Readonly<Record<string, string>>;
  /** Of its package.json. */
  readonly more?: object;
}

/** Adds package.json, package-lock.json and an archive of each package to a folder. @returns the folder. */
export function withPackages(folder: string, packages: readonly LocalPackage[], more: object = {}): string {
  const dependencies: Record<string, string> = {};
  const locked: Record<string, object> = {};
  for (const { name, version, files, more: own } of packages) {
    const archive = `${name}-${version}.tgz`;
    const source = folderWith({
      "package/package.json": JSON.stringify({ name, version, ...own }),
      "package/index.js": `module.exports = ${JSON.stringify(`${name} ${version}`)};`,
      ...Object.fromEntries(Object.entries(files ?? {}).map(([path, text]) => [`package/${path}`, text])),
    });
    execFileSync("tar", ["czf", join(folder, archive), "-C", source, "package"]);
    const integrity = `sha512-${createHash("sha512")
      .update(readFileSync(join(folder, archive)))
      .digest("base64")}`;
    dependencies[name] = `file:${archive}`;
    locked[`node_modules/${name}`] = { version, resolved: `file:${archive}`, integrity, ...own };
  }
  const program = { name: "program", version: "1.0.0", dependencies, ...more };
  writeFileSync(join(folder, "package.json"), JSON.stringify(program));
  const lock = { name: "program", version: "1.0.0", lockfileVersion: 3, requires: true };
  writeFileSync(join(folder, "package-lock.json"), JSON.stringify({ ...lock, packages: { "": program, ...locked } }));
  return folder;
}

/** A package whose installation takes long. @returns the folder of a program that needs it. */
export function sleepy(name: string, seconds: number): string {
  const more = { scripts: { install: `sleep ${seconds}` }, hasInstallScript: true };
  return withPackages(newFolder(), [{ name, version: "1.0.0", more }]);
}

const inCache = (cache: string): string[] => {
  const folder = join(cache, "environments");
  return existsSync(folder) ? readdirSync(folder) : [];
};

/** Units of an environment that a cache holds, whole. */
export const kept = (cache: string, kind: "files" | "npm"): string[] =>
  inCache(cache).filter((name) => new RegExp(`^${kind}-[0-9a-f]{32}$`).test(name));

/** What was begun and not finished. */
export const leftovers = (cache: string): string[] => inCache(cache).filter((name) => /\.(tmp|lock)$/.test(name));
