/**
 * Where a worker finds modules first: what was made ready for its environment stands for the program's own folder. A value names
 * modules by where they are in the program; here they are imported from the copy, and packages from what was installed for it.
 */
import { existsSync, realpathSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { fileAddress } from "../closure/mod.ts";

export interface ModuleHomeInfo {
  /** The folder of the copy, or of the packages alone. */
  readonly modules: string;
  /** The program's folder; none of an archive. */
  readonly from?: string;
}

const PACKAGES = "/node_modules/";

export class ModuleHome {
  /** What specifiers of packages are resolved from. */
  readonly parent: string;
  private readonly root: string;
  private readonly from: string | undefined;
  /** Node.js knows modules by their real paths: packages may lie elsewhere. */
  private readonly packages: string | undefined;
  private readonly found = new Map<string, string | undefined>();

  constructor({ modules, from }: ModuleHomeInfo) {
    this.root = pathToFileURL(modules).href;
    this.parent = `${this.root}/index.js`;
    this.from = from === undefined ? undefined : pathToFileURL(from).href;
    const packages = join(modules, "node_modules");
    this.packages = existsSync(packages) ? pathToFileURL(realpathSync(packages)).href : undefined;
  }

  /** Where a module of the program is here; undefined when it is not in the environment. */
  place(url: string): string | undefined {
    if (!url.startsWith("file:")) return undefined;
    if (!this.found.has(url)) this.found.set(url, this.find(url));
    return this.found.get(url);
  }

  private find(url: string): string | undefined {
    const address = fileAddress(url);
    const { root, from } = this;
    if (address.startsWith(`${root}/`)) return undefined;
    const own = from !== undefined && address.startsWith(`${from}/`) ? root + address.slice(from.length) : undefined;
    const at = address.lastIndexOf(PACKAGES);
    // A package that was installed for the environment goes before the program's own.
    const installed = at < 0 ? undefined : root + address.slice(at);
    for (const candidate of [own, installed]) {
      const path = candidate === undefined ? undefined : fileURLToPath(candidate);
      if (path !== undefined && existsSync(path)) {
        return pathToFileURL(realpathSync(path)).href + url.slice(address.length);
      }
    }
    return undefined;
  }

  /** As the program knows it. */
  outgoing(url: string): string {
    const { from } = this;
    if (from === undefined) return url;
    for (const [here, there] of this.pairs(from)) if (url.startsWith(`${here}/`)) return there + url.slice(here.length);
    return url;
  }

  asWritten(text: string): string {
    const { from } = this;
    if (from === undefined) return text;
    return this.pairs(from).reduce(
      (written, [here, there]) =>
        written.replaceAll(`${here}/`, `${there}/`).replaceAll(`${fileURLToPath(here)}/`, `${fileURLToPath(there)}/`),
      text,
    );
  }

  private pairs(from: string): (readonly [here: string, there: string])[] {
    const { root, packages } = this;
    return [[root, from], ...(packages === undefined ? [] : [[packages, `${from}/node_modules`] as const])];
  }
}
