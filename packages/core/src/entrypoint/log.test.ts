import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { newFolder } from "../../test/new-folder.ts";
import { JobLog, readJobLog, removeJobLog } from "./log.ts";

const small = { partBytesMax: 10, partsMax: 2 };
const text = (folder: string, offset: number, max = 1_000) => {
  const { bytes, from, end } = readJobLog(folder, "one", offset, max);
  return { text: Buffer.from(bytes).toString(), from, end };
};

describe("the log of a job", () => {
  test("is read from any offset, also from the end", () => {
    const folder = newFolder();
    using log = new JobLog(folder, "one");
    for (const word of ["abc", "def"]) log.append(Buffer.from(word));
    expect(text(folder, 0)).toEqual({ text: "abcdef", from: 0, end: 6 });
    expect(text(folder, 2, 3)).toEqual({ text: "cde", from: 2, end: 6 });
    expect(text(folder, -2)).toEqual({ text: "ef", from: 4, end: 6 });
    expect(text(folder, 9)).toEqual({ text: "", from: 6, end: 6 });
    expect(readJobLog(folder, "other", 0, 10)).toMatchObject({ from: 0, end: 0 });
    expect(readJobLog("/nowhere", "one", 0, 10)).toMatchObject({ from: 0, end: 0 });
  });

  test("is turned over, read across its parts, and loses the oldest", () => {
    const folder = newFolder();
    using log = new JobLog(folder, "one", small);
    for (const word of ["0123456789", "abcdefghij", "ABCDE"]) log.append(Buffer.from(word));
    expect(text(folder, 0)).toEqual({ text: "0123456789abcdefghijABCDE", from: 0, end: 25 });
    expect(text(folder, 8, 4)).toEqual({ text: "89ab", from: 8, end: 25 });
    log.append(Buffer.from("FGHIJxyz"));
    expect(text(folder, 0)).toEqual({ text: "abcdefghijABCDEFGHIJxyz", from: 10, end: 33 });
  });

  test("goes on where it was when somebody else writes it", () => {
    const folder = newFolder();
    {
      using log = new JobLog(folder, "one", small);
      log.append(Buffer.from("0123456789ab"));
    }
    using log = new JobLog(folder, "one", small);
    expect(log.end).toBe(12);
    log.append(Buffer.from("cd"));
    expect(text(folder, 0)).toEqual({ text: "0123456789abcd", from: 0, end: 14 });
  });

  test("wakes who waits for more", async () => {
    const folder = newFolder();
    using log = new JobLog(folder, "one");
    const ending = new AbortController();
    const more = log.moreThan(0, ending.signal);
    log.append(Buffer.from("x"));
    await more;
    const never = log.moreThan(1, ending.signal);
    ending.abort();
    await never;
  });

  test("is removed with all its parts, and not that of a job whose id begins alike", () => {
    const folder = newFolder();
    using one = new JobLog(folder, "one", small);
    using other = new JobLog(folder, "one.more", small);
    for (const log of [one, other]) log.append(Buffer.from("0123456789ab"));
    removeJobLog(folder, "one");
    expect(readdirSync(folder).sort()).toEqual(["job-driver-one.more.0.log", "job-driver-one.more.log"]);
  });
});
