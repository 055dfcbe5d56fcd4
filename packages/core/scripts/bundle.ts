import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { build, type Plugin } from "esbuild";

const require = createRequire(import.meta.url);

export interface BundleOptions {
  readonly outfile: string;
  /** The text of the first module, whose relative imports start at `resolveDir`. */
  readonly entry: string;
  readonly resolveDir: string;
  readonly plugins?: Plugin[];
  /** Code that goes before everything else. */
  readonly header?: string;
}

/** What `import.meta` offers, for code in a CommonJS file; what resolves as `import` does is in `resolve.mjs`. */
const importMetaHeader = `const __mobulaUrl = require("node:url").pathToFileURL(__filename).href;
`;

/** The file that gives bundles `import.meta.resolve`, see closure/modules.ts. */
export function writeResolver(folder: string): void {
  writeFileSync(join(folder, "resolve.mjs"), "export const { resolve } = import.meta;\n");
}

/** Writes one CommonJS file with everything `entry` needs and returns the names of the npm packages inside it. */
export async function bundleFile({ outfile, entry, resolveDir, plugins, header }: BundleOptions): Promise<Set<string>> {
  const result = await build({
    stdin: { contents: entry, resolveDir, sourcefile: ENTRY, loader: "ts" },
    outfile,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node24",
    // Code that is run from the code cache cannot `import()`: what is apart is required.
    supported: { "dynamic-import": false },
    external: ["koffi", "esbuild"],
    // msgpackr's native helper only decodes long strings faster, and its lookup costs every process start.
    alias: { msgpackr: require.resolve("msgpackr").replace(/dist\/node\.cjs$/, "index.js") },
    define: {
      "import.meta.url": "__mobulaUrl",
      "import.meta.dirname": "__dirname",
      "import.meta.filename": "__filename",
      "import.meta.resolve": "undefined",
    },
    banner: { js: `${importMetaHeader}${header ?? ""}` },
    // Names stay, for stack traces. A process start reads and holds the text of its program.
    minifyWhitespace: true,
    // Node.js shows the line that threw: an uncaught error must not print half of the program.
    lineLimit: 120,
    minifySyntax: true,
    legalComments: "none",
    logLevel: "warning",
    logOverride: { "empty-import-meta": "error", "unsupported-dynamic-import": "silent" },
    metafile: true,
    plugins: [...(plugins ?? []), natsClientApart(), pureModules()],
  });
  const packages = new Set<string>();
  for (const input of Object.keys(result.metafile.inputs)) {
    const name = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
    if (name !== undefined) packages.add(name);
  }
  return packages;
}

/** What nothing uses is left out: our modules and these packages only define things when they are loaded. */
function pureModules(): Plugin {
  const packages = /^(acorn|msgpackr)$/;
  return {
    name: "mobula-pure-modules",
    setup(setup) {
      setup.onResolve({ filter: /^(\.\.?\/|acorn$|msgpackr$)/ }, async ({ path, pluginData, ...options }) => {
        if (pluginData === resolving || (!packages.test(path) && !isOwn(options.importer))) return undefined;
        const { importer, kind, namespace, resolveDir } = options;
        const resolved = await setup.resolve(path, { importer, kind, namespace, resolveDir, pluginData: resolving });
        return kind === "import-statement" ? { ...resolved, sideEffects: false } : resolved;
      });
    },
  };
}

/** The client of NATS is a file of its own, `nats-client.cjs`: only a head that keeps its state there reads it. */
function natsClientApart(): Plugin {
  return {
    name: "mobula-nats-client",
    setup(setup) {
      setup.onResolve({ filter: /^\.\/nats-client\.ts$/ }, () => ({ path: "./nats-client.cjs", external: true }));
    },
  };
}

/** The first module of a bundle, which imports programs to run them. */
const ENTRY = "entry.ts";
const resolving = Symbol("resolving");

function isOwn(importer: string): boolean {
  return !importer.includes("node_modules") && !importer.endsWith(ENTRY);
}
