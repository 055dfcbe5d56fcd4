import { describe, expect, test } from "vitest";
import type { ObjectKey, ProcessId } from "../base/mod.ts";
import type { FromNode, ValueRecord } from "../wire/messages.ts";
import { unpackFailure } from "../wire/mod.ts";
import { createHarness, inline, keyOf, stored } from "./testing.ts";

function setUp() {
  const harness = createHarness();
  const owner = harness.driver("d");
  const borrower = harness.join("b");
  const third = harness.join("c");
  const { control } = harness;
  return {
    ...harness,
    owner,
    borrower,
    third,
    publish: (from: ProcessId, key: ObjectKey, value?: ValueRecord) =>
      control.handle(from, { t: "object-publish", objects: [value === undefined ? { key } : { key, value }] }),
    unpublish: (from: ProcessId, key: ObjectKey) => control.handle(from, { t: "object-unpublish", keys: [key] }),
    grant: (from: ProcessId, to: ProcessId, key: ObjectKey) =>
      control.handle(from, { t: "hold-grant", to, keys: [key] }),
    drop: (from: ProcessId, key: ObjectKey, count = 1) =>
      control.handle(from, { t: "hold-release", holds: [[key, count]] }),
    ask: (from: ProcessId, key: ObjectKey) => control.handle(from, { t: "object-subscribe", keys: [key] }),
  };
}

const codeOf = (message: FromNode | undefined): string => {
  if (message?.t !== "object-state" || message.value.at !== "error") return `no error but ${message?.t}`;
  return unpackFailure(message.value.bytes).code;
};

