import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runBaseline } from "../baseline.ts";
import { readCommand } from "../command-line.ts";
import { listFiles, UsageError } from "../files.ts";
import { asIntroduction, asText } from "../report.ts";
import { change, type Fixture, makeFixture, makeText, random } from "./fixture.ts";

let fixture: Fixture;
beforeAll(() => {
  fixture = makeFixture();
  const next = random(7);
  for (let index = 0; index < 30; index++) {
    const words = makeText(400, next);
    fixture.write(`originals/${index}.txt`, words.join(" "));
    if (index < 10) fixture.write(`copies/${index}.txt`, words.join(" "));
    if (index < 5) fixture.write(`near/${index}.txt`, change(words, 0.01, next).join("\n"));
    fixture.write(`far/${index}.txt`, change(words, 0.3, next).join(" "));
  }
  // Enough besides for several batches.
  for (let index = 0; index < 30; index++) fixture.write(`large/${index}.txt`, makeText(40_000, next).join(" "));
  for (let index = 0; index < 300; index++) fixture.write(`small/${index}.txt`, `only ${index}`);
  fixture.write("binary/a.bin", new Uint8Array([0, 1, 2, 3]));
  fixture.write("binary/b.bin", new Uint8Array([0, 1, 2, 3]));
  fixture.write("binary/c.bin", new Uint8Array([0, 1, 2, 4]));
  fixture.write("empty.txt", "");
  symlinkSync(join(fixture.folder, "originals"), join(fixture.folder, "link"));
});
afterAll(() => fixture[Symbol.dispose]());

describe("the one-process run", () => {
  test("it finds the copies and near copies that were made, and nothing else", () => {
    const { groups } = runBaseline(listFiles(fixture.folder), 0.8);
    const found = groups.map((group) => group.files.map(({ path }) => path).join(" ")).sort();
    const expected = ["binary/a.bin binary/b.bin"];
    for (let index = 0; index < 10; index++) {
      expected.push(`copies/${index}.txt ${index < 5 ? `near/${index}.txt ` : ""}originals/${index}.txt`);
    }
    expect(found).toEqual(expected.sort());
    for (const group of groups) expect(group.similarity).toBeGreaterThanOrEqual(0.8);
  });

  test("it gives the same twice", () => {
    const listing = listFiles(fixture.folder);
    expect(runBaseline(listing, 0.8).groups).toEqual(runBaseline(listing, 0.8).groups);
  });

  test("a file that is gone when it is read is counted and resembles nothing", () => {
    const listing = listFiles(fixture.folder);
    const withGhosts = {
      ...listing,
      files: [...listing.files, { path: "gone/a", bytes: 5 }, { path: "gone/b", bytes: 5 }],
    };
    const outcome = runBaseline(withGhosts, 0.8);
    expect(outcome.filesUnreadable).toBe(2);
    expect(outcome.groups).toEqual(runBaseline(listing, 0.8).groups);
    expect(asText({ listing: withGhosts, threshold: 0.8, baseline: outcome })).toContain("2 unreadable");
  });

  test("no line of the table is longer than 80 columns", () => {
    const long = "a/rather/deep/folder/".repeat(10);
    const file = (name: string) => ({ path: long + name, bytes: 123_456_789 });
    const listing = { ...listFiles(fixture.folder), filesTooLarge: 1_234, foldersUnreadable: 5_678 };
    const outcome = {
      groups: Array.from({ length: 20 }, () => ({
        files: [file("a"), file("b")],
        wastedBytes: 123_456_789,
        similarity: 0.81234,
      })),
      bytesRead: 123_456_789_012,
      filesUnreadable: 12_345,
      pairsCompared: 123_456_789,
      seconds: 1_234.5,
    };
    const distributed = {
      ...outcome,
      cpus: 2,
      startSeconds: 0.25,
      tasks: 123_456,
      actorCalls: 654_321,
      bytesViewed: 123_456_789_012,
      kills: { tasks: 12, actors: 12 },
    };
    const introduction = asIntroduction({ ...listing, folder: `/${long}` }, false);
    const table = asText({ listing, threshold: 0.8, baseline: outcome, distributed });
    const lines = [...introduction.split("\n"), ...table.split("\n")];
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
    expect(lines.join("\n")).toContain("identical");
    expect(lines.join("\n")).toContain("and 10 more groups");
  });
});

