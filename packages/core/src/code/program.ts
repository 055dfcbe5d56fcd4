/**
 * The files of one program where it runs: which of them a module needs, and what they hold. What a file held when it was first
 * looked at counts for the whole run of the program, as it does for a module that is imported once.
 *
 * - From a module of the program's own one gets to what it imports, to files beside it that it names, and to the
 *   `package.json` that says how it is to be read.
 * - A package in a `node_modules` counts as a whole, with the packages that it depends on: what it reads at run time cannot be
 *   seen from its text. One that is linked there from elsewhere (a workspace) is the program's own.
 * - Nothing else is looked at.
 */
import { readdirSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { isBuiltin } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ModuleUnavailableError } from "../base/errors.ts";
import { resolveImport, resolveRequire } from "../closure/mod.ts";
import { hashFile } from "./hash-file.ts";
import { importsOf } from "./imports.ts";
import { type KnownFiles, statOf } from "./known-files.ts";
import { type Entry, type FileEntry, hashOf, type Path } from "./manifest.ts";
import { Slices } from "./slices.ts";

/** Where a walk over a program's modules begins. */
export interface Roots {
  readonly modules: readonly Path[];
  /** Files whose functions have left them: of these only counts what the functions may import. */
  readonly origins: readonly Path[];
}

/** What is found at one place: entries of the manifest, and where to go on. */
interface Found {
  readonly entries: Set<Path>;
  readonly modules: Set<Path>;
  readonly packages: Set<Path>;
}

/** Up to this size what the program's own files held is kept, so that they may be edited while it runs. */
const KEPT_FILE_BYTES_MAX = 2 ** 20;
const KEPT_BYTES_MAX = 64 * 2 ** 20;
const WHOLE_FILE_BYTES_MAX = 8 * 2 ** 20;
const RUNTIME = "mobula";
const MODULE = /(?:\.[cm]?[jt]sx?|\/[^./]+)$/;

export class ProgramFiles {
  private readonly known: KnownFiles;
  private readonly entries = new Map<Path, Entry>();
  private readonly found = new Map<string, Found>();
  private readonly kept = new Map<Path, Buffer>();
  private keptBytes = 0;
  private readonly slices = new Slices();

  constructor(known: KnownFiles) {
    this.known = known;
  }

  /** Whether it was reached before. */
  has(path: Path): boolean {
    return this.entries.has(path);
  }

  isOrigin(path: Path): boolean {
    return this.found.has(originKey(path));
  }

  /** What a file of the program's own held, where that is kept. */
  bytes(path: Path): Buffer | undefined {
    return this.kept.get(path);
  }

  /** @throws ModuleUnavailableError when a module is not there. */
  async reach({ modules, origins }: Roots): Promise<Entry[]> {
    const entries = new Set<Path>();
    const seen = new Set<string>();
    const waiting: (() => Found)[] = [];
    const go = (key: string, look: () => Found): void => {
      if (seen.has(key)) return;
      seen.add(key);
      waiting.push(() => this.once(key, look));
    };
    const goOn = (found: Found): void => {
      for (const path of found.entries) entries.add(path);
      for (const path of found.modules) go(path, () => this.module(path));
      for (const folder of found.packages) go(`${folder}/`, () => this.package(folder));
    };
    for (const path of modules) {
      if (!statOf(path)?.isFile())
        throw new ModuleUnavailableError(`module ${path} is not there on the program's machine`);
      const found = nothing();
      this.moduleAt(found, path);
      goOn(found);
    }
    for (const path of origins) go(originKey(path), () => this.origin(path));
    for (let next = waiting.pop(); next; next = waiting.pop()) {
      goOn(next());
      await this.slices.breathe();
    }
    for (const path of entries) {
      if (this.entries.has(path)) continue;
      await this.file(path);
      await this.slices.breathe();
    }
    this.known.save();
    return [...entries].sort().flatMap((path) => this.entries.get(path) ?? []);
  }

