/**
 * A node's part in bringing modules of programs to where they are imported.
 *
 * Where a program runs, its node knows its files (`program.ts`), lists those that others ask for, and gives them. Elsewhere a
 * node gets the list and the files that it has not kept from earlier (`cache.ts`), once for all its processes, lays them out
 * (`tree.ts`), and says where. When the program's node is gone, other nodes are asked that have had the same.
 */
import { closeSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  ConnectionLostError,
  type ErrorKind,
  errorFromCode,
  isError,
  type MobulaError,
  ModuleUnavailableError,
} from "../base/errors.ts";
import { type JobId, type NodeId, nodeTag } from "../base/ids.ts";
import { type Fetch, GoneError, type Reading, type Tag } from "../pull/mod.ts";
import type { AboutCode, CodeAnswer, CodeAsk, ManifestName } from "../wire/cluster-messages.ts";
import type { PackageRef } from "../wire/messages.ts";
import { type CodeObtained, type CodeWanted, isProven } from "../wire/mod.ts";
import type { CodeCache } from "./cache.ts";
import { isGiven } from "./given.ts";
import { hashFile } from "./hash-file.ts";
import { KnownFiles } from "./known-files.ts";
import {
  checkNesting,
  decodeManifest,
  type Entry,
  encodeManifest,
  type FileEntry,
  type Hash,
  hashOf,
  isFile,
  type Manifest,
  type Path,
} from "./manifest.ts";
import { filesIn, manifestName, PACK_BYTES, type Pack, packName, packsOf, readName } from "./packs.ts";
import { ProgramFiles } from "./program.ts";
import { Relays } from "./relays.ts";
import { Slices } from "./slices.ts";
import { layOut, treeName } from "./tree.ts";

export interface ProgramsOptions {
  readonly here: NodeId;
  /** Known to the processes of this node: what they say that others may have is proven with it. */
  readonly key: string;
  readonly cache: CodeCache;
  /** Where trees of this node lie; it is removed with it. */
  readonly trees: string;
  /** This package on this machine. */
  readonly runtime: string;
  send(to: Tag, message: AboutCode): void;
  /** Dead, or never to be reached. */
  isDead(node: Tag): boolean;
  /** All that live, but this one. */
  others(): Iterable<Tag>;
  /** For people. */
  nameOf(node: Tag): string;
  fetch(from: Tag, what: Fetch): Promise<void>;
}

/** A program of another machine, as far as it was needed here. */
interface Foreign {
  readonly home: Tag;
  /** Each module and origin that was asked for, by address. */
  readonly needs: Set<string>;
  readonly manifests: Listed[];
  readonly entries: Map<Path, Entry>;
  /** Folders that stand on each other, the newest last. */
  readonly trees: string[];
  platform: string;
  /** What is being got. */
  current: { readonly wanted: CodeWanted; readonly done: Promise<unknown> } | undefined;
  /** One after the other: what is new stands on what was there before. */
  work: Promise<void>;
  usedAt: number;
}

/** A manifest whose files this node can give. */
interface Listed {
  readonly name: ManifestName;
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
  /** Undefined when it does not hold that any more. */
  read(entry: FileEntry): Buffer | undefined;
  pathOf(entry: FileEntry): string;
}

/** A package by its list, and the node where it was packed. */
type PackageOfNode = Extract<PackageRef, { readonly hash: string }>;

interface Asked {
  readonly to: Tag;
  resolve(answer: CodeAnswer): void;
  reject(error: Error): void;
}

/** Programs whose files are remembered after their end: they may have left actors behind. */
const OWN_MAX = 32;
const FOREIGN_MAX = 64;
/** Lists of packages that are kept in memory while others ask for their files. */
const PACKAGES_MAX = 16;
/** So many nodes are asked for a package when that where it was packed is gone. */
const PACKAGE_SOURCES_MAX = 8;
const MANIFEST_BYTES_MAX = 256 * 2 ** 20;
const ASKED_AT_ONCE = 16;
/** As long is waited for another node to have what it is getting itself. */
const HOLDS_MS_MAX = 30_000;
/** Files that a message names. */
const NAMED_MAX = 5;
const PLATFORM = `${process.platform}-${process.arch}`;