/** The superuser may read everything: for a moment, this process is somebody else. */
function asOrdinaryUser<T>(run: () => T): T {
  if (process.geteuid?.() !== 0) return run();
  process.seteuid?.(65_534);
  try {
    return run();
  } finally {
    process.seteuid?.(0);
  }
}

describe("what a person may get wrong", () => {
  const refusal = (run: () => unknown): string => {
    try {
      run();
    } catch (error) {
      expect(error).toBeInstanceOf(UsageError);
      expect((error as Error).message).not.toContain("\n");
      return (error as Error).message;
    }
    throw new Error("it was not refused");
  };

  test("a folder that does not exist, is a file, or is empty gets one clear line", () => {
    expect(refusal(() => listFiles(join(fixture.folder, "nowhere")))).toMatch(
      /nowhere cannot be read: there is no such folder/,
    );
    expect(refusal(() => listFiles(join(fixture.folder, "empty.txt")))).toMatch(/empty\.txt is not a folder/);
    mkdirSync(join(fixture.folder, "hollow/inner"), { recursive: true });
    expect(refusal(() => listFiles(join(fixture.folder, "hollow")))).toMatch(/there is no file to compare in .*hollow/);
  });

  test("a folder that may not be read gets one clear line", () => {
    const locked = join(fixture.folder, "locked");
    mkdirSync(locked);
    chmodSync(fixture.folder, 0o755);
    chmodSync(locked, 0);
    const refused = asOrdinaryUser(() => refusal(() => listFiles(locked)));
    chmodSync(locked, 0o700);
    expect(refused).toMatch(/locked cannot be read: permission denied/);
  });

  test("what lies in caches is left out, for it changes while it is read", () => {
    fixture.write(".cache/inner/file.txt", "changes");
    expect(listFiles(fixture.folder).files.some(({ path }) => path.includes("inner"))).toBe(false);
  });

  test("symbolic links are not followed", () => {
    expect(listFiles(fixture.folder).files.some(({ path }) => path.startsWith("link"))).toBe(false);
  });

  test("options are read, and wrong ones are named", () => {
    expect(readCommand(["some/folder", "--chaos", "--limit", "5", "--json"])).toMatchObject({
      folder: "some/folder",
      withChaos: true,
      filesMax: 5,
      asJson: true,
      baselineOnly: false,
    });
    expect(readCommand([]).folder).toMatch(/node_modules$/);
    expect(refusal(() => readCommand(["--chaso"]))).toMatch(/--chaso/);
    expect(refusal(() => readCommand(["--limit", "none"]))).toMatch(/--limit is none/);
    expect(refusal(() => readCommand(["a", "b"]))).toMatch(/one folder/);
    expect(refusal(() => readCommand(["--baseline", "--chaos"]))).toMatch(/no workers/);
  });
});

describe("the program", () => {
  const run = (...args: string[]) =>
    spawnSync(process.execPath, ["--conditions=mobula-source", join(import.meta.dirname, "../main.ts"), ...args], {
      encoding: "utf8",
      timeout: 50_000,
    });

  test("a wrong folder is one line on standard error and a failure", () => {
    const { status, stdout, stderr } = run(join(fixture.folder, "nowhere"));
    expect(stderr).toMatch(/^near-duplicates: .*nowhere cannot be read: there is no such folder\n$/);
    expect(stdout).toBe("");
    expect(status).toBe(1);
  });

  test.each([[[]], [["--chaos"]]])("all CPUs find what one process finds %j", (options) => {
    const { status, stdout, stderr } = run(fixture.folder, "--json", ...options);
    expect(status, stderr).toBe(0);
    const result = JSON.parse(stdout);
    expect(result.identical).toBe(true);
    expect(result.groups).toHaveLength(11);
    const { tasks, kills } = result.distributed;
    expect(tasks).toBeGreaterThan(5);
    if (options.includes("--chaos")) {
      expect(kills.tasks).toBeGreaterThan(0);
      expect(kills.actors).toBeGreaterThan(0);
    } else {
      expect(kills).toEqual({ tasks: 0, actors: 0 });
    }
  });

  test("--baseline runs only that", () => {
    const { status, stdout } = run(fixture.folder, "--baseline", "--json");
    expect(status).toBe(0);
    const result = JSON.parse(stdout);
    expect(result.groups).toHaveLength(11);
    expect(result).not.toHaveProperty("distributed");
  });
});
