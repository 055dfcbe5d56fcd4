import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { withFilesOfArchive } from "./program-files.ts";
import { Zip } from "./zip.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mz-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** As Ray's client makes them. */
function zipped(script: string): string {
  const path = join(folder, "a.zip");
  execFileSync(
    "python3",
    ["-c", `import zipfile, sys\nz = zipfile.ZipFile(sys.argv[1], "w", ${script}\nz.close()`, path],
    {
      cwd: folder,
    },
  );
  return path;
}

const deflated = (names: readonly string[]): string =>
  zipped(`zipfile.ZIP_DEFLATED)\nfor n in ${JSON.stringify(names)}: z.write(n)`);

describe("a zip archive", () => {
  test("its files, with what they hold and whether they can be run; folders are nothing", () => {
    mkdirSync(join(folder, "d"));
    writeFileSync(join(folder, "d/é.txt"), "x".repeat(100_000));
    writeFileSync(join(folder, "run.sh"), "#!/bin/sh\n");
    writeFileSync(join(folder, "empty"), "");
    chmodSync(join(folder, "run.sh"), 0o755);
    using zip = new Zip(deflated(["d", "d/é.txt", "run.sh", "empty"]));
    const entries = zip.entries.filter(({ kind }) => kind === "file");
    expect(zip.entries.map(({ kind }) => kind)).toEqual(["folder", "file", "file", "file"]);
    expect(entries.map(({ path, isExecutable, bytes }) => [path, isExecutable, bytes])).toEqual([
      ["d/é.txt", false, 100_000],
      ["run.sh", true, 10],
      ["empty", false, 0],
    ]);
    expect(entries.map((entry) => entry.read().toString())).toEqual(["x".repeat(100_000), "#!/bin/sh\n", ""]);
    using stored = new Zip(zipped('zipfile.ZIP_STORED)\nz.writestr("a", "as it is")'));
    expect(stored.entries[0]?.read().toString()).toBe("as it is");
  });

  test("links, as long as they stay inside", () => {
    const link = (path: string, target: string): string =>
      `zipfile.ZIP_STORED)\ni = zipfile.ZipInfo("${path}")\ni.create_system = 3\ni.external_attr = 0o120777 << 16\nz.writestr(i, "${target}")`;
    const filesOf = (path: string) => withFilesOfArchive(path, 1e6, (files) => files);
    expect(filesOf(zipped(link("a/l", "../b")))).toEqual([{ path: "a/l", target: "b" }]);
    // Whatever it says, it cannot name anything outside.
    expect(filesOf(zipped(link("l", "/etc/passwd")))).toEqual([{ path: "l", target: "etc/passwd" }]);
  });

  test.each(["../out", "a/../../out", "/out", "a//b", "a\\\\b", "./../out"])(
    "a path that leads out is refused: %s",
    (path) => {
      const archive = zipped(`zipfile.ZIP_STORED)\nz.writestr("${path}", "x")`);
      expect(() => new Zip(archive)).toThrow(/a\.zip is no zip archive that can be used: ".*" leads out of it/);
    },
  );

  test("what is no archive, cut off, damaged, or larger than it says is refused", () => {
    writeFileSync(
      join(folder, "f"),
      "some text that is long enough to be compressed, to be compressed, to be compressed",
    );
    const path = deflated(["f"]);
    const whole = readFileSync(path);
    const refused = (archive: Buffer) => () => {
      writeFileSync(path, archive);
      using zip = new Zip(path);
      return zip.entries.map((entry) => entry.read());
    };
    expect(refused(Buffer.from("no archive"))).toThrow(/cut off|has no directory at its end/);
    expect(refused(Buffer.alloc(100))).toThrow(/has no directory at its end/);
    expect(refused(whole.subarray(30))).toThrow(/cut off|damaged|not where/);
    const lies = Buffer.from(whole);
    const central = whole.indexOf(Buffer.from([0x50, 0x4b, 1, 2]));
    lies.writeUInt32LE(5, central + 24);
    expect(refused(lies)).toThrow(/f is damaged/);
    const other = Buffer.from(whole);
    other.writeUInt32LE(5, central + 16);
    expect(refused(other)).toThrow(/f is damaged/);
    writeFileSync(path, whole);
    expect(() => withFilesOfArchive(path, 10, (files) => files)).toThrow(
      /a\.zip holds 1 MiB, more than 1 MiB|more than/,
    );
  });

  test("of more than 65,534 files", () => {
    using zip = new Zip(zipped('zipfile.ZIP_STORED)\nfor i in range(70000): z.writestr(str(i), "")'));
    expect(zip.entries.length).toBe(70_000);
    expect(zip.entries.at(-1)).toMatchObject({ path: "69999", bytes: 0 });
  });
});
