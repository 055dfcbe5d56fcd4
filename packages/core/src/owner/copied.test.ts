import { expect, test } from "vitest";
import type { Seq } from "../base/ids.ts";
import { TestOwner } from "./test-owner.ts";

function putWithCopies() {
  const owner = new TestOwner();
  const { objects } = owner.engine;
  objects.put(1 as Seq, { at: "stored", key: 7, size: 500, copies: 3, nested: [] });
  const [asked] = owner.takeAsked();
  if (asked?.t !== "store-copies") throw new Error("no copies were asked for");
  return { owner, objects, name: asked.name, asked };
}

test("what is put with copies can be had at once, and is ready when the node says that they are there", () => {
  const { owner, objects, name, asked } = putWithCopies();
  expect(asked).toMatchObject({ size: 500, copies: 3 });
  owner.want(1);
  expect(owner.pinned).toEqual([7]);
  objects.watch(1 as Seq);
  expect(owner.takeTold()).toEqual([]);
  owner.engine.onNodeMessage({ t: "store-copied", name, warning: "only two" });
  expect(owner.takeTold()).toEqual(["warn copies", "ready 1"]);
  objects.watch(1 as Seq);
  expect(owner.takeTold()).toEqual(["ready 1"]);
});

test("one that is let go of meanwhile is freed, unless somebody waits for its copies", () => {
  const { owner, objects, name } = putWithCopies();
  owner.release(1);
  owner.flush();
  expect(owner.takeAsked()).toEqual([{ t: "store-free", names: [name] }]);
  owner.engine.onNodeMessage({ t: "store-copied", name });
  expect(objects.size).toBe(0);
  const awaited = putWithCopies();
  awaited.objects.watch(1 as Seq);
  awaited.owner.release(1);
  expect(awaited.objects.size).toBe(1);
  awaited.owner.engine.onNodeMessage({ t: "store-copied", name: awaited.name });
  expect(awaited.owner.takeTold()).toEqual(["ready 1"]);
  expect(awaited.objects.size).toBe(0);
});

test("a node of an older release makes none, which is a warning and holds up nobody", () => {
  const owner = new TestOwner();
  const { objects } = owner.engine;
  objects.hasOlderNode = true;
  objects.put(1 as Seq, { at: "stored", key: 7, size: 500, copies: 3, nested: [] });
  objects.watch(1 as Seq);
  expect(owner.takeTold()).toEqual(["warn copies", "ready 1"]);
  expect(owner.takeAsked()).toEqual([]);
});

test("one that is lost meanwhile is ready: its error is what there is to read", () => {
  const { owner, objects, name } = putWithCopies();
  objects.watch(1 as Seq);
  owner.want(1);
  owner.engine.onNodeMessage({
    t: "store-pinned",
    ...{ name, key: 7, offset: 0, size: 0 },
    error: { code: "OBJECT_LOST", kind: "lost", message: "it is gone" },
  });
  expect(owner.takeTold()).toEqual(["ready 1", "value 1 OBJECT_LOST"]);
});
