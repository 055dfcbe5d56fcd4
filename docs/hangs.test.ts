/** The chapter on hanging programs: its program compiles and hangs, and `mobula stack --all` shows what the chapter says. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { LocalCluster } from "mobula/testing";
import { afterAll, expect, test } from "vitest";

const run = promisify(execFile);
const root = join(import.meta.dirname, "..");
const cli = join(root, "packages/core/src/bin/mobula.ts");
const chapter = readFileSync(join(import.meta.dirname, "guide/hangs.md"), "utf8");
const blockOf = (kind: string): string =>
  new RegExp(`^\`\`\`${kind}\\n(.*?)^\`\`\`$`, "ms").exec(chapter)?.[1] ?? `the chapter has no ${kind}`;

mkdirSync(join(root, ".cache"), { recursive: true });
const folder = mkdtempSync(join(root, ".cache/hangs-"));
const app = join(folder, "app.ts");
writeFileSync(app, blockOf("ts"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What is the same at each run, process by process. */
const lasting = (text: string): string[] =>
  text
    .replaceAll(/\b[0-9a-f]{16,}\b/g, "ID")
    .replaceAll(/\d+(\.\d+)? s\b/g, "N s")
    .replaceAll(/(worker|driver|pid) \d+/g, "$1 N")
    .replaceAll(/on \S+?(:| runs)/g, "on NODE$1")
    .replaceAll(/on node\s+\S+\s+\(\S+:\d+\)/g, "on node NODE")
    // A loop is seen at its condition or in its body.
    .replaceAll(/(count app\.ts:5):\d+/g, "$1")
    .replaceAll(/\d+ frames/g, "N frames")
    // Lines break elsewhere when a number has more digits.
    .replace(/In \d+ other processes nothing runs\.\n/, "")
    .replaceAll(/\s+/g, " ")
    .split(/ (?=worker N on|driver N on)/)
    .map((one) => one.trim())
    .sort();

test("its program compiles", async () => {
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify({ extends: "../../tsconfig.json", include: ["*.ts"] }));
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  await expect(run(process.execPath, [tsc, "-p", folder])).resolves.toMatchObject({ stdout: "" });
});

test("it hangs, and the command shows why", async () => {
  await using cluster = await LocalCluster.start({ nodes: [{ resources: { cpu: 4 } }] });
  const env = { ...process.env, ...cluster.env };
  const program = spawn(process.execPath, ["--conditions=mobula-source", app], { env, stdio: "inherit" });
  try {
    const stacks = async (): Promise<string[]> => {
      const args = [cli, "stack", "--all", "--address", cluster.address];
      const asking = { cwd: folder, env: { ...env, COLUMNS: "80", TMPDIR: folder } };
      return lasting((await run(process.execPath, args, asking)).stdout);
    };
    const said = lasting(blockOf("text"));
    await expect.poll(stacks, { timeout: 40_000 }).toEqual(said);
  } finally {
    program.kill("SIGKILL");
    await once(program, "exit");
  }
});
