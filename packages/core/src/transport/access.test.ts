import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Access } from "./access.ts";

let folder = "";
const problems: string[] = [];
const file = (): string => join(folder, "tokens");
const open = (): Promise<Access> => Access.open({ tokenFile: file() }, (message) => problems.push(message));
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "mobula-access-"));
  problems.length = 0;
});
afterEach(() => rmSync(folder, { recursive: true }));

const [first, second] = ["the-first-token-of-all", "the-second-token-of-all"];

test("every line is a token that is accepted, the first is used, and a change is seen at the next use", async () => {
  writeFileSync(file(), `${first}\n\n  ${second}  \n`);
  const access = await open();
  expect([access.tokens(), access.token(), access.tls]).toEqual([[first, second], first, undefined]);
  writeFileSync(file(), second);
  expect([access.tokens(), access.token()]).toEqual([[second], second]);
});

test("a file that cannot be used any more leaves what was known, and is told once; one that is gone is not worth a word", async () => {
  writeFileSync(file(), first);
  const access = await open();
  writeFileSync(file(), "short");
  for (let uses = 0; uses < 3; uses++) expect(access.tokens()).toEqual([first]);
  expect(problems).toHaveLength(1);
  rmSync(file());
  for (let uses = 0; uses < 3; uses++) expect(access.tokens()).toEqual([first]);
  expect(problems).toHaveLength(1);
  writeFileSync(file(), second);
  expect(access.tokens()).toEqual([second]);
});

test("a file that cannot be used at first is refused, and the words do not tell the token", async () => {
  await expect(open()).rejects.toThrow(/cannot be read/);
  writeFileSync(file(), "\n \n");
  await expect(open()).rejects.toThrow(/no token/);
  writeFileSync(file(), "short-one");
  await expect(open()).rejects.toThrow(/fewer than 16 characters/);
  await expect(open()).rejects.not.toThrow(/short-one/);
});
