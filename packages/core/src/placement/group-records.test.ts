import { expect, test } from "vitest";
import { MobulaError } from "../base/errors.ts";
import { GroupRecords } from "./group-records.ts";

/** A store whose writes end when the test says so. */
function setUp() {
  const writes: { readonly keys: readonly string[]; done(error?: MobulaError): void }[] = [];
  const said: string[] = [];
  const records: GroupRecords = new GroupRecords({
    persist: (changes, done) => {
      const keys = changes.map(({ key, value }) => `${key}${value === null ? " gone" : ` ${value[0]}`}`);
      writes.push({ keys, done: (error) => done(error) });
    },
    gaveUp: (groupId, error) => {
      said.push(`gave up ${groupId}: ${error.code}`);
      records.save(groupId, null);
    },
    began: (groupId) => said.push(`began ${groupId}`),
    news: (message) => said.push(message),
  });
  const value = (number: number): Uint8Array => Uint8Array.of(number);
  const follow = (groupId: string, what: string): void => records.after(groupId, () => said.push(what));
  const next = async () => {
    await Promise.resolve();
    const write = writes.shift();
    if (!write) throw new Error("nothing is written");
    return write;
  };
  return { records, writes, said, value, follow, next };
}
const full = new MobulaError("OUT_OF_DISK", "exhausted", "the disk is full");

test("what follows a record waits for it, and not for those of other groups; what is saved at once is written at once", async () => {
  const s = setUp();
  s.records.save("a", s.value(1));
  s.follow("a", "a1");
  const first = await s.next();
  s.records.save("a", s.value(2));
  s.records.save("b", s.value(1));
  s.follow("a", "a2");
  s.follow("b", "b1");
  s.follow("c", "c");
  const second = await s.next();
  expect([first.keys, second.keys]).toEqual([["group/a 1"], ["group/a 2", "group/b 1"]]);
  expect(s.said).toEqual(["c"]);
  first.done();
  expect(s.said).toEqual(["c", "a1"]);
  second.done();
  expect(s.said).toEqual(["c", "a1", "a2", "b1"]);
});

test("a record that can wait is not written when another comes before its time", async () => {
  const s = setUp();
  s.records.begin("a");
  s.records.begin("b");
  s.records.begin("c");
  for (const groupId of ["a", "b", "c"]) s.records.saveLater(groupId, () => s.value(1), 20);
  s.records.save("a", s.value(2));
  s.records.save("b", null);
  s.records.saveDue(19);
  expect((await s.next()).keys).toEqual(["group/a 2"]);
  s.records.saveDue(20);
  expect((await s.next()).keys).toEqual(["group/c 1"]);
});

test("a group that lives all the same is not given up when its first record fails: that is tried again, and said when it is durable", async () => {
  const s = setUp();
  s.records.begin("a", true);
  s.records.saveLater("a", () => s.value(1), 20);
  s.records.saveDue(20);
  (await s.next()).done(full);
  s.records.retry();
  const again = await s.next();
  expect([again.keys, s.said]).toEqual([["group/a 1"], [expect.stringMatching(/cannot be written down/)]]);
  again.done();
  s.records.save("a", s.value(2));
  (await s.next()).done();
  expect(s.said.slice(1)).toEqual(["began a"]);
});

test("what is on its way to the store is taken back, also when a later record of it was still to come", async () => {
  const s = setUp();
  s.records.begin("a", true);
  s.records.save("a", s.value(1));
  s.records.saveLater("a", () => s.value(2), 20);
  const first = await s.next();
  s.records.save("a", null);
  expect((await s.next()).keys).toEqual(["group/a gone"]);
  first.done();
});

test("of what was gone before its first record was due nothing is written", async () => {
  const s = setUp();
  s.records.begin("a", true);
  s.records.saveLater("a", () => s.value(1), 20);
  s.records.save("a", null);
  s.records.saveDue(20);
  await Promise.resolve();
  expect([s.writes, s.said]).toEqual([[], []]);
});

test("a group whose first record cannot be written is given up, and nothing more of it is written", async () => {
  const s = setUp();
  s.records.begin("a");
  s.records.save("a", s.value(1));
  s.follow("a", "goes on");
  (await s.next()).done(full);
  await Promise.resolve();
  expect([s.writes, s.said]).toEqual([[], ["gave up a: OUT_OF_DISK", "goes on"]]);
});

test("a later record that cannot be written is tried again, the last of them, and what follows waits; that is said once", async () => {
  const s = setUp();
  s.records.save("a", s.value(1));
  (await s.next()).done();
  s.records.save("a", s.value(2));
  s.follow("a", "a2");
  (await s.next()).done(full);
  s.records.retry();
  (await s.next()).done(full);
  expect(s.said).toEqual([expect.stringMatching(/cannot be written down.*disk is full/)]);
  s.records.save("a", s.value(3));
  s.follow("a", "a3");
  s.records.retry();
  (await s.next()).done();
  expect([s.writes, s.said.slice(1)]).toEqual([[], ["a2", "a3"]]);
});
