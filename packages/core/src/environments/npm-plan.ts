/** What of a program's files an installation of its packages needs, and by which commands it is made. */
import { posix } from "node:path";
import { RuntimeEnvError } from "../base/errors.ts";

/** The files of a program. */
export interface ProgramView {
  has(path: string): boolean;
  /** Undefined when there is none. */
  text(path: string): string | undefined;
}

export interface NpmPlan {
  /** Files, or folders with all that is in them. */
  readonly needs: readonly string[];
  readonly steps: readonly NpmStep[];
}
export interface NpmStep {
  readonly args: readonly string[];
  /** Why it is this command. */
  readonly reason?: string;
}

export interface NpmChoice {
  readonly allowScripts: boolean;
  readonly dev: boolean;
}
interface Machine {
  readonly platform: string;
  readonly arch: string;
}

interface Lockfile {
  readonly packages?: Readonly<Record<string, LockedPackage>>;
}
interface LockedPackage {
  readonly resolved?: string;
  readonly link?: boolean;
  readonly dev?: boolean;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}
interface PackageJson {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

const LOCKFILES = ["npm-shrinkwrap.json", "package-lock.json"];
const EXACT = /^(?:npm:(?:@[^/@]+\/)?[^@]+@)?=?v?\d+\.\d+\.\d+(?:[-+][\w.+-]+)?$/;
const ARCHIVE = /^https?:\/\/\S+\.t(?:ar\.)?gz$/;
const LOCAL = /^file:/;
/** Names of machines in names of packages; what has none of them is for all. */
const LIBC = /musl|gnu|glibc/;

/** @throws RuntimeEnvError when nothing can be installed for it, with what to do. */
export function planNpm(files: ProgramView, { allowScripts, dev }: NpmChoice, machine: Machine): NpmPlan {
  const manifest = read<PackageJson>(files, "package.json");
  if (!manifest)
    throw new RuntimeEnvError("there is no package.json to install packages by: npm needs one in the folder");
  const common = [
    ...(dev ? [] : ["--omit=dev"]),
    ...(allowScripts ? [] : ["--ignore-scripts"]),
    ...["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=http"],
  ];
  const lockName = LOCKFILES.find((name) => files.has(name));
  if (lockName === undefined) {
    const needs = checkUnlocked(manifest, dev);
    const reason = "there is no lockfile, and every dependency has an exact version";
    return {
      needs: ["package.json", ...needs],
      steps: [{ args: ["install", "--no-package-lock", ...common], reason }],
    };
  }
  const lock = read<Lockfile>(files, lockName) ?? {};
  const steps: NpmStep[] = [{ args: ["ci", ...common] }];
  const missing = missingForMachine(lock, dev, machine);
  if (missing.length > 0) {
    steps.push({
      args: [
        "install",
        "--no-save",
        "--no-package-lock",
        ...common,
        ...missing.map(({ name, version }) => `${name}@${version}`),
      ],
      reason:
        `${lockName} was made on another platform and has no entry for ` +
        `${missing.map(({ name, of }) => `${name} (optional dependency of ${of})`).join(", ")}, which this machine needs`,
    });
  }
  return { needs: ["package.json", lockName, ...localFiles(lock)], steps };
}

function read<T>(files: ProgramView, path: string): T | undefined {
  const text = files.text(path);
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    throw new RuntimeEnvError(`${path} is not JSON: ${(error as Error).message}`, { cause: error });
  }
}

function checkUnlocked({ dependencies, devDependencies, optionalDependencies }: PackageJson, dev: boolean): string[] {
  const all = { ...dependencies, ...optionalDependencies, ...(dev ? devDependencies : {}) };
  const needs: string[] = [];
  for (const [name, version] of Object.entries(all)) {
    if (LOCAL.test(version)) needs.push(inside(version.replace(LOCAL, ""), name));
    else if (!EXACT.test(version) && !ARCHIVE.test(version)) {
      throw new RuntimeEnvError(
        `there is no package-lock.json, and the dependency ${name} has the version "${version}": commit the lockfile that ` +
          "`npm install` makes, or give exact versions",
      );
    }
  }
  return needs;
}

/** What the lockfile takes from the program's own files: archives, and folders of a workspace. */
function localFiles({ packages = {} }: Lockfile): string[] {
  const needs = new Set<string>();
  for (const [path, { resolved = "", link }] of Object.entries(packages)) {
    if (link) needs.add(inside(resolved, path));
    else if (LOCAL.test(resolved)) needs.add(inside(resolved.replace(LOCAL, ""), path));
  }
  return [...needs];
}

function inside(path: string, of: string): string {
  const plain = posix.normalize(path).replace(/\/$/, "");
  if (!plain.startsWith("../") && plain !== ".." && !plain.startsWith("/")) return plain;
  throw new RuntimeEnvError(
    `the package ${of} is taken from ${path}, which lies outside of the folder: it cannot be sent`,
  );
}

/**
 * npm leaves optional packages for other platforms out of a lockfile when it is made from an installed folder, and then
 * installs nothing in their place and says nothing (npm's issue 4828).
 */
function missingForMachine(
  { packages = {} }: Lockfile,
  dev: boolean,
  machine: Machine,
): { readonly name: string; readonly version: string; readonly of: string }[] {
  const locked = new Set(Object.keys(packages).map((path) => path.slice(path.lastIndexOf("node_modules/") + 13)));
  const missing = new Map<string, { readonly name: string; readonly version: string; readonly of: string }>();
  for (const [path, { optionalDependencies = {}, dev: isDev = false }] of Object.entries(packages)) {
    if (isDev && !dev) continue;
    const of = path.slice(path.lastIndexOf("node_modules/") + 13) || "the program";
    const others = Object.keys(optionalDependencies);
    for (const [name, version] of Object.entries(optionalDependencies)) {
      if (locked.has(name) || !isFor(name, machine) || !EXACT.test(version)) continue;
      // Some packages have one for each C library, of which one at most is needed.
      const isServed = LIBC.test(name) && others.some((other) => locked.has(other) && isFor(other, machine));
      if (!isServed) missing.set(name, { name, version, of });
    }
  }
  const all = [...missing.values()];
  return all.filter(
    ({ name }) => !name.includes("musl") || !all.some((other) => other.name === name.replace("musl", "gnu")),
  );
}

function isFor(name: string, { platform, arch }: Machine): boolean {
  const words = name.split(/[^a-z0-9]+/i);
  return words.includes(platform) && words.includes(arch);
}
