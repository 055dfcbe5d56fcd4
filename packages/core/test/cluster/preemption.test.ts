/** Work of higher priority that has waited long ends work of other programs that may run again, wherever that is. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { explain, get, remote, wait } from "../../src/api/mod.ts";
import { LocalCluster } from "../../src/testing/mod.ts";
import { eventually } from "../eventually.ts";
import { Program } from "../failures/programs.ts";
import { newFolder } from "../new-folder.ts";

const folder = newFolder();
let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.start({
    nodes: ["one", "two"].map((name) => ({ name, resources: { cpu: 1 } })),
  });
  await cluster.connect({ preemptAfterMs: 300 });
});
afterAll(() => cluster.stop());

/** A program with a task on each node. */
async function background(scenario: string): Promise<{ program: Program; files: string; end(): void }> {
  const files = join(folder, scenario);
  mkdirSync(files);
  const program = new Program("../../cluster/fixtures/background.ts", scenario, {
    env: { ...cluster.env },
    args: [files],
  });
  const begun = ["heeds begun 0", "loops begun 0"];
  await eventually(() => begun.every((name) => existsSync(join(files, name))), "both run");
  return { program, files, end: () => writeFileSync(join(files, "end"), "") };
}
const urgent = remote(async function urgent() {
  return "done";
}).options({ priority: 1 });

test("what heeds its signal ends at once, a loop by force; both run again, and have used up no retry", async () => {
  const { program, files, end } = await background("ends");
  try {
    const held = remote(async function held(name: string) {
      const fs = await import("node:fs");
      fs.writeFileSync(join(files, name), "");
      while (!fs.existsSync(join(files, "free"))) await new Promise((resolve) => setTimeout(resolve, 5));
      return name;
    }).options({ priority: 2 });
    // Both CPUs, so both of the others.
    const refs = ["held 1", "held 2"].map((name) => held.remote(name));
    await eventually(() => readdirSync(files).includes("heeds aborted 0"), "its signal is aborted");
    expect(readFileSync(join(files, "heeds aborted 0"), "utf8")).toMatch(/ended for something of higher priority/);
    await eventually(() => ["held 1", "held 2"].every((name) => existsSync(join(files, name))), "both run");
    writeFileSync(join(files, "free"), "");
    expect(await get(refs)).toEqual(["held 1", "held 2"]);
    end();
    expect(await program.line("results")).toEqual(["heeds 1", "loops 1"]);
    const [heeds, loops] = await program.line<string[]>("why");
    const why = /Attempt 0 ran .* it was ended for held of job [0-9a-f]{8}, whose priority is 2\./;
    expect(heeds).toMatch(why);
    expect(loops).toMatch(why);
    expect(program.stderr).toMatch(/was ended for held of job .* it runs again, and has lost none of its retries/);
    await program.exitWithin(5_000);
  } finally {
    program.remove();
  }
}, 60_000);

test("what may not run again is not ended, and what waits for it says so", async () => {
  const { program, files, end } = await background("keeps");
  try {
    const ref = urgent.remote();
    await eventually(
      async () => /lower priority than 1 in other jobs/.test((await explain(ref)).sentences.join(" ")),
      "it says what it tries",
    );
    // Longer than notice and grace together.
    const { ready } = await wait([ref], { timeoutMs: 3_500 });
    expect(ready).toEqual([]);
    expect(readdirSync(files).sort()).toEqual(["heeds begun 0", "loops begun 0"]);
    end();
    expect(await get(ref)).toBe("done");
    expect(await program.line("results")).toEqual(["heeds 0", "loops 0"]);
    await program.exitWithin(5_000);
  } finally {
    program.remove();
  }
}, 60_000);