describe("the directory of escaped refs", () => {
  test("a value is served to who asks, and to who asked before it came", () => {
    const s = setUp();
    const key = keyOf(s.owner, 1);
    s.publish(s.owner, key);
    s.grant(s.owner, s.borrower, key);
    s.ask(s.borrower, key);
    expect(s.takeSent()).toEqual([]);
    const value = inline("x");
    s.publish(s.owner, key, value);
    expect(s.takeSent(s.borrower)).toEqual([{ t: "object-state", key, value }]);
    s.ask(s.borrower, key);
    expect(s.takeSent(s.borrower)).toEqual([{ t: "object-state", key, value }]);
  });

  test("what was handed over is delivered by who took it over, also when the owner is gone", () => {
    const s = setUp();
    const deputy = s.join("e");
    const giver = s.join("f");
    const key = keyOf(giver, 1);
    s.publish(giver, key);
    s.publish(deputy, key);
    s.grant(deputy, s.borrower, key);
    s.ask(s.borrower, key);
    s.control.handle(s.borrower, { t: "object-cancel", key, force: false, isRecursive: true });
    expect(s.takeSent(deputy)).toMatchObject([{ t: "object-cancel", key }]);
    expect([s.control.isHeldBeside(key, deputy), s.control.isHeldBeside(key, s.borrower)]).toEqual([true, true]);
    s.control.processGone(giver);
    expect(s.takeSent(s.borrower)).toEqual([]);
    s.publish(deputy, key, inline("x"));
    s.unpublish(deputy, key);
    expect(s.takeSent(s.borrower)).toEqual([{ t: "object-state", key, value: inline("x") }]);
    s.drop(s.borrower, key);
    expect(s.control.stats().objects).toBe(0);
    expect(s.takeSent()).toEqual([]);
  });

  test("an error that was handed over and that nobody asked for is told with its last hold", () => {
    const s = setUp();
    const deputy = s.join("e");
    const [read, unread] = [keyOf(s.borrower, 1), keyOf(s.borrower, 2)];
    const error: ValueRecord = { at: "error", bytes: Buffer.from("why"), nested: [] };
    for (const key of [read, unread]) {
      s.publish(deputy, key, error);
      s.grant(deputy, s.borrower, key);
      s.unpublish(deputy, key);
    }
    s.ask(s.borrower, read);
    s.drop(s.borrower, read);
    s.drop(s.borrower, unread);
    expect(s.takeSent(deputy)).toEqual([{ t: "object-unread", key: unread, bytes: error.bytes }]);
  });

  test("an owner that lends what it has let go of makes it again, and is told when nobody holds it any more", () => {
    const s = setUp();
    const key = keyOf(s.owner, 1);
    const lend = (): void => s.control.handle(s.owner, { t: "object-unpublish", keys: [key], isLent: true });
    s.publish(s.owner, key, stored(1));
    s.grant(s.owner, s.borrower, key);
    lend();
    const { name } = stored(1) as ValueRecord & { readonly at: "stored" };
    s.control.handle(s.borrower, { t: "object-lost", key, name });
    expect(s.takeSent(s.owner)).toEqual([{ t: "object-lost", key, name }]);
    s.ask(s.borrower, key);
    s.publish(s.owner, key, stored(2));
    expect(s.takeSent(s.borrower)).toEqual([{ t: "object-state", key, value: stored(2) }]);
    lend();
    expect(s.takeSent(s.owner)).toEqual([]);
    s.drop(s.borrower, key);
    expect(s.takeSent(s.owner)).toEqual([{ t: "object-unheld", key }]);
    // Of what nobody held before, too.
    lend();
    expect(s.takeSent(s.owner)).toEqual([{ t: "object-unheld", key }]);
  });

  test("who asks before the owner has published is parked", () => {
    const s = setUp();
    const key = keyOf(s.owner, 1);
    s.ask(s.borrower, key);
    s.grant(s.third, s.borrower, key);
    expect(s.control.stats().parkedObjects).toBe(1);
    const value = inline("x");
    s.publish(s.owner, key, value);
    expect(s.takeSent(s.borrower)).toEqual([{ t: "object-state", key, value }]);
    expect(s.control.stats().parkedObjects).toBe(0);
  });

  test("what was never published by a process that is gone is OWNER_DIED, for who waits and who asks later", () => {
    const s = setUp();
    const key = keyOf(s.third, 1);
    s.ask(s.borrower, key);
    s.control.processGone(s.third);
    expect(codeOf(s.takeSent(s.borrower)[0])).toBe("OWNER_DIED");
    s.ask(s.borrower, key);
    expect(codeOf(s.takeSent(s.borrower)[0])).toBe("OWNER_DIED");
    expect(s.control.stats().objects).toBe(0);
  });

  test("when the owner dies, a pending value becomes OWNER_DIED and a ready one lives on while held", () => {
    const s = setUp();
    const pending = keyOf(s.third, 1);
    const ready = keyOf(s.third, 2);
    s.publish(s.third, pending);
    s.publish(s.third, ready, stored(7));
    s.grant(s.third, s.borrower, pending);
    s.grant(s.third, s.borrower, ready);
    s.ask(s.borrower, pending);
    s.control.processGone(s.third);
    expect(codeOf(s.takeSent(s.borrower)[0])).toBe("OWNER_DIED");
    s.ask(s.borrower, ready);
    expect(s.takeSent(s.borrower)).toEqual([{ t: "object-state", key: ready, value: stored(7) }]);
    expect(s.takeFreed()).toEqual([]);
    s.drop(s.borrower, ready);
    expect(s.takeFreed()).toEqual([7]);
    s.drop(s.borrower, pending);
    expect(s.control.stats().objects).toBe(0);
  });

  test("the last hold frees the place in the store", () => {
    const s = setUp();
    const key = keyOf(s.owner, 1);
    s.publish(s.owner, key, stored(9));
    s.grant(s.owner, s.borrower, key);
    s.unpublish(s.owner, key);
    expect(s.takeFreed()).toEqual([]);
    s.drop(s.borrower, key);
    expect(s.takeFreed()).toEqual([9]);
    expect(s.control.stats().objects).toBe(0);
  });

  test("a release that overtakes its grant frees nothing too early and leaves nothing behind", () => {
    const s = setUp();
    const key = keyOf(s.owner, 1);
    s.publish(s.owner, key, stored(9));
    s.drop(s.borrower, key);
    expect(s.takeFreed()).toEqual([]);
    s.grant(s.owner, s.borrower, key);
    expect(s.takeFreed()).toEqual([]);
    s.unpublish(s.owner, key);
    expect(s.takeFreed()).toEqual([9]);
  });

  test("a grant to a process that is gone counts for nothing", () => {
    const s = setUp();
    const key = keyOf(s.owner, 1);
    s.publish(s.owner, key, stored(9));
    s.control.processGone(s.borrower);
    s.grant(s.owner, s.borrower, key);
    s.unpublish(s.owner, key);
    expect(s.takeFreed()).toEqual([9]);
  });

  test("whoever is served a value holds each ref in it, from the same step on", () => {
    const s = setUp();
    const inner = keyOf(s.owner, 1);
    const outer = keyOf(s.owner, 2);
    s.publish(s.owner, inner, stored(1));
    s.publish(s.owner, outer, stored(2, [inner]));
    s.grant(s.owner, s.borrower, outer);
    s.unpublish(s.owner, inner);
    s.unpublish(s.owner, outer);
    s.ask(s.borrower, outer);
    s.drop(s.borrower, outer);
    expect(s.takeFreed()).toEqual([2]);
    s.drop(s.borrower, inner);
    expect(s.takeFreed()).toEqual([1]);
  });

  test("a record holds the refs in its value until it is dropped", () => {
    const s = setUp();
    const inner = keyOf(s.owner, 1);
    const outer = keyOf(s.owner, 2);
    // The outer value's publish arrives first, as it may when different processes own the two.
    s.publish(s.owner, outer, inline("x", [inner]));
    s.publish(s.owner, inner, stored(1));
    s.unpublish(s.owner, inner);
    expect(s.takeFreed()).toEqual([]);
    s.unpublish(s.owner, outer);
    expect(s.takeFreed()).toEqual([1]);
  });

  test("a value made again after a lost copy takes the place of the first", () => {
    const s = setUp();
    const key = keyOf(s.owner, 1);
    s.publish(s.owner, key, stored(1));
    s.publish(s.owner, key, stored(1));
    expect(s.takeFreed()).toEqual([]);
    s.publish(s.owner, key, stored(2));
    expect(s.takeFreed()).toEqual([1]);
    s.unpublish(s.owner, key);
    expect(s.takeFreed()).toEqual([2]);
  });

  test("a value that comes when nobody wants it any more is thrown away", () => {
    const s = setUp();
    const key = keyOf(s.owner, 1);
    s.publish(s.owner, key);
    s.unpublish(s.owner, key);
    s.publish(s.owner, key, stored(5));
    expect(s.takeFreed()).toEqual([5]);
    expect(s.control.stats().objects).toBe(0);
  });

  test("who asks for a dropped object without holding it is answered, not left waiting", () => {
    const s = setUp();
    const key = keyOf(s.owner, 1);
    s.publish(s.owner, key, inline("x"));
    s.unpublish(s.owner, key);
    s.ask(s.borrower, key);
    expect(codeOf(s.takeSent(s.borrower)[0])).toBe("OBJECT_LOST");
  });
});
