/** What of a program's folder, or of an archive, is its package. */
import { readdirSync, readFileSync, readlinkSync, type Stats, statSync } from "node:fs";
import { basename, dirname, join, relative, resolve, sep } from "node:path";
import { InvalidOptionError, type MobulaError } from "../base/errors.ts";
import { type IgnoreRule, isIgnored, parseIgnoreRules } from "./ignore-rules.ts";
import { Zip } from "./zip.ts";

/** Something to pack; paths are relative to the top of the package. */
export type ProgramFile =
  | { readonly path: string; readonly target: string }
  | { readonly path: string; readonly isExecutable: boolean; readonly size: number; readonly content: Content };
/** A file as it lies on the disk, or what it holds. */
export type Content = { readonly from: string; readonly stats: Stats } | { read(): Buffer };

export interface Selection {
  /** Rules as in `.gitignore`, which go before those of the folder. */
  readonly excludes: readonly string[];
  readonly bytesMax: number;
}

/** Never of use to a worker, or not to be kept anywhere: `.npmrc` may hold a token. */
const NEVER = [".git/", ".hg/", ".svn/", ".npmrc"];
const LARGEST_NAMED = 3;
const FILES_MAX = 500_000;

/** @param folder absolute. @throws InvalidOptionError when it cannot be packed, with the reason and what to do. */
export function filesOfFolder(folder: string, { excludes, bytesMax }: Selection): ProgramFile[] {
  const files: ProgramFile[] = [];
  const last = parseIgnoreRules([...excludes, ...NEVER].join("\n"), "");
  let bytes = 0;
  const visit = (path: string, above: readonly IgnoreRule[]): void => {
    const names = readdirSync(join(folder, path), { withFileTypes: true });
    const own = names.some((entry) => entry.isFile() && entry.name === ".gitignore")
      ? parseIgnoreRules(readFileSync(join(folder, path, ".gitignore"), "utf8"), path)
      : [];
    const rules = own.length > 0 ? [...above, ...own] : above;
    for (const entry of names.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const below = path === "" ? entry.name : `${path}/${entry.name}`;
      const at = join(folder, below);
      const isFolder = entry.isDirectory();
      if (isIgnored(last, below, isFolder) || (!isIncluded(last, below, isFolder) && isIgnored(rules, below, isFolder)))
        continue;
      if (isFolder) visit(below, rules);
      else if (entry.isSymbolicLink()) files.push({ path: below, target: targetInside(folder, at) });
      else if (entry.isFile()) {
        const stats = statSync(at);
        bytes += stats.size;
        const isExecutable = (stats.mode & 0o100) !== 0;
        files.push({ path: below, isExecutable, size: stats.size, content: { from: at, stats } });
      }
      // Sockets, pipes and devices are nothing to pack.
      if (files.length > FILES_MAX) throw tooMuch(folder, `has more than ${FILES_MAX} files`, files);
    }
  };
  try {
    visit("", []);
  } catch (error) {
    if (error instanceof InvalidOptionError) throw error;
    throw new InvalidOptionError(`the folder ${folder} cannot be packed: ${(error as Error).message}`, {
      cause: error,
    });
  }
  if (bytes > bytesMax)
    throw tooMuch(folder, `has ${mebibytes(bytes)} of files, more than ${mebibytes(bytesMax)}`, files);
  return files;
}

/** A rule of the program's own says that it is wanted, whatever `.gitignore` says. */
function isIncluded(rules: readonly IgnoreRule[], path: string, isFolder: boolean): boolean {
  const negated = rules.filter((rule) => rule.isNegated).map((rule) => ({ ...rule, isNegated: false }));
  return negated.length > 0 && isIgnored(negated, path, isFolder);
}

/** @param use is given them while the archive is open. @throws InvalidOptionError. */
export function withFilesOfArchive<T>(path: string, bytesMax: number, use: (files: readonly ProgramFile[]) => T): T {
  using zip = new Zip(path);
  const name = basename(path);
  const entries = zip.entries.filter(({ kind }) => kind !== "folder");
  const bytes = entries.reduce((sum, entry) => sum + entry.bytes, 0);
  if (bytes > bytesMax) {
    throw new InvalidOptionError(`${name} holds ${mebibytes(bytes)}, more than ${mebibytes(bytesMax)}`);
  }
  const files = entries.map((entry): ProgramFile => {
    const { path: at, isExecutable, kind, bytes: size } = entry;
    if (kind !== "link") return { path: at, isExecutable, size, content: entry };
    const target = relative("/", resolve("/", dirname(at), entry.read().toString("utf8")));
    if (target === "") throw new InvalidOptionError(`${name}: the link ${at} leads out of the archive`);
    return { path: at, target };
  });
  return use(files);
}

function targetInside(folder: string, link: string): string {
  const written = readlinkSync(link);
  const target = relative(folder, resolve(dirname(link), written));
  if (target !== "" && target !== ".." && !target.startsWith(`..${sep}`)) return target;
  throw new InvalidOptionError(
    `the folder ${folder} cannot be packed: the link ${relative(folder, link)} leads out of it, to ${written}. ` +
      "Leave it out with the option runtimeEnv.workingDir.excludes, or put what it names into the folder",
  );
}

function tooMuch(folder: string, what: string, files: readonly ProgramFile[]): MobulaError {
  const sizes = new Map<string, number>();
  for (const file of files) {
    if (!("size" in file)) continue;
    const [top = ""] = file.path.split("/");
    sizes.set(top, (sizes.get(top) ?? 0) + file.size);
  }
  const largest = [...sizes].sort(([, a], [, b]) => b - a).slice(0, LARGEST_NAMED);
  return new InvalidOptionError(
    `the folder ${folder} ${what}; the largest in it: ${largest.map(([name, size]) => `${name} (${mebibytes(size)})`).join(", ")}. ` +
      "Leave out what workers do not need: by .gitignore, by workingDir: { path, excludes }, or raise workingDir.bytesMax",
  );
}

const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;
