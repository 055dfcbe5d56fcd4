import { createRequire } from "node:module";
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

/** Writes one CommonJS file with everything `entry` needs and returns the names of the npm packages inside it. */
export async function bundleFile({ outfile, entry, resolveDir, plugins, header }: BundleOptions): Promise<Set<string>> {
  const result = await build({
    stdin: { contents: entry, resolveDir, sourcefile: "entry.ts", loader: "ts" },
    outfile,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node24",
    external: ["koffi", "esbuild"],
    // msgpackr's native helper only decodes long strings faster, and its lookup costs every process start.
    alias: { msgpackr: require.resolve("msgpackr").replace(/dist\/node\.cjs$/, "index.js") },
    define: {
      "import.meta.url": "__mobulaUrl",
      "import.meta.dirname": "__dirname",
      "import.meta.filename": "__filename",
    },
    banner: { js: `const __mobulaUrl = require("node:url").pathToFileURL(__filename).href;${header ?? ""}` },
    legalComments: "none",
    logLevel: "warning",
    logOverride: { "empty-import-meta": "error" },
    metafile: true,
    plugins: plugins ?? [],
  });
  const packages = new Set<string>();
  for (const input of Object.keys(result.metafile.inputs)) {
    const name = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input)?.[1];
    if (name !== undefined) packages.add(name);
  }
  return packages;
}
