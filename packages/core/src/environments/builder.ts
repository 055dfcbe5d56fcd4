/** Makes one environment ready: brings its files, installs its packages, and lays both out for workers. */
import { hash } from "node:crypto";
import { chmodSync, copyFileSync, mkdirSync, symlinkSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { RuntimeEnvError } from "../base/errors.ts";
import { type Entry, give, hashFile, isFile, type Manifest, onDisk, Slices } from "../code/mod.ts";
import type { NpmRef, PackageRef, RuntimeEnv } from "../wire/messages.ts";
import { bytesBelow, type Folders } from "./folders.ts";
import { runNpm } from "./npm.ts";
import { type ProgramView, planNpm } from "./npm-plan.ts";
import { hash8, type Packages } from "./packages.ts";

/** What a worker needs to know of its environment. */
export interface ReadyEnvironment {
  /** Where it starts. */
  readonly workingDir?: string;
  /** Where it finds modules and packages. */
  readonly modules: string;
  /** The folder of the program that `modules` stands for. */
  readonly from?: string;
}

export interface BuilderOptions {
  readonly packages: Packages;
  readonly folders: Folders;
  /** Brings a package of another machine into `packages`. */
  fetchPackage(ref: PackageRef): Promise<void>;
  /** A process runs that is to end with this one. */
  onStarted(pid: number): void;
}

/** How it gets on. */
export interface Reporter {
  /** What is done now: words that follow "waits for its environment". */
  doing(words: string): void;
  /** For the program's terminal. */
  say(line: string): void;
  /** A folder of the cache that it needs from now on. */
  uses(name: string): void;
}

/** Raised when what lies in a folder is another. */
const FORMAT = 1;
const WHERE = { platform: process.platform, arch: process.arch };

export class Builder {
  private readonly options: BuilderOptions;

  constructor(options: BuilderOptions) {
    this.options = options;
  }

  /** @throws RuntimeEnvError, OutOfDiskError, or what `signal` was aborted with. */
  async build(env: RuntimeEnv, signal: AbortSignal, reporter: Reporter): Promise<ReadyEnvironment> {
    const { files, npm } = env;
    const manifest = files && (await orAborted(this.manifestOf(files, reporter), signal));
    const installed = npm && (await this.install(npm, manifest, signal, reporter));
    if (!files || !manifest) {
      if (installed === undefined) throw new RuntimeEnvError("it names neither files nor packages");
      return { modules: installed };
    }
    const tree = await this.layOut(manifest, installed, signal, reporter);
    const { root } = files;
    return { workingDir: tree, modules: tree, ...(root !== undefined && { from: root }) };
  }

  private async manifestOf(ref: PackageRef, reporter: Reporter): Promise<Manifest> {
    const { packages } = this.options;
    const known = packages.find(ref.hash);
    if (known) return known;
    reporter.doing(`its files come from node ${ref.node.slice(0, 8)}`);
    await this.options.fetchPackage(ref);
    const fetched = packages.find(ref.hash);
    if (!fetched)
      throw new RuntimeEnvError(`package ${hash8(ref.hash)} is no longer whole in ${packages.cache.folder}`);
    give(packages.cache.folder, ref.hash);
    return fetched;
  }

  // ── packages of npm ────────────────────────────────────────────────────────────────────────────────────────────────

  private async install(
    npm: NpmRef,
    files: Manifest | undefined,
    signal: AbortSignal,
    reporter: Reporter,
  ): Promise<string> {
    const { packages, folders } = this.options;
    const from = npm.from === "files" ? files : await orAborted(this.manifestOf(npm.from, reporter), signal);
    if (!from) throw new RuntimeEnvError("npm is to install the packages of the working folder, and there is none");
    const { needs, steps } = planNpm(viewOf(packages, from), npm, WHERE);
    const entries = from.entries.filter(({ path }) =>
      needs.some((need) => path === `/${need}` || path.startsWith(`/${need}/`)),
    );
    const { modules } = process.versions;
    const name = `npm-${nameOf([entries.map(wordsOf), npm.allowScripts, npm.dev, { ...WHERE, modules }])}`;
    reporter.uses(name);
    return folders.make(name, signal, async (folder) => {
      await this.place(entries, folder, "copies");
      for (const { args, reason } of steps) {
        const command = `npm ${args[0]}`;
        reporter.doing(command);
        reporter.say(`${command} begins for ${folders.pathOf(name)}${reason === undefined ? "" : `: ${reason}`}`);
        let fetched = 0;
        await runNpm({
          ...{ folder, args, signal },
          onStarted: (pid) => this.options.onStarted(pid),
          onFetched: (count) => {
            fetched = count;
            reporter.doing(`${command} (${count} fetched)`);
          },
        });
        reporter.say(`${command} ended${fetched > 0 ? `, ${fetched} fetched` : ""}`);
      }
      mkdirSync(join(folder, "node_modules"), { recursive: true, mode: 0o700 });
      return bytesBelow(folder);
    });
  }

  // ── for workers ────────────────────────────────────────────────────────────────────────────────────────────────────

  private async layOut(
    manifest: Manifest,
    installed: string | undefined,
    signal: AbortSignal,
    reporter: Reporter,
  ): Promise<string> {
    const { folders } = this.options;
    const isHidden = ({ path }: Entry): boolean =>
      installed !== undefined && (path === "/node_modules" || path.startsWith("/node_modules/"));
    const entries = manifest.entries.filter((entry) => !isHidden(entry));
    const name = `files-${nameOf([entries.map(wordsOf), installed ?? null])}`;
    reporter.uses(name);
    return folders.make(name, signal, async (folder) => {
      reporter.doing("its files are laid out");
      const made = await this.place(entries, folder, "links");
      if (installed !== undefined) symlinkSync(join(installed, "node_modules"), join(folder, "node_modules"));
      // All workers share it.
      for (const path of made) chmodSync(path, 0o500);
      return entries.reduce((bytes, entry) => bytes + (isFile(entry) ? entry.size : 0), 0);
    });
  }

  /** @returns the folders that were made, the deepest first. */
  private async place(entries: readonly Entry[], folder: string, as: "links" | "copies"): Promise<string[]> {
    const { packages } = this.options;
    const slices = new Slices();
    const made = new Set<string>([folder]);
    const make = (path: string): void => {
      if (made.has(path)) return;
      make(dirname(path));
      mkdirSync(path, { mode: 0o700 });
      made.add(path);
    };
    for (const entry of entries) {
      const to = join(folder, entry.path);
      onDisk(folder, 0, () => make(dirname(to)));
      if (isFile(entry)) {
        if (as === "links") await packages.place(entry, to);
        else onDisk(folder, entry.size, () => copyFileSync(packages.cache.pathOf(entry.hash), to));
        if (as === "copies" && (await hashFile(to)) !== entry.hash) {
          throw new RuntimeEnvError(
            `${entry.path} is damaged in ${packages.cache.folder}: remove that folder, and try again`,
          );
        }
        if (as === "copies") chmodSync(to, entry.isExecutable ? 0o700 : 0o600);
      } else if ("target" in entry) {
        symlinkSync(relative(dirname(to), join(folder, entry.target)) || ".", to);
      }
      await slices.breathe();
    }
    return [...made].reverse();
  }
}

const viewOf = (packages: Packages, manifest: Manifest): ProgramView => {
  const paths = new Set(manifest.entries.map(({ path }) => path));
  return { has: (path) => paths.has(`/${path}`), text: (path) => packages.text(manifest, path) };
};

const wordsOf = (entry: Entry): readonly unknown[] =>
  isFile(entry)
    ? [entry.path, entry.hash, entry.isExecutable]
    : "target" in entry
      ? [entry.path, entry.target]
      : [entry.path];

const nameOf = (content: unknown): string => hash("sha256", JSON.stringify([FORMAT, content]), "hex").slice(0, 32);

/** What cannot be stopped is left to itself. */
function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) return Promise.reject(signal.reason);
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
