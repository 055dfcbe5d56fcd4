import { readdirSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { newFolder } from "../../test/new-folder.ts";
import { Packages, piecesOf } from "./packages.ts";

const of = async function* (...chunks: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield Buffer.from(chunk);
};
const limits = { packageBytesMax: 10, allBytesMax: 20 };
const longAgo = new Date(2001, 1);

describe("packages that were uploaded", () => {
  test("are kept by their names, with the hash of what is in them, and are not changed", async () => {
    const packages = new Packages(newFolder(), () => false, limits);
    expect(await packages.find("gcs://a.zip")).toBeUndefined();
    await packages.add("gcs://a.zip", of("one", "two"));
    const found = await packages.find("gcs://a.zip");
    expect(found).toMatchObject({ bytes: 6, hash: expect.stringMatching(/^[0-9a-f]{64}$/) });
    await packages.add("gcs://a.zip", of("other"));
    expect(await packages.find("gcs://a.zip")).toMatchObject({ bytes: 6, hash: found?.hash });
  });

  test("are sent in pieces, an empty one too", async () => {
    const packages = new Packages(newFolder(), () => false, limits);
    await packages.add("gcs://a.zip", of("12345"));
    await packages.add("gcs://empty.zip", of());
    const pieces = async (uri: string) => {
      const found = await packages.find(uri);
      const sent: unknown[] = [];
      if (found) for await (const { offset, piece } of piecesOf(found, 2)) sent.push([offset, `${Buffer.from(piece)}`]);
      return sent;
    };
    expect(await pieces("gcs://a.zip")).toEqual([
      [0, "12"],
      [2, "34"],
      [4, "5"],
    ]);
    expect(await pieces("gcs://empty.zip")).toEqual([[0, ""]]);
  });

  test("have names that lead nowhere else", async () => {
    const packages = new Packages(newFolder(), () => false, limits);
    for (const uri of ["gcs://../a.zip", "gcs://a/b.zip", "s3://a.zip", "gcs://a.tar", "gcs://.zip", "/etc/passwd"]) {
      await expect(packages.add(uri, of("x")), uri).rejects.toThrow(/names no package/);
    }
  });

  test("that are too large, or break off, leave nothing", async () => {
    const folder = newFolder();
    const packages = new Packages(folder, () => false, limits);
    await expect(packages.add("gcs://a.zip", of("12345678901"))).rejects.toThrow(/at most 10 bytes/);
    const broken = (async function* () {
      yield Buffer.from("x");
      throw new Error("the line broke");
    })();
    await expect(packages.add("gcs://a.zip", broken)).rejects.toThrow(/line broke/);
    expect(readdirSync(folder)).toEqual([]);
  });

  test("make room for new ones, the longest unused first, unless a job needs them", async () => {
    const folder = newFolder();
    const packages = new Packages(folder, (uri) => uri === "gcs://needed.zip", limits);
    for (const name of ["needed.zip", "old.zip"]) {
      await packages.add(`gcs://${name}`, of("1234567"));
      utimesSync(join(folder, name), longAgo, longAgo);
    }
    await packages.add("gcs://new.zip", of("1234567"));
    expect(readdirSync(folder).filter((name) => name.endsWith(".zip"))).toEqual(["needed.zip", "new.zip"]);
    // What was used a moment ago is about to be needed.
    await expect(packages.add("gcs://more.zip", of("1234567"))).rejects.toMatchObject({ code: "PACKAGES_FULL" });
  });
});
