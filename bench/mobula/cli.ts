import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const api = fileURLToPath(import.meta.resolve("mobula"));
/** The command line of the package that this program uses: built, or its sources. */
export const cli = join(dirname(api), api.endsWith(".ts") ? "../bin/mobula.ts" : "cli.cjs");
