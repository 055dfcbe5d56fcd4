/**
 * Where a worker finds modules first: what was made ready for its environment stands for the program's own folder. A value names
 * modules by where they are in the program; here they are imported from the copy, and packages from what was installed for it.
 */
import { existsSync, realpathSync } from "node:fs";
import { createRequire, isBuiltin, type ResolveHookContext, registerHooks } from "node:module";
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
  private readonly root: string;
  /** A file there, whether it exists or not: what specifiers of packages are resolved from. */
  private readonly parent: string;
  /** Of this package's code. */
  private readonly own: string;
  private readonly from: string | undefined;
  /** Node.js knows modules by their real paths: packages may lie elsewhere. */
  private readonly packages: string | undefined;
  /** What this asks of `require` is not for its own hook. */
  private isAsking = false;
  private readonly found = new Map<string, string | undefined>();

  constructor({ modules, from }: ModuleHomeInfo, own: string) {
    this.own = own;
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

  // ── specifiers ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * From now on what a file imports by name is what was installed for the environment, if it is; what the program's own files import
   * from each other is the copy; and this package is always the one that runs.
   */
  resolveFirst(): void {
    registerHooks({
      resolve: (specifier, context, next) => {
        const { parentURL = "" } = context;
        if (isBuiltin(specifier) || this.isAsking) return next(specifier, context);
        if (!isBare(specifier)) {
          const found = next(specifier, context);
          const there = this.place(found.url);
          return there === undefined ? found : { ...found, url: there };
        }
        if (parentURL.startsWith(this.own)) return next(specifier, context);
        const plainly = (): ReturnType<typeof next> => next(specifier, context);
        const from = (parent: string) => (): ReturnType<typeof next> =>
          isRequire(context)
            ? { url: this.required(specifier, parent), shortCircuit: true }
            : next(specifier, { ...context, parentURL: parent });
        if (/^mobula(?:\/|$)/.test(specifier)) return firstOf([from(this.own), plainly]);
        if (this.isHere(parentURL)) {
          // What was not installed for it may lie beside the program, where that is seen.
          const outside = this.outgoing(parentURL);
          return outside === parentURL ? plainly() : firstOf([plainly, from(outside)]);
        }
        // What a package imports is its own business.
        if (parentURL.includes(PACKAGES)) return plainly();
        return firstOf([from(this.parent), plainly]);
      },
    });
  }

  private required(specifier: string, parent: string): string {
    this.isAsking = true;
    try {
      return pathToFileURL(createRequire(parent).resolve(specifier)).href;
    } finally {
      this.isAsking = false;
    }
  }

  private isHere(url: string): boolean {
    const { root, packages } = this;
    return url.startsWith(`${root}/`) || (packages !== undefined && url.startsWith(`${packages}/`));
  }

  // ── leaving ────────────────────────────────────────────────────────────────────────────────────────────────────────

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

const isBare = (specifier: string): boolean => !/^(?:\.{0,2}\/|\.{1,2}$|#|[a-z][\w+.-]*:)/i.test(specifier);

/** `require` takes no other parent from a hook. */
const isRequire = ({ conditions }: ResolveHookContext): boolean => conditions.includes("require");

/** What the first one finds; the error of the last one when none does. */
function firstOf<T>(ways: readonly (() => T)[]): T {
  let problem: unknown;
  for (const way of ways) {
    try {
      return way();
    } catch (error) {
      problem = error;
    }
  }
  throw problem;
}
