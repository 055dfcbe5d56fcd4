import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

it("the benchmark still runs, and has a row for each policy", () => {
  const script = fileURLToPath(new URL("placement.bench.ts", import.meta.url));
  const printed = execFileSync(process.execPath, [script, "100", "0.001"], { encoding: "utf8" });
  expect(printed.match(/ decisions\/s/g)).toHaveLength(9);
  expect(printed.match(/ms, [1-9]\d* nodes/g)).toHaveLength(7);
  expect(printed.match(/ groups\/s/g)).toHaveLength(2);
  expect(printed).toMatch(/memory of the view, .* MiB/);
});
