import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** A relative module name with the ending that sources use, where a declaration names another one. */
const RELATIVE_SOURCE = /(\bfrom\s+|\bimport\s*\(\s*|\bimport\s+)"(\.{1,2}\/[^"]+)\.ts"/g;

/**
 * The declaration files under `folder` that `entries` need, with their text. The compiler leaves the sources' `.ts`
 * in the names of modules; a reader of the package finds `.d.ts` files through `.js`.
 */
export function reachableDeclarations(folder: string, entries: readonly string[]): Map<string, string> {
  const texts = new Map<string, string>();
  const pending = [...entries];
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    if (texts.has(path)) continue;
    const text = readFileSync(join(folder, path), "utf8");
    for (const match of text.matchAll(RELATIVE_SOURCE)) pending.push(join(dirname(path), `${match[2]}.d.ts`));
    texts.set(path, text.replace(RELATIVE_SOURCE, '$1"$2.js"'));
  }
  return texts;
}
