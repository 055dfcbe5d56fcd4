/** Stacks as data: whose code each frame is, and where in the program's own source. */
import { findSourceMap, type SourceMapping } from "node:module";
import { fileURLToPath } from "node:url";
import type { StackFrame } from "../wire/mod.ts";

/** The sources of a checkout, or what the package is built into. */
const OWN_FOLDER = fileURLToPath(new URL("../", import.meta.url));
/** What the runtime has evaluated. */
const OWN_SCHEME = "mobula:";

interface Site {
  getFileName(): string | null;
  getScriptNameOrSourceURL(): string | null;
  getLineNumber(): number | null;
  getColumnNumber(): number | null;
  isAsync(): boolean;
  isEval(): boolean;
  toString(): string;
}

/** Of what `Error.captureStackTrace` has filled, and nobody has read. */
export function framesOf(holder: { readonly stack?: unknown }): readonly StackFrame[] {
  const { prepareStackTrace } = Error;
  Error.prepareStackTrace = (_error, sites) => (sites as unknown as Site[]).map(frameOf);
  try {
    const { stack } = holder;
    // Somebody may have read it before, in his own form.
    return Array.isArray(stack) ? (stack as StackFrame[]) : [];
  } finally {
    Error.prepareStackTrace = prepareStackTrace;
  }
}

/** Of a script of V8, from line and column 0 on. */
export function frameAt(url: string, line: number, column: number): StackFrame {
  const written = inSource(url, line + 1, column + 1);
  return { name: "", ...written, of: whose(written.file, url === "") };
}

function frameOf(site: Site): StackFrame {
  const text = site.toString();
  const name = text.endsWith(")") ? text.slice(0, text.lastIndexOf(" (")) : "";
  const isAsync = site.isAsync();
  const written = inSource(
    site.getFileName() ?? site.getScriptNameOrSourceURL() ?? "",
    site.getLineNumber() ?? 0,
    site.getColumnNumber() ?? 0,
  );
  return {
    name: isAsync ? name.replace(/^async /, "") : name,
    ...written,
    of: whose(written.file, site.isEval()),
    ...(isAsync && { isAsync }),
  };
}

function whose(file: string, isEval: boolean): StackFrame["of"] {
  if (file.startsWith(OWN_FOLDER) || file.startsWith(OWN_SCHEME)) return "runtime";
  // What V8 is itself, `Array.map` for one, has no file.
  return file.startsWith("node:") || (file === "" && !isEval) ? "node" : "program";
}

type Place = Pick<StackFrame, "file" | "line" | "column">;

/** What was compiled has a map of its source where the program was started with `--enable-source-maps`. */
function inSource(url: string, line: number, column: number): Place {
  const file = pathOf(url);
  const entry = file.startsWith("/") ? findSourceMap(url)?.findEntry(line - 1, column - 1) : undefined;
  // Where the map has nothing for it, the entry is empty.
  const { originalSource, originalLine, originalColumn } = (entry ?? {}) as Partial<SourceMapping>;
  if (originalSource === undefined || originalLine === undefined || originalColumn === undefined)
    return { file, line, column };
  return { file: pathOf(originalSource), line: originalLine + 1, column: originalColumn + 1 };
}

function pathOf(url: string): string {
  if (!url.startsWith("file:")) return url;
  try {
    return fileURLToPath(url);
  } catch {
    // Anybody may name his code by anything.
    return url;
  }
}