const keyOf = ({ node, job }: Pick<CodeWanted, "node" | "job">): string => `${node}/${job}`;

export class Programs {
  private readonly options: ProgramsOptions;
  private readonly known: KnownFiles;
  private readonly own = new Map<JobId, ProgramFiles>();
  private readonly foreign = new Map<string, Foreign>();
  private readonly listed = new Map<Hash, Listed>();
  private readonly packages = new Map<Hash, Listed>();
  private readonly asked = new Map<number, Asked>();
  /** Files on their way. */
  private readonly coming = new Map<Hash, Promise<void>>();
  private readonly closing = new AbortController();
  private readonly relays: Relays;
  private lastId = 0;

  constructor(options: ProgramsOptions) {
    this.options = options;
    this.relays = new Relays(options.isDead);
    this.known = new KnownFiles(join(options.cache.folder, "known-files.json"));
  }

  // ── where modules are imported ─────────────────────────────────────────────────────────────────────────────────────

  /**
   * @throws ModuleUnavailableError; OutOfDiskError.
   */
  async obtain(wanted: CodeWanted): Promise<CodeObtained> {
    const program = this.foreignProgram(wanted);
    if (!hasAll(program, wanted)) {
      const before = program.work;
      program.work = (async () => {
        await before.catch(() => {}); // Whoever asked for that was told.
        if (hasAll(program, wanted)) return;
        const done = this.extend(program, wanted).finally(() => {
          program.current = undefined;
        });
        program.current = { wanted, done };
        await done;
      })();
      await program.work;
    }
    return { roots: [...program.trees], platform: program.platform };
  }

  private foreignProgram(wanted: CodeWanted): Foreign {
    const key = keyOf(wanted);
    let program = this.foreign.get(key);
    if (!program) {
      program = {
        ...{ home: nodeTag(wanted.node), needs: new Set(), manifests: [], entries: new Map(), trees: [] },
        ...{ platform: PLATFORM, current: undefined, work: Promise.resolve(), usedAt: 0 },
      };
      this.foreign.set(key, program);
    }
    program.usedAt = performance.now();
    return program;
  }

  private async extend(program: Foreign, wanted: CodeWanted): Promise<void> {
    const problems: string[] = [];
    const tryFrom = async (source: Tag): Promise<boolean> => {
      try {
        const { manifests = [], via } = await this.ask(source, wanted);
        const isVia = via !== undefined && (await this.holds(via as Tag, wanted, true));
        for (const name of manifests) await this.addFrom(isVia ? [via as Tag, source] : [source], program, name);
        return true;
      } catch (error) {
        if (!(error instanceof ConnectionLostError) && !isError(error, "CONNECTION_LOST")) throw error;
        problems.push(`node ${this.options.nameOf(source)}: ${error.message}`);
        return false;
      }
    };
    let isThere = await tryFrom(program.home);
    for (
      const others = [...this.options.others()].filter((tag) => tag !== program.home);
      !isThere && others.length > 0;
    ) {
      const some = others.splice(0, ASKED_AT_ONCE);
      const holders = await Promise.all(some.map(async (tag) => (await this.holds(tag, wanted)) && tag));
      for (const tag of holders) if (!isThere && tag) isThere = await tryFrom(tag);
    }
    if (!isThere) {
      throw new ModuleUnavailableError(
        `${describe(wanted)} cannot be had: the program that imports it ran on another machine, and neither its node nor another one ` +
          `gives it (${problems.join("; ")}; ${[...this.options.others()].length} other nodes were asked)`,
      );
    }
    for (const need of needsOf(wanted)) program.needs.add(need);
  }

