/** The chapters of the guide: their programs run and print what is said, and `mobula` knows the commands and options in them. */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, expect, test } from "vitest";
import { parseClusterFile } from "../packages/core/src/bin/cluster-file.ts";

const run = promisify(execFile);
const root = join(import.meta.dirname, "..");
const cli = join(root, "packages/core/src/bin/mobula.ts");
const folder = join(import.meta.dirname, "guide");
const chapters = readdirSync(folder).filter((name) => name.endsWith(".md"));
const read = (name: string): string => readFileSync(join(folder, name), "utf8");
const blocks = (name: string, kind: string): string[] =>
  [...read(name).matchAll(new RegExp(`^\`\`\`${kind}\\n(.*?)^\`\`\`$`, "gms"))].map(([, block = ""]) => block);

mkdirSync(join(root, ".cache"), { recursive: true });
const programs = mkdtempSync(join(root, ".cache/chapters-"));
afterAll(() => rmSync(programs, { recursive: true, force: true }));

test("programs compile and print what is said", async () => {
  const chaptersWithOne = ["clusters.md", "environments.md", "failures.md", "jobs.md", "monitor.md", "slow.md"];
  for (const name of chaptersWithOne) {
    // The others are parts of programs.
    const program = blocks(name, "ts").find((block) => /"mobula\/testing"|await shutdown\(\)/.test(block)) ?? "";
    writeFileSync(join(programs, name.replace(".md", ".ts")), program);
  }
  const config = join(programs, "tsconfig.json");
  writeFileSync(config, JSON.stringify({ extends: "../../tsconfig.json", include: ["*.ts"] }));
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  await expect(run(process.execPath, [tsc, "-p", config])).resolves.toMatchObject({ stdout: "" });
  for (const name of chaptersWithOne) {
    const program = join(programs, name.replace(".md", ".ts"));
    const { stdout } = await run(process.execPath, ["--conditions=mobula-source", program]);
    expect(stdout, name).toBe(blocks(name, "text")[0]);
  }
}, 60_000);

test("mobula knows every command and option that is shown", async () => {
  const lines = chapters.flatMap((name) => blocks(name, "sh")).flatMap((block) => block.split("\n"));
  const calls = lines.flatMap(
    (line) =>
      /\bmobula ((?:start|status|stop|drain|up|down|backup|restore|stack|profile|submit|job)\b.*)$/.exec(line)?.[1] ??
      [],
  );
  expect(calls.length).toBeGreaterThan(6);
  for (const call of calls) {
    // What comes behind " -- " is another program's.
    const [command = "", ...words] = (call.split(" -- ")[0] ?? "").split(" ");
    // Of commands that have commands below them, the options are theirs.
    const path = command === "job" ? [command, words[0] ?? ""] : [command];
    const { stdout } = await run(process.execPath, [cli, ...path, "--help"]);
    const known = new Set(stdout.match(/--[a-z-]+/g));
    for (const word of words.filter((one) => one.startsWith("--"))) expect(known, call).toContain(word);
  }
});

test("the cluster file that is shown is one", () => {
  for (const block of blocks("deployment.md", "yaml")) expect(parseClusterFile(block).nodes).toHaveLength(2);
});

test("links lead to files that exist", () => {
  for (const name of [...chapters.map((chapter) => `guide/${chapter}`), "guide.md", "README.md"]) {
    const text = readFileSync(join(import.meta.dirname, name), "utf8");
    for (const [, target = ""] of text.matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)) {
      const path = join(import.meta.dirname, dirname(name), target);
      expect(existsSync(path) || target.endsWith("dist/index.html"), `${target} in ${name}`).toBe(true);
    }
  }
});
