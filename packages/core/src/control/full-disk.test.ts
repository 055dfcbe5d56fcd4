/** A state store that takes nothing for a while: whoever asked is told, what there was is not lost, and later all is as it should be. */
import { expect, test } from "vitest";
import { MobulaError } from "../base/mod.ts";
import { bytes } from "./fixtures/suite.ts";
import type { StateChange, StateStore } from "./kv.ts";
import { persistThrough } from "./kv-rules.ts";
import { createMemoryState } from "./state-memory.ts";
import { actorId, createHarness, optionsOf, processId, specOf } from "./testing.ts";

const FULL = new MobulaError("DISK_FULL", "exhausted", "no room");
const A = actorId(1);
const B = actorId(2);
const D = processId("d");

/** In memory; what it does when it is full happens a turn later, as in a thread. */
function storeThatFills(): { readonly store: StateStore; isFull: boolean } {
  const memory = createMemoryState();
  const disk = {
    isFull: false,
    store: {
      ...memory,
      commit: (changes, done) => {
        const fails = disk.isFull;
        setImmediate(() => {
          if (fails) done({ kind: "failed", error: FULL });
          else memory.commit(changes, done);
        });
      },
    } satisfies StateStore,
  };
  return disk;
}

const persisted = (persist: ReturnType<typeof persistThrough>, ...changes: StateChange[]) =>
  new Promise<MobulaError | undefined>((resolve) => persist(changes, resolve));

test("what is deleted while the disk is full is gone as soon as there is room, but not what was written since", async () => {
  const disk = storeThatFills();
  const persist = persistThrough(disk.store);
  const keys = async (): Promise<string[]> => (await disk.store.list("")).map(({ key }) => key);
  await persisted(persist, { key: "a", value: bytes("1") }, { key: "b", value: bytes("1") });
  await persisted(persist, { key: "c", value: bytes("1") });
  disk.isFull = true;
  expect(await persisted(persist, { key: "a", value: null }, { key: "b", value: null })).toBe(FULL);
  expect(await persisted(persist, { key: "a", value: bytes("2") })).toBe(FULL);
  // Under way together: the deletion fails after the other has been asked for.
  const late = persisted(persist, { key: "c", value: null });
  disk.isFull = false;
  const early = persisted(persist, { key: "c", value: bytes("2") });
  expect(await late).toBe(FULL);
  expect(await early).toBeUndefined();
  const gone = new Promise<void>((resolve) => {
    disk.store.watch("b", () => resolve());
  });
  await persisted(persist, { key: "a", value: bytes("3") });
  await gone;
  expect(await keys()).toEqual(["a", "c"]);
  expect(Buffer.from((await disk.store.get("c"))?.value ?? []).toString()).toBe("2");
});

test("an actor that is to restart while the disk is full waits for room, and its node keeps what became of it", () => {
  const s = createHarness({ epoch: 1 });
  s.driver("d");
  s.control.handle(D, { t: "actor-create", actorId: A, options: optionsOf({ maxRestarts: 1 }), spec: specOf() });
  s.ready(s.takeRequests()[0], 1);
  s.control.handle(processId("a1"), { t: "actor-created", actorId: A, incarnation: 0 });
  s.settled.length = 0;
  for (let round = 0; round < 2; round++) {
    const persists = s.holdPersists();
    if (round === 0) s.dies(1);
    else s.control.tick();
    persists.finish(FULL);
    expect(s.takeRequests()).toEqual([]);
    expect(s.settled).toEqual([]);
    s.nowMs += 1_000;
  }
  s.control.tick();
  expect(s.settled).toEqual([[A, 0]]);
  s.ready(s.takeRequests()[0], 2);
  s.takeSent();
  s.control.handle(processId("a2"), { t: "actor-created", actorId: A, incarnation: 1 });
  expect(s.takeSent(D)).toMatchObject([{ t: "actor-state", state: "alive", incarnation: 1 }]);
});

test("code whose writing failed is written with the next actor of the class, also with one that was under way", () => {
  const s = createHarness({ epoch: 1 });
  s.driver("d");
  const create = (id: typeof A) =>
    s.control.handle(D, { t: "actor-create", actorId: id, options: optionsOf(), spec: specOf() });
  const written = (): string[] => s.persisted.splice(0).map(({ key }) => key.split("/")[0] ?? "");
  const first = s.holdPersists();
  s.persisted.length = 0;
  create(A);
  expect(written()).toEqual(["actor-code", "actor"]);
  create(B);
  expect(written()).toEqual(["actor"]);
  first.finish((n) => (n === 0 ? FULL : undefined));
  // A is forgotten, and B is written with the code.
  expect(written()).toEqual(["actor", "actor-code", "actor"]);
  expect([s.recorded, s.recordedCodes]).toEqual([[A, A, B], [specOf().codeKey]]);
  expect(s.takeRequests()).toHaveLength(1);
});
