import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Packages without a licence file of their own, and the one of the same authors that has it. */
const SAME_AUTHORS: Readonly<Record<string, string>> = { "@hono/zod-openapi": "hono", "@hono/zod-validator": "hono" };

/** The licence texts of the packages whose code is inside the bundles; a package without one stops the build. */
export function thirdPartyNotices(repository: string, names: Iterable<string>): string {
  const parts = [...names].sort().map((name) => {
    const folder = join(repository, "node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as Record<
      string,
      string
    >;
    const holder = join(repository, "node_modules", SAME_AUTHORS[name] ?? name);
    const file = readdirSync(holder).find((entry) => /^licen[cs]e(\.|$)/i.test(entry));
    if (file === undefined) throw new Error(`${name} is bundled but has no licence file`);
    return `${name} ${version} (${license})\n\n${readFileSync(join(holder, file), "utf8").trim()}\n`;
  });
  return parts.join(`\n${"-".repeat(80)}\n\n`);
}
