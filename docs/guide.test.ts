/**
 * Every section of the guide runs as one program, compiles, and prints what the guide says; the build script in it is
 * run on the first of them. Shell commands are not run here: packages/core/test has installing and the standing node.
 */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

const run = promisify(execFile);
const root = join(import.meta.dirname, "..");

interface Section {
  readonly title: string;
  readonly code: string;
  readonly output: string;
}

/** Code is in blocks marked `ts`, what it prints in blocks marked `text` after it. */
function readGuide(text: string): { prelude: string; sections: Section[] } {
  const [head = "", ...rest] = text.split(/^## /m);
  const blocks = (part: string, kind: string): string =>
    [...part.matchAll(new RegExp(`^\`\`\`${kind}\\n(.*?)^\`\`\`$`, "gms"))].map(([, block]) => block).join("\n");
  return {
    prelude: blocks(head, "ts prelude"),
    sections: rest
      .map((part) => ({
        title: part.split("\n", 1)[0] ?? "",
        code: blocks(part, "ts"),
        output: blocks(part, "text").replaceAll("\n\n", "\n"),
      }))
      .filter(({ code }) => code !== ""),
  };
}

const guide = readFileSync(join(import.meta.dirname, "guide.md"), "utf8");
const { prelude, sections } = readGuide(guide);
// Below the repository, so that `mobula` is found, and not below node_modules, where Node.js strips no types.
mkdirSync(join(root, ".cache"), { recursive: true });
const folder = mkdtempSync(join(root, ".cache/guide-"));
const fileOf = (index: number) => join(folder, `section-${index}.ts`);

beforeAll(() => {
  for (const [index, { code }] of sections.entries()) {
    // Statements that follow imports may not come before them: the guide's programs import in the prelude only.
    writeFileSync(fileOf(index), `${prelude}\n${code}\nawait shutdown();\nexport {};\n`);
  }
});

/** The first program that a person sees; it is compiled only, because it needs a gigabyte. */
const [readme = ""] = [...readFileSync(join(root, "README.md"), "utf8").matchAll(/^```ts\n(.*?)^```$/gms)].map(
  ([, block]) => block,
);

afterAll(() => rmSync(folder, { recursive: true, force: true }));

test("the guide has sections with code", () => {
  expect(sections.length).toBeGreaterThan(8);
  expect(prelude).toContain("await init(");
});

test("its programs compile, and that of the README", async () => {
  expect(readme).toContain("await init(");
  writeFileSync(join(folder, "readme.ts"), readme);
  const config = join(folder, "tsconfig.json");
  writeFileSync(
    config,
    JSON.stringify({
      extends: "../../tsconfig.json",
      compilerOptions: { noUnusedLocals: false },
      include: ["section-*.ts", "readme.ts"],
    }),
  );
  const tsc = join(root, "node_modules/typescript/bin/tsc");
  await expect(run(process.execPath, [tsc, "-p", config])).resolves.toMatchObject({ stdout: "" });
});

test("every block is a program, what one prints, a build script, or shell commands", () => {
  const kinds = [...guide.matchAll(/^```(.+)$/gm)].map(([, kind]) => kind);
  expect(new Set(kinds)).toEqual(new Set(["ts prelude", "sh", "ts", "text", "js"]));
});

test("its build script bundles a program that runs", async () => {
  const [script = ""] = [...guide.matchAll(/^```js\n(.*?)^```$/gms)].map(([, block]) => block);
  writeFileSync(join(folder, "build.mjs"), script);
  writeFileSync(join(folder, "app.ts"), readFileSync(fileOf(0)));
  const node = (file: string) => run(process.execPath, ["--conditions=mobula-source", file], { cwd: folder });
  await node("build.mjs");
  const { stdout, stderr } = await node("out/app.js");
  expect(stdout, stderr).toBe(sections[0]?.output);
});

describe("its programs print what it says", () => {
  test.each(sections.map((section, index) => ({ ...section, index })))("$title", async ({ index, output }) => {
    const { stdout, stderr } = await run(process.execPath, ["--conditions=mobula-source", fileOf(index)], {
      timeout: 50_000,
    });
    expect(stdout, stderr).toBe(output);
  });
});