  private once(key: string, look: () => Found): Found {
    let found = this.found.get(key);
    if (!found) {
      found = look();
      this.found.set(key, found);
    }
    return found;
  }

  // ── modules of the program's own ───────────────────────────────────────────────────────────────────────────────────

  private module(path: Path): Found {
    const found = nothing();
    found.entries.add(path);
    this.scope(found, path);
    if (MODULE.test(path)) {
      const { linked, called, beside } = importsOf(this.text(path));
      for (const specifier of [...linked, ...called]) this.imported(found, specifier, path);
      for (const name of beside) this.beside(found, name, path);
    }
    return found;
  }

  private origin(path: Path): Found {
    const found = nothing();
    const text = statOf(path)?.isFile() ? this.text(path) : "";
    const { called, beside } = importsOf(text);
    for (const specifier of called) this.imported(found, specifier, path);
    for (const name of beside) this.beside(found, name, path);
    this.scope(found, path);
    return found;
  }

  /** Its text as it counts for this run. */
  private text(path: Path): string {
    let bytes = this.kept.get(path);
    if (!bytes) {
      bytes = readFileSync(path);
      this.keep(path, bytes);
    }
    return bytes.toString("utf8");
  }

  private keep(path: Path, bytes: Buffer): void {
    if (bytes.length > KEPT_FILE_BYTES_MAX || this.keptBytes + bytes.length > KEPT_BYTES_MAX) return;
    this.kept.set(path, bytes);
    this.keptBytes += bytes.length;
  }

  /** The nearest `package.json`, by which Node.js knows what kind of module it is. */
  private scope(found: Found, path: Path): void {
    for (let folder = dirname(path); ; folder = dirname(folder)) {
      if (basename(folder) !== "node_modules" && statOf(join(folder, "package.json"))?.isFile()) {
        found.entries.add(join(folder, "package.json"));
        return;
      }
      if (folder === dirname(folder)) return;
    }
  }

  private beside(found: Found, name: string, from: Path): void {
    if (/^[a-z][a-z0-9+.-]*:/i.test(name)) return;
    const path = resolve(dirname(from), decodeURI(name));
    if (!statOf(path)?.isFile()) return;
    // A worker thread's program, or a file to read.
    this.moduleAt(found, realpathSync(path));
  }

  /** What is not found here is not found there either, if it is ever imported. */
  private imported(found: Found, specifier: string, from: Path): void {
    if (isBuiltin(specifier) || /^(?:data|https?|node):/.test(specifier)) return;
    if (/^(?:\.{0,2}\/|\.{1,2}$|file:)/.test(specifier)) {
      const address = new URL(specifier, pathToFileURL(from));
      const path = fileURLToPath(new URL(address.pathname, "file:"));
      if (statOf(path)?.isFile()) this.moduleAt(found, realpathSync(path));
      else this.resolved(found, specifier, from);
      return;
    }
    const name = packageName(specifier);
    const folder = specifier.startsWith("#") ? undefined : this.installed(found, name, dirname(from));
    if (folder === "runtime") return;
    if (folder !== undefined && isInNodeModules(folder)) found.packages.add(folder);
    else this.resolved(found, specifier, from);
  }

  /** As Node.js finds it, imported and required. */
  private resolved(found: Found, specifier: string, from: Path): void {
    const parent = pathToFileURL(from).href;
    for (const find of [resolveRequire, resolveImport]) {
      try {
        const address = find(specifier, parent);
        if (address.startsWith("file:")) this.moduleAt(found, realpathSync(fileURLToPath(address)));
      } catch {
        // It is only meant for the other of the two, or for none.
      }
    }
  }

  /** A file that may lie in a package. */
  private moduleAt(found: Found, path: Path): void {
    const folder = packageFolder(path);
    if (folder === undefined) found.modules.add(path);
    else found.packages.add(folder);
  }

  // ── packages ───────────────────────────────────────────────────────────────────────────────────────────────────────

