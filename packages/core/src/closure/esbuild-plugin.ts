/**
 * For programs that are bundled with esbuild: makes the modules that hold task functions and actors' classes entries
 * of their own, so that what they export travels by name and their code is not captured out of one big file.
 */
import { globSync } from "node:fs";
import { join, relative, resolve } from "node:path";

export interface TaskModulesOptions {
  /**
   * Which modules hold task functions: paths or glob patterns, from esbuild's working folder. Default: files named
   * `tasks`, `task`, `*.tasks` or `*.task`, and everything in folders named `tasks`.
   */
  readonly tasks?: readonly string[];
}

/** What this plugin uses of esbuild, which is not a dependency. */
interface Build {
  readonly initialOptions: {
    absWorkingDir?: string;
    bundle?: boolean;
    splitting?: boolean;
    format?: string;
    platform?: string;
    outdir?: string;
    entryPoints?: (string | { in: string; out: string })[] | Record<string, string>;
  };
  onStart(callback: () => { errors: { text: string }[] } | undefined): void;
}

const EXTENSIONS = "{ts,mts,cts,tsx,js,mjs,cjs,jsx}";
const DEFAULT_TASKS = [
  `**/{task,tasks}.${EXTENSIONS}`,
  `**/*.{task,tasks}.${EXTENSIONS}`,
  `**/tasks/**/*.${EXTENSIONS}`,
];

/**
 * @example await esbuild.build({ entryPoints: ["src/app.ts"], outdir: "dist", bundle: true, platform: "node",
 *   packages: "external", plugins: [taskModules()] });
 */
export function taskModules(options: TaskModulesOptions = {}): { name: string; setup(build: Build): void } {
  return {
    name: "mobula-task-modules",
    setup(build) {
      const { initialOptions } = build;
      const problem = problemWith(initialOptions);
      build.onStart(() => (problem === undefined ? undefined : { errors: [{ text: problem }] }));
      if (problem !== undefined) return;
      initialOptions.format = "esm";
      initialOptions.splitting = true;
      initialOptions.bundle = true;
      const folder = initialOptions.absWorkingDir ?? process.cwd();
      const entries = entriesOf(initialOptions.entryPoints);
      const known = new Set(entries.map((entry) => resolve(folder, entry.in)));
      const found = globSync([...(options.tasks ?? DEFAULT_TASKS)], {
        cwd: folder,
        exclude: (path) =>
          /(?:^|[\\/])(?:node_modules|\.git)$/.test(String(path)) ||
          resolve(folder, String(path)) === resolve(folder, initialOptions.outdir ?? "dist"),
      });
      for (const path of found.sort()) {
        const file = join(folder, path);
        if (known.has(file) || /\.d\.[cm]?ts$|\.test\./.test(path)) continue;
        entries.push({ in: file, out: relative(folder, file).replace(/\.[^.]+$/, "") });
      }
      initialOptions.entryPoints = entries;
    },
  };
}

function problemWith(options: Build["initialOptions"]): string | undefined {
  if (options.format !== undefined && options.format !== "esm") {
    return `mobula: task modules become entries that share code, which esbuild can do only with format "esm", not "${options.format}"`;
  }
  if (options.outdir === undefined)
    return "mobula: task modules become files of their own; set outdir instead of outfile";
  return undefined;
}

function entriesOf(entryPoints: Build["initialOptions"]["entryPoints"]): { in: string; out: string }[] {
  if (entryPoints === undefined) return [];
  if (!Array.isArray(entryPoints)) return Object.entries(entryPoints).map(([out, path]) => ({ in: path, out }));
  return entryPoints.map((entry) =>
    // esbuild would name an output after what its entries have in common; with tasks added, it keeps its own path.
    typeof entry === "string"
      ? { in: entry, out: (entry.split(/[\\/]/).at(-1) ?? entry).replace(/\.[^.]+$/, "") }
      : entry,
  );
}
