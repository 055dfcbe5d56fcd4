import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, expect, test } from "vitest";
import { filesOfFolder } from "./program-files.ts";

const FILES = [
  "a.log",
  "keep.log",
  "src/a.log",
  "src/deep/b.log",
  "src/deep/er/c.txt",
  "build/out.js",
  "src/build/out.js",
  "docs/build/x/y.md",
  "docs/a.md",
  "docs/b.md",
  "tmp/x",
  "tmp-1/x",
  "foo/bar/baz/q.txt",
  "foo/q.txt",
  "#hash",
  "!bang",
  "a b/c.txt",
  "[x].txt",
  "x1.txt",
  "x2.txt",
  "x3.txt",
  "trailing ",
  "node_modules/p/index.js",
  "é.txt",
];

const RULES: readonly (readonly [name: string, files: Readonly<Record<string, string>>])[] = [
  ["names anywhere", { ".gitignore": "*.log\nbuild\n" }],
  ["from the top", { ".gitignore": "/build\n/a.log\n" }],
  ["folders only", { ".gitignore": "build/\ntmp/\nkeep.log/\n" }],
  ["brought back", { ".gitignore": "*.log\n!keep.log\n" }],
  ["not out of an ignored folder", { ".gitignore": "src/\n!src/a.log\n" }],
  ["brought back from within", { ".gitignore": "src/*\n!src/deep\n" }],
  ["two stars", { ".gitignore": "**/build\nfoo/**/q.txt\ndocs/**\n" }],
  ["two stars in a name", { ".gitignore": "src/**.log\n**a.md\n" }],
  ["one star stays in its folder", { ".gitignore": "foo/*.txt\ndocs/*/y.md\n" }],
  ["a character, and some", { ".gitignore": "x?.txt\n!x[2-3].txt\n" }],
  ["none of some", { ".gitignore": "x[!2].txt\n" }],
  ["escapes and comments", { ".gitignore": "#hash\n\\#hash\n\\!bang\n\\[x\\].txt\n" }],
  ["spaces", { ".gitignore": "a b\ntmp   \ntrailing\\ \n" }],
  ["in a folder below", { ".gitignore": "*.md\n", "docs/.gitignore": "!a.md\n/build\n", "src/.gitignore": "/a.log\n" }],
  ["letters of other tongues", { ".gitignore": "é*\n" }],
  ["lines of Windows", { ".gitignore": "*.log\r\nbuild\r\n" }],
];

describe("what git ignores", () => {
  test.each(RULES)("%s", (_name, ignoring) => {
    const folder = mkdtempSync(join(tmpdir(), "mi-"));
    try {
      for (const path of FILES) {
        mkdirSync(dirname(join(folder, path)), { recursive: true });
        writeFileSync(join(folder, path), path);
      }
      for (const [path, text] of Object.entries(ignoring)) writeFileSync(join(folder, path), text);
      const git = (...args: string[]): string => execFileSync("git", args, { cwd: folder, encoding: "utf8" });
      git("init", "-q");
      const kept = git("-c", "core.quotePath=false", "ls-files", "-z", "--others", "--exclude-standard");
      const found = filesOfFolder(folder, { excludes: [], bytesMax: 1e9 }).map(({ path }) => path);
      expect(found.sort()).toEqual(kept.split("\0").filter(Boolean).sort());
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
