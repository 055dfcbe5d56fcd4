/**
 * Builds the dashboard: `node packages/dashboard/scripts/build.ts`, into `packages/dashboard/dist`.
 *
 * Beside each text file lies what servers send to those who accept it: `.br` and `.gz`. A build whose inputs did not
 * change since the last one does nothing, so that `npm start` does not wait for it.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const root = join(import.meta.dirname, "..");
const out = join(root, "dist");

/** The npm packages whose code is inside the files. */
export const dashboardPackages: readonly string[] = ["react", "react-dom", "scheduler", "uplot"];

/** Builds what is not built yet, and returns the folder. */
export async function buildDashboard(): Promise<string> {
  const key = inputsHash();
  const keyFile = join(root, ".cache", "built");
  if (existsSync(join(out, "index.html")) && existsSync(keyFile) && readFileSync(keyFile, "utf8") === key) return out;
  const { build } = await import("vite");
  const building = join(root, `dist.building-${process.pid}`);
  const { NODE_ENV } = process.env;
  // Vite takes it for the mode of React, also where a test run has set it.
  process.env.NODE_ENV = "production";
  try {
    await build({
      root,
      mode: "production",
      configFile: false,
      logLevel: "warn",
      base: "./",
      cacheDir: join(root, ".cache/vite"),
      build: {
        outDir: building,
        emptyOutDir: true,
        target: "es2022",
        assetsInlineLimit: 0,
        modulePreload: { polyfill: false },
        reportCompressedSize: false,
      },
    });
    compress(building);
    rmSync(out, { recursive: true, force: true });
    renameSync(building, out);
  } finally {
    if (NODE_ENV === undefined) delete process.env.NODE_ENV;
    else process.env.NODE_ENV = NODE_ENV;
    rmSync(building, { recursive: true, force: true });
  }
  mkdirSync(dirname(keyFile), { recursive: true });
  writeFileSync(keyFile, key);
  return out;
}

function compress(folder: string): void {
  for (const path of filesBelow(folder)) {
    if (!/\.(html|js|css|svg|json)$/.test(path)) continue;
    const bytes = readFileSync(path);
    const options = { params: { [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } };
    writeFileSync(`${path}.br`, brotliCompressSync(bytes, options));
    writeFileSync(`${path}.gz`, gzipSync(bytes, { level: 9 }));
  }
}

function inputsHash(): string {
  const hash = createHash("sha256");
  const sources = filesBelow(join(root, "src"));
  const files = [
    ...sources,
    ...new Set(sources.flatMap(outsideImports)),
    ...filesBelow(join(root, "public")),
    ...["index.html", "package.json", "scripts/build.ts"].map((name) => join(root, name)),
  ];
  for (const path of files.sort())
    hash
      .update(`${relative(root, path)}\0`)
      .update(readFileSync(path))
      .update("\0");
  return hash.digest("hex");
}

/** Files of other packages that a source names; those import nothing that is left after the build. */
function outsideImports(source: string): string[] {
  const imports = readFileSync(source, "utf8").matchAll(/ from "(\.\.?\/[^"]+\.tsx?)"/g);
  return [...imports]
    .map(([, name = ""]) => join(dirname(source), name))
    .filter((path) => relative(root, path).startsWith(".."));
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile());
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) {
  const folder = await buildDashboard();
  for (const path of filesBelow(folder).filter((name) => name.endsWith(".gz"))) {
    const size = (name: string) => `${(statSync(name).size / 1000).toFixed(1)} kB`;
    const plain = path.slice(0, -".gz".length);
    console.log(`${relative(folder, plain)}: ${size(plain)}, gzip ${size(path)}, brotli ${size(`${plain}.br`)}`);
  }
}
