import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

test("the benchmark of the store runs", () => {
  const script = fileURLToPath(new URL("attempts.bench.ts", import.meta.url));
  const printed = execFileSync(process.execPath, ["--conditions=mobula-source", script, "2000"], { encoding: "utf8" });
  expect(printed).toMatch(/^2000 rows; .*list of 100 .* ms/s);
});
