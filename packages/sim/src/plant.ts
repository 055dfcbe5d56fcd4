/** Puts a planted bug into its source file as that is loaded; to be called before anything of the engines is. */
import { registerHooks } from "node:module";
import type { Planted } from "./planted.ts";

export function plant({ name, file, code, broken }: Planted): void {
  const url = new URL(`../../core/src/${file}`, import.meta.url).href;
  registerHooks({
    load(loaded, context, next) {
      const result = next(loaded, context);
      if (loaded !== url) return result;
      const source = String(result.source);
      if (source.split(code).length !== 2) throw new Error(`"${name}" has no single place in ${file}`);
      return { ...result, source: source.replace(code, () => broken) };
    },
  });
}
