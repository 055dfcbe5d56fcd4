import { mkdirSync, readdirSync, readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Zippable, zipSync } from "fflate";
import { describe, expect, test } from "vitest";
import { newFolder } from "../../test/new-folder.ts";
import { isError } from "../base/errors.ts";
import { createPrng } from "../base/mod.ts";
import { type UnpackLimits, unpack } from "./package.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const mode = (value: number) => ({ os: 3, attrs: value << 16 }) as const;

async function unpacked(zip: Uint8Array, limits?: UnpackLimits): Promise<string> {
  const folder = newFolder();
  const [file, into] = [join(folder, "package.zip"), join(folder, "into")];
  writeFileSync(file, zip);
  mkdirSync(into);
  try {
    await unpack(file, into, limits);
  } finally {
    expect(readdirSync(folder).sort()).toEqual(["into", "package.zip"]);
  }
  return into;
}
const zipOf = (files: Zippable): Uint8Array => zipSync(files);
const refused = (zip: Uint8Array, why: RegExp, limits?: UnpackLimits): Promise<void> =>
  expect(unpacked(zip, limits)).rejects.toThrow(why);

describe("a package", () => {
  test("is unpacked with its folders, its empty files, what may be executed, and its links", async () => {
    const folder = await unpacked(
      zipOf({
        "app.ts": bytes("console.log(1)"),
        "bin/run": [bytes("#!/bin/sh"), mode(0o100755)],
        "empty/": new Uint8Array(),
        "data/none": new Uint8Array(),
        "data/link": [bytes("../app.ts"), mode(0o120777)],
      }),
    );
    expect(readFileSync(join(folder, "data/link"), "utf8")).toBe("console.log(1)");
    expect(readlinkSync(join(folder, "data/link"))).toBe("../app.ts");
    expect(statSync(join(folder, "bin/run")).mode & 0o100).not.toBe(0);
    expect(statSync(join(folder, "app.ts")).mode & 0o111).toBe(0);
    expect(statSync(join(folder, "empty")).isDirectory()).toBe(true);
    expect(statSync(join(folder, "data/none")).size).toBe(0);
  });

  test("never writes outside of its folder", async () => {
    for (const name of ["../out", "a/../../out", "/etc/out", "..\\out", "a/..\\..\\out", "C:\\out"]) {
      await refused(zipOf({ [name]: bytes("x") }), /package/);
    }
    await refused(zipOf({ link: [bytes("/etc"), mode(0o120777)] }), /leads out of its folder/);
    await refused(zipOf({ "a/link": [bytes("../../x"), mode(0o120777)] }), /leads out of its folder/);
  });

  test("does not write through its own links", async () => {
    const zip = zipOf({ a: [bytes("b"), mode(0o120777)], "a/file": bytes("x") });
    await expect(unpacked(zip)).rejects.toMatchObject({ code: "EEXIST" });
  });

  test("holds nothing but files, folders and links", async () => {
    await refused(zipOf({ device: [bytes(""), mode(0o020666)] }), /is no file/);
  });

  test("does not grow without end, whatever it says of itself", async () => {
    const bomb = zipOf({ zeros: new Uint8Array(5_000_000) });
    expect(bomb.length).toBeLessThan(10_000);
    await refused(bomb, /more than 1000000 bytes/, { files: 10, bytes: 1_000_000 });
    await refused(zipOf({ a: bytes("1"), b: bytes("2"), c: bytes("3") }), /more than 2 files/, {
      files: 2,
      bytes: 100,
    });
  });

  test("that is damaged anywhere gives an error of ours or is unpacked, and leaves nothing outside", async () => {
    const whole = zipOf({
      "a/b": bytes("hello ".repeat(50)),
      c: [bytes("x".repeat(300)), mode(0o100644)],
      d: [bytes("c"), mode(0o120777)],
    });
    const prng = createPrng(7);
    for (let round = 0; round < 400; round++) {
      const zip = whole.slice(0, prng.below(4) === 0 ? prng.below(whole.length) : whole.length);
      for (let change = prng.below(4); change >= 0 && zip.length > 0; change--)
        zip[prng.below(zip.length)] = prng.below(256);
      try {
        await unpacked(zip);
      } catch (error) {
        const isOurs =
          isError(error, "INVALID_OPTION") ||
          /^(EEXIST|EISDIR|ENOTDIR|ENAMETOOLONG|EILSEQ)$/.test((error as NodeJS.ErrnoException).code ?? "");
        expect(isOurs, `round ${round}: ${String(error)}`).toBe(true);
      }
    }
  });
});
