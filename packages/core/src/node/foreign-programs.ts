/** What a node of a cluster keeps of programs that run on other machines: where on its disk, and how it gets it. */
import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { NodeId } from "../base/ids.ts";
import { randomBytes } from "../base/random.ts";
import { cacheDirectory } from "../bin/cache-directory.ts";
import { CodeCache, filesSeenHere, ownPackage, Programs, type ProgramsOptions } from "../code/mod.ts";
import { BulkLinks } from "../pull/mod.ts";
import type { BulkConnection } from "../transport/mod.ts";
import type { CodeInfo } from "../wire/messages.ts";
import { processStart } from "./session-folder.ts";

export interface ForeignProgramsOptions extends Pick<ProgramsOptions, "send" | "isDead" | "others" | "nameOf"> {
  readonly nodeId: NodeId;
  readonly sessionDir: string;
  dial(node: string): Promise<BulkConnection>;
  log(message: string): void;
}

/** Of all programs, for all nodes of this user on this machine. */
export const CACHE_BYTES_MAX = 4 * 2 ** 30;

export const programsFolder = (sessionDir: string): string => join(cacheDirectory() ?? sessionDir, "programs");

export class ForeignPrograms {
  /** For processes of this node. */
  readonly info: CodeInfo;
  readonly programs: Programs;
  readonly cache: CodeCache;
  private readonly links: BulkLinks;

  constructor(options: ForeignProgramsOptions) {
    const { nodeId: here, sessionDir, dial, log } = options;
    this.info = { files: filesSeenHere(), key: randomBytes(32).toString("hex") };
    this.links = new BulkLinks(dial);
    const folder = programsFolder(sessionDir);
    this.cache = new CodeCache(folder, CACHE_BYTES_MAX);
    const trees = join(folder, "trees");
    this.programs = new Programs({
      ...options,
      here,
      key: this.info.key,
      cache: this.cache,
      trees: join(trees, `${process.pid}-${processStart(process.pid) ?? ""}-${here.slice(0, 8)}`),
      runtime: ownPackage(),
      fetch: (from, what) => this.links.fetch(from, what),
    });
    try {
      removeAbandoned(trees);
    } catch (error) {
      log(`what dead nodes have left in ${trees} cannot be removed: ${(error as Error).message}`);
    }
  }

  nodeDied(node: string): void {
    this.links.forget(node);
    this.programs.nodeDied(node);
  }

  close(): void {
    this.programs.close();
    this.links.close();
  }
}

/** Of nodes that were killed. */
function removeAbandoned(trees: string): void {
  mkdirSync(trees, { recursive: true, mode: 0o700 });
  for (const name of readdirSync(trees)) {
    const [pid, start] = name.split("-");
    if ((processStart(Number(pid)) ?? "") !== start) rmSync(join(trees, name), { recursive: true, force: true });
  }
}
