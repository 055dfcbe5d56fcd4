import { dirname, isAbsolute, join, relative, resolve, sep } from "node:path";
import type { BuildOptions, Metafile, Plugin } from "esbuild";
import { InvalidOptionError } from "../base/errors.ts";

/** Options of the plugin. */
export interface MobulaPluginOptions {
  /**
   * Paths of the modules whose exports run as tasks and actors, relative to `absWorkingDir`. Default: every module of
   * the program, not of a package, that is imported by a module which imports `mobula`.
   */
  readonly taskModules?: readonly string[];
}

/**
 * Keeps task modules apart from the main module of a bundle.
 *
 * A worker never runs a program's main module, and a bundle is all main module: each function in it would have to be
 * shipped by value with everything it uses. With this plugin the bundle is split, so that functions and classes of
 * task modules stay exports of modules that a worker can import. Needs `format: "esm"` and `outdir`; turns `splitting`
 * on and leaves the package `mobula` itself out of the bundle, which must be installed where the bundle runs.
 *
 * @throws InvalidOptionError (`invalid`) when the build's format or output cannot be split, or a task module is missing.
 * @example await build({ entryPoints: ["app.ts"], bundle: true, format: "esm", platform: "node", outdir: "out", plugins: [mobula()] });
 */
export function mobula(options: MobulaPluginOptions = {}): Plugin {
  return {
    name: "mobula",
    async setup(build) {
      const initial = build.initialOptions;
      requireSplittable(initial);
      const root = initial.absWorkingDir ?? process.cwd();
      initial.external = [...(initial.external ?? []), "mobula", "mobula/*"];
      const { metafile } = await build.esbuild.build({
        ...initial,
        plugins: (initial.plugins ?? []).filter((plugin) => plugin.name !== "mobula"),
        metafile: true,
        write: false,
        logLevel: "silent",
      });
      const modules =
        options.taskModules === undefined ? findTaskModules(metafile) : named(options.taskModules, metafile, root);
      addEntries(initial, modules, entryFiles(metafile), root);
      initial.splitting = true;
    },
  };
}

function requireSplittable(initial: BuildOptions): void {
  if (initial.bundle !== true) throw new InvalidOptionError("mobula/esbuild: nothing to split, set bundle: true");
  if (initial.format !== "esm") {
    throw new InvalidOptionError(
      `mobula/esbuild: format is ${initial.format ?? "not given"}, and only ES modules can be split; set format: "esm"`,
    );
  }
  if (initial.outdir === undefined) {
    throw new InvalidOptionError(
      "mobula/esbuild: task modules become files of their own; set outdir instead of outfile",
    );
  }
}

/** Local modules that are imported by one which imports `mobula`: what is passed to `remote` comes from one of these. */
function findTaskModules(metafile: Metafile): Set<string> {
  const entries = entryFiles(metafile);
  const found = new Set<string>();
  for (const { imports } of Object.values(metafile.inputs)) {
    if (!imports.some(({ path, external }) => external === true && path === "mobula")) continue;
    for (const { path, external } of imports) {
      if (external !== true && !path.includes("node_modules/") && !entries.has(path) && isProgram(path))
        found.add(path);
    }
  }
  return found;
}

/** Data, such as JSON and text, has no functions; a name with a colon is made up by another plugin. */
function isProgram(path: string): boolean {
  return /\.[cm]?[jt]sx?$/.test(path) && !path.includes(":");
}

function named(taskModules: readonly string[], metafile: Metafile, root: string): Set<string> {
  return new Set(
    taskModules.map((module) => {
      const path = relative(root, resolve(root, module)).split(sep).join("/");
      if (metafile.inputs[path] !== undefined) return path;
      throw new InvalidOptionError(
        `mobula/esbuild: task module ${module} is not part of this bundle; is the path right?`,
      );
    }),
  );
}

function entryFiles(metafile: Metafile): Set<string> {
  return new Set(Object.values(metafile.outputs).flatMap(({ entryPoint }) => entryPoint ?? []));
}

/** Adds entries without changing where the program's own entries are written. */
function addEntries(initial: BuildOptions, modules: Set<string>, entries: Set<string>, root: string): void {
  initial.outbase ??= commonFolder([...entries].map((entry) => resolve(root, entry)));
  const given = initial.entryPoints ?? [];
  const added = [...modules].sort().map((module) => (isAbsolute(module) ? module : `./${module}`));
  if (!Array.isArray(given)) {
    initial.entryPoints = { ...given, ...Object.fromEntries(added.map((path) => [taskOutput(path), path])) };
  } else if (given.every((entry) => typeof entry === "string")) {
    initial.entryPoints = [...given, ...added];
  } else {
    const objects = given.filter((entry) => typeof entry !== "string");
    initial.entryPoints = [...objects, ...added.map((path) => ({ in: path, out: taskOutput(path) }))];
  }
}

function taskOutput(path: string): string {
  return join("tasks", path.replace(/^(\.\.?\/)+/, "").replace(/\.[^./]+$/, ""));
}

function commonFolder(files: readonly string[]): string {
  const folders = files.map((file) => dirname(file).split(sep));
  const shared: string[] = [];
  for (const [index, part] of (folders[0] ?? []).entries()) {
    if (!folders.every((parts) => parts[index] === part)) break;
    shared.push(part);
  }
  return shared.join(sep) || sep;
}
