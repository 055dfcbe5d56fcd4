import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";

const execute = promisify(execFile);
export const repository = join(import.meta.dirname, "../../../..");

/** Another Node.js, from npm. */
export interface NodeVersion {
  readonly version: string;
  readonly path: string;
}

export interface Finished {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** An empty project outside of the repository in which the packed tarball is installed, as a user would do it. */
export class InstalledProject implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "mobula-installed-"));

  /** Packs the package, installs it with `packages` (exact versions) and without install scripts. */
  static async create(packages: readonly string[]): Promise<InstalledProject> {
    const project = new InstalledProject();
    try {
      const tarballs = join(project.folder, "tarball");
      mkdirSync(tarballs);
      await project.#npm(repository, ["pack", "--workspace", "mobula", "--pack-destination", tarballs]);
      const tarball = readdirSync(tarballs).find((file) => file.endsWith(".tgz")) ?? "no tarball";
      project.write("package.json", JSON.stringify({ name: "user-project", private: true }));
      await project.#npm(project.folder, ["install", "--ignore-scripts", join(tarballs, tarball), ...packages]);
      return project;
    } catch (error) {
      project[Symbol.dispose]();
      throw error;
    }
  }

  /** Installs the Node.js `version` beside the project, for this machine. */
  async installNode(version: string): Promise<NodeVersion> {
    const folder = join(this.folder, `node-${version}`);
    mkdirSync(folder);
    writeFileSync(join(folder, "package.json"), JSON.stringify({ private: true }));
    await this.#npm(folder, ["install", "--ignore-scripts", `node-linux-${process.arch}@${version}`]);
    return { version, path: join(folder, `node_modules/node-linux-${process.arch}/bin/node`) };
  }

  write(name: string, text: string): string {
    const path = join(this.folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
    return path;
  }

  read(name: string): string {
    return readFileSync(join(this.folder, name), "utf8");
  }

  /** Runs Node.js in the project; `node` also becomes the first on the path, for programs that start others. */
  async run(node: string, args: readonly string[], env: Record<string, string> = {}): Promise<Finished> {
    const path = [dirname(node), process.env.PATH ?? ""].join(delimiter);
    // What the test runner sets for itself must not reach the programs of a user.
    const { NODE_OPTIONS: _options, NODE_COMPILE_CACHE: _cache, VITEST: _vitest, ...inherited } = process.env;
    // Nothing of these packages, which are soon gone, is kept for the user.
    const own = { PATH: path, MOBULA_CACHE_DIR: join(this.folder, "mobula-cache") };
    const options = { cwd: this.folder, env: { ...inherited, ...own, ...env }, timeout: 60_000 };
    try {
      return { code: 0, ...(await execute(node, args, options)) };
    } catch (error) {
      const failed = error as Partial<Finished> & { killed?: boolean };
      const note = failed.killed === true ? "\n(ended after 60 s)" : "";
      return {
        code: failed.code ?? 1,
        stdout: failed.stdout ?? "",
        stderr: `${failed.stderr ?? String(error)}${note}`,
      };
    }
  }

  async #npm(cwd: string, args: readonly string[]): Promise<void> {
    await execute("npm", [...args, "--no-audit", "--no-fund"], { cwd, timeout: 180_000, maxBuffer: 64 * 1024 * 1024 });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
