/** Puts the repository's README and licence into the package that is about to be packed; git ignores the copies. */
import { copyFileSync } from "node:fs";
import { join } from "node:path";

const root = join(import.meta.dirname, "..");
for (const file of ["README.md", "LICENSE"]) copyFileSync(join(root, "../..", file), join(root, file));