  /** @param waits for what it is getting itself. */
  private async holds(tag: Tag, wanted: CodeWanted, waits = false): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<false>();
    const timer = setTimeout(resolve, HOLDS_MS_MAX, false);
    try {
      return await Promise.race([this.ask(tag, wanted, waits).then(() => true), promise]);
    } catch {
      return false; // Why it does not have it is of no interest: it need not.
    } finally {
      clearTimeout(timer);
    }
  }

  private ask(to: Tag, wanted: CodeWanted, waits = false): Promise<CodeAnswer> {
    if (this.options.isDead(to))
      return Promise.reject(new ConnectionLostError("it is gone, or cannot be reached from here"));
    const id = ++this.lastId;
    return new Promise((resolve, reject) => {
      this.asked.set(id, { to, resolve, reject });
      this.options.send(to, { t: "code-ask", id, wanted, ...(waits && { waits }) });
    });
  }

  /** From the first that gives it. */
  private async addFrom([source, ...others]: readonly Tag[], program: Foreign, name: ManifestName): Promise<void> {
    if (source === undefined) return;
    try {
      await this.add(program, source, name);
    } catch (error) {
      if (others.length === 0 || !isError(error, "CONNECTION_LOST")) throw error;
      await this.addFrom(others, program, name);
    }
  }

  private async add(program: Foreign, source: Tag, name: ManifestName): Promise<void> {
    const { cache, trees, runtime } = this.options;
    const { hash } = name;
    if (program.manifests.some((one) => one.name.hash === hash)) return;
    const bytes = cache.read(hash) ?? (await this.manifestFrom(source, name));
    const manifest = decodeManifest(bytes);
    const entries = manifest.entries.filter(({ path }) => !program.entries.has(path));
    checkNesting(entries, program.entries);
    const files = entries.filter(isFile);
    await this.fetchFiles(
      source,
      hash,
      manifest,
      (entry) => !program.entries.has(entry.path) && !cache.has(entry.hash),
    );
    const base = program.trees.at(-1);
    if (entries.length > 0 || base === undefined) {
      const tree = treeName(hash, base);
      const root = await layOut(tree, entries, base, {
        ...{ cache, folder: trees, runtime },
        again: (damaged) => {
          const lost = new Set(damaged.map((entry) => entry.hash));
          return this.fetchFiles(source, hash, manifest, (entry) => lost.has(entry.hash) && !cache.has(entry.hash));
        },
      });
      program.trees.push(root);
    }
    program.platform = manifest.platform;
    for (const entry of entries) program.entries.set(entry.path, entry);
    const listed: Listed = {
      ...{ name, bytes, manifest },
      read: (entry) => cache.read(entry.hash),
      pathOf: (entry) => cache.pathOf(entry.hash),
    };
    program.manifests.push(listed);
    this.listed.set(hash, listed);
    cache.touch([hash, ...files.map((entry) => entry.hash)]);
    cache.trim();
  }

  private async manifestFrom(source: Tag, { hash, size }: ManifestName): Promise<Uint8Array> {
    if (size > MANIFEST_BYTES_MAX)
      throw new ModuleUnavailableError(`the list of the program's files has ${size} bytes, which is too long`);
    const memory = Buffer.alloc(size);
    await this.fetch(source, { name: manifestName(hash), size, place: { memory } }, "the list of files");
    if (hashOf(memory) !== hash) throw new ConnectionLostError("the list of the program's files came damaged");
    this.options.cache.write(hash, memory);
    return memory;
  }

  /**
   * The files of a package that was packed on another machine: into the cache, from there or from who had them from there.
   *
   * @throws ModuleUnavailableError; OutOfDiskError.
   */
  async obtainPackage({ hash, bytes, node }: PackageOfNode): Promise<void> {
    const { cache, others, nameOf, isDead } = this.options;
    const home = nodeTag(node);
    const problems: string[] = [];
    for (const source of new Set([home, ...[...others()].slice(0, PACKAGE_SOURCES_MAX)])) {
      try {
        if (isDead(source)) throw new ConnectionLostError("it is gone, or cannot be reached from here");
        const list = cache.read(hash) ?? (await this.manifestFrom(source, { hash, size: bytes }));
        await this.fetchFiles(source, hash, decodeManifest(list), (entry) => !cache.has(entry.hash));
        cache.trim();
        return;
      } catch (error) {
        if (!isError(error, "CONNECTION_LOST")) throw error;
        problems.push(`node ${nameOf(source)}: ${error.message}`);
      }
    }
    throw new ModuleUnavailableError(
      `package ${hash.slice(0, 8)} cannot be had: neither the node where it was packed nor another one gives it (${problems.join("; ")})`,
    );
  }

  private async fetchFiles(
    source: Tag,
    hash: Hash,
    manifest: Manifest,
    isMissing: (entry: FileEntry) => boolean,
  ): Promise<void> {
    const others = new Set<Promise<void>>();
    const packs = packsOf(hash, manifest, (entry) => {
      if (!isMissing(entry)) return false;
      const coming = this.coming.get(entry.hash);
      if (coming) others.add(coming);
      return coming === undefined;
    });
    await Promise.all([
      ...packs.map((pack) => {
        const files = filesIn(manifest, pack.from, pack.to);
        const work = this.fetchPack(source, pack, files);
        for (const file of files) this.coming.set(file.hash, work);
        const forget = (): void => {
          for (const file of files) if (this.coming.get(file.hash) === work) this.coming.delete(file.hash);
        };
        return work.finally(forget);
      }),
      // When another program does not get it, this one does not have it either and says so.
      ...others,
    ]);
  }

  private async fetchPack(source: Tag, pack: Pack, files: readonly FileEntry[]): Promise<void> {
    const { cache } = this.options;
    const size = files.reduce((sum, file) => sum + file.size, 0);
    const name = packName(pack);
    const [first] = files;
    if (size > PACK_BYTES && first) {
      const temporary = cache.temporary();
      const fd = openSync(temporary, "wx", 0o600);
      try {
        await this.fetch(source, { name, size, place: { fd, position: 0 } }, first.path);
        this.check(first, await hashFile(temporary));
        cache.adopt(first.hash, temporary, size);
      } finally {
        closeSync(fd);
        rmSync(temporary, { force: true });
      }
      return;
    }
    const memory = Buffer.allocUnsafe(size);
    await this.fetch(
      source,
      { name, size, place: { memory } },
      files
        .map(({ path }) => path)
        .slice(0, NAMED_MAX)
        .join(", "),
    );
    const slices = new Slices();
    let at = 0;
    for (const file of files) {
      const bytes = memory.subarray(at, at + file.size);
      at += file.size;
      this.check(file, hashOf(bytes));
      cache.write(file.hash, bytes);
      await slices.breathe();
    }
  }

  private check(file: FileEntry, hash: Hash): void {
    if (hash !== file.hash)
      throw new ConnectionLostError(`${file.path} came damaged, or has changed there since the program began`);
  }

  /** @param of what is wanted, for people. */
  private async fetch(source: Tag, what: Pick<Fetch, "name" | "size" | "place">, of: string): Promise<void> {
    try {
      await this.options.fetch(source, {
        ...what,
        from: 0,
        to: what.size,
        onBytes: () => {},
        signal: this.closing.signal,
      });
    } catch (error) {
      const why =
        error instanceof GoneError ? `it has not, or no longer, what ${of} held when the program began` : undefined;
      if (!why && isError(error, "CONNECTION_LOST")) throw error;
      throw new ConnectionLostError(why ?? (error as Error).message, { cause: error });
    }
  }

  // ── where programs run, and where their files have come to ─────────────────────────────────────────────────────────

  hear(from: Tag, message: AboutCode): void {
    if (message.t === "code-ask") {
      void this.answer(from, message).then((answer) => this.options.send(from, answer));
      return;
    }
    const asked = this.asked.get(message.id);
    if (asked?.to !== from) return;
    this.asked.delete(message.id);
    const { error } = message;
    if (error) asked.reject(errorFromCode(error.code, error.kind, error.message));
    else asked.resolve(message);
  }

  private async answer(from: Tag, { id, wanted, waits }: CodeAsk): Promise<CodeAnswer> {
    try {
      if (wanted.node !== this.options.here) {
        if (waits) await this.whenGot(wanted);
        return { t: "code-answer", id, manifests: this.heldOf(wanted) };
      }
      const list = await this.list(wanted);
      const via = this.relays.sourceFor(from, list.hash);
      return { t: "code-answer", id, manifests: [list], ...(via !== undefined && { via }) };
    } catch (error) {
      const { message } = error as Error;
      const { code = "INTERNAL", kind = "internal" as ErrorKind } = error as Partial<MobulaError>;
      return { t: "code-answer", id, error: { code, kind, message } };
    }
  }

  private async list(wanted: CodeWanted): Promise<ManifestName> {
    const { key } = this.options;
    const isTold = isProven(wanted, wanted.proof, key);
    const roots = { modules: wanted.modules.map(pathOf), origins: wanted.origins.map(pathOf) };
    let files = this.own.get(wanted.job);
    if (
      !isTold &&
      !(
        files &&
        roots.modules.every((path) => files?.has(path)) &&
        roots.origins.every((path) => files?.isOrigin(path))
      )
    ) {
      throw new ModuleUnavailableError(`no process of this node has said that others may have ${describe(wanted)}`);
    }
    files ??= new ProgramFiles(this.known);
    this.own.delete(wanted.job);
    this.own.set(wanted.job, files);
    for (const oldest of [...this.own.keys()].slice(0, -OWN_MAX)) this.own.delete(oldest);
    const manifest: Manifest = { platform: PLATFORM, entries: await files.reach(roots) };
    const bytes = encodeManifest(manifest);
    const name = { hash: hashOf(bytes), size: bytes.length };
    const all = files;
    this.listed.set(name.hash, {
      ...{ name, bytes, manifest },
      read: ({ path, size }) => {
        const held = all.bytes(path) ?? readIfThere(path);
        return held?.length === size ? held : undefined;
      },
      pathOf: (entry) => entry.path,
    });
    return name;
  }

  /** Whoever is waited for has asked the program's node before who waits: no two wait for each other. */
  private async whenGot(wanted: CodeWanted): Promise<void> {
    const current = this.foreign.get(keyOf(wanted))?.current;
    if (current && isIn(current.wanted, wanted)) await current.done.catch(() => {}); // Who asked for it there is told.
  }

  private heldOf(wanted: CodeWanted): readonly ManifestName[] {
    const program = this.foreign.get(keyOf(wanted));
    if (!program || !hasAll(program, wanted)) throw new ConnectionLostError("it does not have it either");
    return program.manifests.map(({ name }) => name);
  }

  /** What another node asks for on a bulk connection; undefined when it is not of programs, or not here. */
  open(wanted: string): Reading | undefined {
    const name = readName(wanted);
    const list = typeof name === "object" ? name.manifest : (name ?? "");
    const listed = this.listed.get(list) ?? this.givenPackage(list);
    if (!name || !listed) return undefined;
    if (typeof name === "string") return reading(listed.bytes);
    const files = filesIn(listed.manifest, name.from, name.to);
    const size = files.reduce((sum, file) => sum + file.size, 0);
    const [first] = files;
    if (!first) return undefined;
    if (size > PACK_BYTES) return files.length === 1 ? readingOfFile(listed.pathOf(first), size) : undefined;
    const parts = files.map((file) => listed.read(file));
    return parts.every((part) => part !== undefined) ? reading(Buffer.concat(parts)) : undefined;
  }

  /** What a process of this user has packed for others. */
  private givenPackage(hash: Hash): Listed | undefined {
    const { cache } = this.options;
    const known = this.packages.get(hash);
    if (known || hash === "" || !isGiven(cache.folder, hash)) return known;
    const bytes = cache.read(hash);
    if (!bytes) return undefined;
    const listed: Listed = {
      ...{ name: { hash, size: bytes.length }, bytes, manifest: decodeManifest(bytes) },
      read: (entry) => cache.read(entry.hash),
      pathOf: (entry) => cache.pathOf(entry.hash),
    };
    this.packages.set(hash, listed);
    for (const oldest of [...this.packages.keys()].slice(0, -PACKAGES_MAX)) this.packages.delete(oldest);
    return listed;
  }

  // ── ends ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  nodeDied(node: Tag): void {
    for (const [id, asked] of this.asked) {
      if (asked.to !== node) continue;
      this.asked.delete(id);
      asked.reject(new ConnectionLostError("it is gone"));
    }
  }

  /** Some jobs are over: what nothing uses is forgotten when there is much of it. */
  forget(isLive: (job: JobId) => boolean): void {
    if (this.foreign.size <= FOREIGN_MAX) return;
    const byAge = [...this.foreign].sort(([, a], [, b]) => a.usedAt - b.usedAt);
    for (const [key, program] of byAge.slice(0, -FOREIGN_MAX)) {
      if (isLive(key.slice(key.indexOf("/") + 1) as JobId)) continue;
      this.foreign.delete(key);
      for (const { name } of program.manifests) this.listed.delete(name.hash);
    }
    const inUse = new Set([...this.foreign.values()].flatMap(({ trees }) => trees));
    for (const name of readdirSync(this.options.trees)) {
      const path = join(this.options.trees, name);
      // Those that are being made are known by their names.
      if (!inUse.has(path) && !name.endsWith(".tmp")) rmSync(path, { recursive: true, force: true });
    }
  }

  close(): void {
    this.closing.abort(new ConnectionLostError("the node is ending"));
    for (const { reject } of this.asked.values()) reject(new ConnectionLostError("the node is ending"));
    this.asked.clear();
    rmSync(this.options.trees, { recursive: true, force: true });
  }
}

