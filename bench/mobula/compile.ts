/**
 * Mobula's side as it is deployed: compiled to JavaScript, its task modules apart. Node.js needs 25 MB and 20 ms for each
 * process that reads TypeScript, which are neither Mobula's cost nor a user's.
 */
import { join } from "node:path";
import { build } from "esbuild";
import { mobula } from "mobula/esbuild";

/** Returns the file to run. */
export async function compileSide(): Promise<string> {
  const outdir = join(import.meta.dirname, "..", ".cache", "sides", "mobula");
  await build({
    entryPoints: [join(import.meta.dirname, "side.ts")],
    outdir,
    outExtension: { ".js": ".mjs" },
    bundle: true,
    packages: "external",
    platform: "node",
    format: "esm",
    plugins: [mobula()],
    logLevel: "warning",
  });
  return join(outdir, "side.mjs");
}