  private package(folder: Path): Found {
    const found = nothing();
    this.all(found, folder, folder);
    const about = packageJson(folder);
    const { dependencies, optionalDependencies, peerDependencies } = about;
    for (const name of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies })) {
      const other = this.installed(found, name, folder);
      if (other === undefined || other === "runtime") continue;
      if (isInNodeModules(other)) found.packages.add(other);
      else this.resolved(found, name, join(folder, "package.json"));
    }
    return found;
  }

  private all(found: Found, folder: Path, top: Path): void {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) {
        if (entry.name !== "node_modules" && entry.name !== ".git") this.all(found, path, top);
      } else if (entry.isFile()) {
        found.entries.add(path);
      } else if (entry.isSymbolicLink()) {
        const target = resolve(folder, readlinkSync(path));
        if (target.startsWith(`${top}/`)) this.link(found, path, target);
      }
    }
  }

  /**
   * The folder of a package, as Node.js finds it from another folder; with the links that lead there.
   */
  private installed(found: Found, name: string, from: Path): Path | "runtime" | undefined {
    for (let folder = from; ; folder = dirname(folder)) {
      const modules = join(folder, "node_modules");
      const path = join(modules, name);
      if (basename(folder) !== "node_modules" && statOf(path)?.isDirectory()) {
        if (name === RUNTIME) {
          const parent = this.follow(found, modules, folder);
          const own = join(parent, name);
          this.entries.set(own, { path: own, isRuntime: true });
          found.entries.add(own);
          return "runtime";
        }
        return this.follow(found, path, folder);
      }
      if (folder === dirname(folder)) return undefined;
    }
  }

  /** The real path, with an entry for each link on the way from `top`. */
  private follow(found: Found, path: Path, top: Path): Path {
    let at = top;
    for (const part of path.slice(top === "/" ? 1 : top.length + 1).split("/")) {
      const next = join(at, part);
      const real = realpathSync(next);
      if (real !== next) this.link(found, next, real);
      at = real;
    }
    return at;
  }

  private link(found: Found, path: Path, target: Path): void {
    if (!this.entries.has(path)) this.entries.set(path, { path, target });
    found.entries.add(path);
  }

  // ── what files hold ────────────────────────────────────────────────────────────────────────────────────────────────

  private async file(path: Path): Promise<void> {
    const stats = statOf(path);
    if (!stats?.isFile()) return;
    const isOwn = !isInNodeModules(path);
    const kept = this.kept.get(path);
    let hash = kept ? hashOf(kept) : isOwn ? undefined : this.known.hash(path, stats);
    let size = kept?.length ?? stats.size;
    if (hash === undefined && size <= WHOLE_FILE_BYTES_MAX) {
      const bytes = readFileSync(path);
      size = bytes.length;
      hash = hashOf(bytes);
      if (isOwn) this.keep(path, bytes);
    }
    if (hash === undefined) hash = await hashFile(path);
    if (!isOwn) this.known.remember(path, stats, hash);
    const entry: FileEntry = { path, hash, size, isExecutable: (stats.mode & 0o111) !== 0 };
    this.entries.set(path, entry);
  }
}

const originKey = (path: Path): string => `origin ${path}`;
const nothing = (): Found => ({ entries: new Set(), modules: new Set(), packages: new Set() });

const isInNodeModules = (path: Path): boolean => path.includes("/node_modules/");

const packageName = (specifier: string): string =>
  specifier
    .split("/")
    .slice(0, specifier.startsWith("@") ? 2 : 1)
    .join("/");

/** Of the package in a `node_modules` that the file belongs to. */
function packageFolder(path: Path): Path | undefined {
  const at = path.lastIndexOf("/node_modules/");
  if (at < 0) return undefined;
  const start = at + "/node_modules/".length;
  const rest = path.slice(start);
  return rest.includes("/") ? path.slice(0, start) + packageName(rest) : undefined;
}

interface PackageJson {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
}

function packageJson(folder: Path): PackageJson {
  try {
    return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as PackageJson;
  } catch {
    return {}; // It has none that can be read, so it names nothing that it needs.
  }
}
