import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

it("the benchmark still runs, and has a row for each value", () => {
  const script = fileURLToPath(new URL("codec.bench.ts", import.meta.url));
  const printed = execFileSync(process.execPath, [script, "0.001"], { encoding: "utf8" });
  expect(printed.match(/\d+\.\d\d \/ \d+\.\d\d/g)).toHaveLength(8 * 4);
});
