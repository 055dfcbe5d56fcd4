import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { filesOfArchive } from "./program-files.ts";
import { readZip } from "./zip.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mz-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** As Ray's client makes them. */
function zipped(script: string): Buffer {
  const path = join(folder, "a.zip");
  execFileSync(
    "python3",
    ["-c", `import zipfile, sys\nz = zipfile.ZipFile(sys.argv[1], "w", ${script}\nz.close()`, path],
    {
      cwd: folder,
    },
  );
  return readFileSync(path);
}

const deflated = (names: readonly string[]): Buffer =>
  zipped(`zipfile.ZIP_DEFLATED)\nfor n in ${JSON.stringify(names)}: z.write(n)`);

describe("a zip archive", () => {
  test("its files, with what they hold and whether they can be run; folders are nothing", () => {
    mkdirSync(join(folder, "d"));
    writeFileSync(join(folder, "d/é.txt"), "x".repeat(100_000));
    writeFileSync(join(folder, "run.sh"), "#!/bin/sh\n");
    writeFileSync(join(folder, "empty"), "");
    chmodSync(join(folder, "run.sh"), 0o755);
    const entries = readZip(deflated(["d", "d/é.txt", "run.sh", "empty"]), "a.zip");
    expect(entries.map(({ path, isExecutable, bytes }) => [path, isExecutable, bytes])).toEqual([
      ["d/é.txt", false, 100_000],
      ["run.sh", true, 10],
      ["empty", false, 0],
    ]);
    expect(entries.map((entry) => entry.read().toString())).toEqual(["x".repeat(100_000), "#!/bin/sh\n", ""]);
    const stored = readZip(zipped('zipfile.ZIP_STORED)\nz.writestr("a", "as it is")'), "a.zip");
    expect(stored[0]?.read().toString()).toBe("as it is");
  });

  test("links, as long as they stay inside", () => {
    const link = (path: string, target: string): string =>
      `zipfile.ZIP_STORED)\ni = zipfile.ZipInfo("${path}")\ni.create_system = 3\ni.external_attr = 0o120777 << 16\nz.writestr(i, "${target}")`;
    expect(filesOfArchive(zipped(link("a/l", "../b")), "a.zip", 1e6)).toEqual([{ path: "a/l", target: "b" }]);
    // Whatever it says, it cannot name anything outside.
    expect(filesOfArchive(zipped(link("l", "/etc/passwd")), "a.zip", 1e6)).toEqual([
      { path: "l", target: "etc/passwd" },
    ]);
  });

  test.each(["../out", "a/../../out", "/out", "a//b", "a\\\\b", "./../out"])(
    "a path that leads out is refused: %s",
    (path) => {
      const archive = zipped(`zipfile.ZIP_STORED)\nz.writestr("${path}", "x")`);
      expect(() => readZip(archive, "a.zip")).toThrow(
        /a\.zip is no zip archive that can be used: ".*" leads out of it/,
      );
    },
  );

  test("what is no archive, cut off, damaged, or larger than it says is refused", () => {
    writeFileSync(
      join(folder, "f"),
      "some text that is long enough to be compressed, to be compressed, to be compressed",
    );
    const whole = deflated(["f"]);
    const refused = (archive: Buffer) => () => readZip(archive, "a.zip").map((entry) => entry.read());
    expect(refused(Buffer.from("no archive"))).toThrow(/has no directory at its end/);
    expect(refused(whole.subarray(30))).toThrow(/cut off|damaged|not where/);
    const lies = Buffer.from(whole);
    const central = whole.indexOf(Buffer.from([0x50, 0x4b, 1, 2]));
    lies.writeUInt32LE(5, central + 24);
    expect(refused(lies)).toThrow();
    expect(() => filesOfArchive(whole, "a.zip", 10)).toThrow(/a\.zip holds 1 MiB, more than 1 MiB|more than/);
  });
});
