/**
 * Modules of other machines, as a process sees them. In a cluster, a value says where the modules that it names come from.
 * Where other files are seen than there, the process has its node bring them, and imports them from where they are then. On
 * the wire a module always has the address that it has where the program runs; modules of this package, which every machine
 * has, are named by their place in it.
 */
import { realpathSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { isError, ModuleUnavailableError, SerializationError } from "../base/errors.ts";
import type { JobId, NodeId } from "../base/ids.ts";
import { type Addresses, fileAddress, useAddresses } from "../closure/mod.ts";
import { type CodeInfo, type CodeObtained, type CodeWanted, proofOf } from "../wire/mod.ts";
import { ModuleHome, type ModuleHomeInfo } from "./module-home.ts";
import type { NeededCode } from "./needed-modules.ts";

export interface ForeignCodeOptions {
  jobId(): JobId;
  query(method: "obtain-code", params: CodeWanted): Promise<CodeObtained>;
}

/** A run of a program on another machine. */
interface Program {
  readonly files: string;
  readonly node: NodeId;
  readonly job: JobId;
  readonly known: Set<string>;
  /** Folders in which its modules lie: in the last one all of them, by links or as files. */
  roots: readonly string[];
  readonly platform: string;
}

/** Of this package's code: `mobula:lib/worker.cjs`. */
const OWN = "mobula:";
const PROOFS_MAX = 1_000;
const PLATFORM = `${process.platform}-${process.arch}`;

export class ForeignCode implements Addresses {
  private readonly options: ForeignCodeOptions;
  private readonly ownFolder = new URL("..", import.meta.url).href;
  private own: (CodeInfo & { readonly node: NodeId }) | undefined;
  private readonly programs = new Map<string, Program>();
  /** By each folder in which one lies, as a URL: it may lie in several. */
  private readonly byRoot = new Map<string, Program>();
  /** What the value that is being read comes from. */
  private current: Program | undefined;
  private home: ModuleHome | undefined;
  private readonly proofs = new Map<string, string>();
  private readonly found = new Map<string, string>();

  constructor(options: ForeignCodeOptions) {
    this.options = options;
  }

  /** @param info what the node has said, if there are others. A process has one node at a time. */
  welcome(info: CodeInfo | undefined, node: NodeId): void {
    this.own = info && { ...info, node };
    if (info || this.home) useAddresses(this);
    else useAddresses(undefined);
  }

  /** What was made ready for this process, from its start on. */
  live(home: ModuleHomeInfo): void {
    this.home = new ModuleHome(home, this.ownFolder);
    this.home.resolveFirst();
    useAddresses(this);
  }

  get isInCluster(): boolean {
    return this.own !== undefined;
  }

  // ── leaving ────────────────────────────────────────────────────────────────────────────────────────────────────────

  outgoing(url: string): string {
    if (url.startsWith(this.ownFolder)) return OWN + url.slice(this.ownFolder.length);
    if (this.byRoot.size === 0 && !this.home) return url;
    const isPath = url.startsWith("/");
    const address = isPath ? pathToFileURL(url).href : url;
    const inHome = this.home?.outgoing(address) ?? address;
    if (inHome !== address) return isPath ? fileURLToPath(inHome) : inHome;
    const [root] = this.rootOf(address) ?? [];
    if (root === undefined) return url;
    const outside = `file://${address.slice(root.length)}`;
    return isPath ? fileURLToPath(outside) : outside;
  }

  /** A text in which files are named, as they are named where the program runs. */
  asWritten(text: string): string {
    let written = this.home?.asWritten(text) ?? text;
    for (const root of this.byRoot.keys()) {
      written = written.replaceAll(`${root}/`, "file:///").replaceAll(`${fileURLToPath(root)}/`, "/");
    }
    return written;
  }

  private rootOf(address: string): readonly [string, Program] | undefined {
    for (const entry of this.byRoot) if (address.startsWith(`${entry[0]}/`)) return entry;
    return undefined;
  }

  /**
   * @param modules as this process knows them. @param origins as values name them.
   * @throws SerializationError for modules of two machines in one value.
   */
  needed(modules: readonly string[], origins: readonly string[]): readonly string[] | NeededCode {
    const { own } = this;
    if (!own) return modules;
    const addresses = modules.map((url) => this.outgoing(url));
    const files = addresses.filter((url) => url.startsWith("file:"));
    const fromFiles = origins.filter((url) => url.startsWith("file:"));
    if (files.length === 0 && fromFiles.length === 0) return addresses;
    const programs = new Set(
      modules.flatMap((url, index) => (addresses[index]?.startsWith("file:") ? [this.rootOf(url)?.[1]] : [])),
    );
    if (programs.size > 1) {
      throw new SerializationError(
        `a value names modules of several machines, which cannot be told apart where it arrives: ${addresses.join(", ")}`,
      );
    }
    const [program = this.programOfJob()] = programs;
    const { node } = program ?? own;
    const job = program?.job ?? this.options.jobId();
    const wanted = { node, job, modules: addresses, origins: fromFiles };
    return { ...wanted, files: (program ?? own).files, proof: program ? "" : this.proof(wanted, own.key) };
  }

  /** That the functions come from which have arrived here. */
  private programOfJob(): Program | undefined {
    const job = this.options.jobId();
    return [...this.programs.values()].findLast((program) => program.job === job);
  }

  private proof(wanted: Omit<CodeWanted, "proof">, key: string): string {
    const name = JSON.stringify([wanted.job, wanted.modules, wanted.origins]);
    let proof = this.proofs.get(name);
    if (proof === undefined) {
      if (this.proofs.size >= PROOFS_MAX) this.proofs.clear();
      proof = proofOf(wanted, key);
      this.proofs.set(name, proof);
    }
    return proof;
  }

  // ── arriving ───────────────────────────────────────────────────────────────────────────────────────────────────────

  incoming(url: string): string {
    if (url.startsWith(OWN)) return this.ownFolder + url.slice(OWN.length);
    const { current } = this;
    const home = this.home?.place(url);
    if (home !== undefined) return home;
    if (!current || !url.startsWith("file:")) return url;
    const root = current.roots.at(-1) ?? "";
    const key = `${root}\0${url}`;
    let here = this.found.get(key);
    if (here === undefined) {
      here = placeOf(root, url);
      this.found.set(key, here);
    }
    return here;
  }

  /** Something to wait for before what needs this is read; undefined when nothing has to come from elsewhere. */
  obtain(needed: NeededCode): Promise<void> | undefined {
    if (!this.isElsewhere(needed)) return undefined;
    const program = this.programs.get(keyOf(needed));
    if (program && namesOf(needed).every((name) => program.known.has(name))) return undefined;
    return this.bring(needed);
  }

  private isElsewhere({ files }: NeededCode): boolean {
    return this.own !== undefined && files !== this.own.files;
  }

  private async bring(needed: NeededCode): Promise<void> {
    const { node, job, modules, origins, proof, files } = needed;
    const { roots, platform } = await this.options.query("obtain-code", { node, job, modules, origins, proof });
    const program: Program = this.programs.get(keyOf(needed)) ?? {
      files,
      node,
      job,
      known: new Set(),
      roots: [],
      platform,
    };
    this.programs.set(keyOf(needed), program);
    // One that was asked for before may be answered after.
    if (roots.length > program.roots.length) program.roots = roots;
    for (const root of roots) this.byRoot.set(pathToFileURL(root).href, program);
    for (const name of namesOf(needed)) program.known.add(name);
  }

  /** Reads something that needs this. */
  reading<T>(needed: NeededCode, read: () => T): T {
    if (!this.isElsewhere(needed)) return read();
    const program = this.programs.get(keyOf(needed));
    const before = this.current;
    this.current = program;
    try {
      return read();
    } catch (error) {
      throw this.explain(needed, error);
    } finally {
      this.current = before;
    }
  }

  /** Why something that needs this could not be read. */
  explain(needed: NeededCode, error: unknown): unknown {
    const platform = this.programs.get(keyOf(needed))?.platform;
    return platform === undefined ? error : onAnotherPlatform(error, platform);
  }
}

const keyOf = ({ node, job }: Pick<CodeWanted, "node" | "job">): string => `${node}/${job}`;
const namesOf = ({ modules, origins }: CodeWanted): string[] => [...modules, ...origins.map((url) => `origin ${url}`)];

/** Node.js knows modules by their real paths. */
function placeOf(root: string, url: string): string {
  const address = fileAddress(url);
  const path = root + fileURLToPath(address);
  try {
    return pathToFileURL(realpathSync(path)).href + url.slice(address.length);
  } catch {
    // The file of an origin: it did not come, only what may be imported from there.
    return pathToFileURL(path).href + url.slice(address.length);
  }
}

/** Native addons and packages for one platform do not load on another; Node.js does not say why. */
function onAnotherPlatform(error: unknown, platform: string): unknown {
  if (platform === PLATFORM || !(error instanceof Error) || isError(error, "MODULE_UNAVAILABLE")) return error;
  const { code } = error as NodeJS.ErrnoException;
  if (code !== "ERR_DLOPEN_FAILED" && code !== "MODULE_NOT_FOUND" && code !== "ERR_MODULE_NOT_FOUND") return error;
  return new ModuleUnavailableError(
    `a module cannot be loaded here: the program's packages come from a machine of ${platform}, and this one is ${PLATFORM}; ` +
      `native addons need a machine of the same kind (${error.message})`,
    { cause: error },
  );
}
