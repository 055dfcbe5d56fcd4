import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { newJobId, newNodeId } from "../base/ids.ts";
import { useAddresses } from "../closure/mod.ts";
import { isProven } from "../wire/mod.ts";
import { ForeignCode } from "./foreign-code.ts";
import type { NeededCode } from "./needed-modules.ts";

let root = "";
const job = newJobId();
const [here, there] = [newNodeId(), newNodeId()];
const address = "file:///home/other/program/a.mjs";
const needed: NeededCode = { files: "theirs", node: there, job, modules: [address], origins: [], proof: "" };

beforeAll(() => {
  root = realpathSync(mkdtempSync("/tmp/mobula-foreign-"));
  mkdirSync(join(root, "home/other/program"), { recursive: true });
  writeFileSync(join(root, "home/other/program/a.mjs"), "");
});
afterAll(() => rmSync(root, { recursive: true, force: true }));
afterEach(() => useAddresses(undefined));

function process(platform = "linux-x64"): ForeignCode {
  const code = new ForeignCode({ jobId: () => job, query: async () => ({ roots: [root], platform }) });
  code.welcome({ files: "mine", key: "key" }, here);
  return code;
}

test("a module has its own address on the wire, and that of its copy in the process", async () => {
  const code = process();
  await code.obtain(needed);
  const copy = pathToFileURL(join(root, "home/other/program/a.mjs")).href;
  expect(code.reading(needed, () => code.incoming(address))).toBe(copy);
  expect(code.incoming(address)).toBe(address);
  expect(code.outgoing(copy)).toBe(address);
  // What comes from there goes on as what it was.
  expect(code.needed([copy], [])).toEqual(needed);
  expect(code.asWritten(`at f (${copy}:1:2)`)).toBe(`at f (${address}:1:2)`);
  expect(() => code.needed([copy, "file:///elsewhere.mjs"], [])).toThrow(/modules of several machines/);
});

test("modules of this process go with a proof; those of this package and of Node.js need none", () => {
  const code = process();
  const own = code.needed(["file:///mine/b.mjs"], []) as NeededCode;
  expect(own).toMatchObject({ node: here, job, files: "mine" });
  expect(isProven(own, own.proof, "key")).toBe(true);
  expect(isProven({ ...own, modules: ["file:///etc/passwd"] }, own.proof, "key")).toBe(false);
  const runtime = new URL("../api/mod.ts", import.meta.url).href;
  expect(code.needed([runtime], [])).toEqual(["mobula:api/mod.ts"]);
  expect(code.incoming("mobula:api/mod.ts")).toBe(runtime);
});

test("what needs another platform and does not load says so", async () => {
  const code = process("plan9-mips");
  await code.obtain(needed);
  const failed = (code_: string) => () => {
    throw Object.assign(new Error("invalid ELF header"), { code: code_ });
  };
  expect(() => code.reading(needed, failed("ERR_DLOPEN_FAILED"))).toThrow(
    /packages come from a machine of plan9-mips, and this one is .*invalid ELF header/,
  );
  expect(() => code.reading(needed, failed("EACCES"))).toThrow(/^invalid ELF header$/);
});

test("where the same files are seen nothing is asked for", () => {
  const code = process();
  expect(code.obtain({ ...needed, files: "mine" })).toBeUndefined();
  code.welcome(undefined, here);
  expect(code.obtain(needed)).toBeUndefined();
  expect(code.needed([address], ["file:///main.mjs"])).toEqual([address]);
});
