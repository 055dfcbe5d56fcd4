/**
 * A runtime environment as a program has written it, to what its node and workers are told: folders are packed, and named by
 * what they hold. What a folder held when it was first named counts for the run.
 */
import { existsSync, readFileSync, realpathSync, renameSync, statSync, writeFileSync } from "node:fs";
import { isAbsolute, join, resolve } from "node:path";
import { InvalidOptionError, isError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import { needsVersion } from "../base/wire-version.ts";
import type { Client } from "../client/mod.ts";
import { CodeCache } from "../code/mod.ts";
import {
  filesOfFolder,
  type PackageName,
  Packages,
  type ProgramFile,
  planNpm,
  withFilesOfArchive,
} from "../environments/mod.ts";
import type { NpmRef, PackageRef, RuntimeEnv } from "../wire/mod.ts";
import type { RuntimeEnvSettings } from "./runtime-env-settings.ts";
import type { NpmInstall, WorkingDir } from "./types.ts";

const WORKING_DIR_BYTES_MAX = 500 * 2 ** 20;
const HERE = { platform: process.platform, arch: process.arch };

/**
 * What a task or actor says, on top of what its job (or the task that submits it) was started with.
 *
 * @throws InvalidOptionError when a folder cannot be packed; OutOfDiskError.
 */
export function environmentFor(
  client: Client,
  call: string,
  own: RuntimeEnvSettings | undefined,
): RuntimeEnv | undefined {
  const { runtimeEnv: base } = client;
  if (!own) return base;
  const packer = packerOf(client);
  const { env, nodeOptions, timeoutMs, workingDir } = own;
  const npm = own.npm === undefined ? base?.npm : own.npm && packer.npm(call, own.npm);
  // What is installed takes the place of what lies in the folder.
  const files = workingDir ? packer.folder(call, workingDir, npm ? ["/node_modules/"] : []) : base?.files;
  const setup = own.setup ?? base?.setup;
  const { files: _files, npm: _npm, ...kept } = base ?? {};
  const merged: RuntimeEnv = {
    ...kept,
    ...((env || base?.env) && { env: { ...base?.env, ...env } }),
    ...(nodeOptions && { nodeOptions }),
    ...(files && { files }),
    ...(npm && { npm }),
    ...(setup && { setup }),
    ...(timeoutMs !== undefined && { timeoutMs }),
  };
  if (files || npm || setup) needsVersion(2, "runtimeEnv with workingDir, npm or setup");
  check(call, merged);
  return merged;
}

/** What can be said at the call need not fail later. */
function check(call: string, { files, npm, setup }: RuntimeEnv): void {
  const root = files?.root;
  if (npm?.from === "files") {
    if (!files) {
      throw new InvalidOptionError(
        `${call} option "runtimeEnv.npm" installs what package.json in the working folder says, and there is none: ` +
          'give runtimeEnv.workingDir too, or npm: { path: "folder" } or npm: { dependencies }',
      );
    }
    if (root !== undefined) planned(call, npm, viewOf(root));
  }
  if (!setup) return;
  const { module } = setup;
  const isPath = /^\.{0,2}\//.test(module);
  if (isPath && !files) {
    throw new InvalidOptionError(
      `${call} option "runtimeEnv.setup" is ${JSON.stringify(module)}, a file; it must lie in runtimeEnv.workingDir, which is not given`,
    );
  }
  if (isPath && root !== undefined && (isAbsolute(module) || !existsSync(join(root, module)))) {
    throw new InvalidOptionError(
      `${call} option "runtimeEnv.setup" is ${JSON.stringify(module)}; it must be the path of a module in ${root}, such as "./setup.mjs"`,
    );
  }
}

function planned(call: string, npm: NpmRef, view: Parameters<typeof planNpm>[0]): ReturnType<typeof planNpm> {
  try {
    return planNpm(view, npm, HERE);
  } catch (cause) {
    if (!isError(cause, "RUNTIME_ENV")) throw cause;
    throw new InvalidOptionError(`${call} option "runtimeEnv.npm": ${cause.message}`, { cause });
  }
}

const viewOf = (folder: string): Parameters<typeof planNpm>[0] => ({
  has: (path) => existsSync(join(folder, path)),
  text: (path) => (existsSync(join(folder, path)) ? readFileSync(join(folder, path), "utf8") : undefined),
});

// ── packing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

const packers = new WeakMap<Client, Packer>();

function packerOf(client: Client): Packer {
  let packer = packers.get(client);
  if (!packer) {
    packer = new Packer(client);
    packers.set(client, packer);
  }
  return packer;
}

class Packer {
  private readonly client: Client;
  private readonly packed = new Map<string, PackageRef>();
  private kept: Packages | undefined;

  constructor(client: Client) {
    this.client = client;
  }

  folder(call: string, given: WorkingDir & { readonly root?: string }, useless: readonly string[]): PackageRef {
    const { path, bytesMax = WORKING_DIR_BYTES_MAX, root: standsFor } = given;
    const excludes = [...useless, ...(given.excludes ?? [])];
    const at = resolve(path);
    return this.once(JSON.stringify([at, excludes, bytesMax, standsFor]), () => {
      const option = `${call} option "runtimeEnv.workingDir"`;
      const stats = statSync(at, { throwIfNoEntry: false });
      if (stats?.isFile() && /\.zip$/i.test(at)) return this.archive(at, bytesMax, standsFor);
      if (!stats?.isDirectory()) {
        throw new InvalidOptionError(
          `${option} is ${JSON.stringify(path)}; it must be a folder or a .zip on this machine, and ${at} is ${stats ? "neither" : "not there"}`,
        );
      }
      const root = realpathSync(at);
      return this.keep(filesOfFolder(root, { excludes, bytesMax }), root);
    });
  }

  /** With a root it is one that never changes: what it was packed as is noted beside it. */
  private archive(at: string, bytesMax: number, root: string | undefined): PackageRef {
    const pack = (): PackageName => withFilesOfArchive(at, bytesMax, (files) => this.packages().pack(files));
    return this.nameAs(root === undefined ? pack() : this.noted(`${at}.packed`, pack), root);
  }

  private noted(note: string, pack: () => PackageName): PackageName {
    try {
      const known = JSON.parse(readFileSync(note, "utf8")) as PackageName;
      if (this.packages().find(known.hash)) return known;
    } catch {
      // It is packed for the first time, or somebody is just writing it.
    }
    const name = pack();
    const half = `${note}-${process.pid}`;
    writeFileSync(half, JSON.stringify(name), { mode: 0o600 });
    renameSync(half, note);
    return name;
  }

  npm(call: string, { path, dependencies, allowScripts = false, dev = false }: NpmInstall): NpmRef {
    const how = { allowScripts, dev };
    if (dependencies) {
      const sorted = Object.fromEntries(Object.entries(dependencies).sort(([a], [b]) => (a < b ? -1 : 1)));
      const text = `${JSON.stringify({ private: true, dependencies: sorted }, null, 2)}\n`;
      const view = {
        has: (name: string) => name === "package.json",
        text: (name: string) => (name === "package.json" ? text : undefined),
      };
      planned(call, { from: "files", ...how }, view);
      const content = { read: () => Buffer.from(text) };
      const file = { path: "package.json", isExecutable: false, size: text.length, content };
      return { from: this.once(text, () => this.keep([file])), ...how };
    }
    if (path === undefined) return { from: "files", ...how };
    const folder = realpathSync(resolve(path));
    const { needs } = planned(call, { from: "files", ...how }, viewOf(folder));
    const isNeeded = (file: ProgramFile): boolean =>
      needs.some((need) => file.path === need || file.path.startsWith(`${need}/`));
    const from = this.once(JSON.stringify([folder, how]), () => {
      const all = filesOfFolder(folder, { excludes: ["node_modules"], bytesMax: Number.POSITIVE_INFINITY });
      return this.keep(all.filter(isNeeded));
    });
    return { from, ...how };
  }

  private once(key: string, make: () => PackageRef): PackageRef {
    let ref = this.packed.get(key);
    if (!ref) {
      ref = make();
      this.packed.set(key, ref);
    }
    return ref;
  }

  private keep(files: readonly ProgramFile[], root?: string): PackageRef {
    return this.nameAs(this.packages().pack(files), root);
  }

  private nameAs(name: PackageName, root: string | undefined): PackageRef {
    return { ...name, node: this.client.nodeId as NodeId, ...(root !== undefined && { root }) };
  }

  private packages(): Packages {
    const { packagesFolder } = this.client;
    if (packagesFolder === undefined) {
      throw new InvalidOptionError(
        "the node of this program is of an older version, which brings no folders to workers",
      );
    }
    this.kept ??= new Packages(new CodeCache(packagesFolder, PACKAGES_BYTES_MAX));
    return this.kept;
  }
}

/** As nodes have it: theirs is the same folder. */
const PACKAGES_BYTES_MAX = 4 * 2 ** 30;