const needsOf = ({ modules, origins }: CodeWanted): string[] => [
  ...modules,
  ...origins.map((origin) => `origin ${origin}`),
];
const isIn = (all: CodeWanted, some: CodeWanted): boolean => {
  const needs = new Set(needsOf(all));
  return needsOf(some).every((need) => needs.has(need));
};
const hasAll = ({ needs }: Foreign, wanted: CodeWanted): boolean => needsOf(wanted).every((need) => needs.has(need));

function describe({ modules, origins }: CodeWanted): string {
  const named = [...modules, ...origins].map(pathOf);
  const more = named.length > NAMED_MAX ? ` and ${named.length - NAMED_MAX} more` : "";
  return `module ${named.slice(0, NAMED_MAX).join(", ")}${more}`;
}

/** @throws ModuleUnavailableError for what is no file. */
function pathOf(address: string): Path {
  try {
    const url = new URL(address);
    return fileURLToPath(new URL(url.pathname, "file:"));
  } catch (cause) {
    throw new ModuleUnavailableError(`${address} is no file that could be sent`, { cause });
  }
}

function readIfThere(path: Path): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

const more = (): Promise<void> => Promise.reject(new Error("all of it is there"));

function reading(memory: Uint8Array): Reading {
  return {
    size: memory.length,
    place: { memory },
    availableFrom: () => memory.length,
    more,
    whenFailed: undefined,
    close() {},
  };
}

function readingOfFile(path: string, size: number): Reading {
  const fd = openSync(path, "r");
  const place = { fd, position: 0 };
  return { size, place, availableFrom: () => size, more, whenFailed: undefined, close: () => closeSync(fd) };
}
