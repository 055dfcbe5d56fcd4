import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ProcessId } from "../base/mod.ts";
import { createStoreEngine, KEYS_PER_CLIENT, type StoreEngine, type StoreEngineOptions } from "./engine.ts";
import type { DiskSlot, StoreCommand, StoreEvent } from "./engine-events.ts";

const PAGE = 4096;
const A = "a".repeat(24) as ProcessId;
const B = "b".repeat(24) as ProcessId;
const keyOf = (client: number, count: number): number => client * KEYS_PER_CLIENT + count;

/** Where a file would hold them, each in a page of its own. */
const slotsOf = (objects: readonly { readonly bytes: number }[]): DiskSlot[] =>
  objects.map(({ bytes }, index) => ({ fileId: 1, offset: index * PAGE, bytes }));

function engineOf(options: Partial<StoreEngineOptions> & { readonly pages: number }): {
  readonly engine: StoreEngine;
  step(event: StoreEvent, nowMs?: number): readonly StoreCommand[];
  /** Stores an object of so many pages; it must fit at once. */
  put(key: number, pages: number, processId?: ProcessId): number;
} {
  const engine = createStoreEngine({
    capacityBytes: options.pages * PAGE,
    spillBytesMax: 1_000 * PAGE,
    putTimeoutMs: 1_000,
    sharesFiles: false,
    managesResidency: false,
    ...options,
  });
  let requestId = 1_000;
  let time = 0;
  const step = (event: StoreEvent, nowMs = time): readonly StoreCommand[] => {
    time = nowMs;
    return engine.step(event, nowMs);
  };
  step({ kind: "client-connected", processId: A, clientNumber: 1 });
  step({ kind: "client-connected", processId: B, clientNumber: 2 });
  return {
    engine,
    step,
    put(key, pages, processId = A) {
      const bytes = pages * PAGE;
      const [grant] = step({
        kind: "allocate-requested",
        requestId: requestId++,
        processId,
        bytes,
        wishBytes: bytes,
        callSite: "",
      });
      if (grant?.kind !== "grant") throw new Error(`not granted: ${JSON.stringify(grant)}`);
      step({
        kind: "sealed",
        processId,
        key,
        offset: grant.offset,
        bytes,
        callSite: `site-${key % 10}`,
        pinned: false,
      });
      return grant.offset;
    },
  };
}
const allocate = (requestId: number, pages: number, processId = A, wish = pages): StoreEvent => ({
  kind: "allocate-requested",
  requestId,
  processId,
  bytes: pages * PAGE,
  wishBytes: wish * PAGE,
  callSite: "here.ts:1",
});

describe("store engine", () => {
  it("a slab is granted as wished while memory is plentiful, and no larger than needed when it is not", () => {
    const { step, put } = engineOf({ pages: 1_000, spillBytesMax: 0 });
    expect(step(allocate(1, 2, A, 20))).toEqual([
      { kind: "grant", requestId: 1, processId: A, offset: 0, bytes: 20 * PAGE, isFresh: true },
    ]);
    put(keyOf(1, 1), 800);
    expect(step(allocate(2, 2, A, 20))).toEqual([
      { kind: "grant", requestId: 2, processId: A, offset: 820 * PAGE, bytes: 2 * PAGE, isFresh: false },
    ]);
  });

  it("a slab wanted in advance is refused rather than waited for", () => {
    const { step, put } = engineOf({ pages: 1_000, spillBytesMax: 0 });
    put(keyOf(1, 1), 900);
    expect(step({ ...allocate(7, 0), wishBytes: 10 * PAGE } as StoreEvent)).toMatchObject([
      { kind: "refuse", requestId: 7, error: { code: "NO_SLAB" } },
    ]);
  });

  it("objects sealed out of a slab leave the rest of it to its process, and its end gives the rest back", () => {
    const { engine, step } = engineOf({ pages: 1_000 });
    step(allocate(1, 1, A, 20));
    step({
      kind: "sealed",
      processId: A,
      key: keyOf(1, 1),
      offset: 5 * PAGE,
      bytes: 3 * PAGE - 10,
      callSite: "",
      pinned: false,
    });
    expect(engine.stats()).toMatchObject({ usedBytes: 20 * PAGE, unsealedBytes: 17 * PAGE, objects: 1 });
    step({ kind: "process-gone", processId: A });
    expect(engine.stats()).toMatchObject({ usedBytes: 3 * PAGE, unsealedBytes: 0, objects: 1 });
    step({ kind: "freed", keys: [keyOf(1, 1)] });
    expect(engine.stats()).toMatchObject({ usedBytes: 0, objects: 0 });
  });

  it("a process that seals or gives back what is not its own is expelled, and nothing changes", () => {
    const { engine, step } = engineOf({ pages: 1_000 });
    step(allocate(1, 4, A, 4));
    expect(
      step({ kind: "sealed", processId: B, key: keyOf(2, 1), offset: 0, bytes: PAGE, callSite: "", pinned: false }),
    ).toMatchObject([{ kind: "expel", processId: B }]);
    expect(step({ kind: "given-back", processId: B, offset: 0, bytes: PAGE })).toMatchObject([
      { kind: "expel", processId: B },
    ]);
    expect(engine.stats()).toMatchObject({ usedBytes: 4 * PAGE, objects: 0 });
  });

  it("a process that seals under a key of before, its own or another's, is expelled, and the object stays as it was", () => {
    const { engine, step } = engineOf({ pages: 1_000 });
    step(allocate(1, 4, A, 4));
    step(allocate(2, 4, B, 4));
    const seal = (processId: ProcessId, key: number, page: number) =>
      step({ kind: "sealed", processId, key, offset: page * PAGE, bytes: PAGE, callSite: "", pinned: false });
    expect(seal(A, keyOf(1, 2), 0)).toEqual([]);
    for (const [processId, key, page] of [
      [A, keyOf(1, 2), 1],
      [A, keyOf(1, 1), 1],
      [B, keyOf(1, 3), 4],
    ] as const)
      expect(seal(processId, key, page), `${key}`).toMatchObject([{ kind: "expel", processId }]);
    expect(engine.stats()).toMatchObject({ objects: 1, unsealedBytes: 7 * PAGE });
    expect(step({ kind: "pin-requested", processId: B, keys: [keyOf(1, 2)] })).toMatchObject([
      { kind: "pinned", processId: B, offset: 0, size: PAGE },
    ]);
  });

  it("a pin that comes before the news of the seal is answered when it comes", () => {
    const { step } = engineOf({ pages: 100 });
    expect(step({ kind: "pin-requested", processId: B, keys: [keyOf(1, 1)] })).toEqual([]);
    step(allocate(1, 1));
    expect(
      step({ kind: "sealed", processId: A, key: keyOf(1, 1), offset: 0, bytes: 100, callSite: "", pinned: false }),
    ).toEqual([{ kind: "pinned", processId: B, key: keyOf(1, 1), offset: 0, size: 100 }]);
  });

  it("a pin of what a dead process never sealed is an error, whether it came before or after the death", () => {
    const { step } = engineOf({ pages: 100 });
    step({ kind: "pin-requested", processId: B, keys: [keyOf(1, 1)] });
    expect(step({ kind: "process-gone", processId: A })).toMatchObject([
      { kind: "pinned", processId: B, error: { code: "OBJECT_LOST" } },
    ]);
    expect(step({ kind: "pin-requested", processId: B, keys: [keyOf(1, 2)] })).toMatchObject([
      { kind: "pinned", error: { code: "OBJECT_LOST" } },
    ]);
  });

  it("an object freed before the news of its seal vanishes with it", () => {
    const { engine, step } = engineOf({ pages: 100 });
    step({ kind: "freed", keys: [keyOf(1, 1)] });
    step(allocate(1, 1));
    step({ kind: "sealed", processId: A, key: keyOf(1, 1), offset: 0, bytes: 100, callSite: "", pinned: false });
    expect(engine.stats()).toMatchObject({ objects: 0, usedBytes: 0 });
  });

  it("what was freed already stays gone: a second free is forgotten and a late pin refused", () => {
    const { engine, step, put } = engineOf({ pages: 100 });
    put(keyOf(1, 1), 1);
    step({ kind: "freed", keys: [keyOf(1, 1)] });
    step({ kind: "freed", keys: [keyOf(1, 1)] });
    expect(step({ kind: "pin-requested", processId: B, keys: [keyOf(1, 1)] })).toMatchObject([
      { kind: "pinned", error: { code: "OBJECT_LOST" } },
    ]);
    put(keyOf(1, 2), 1);
    expect(engine.stats().objects).toBe(1);
  });

  it("a freed object's pages come back only with the last pin of the last process", () => {
    const { engine, step, put } = engineOf({ pages: 100 });
    const key = keyOf(1, 1);
    put(key, 10);
    step({ kind: "pin-requested", processId: A, keys: [key, key] });
    step({ kind: "pin-requested", processId: B, keys: [key] });
    step({ kind: "freed", keys: [key] });
    step({ kind: "unpinned", processId: A, keys: [key] });
    step({ kind: "process-gone", processId: B });
    expect(engine.stats().usedBytes).toBe(10 * PAGE);
    expect([...engine.list()]).toMatchObject([{ key, isFreed: true, pins: 1, callSite: "site-7" }]);
    step({ kind: "unpinned", processId: A, keys: [key] });
    expect(engine.stats().usedBytes).toBe(0);
    expect([...engine.list()]).toEqual([]);
  });

  it("who has pinned what was freed is asked to collect when such objects are a quarter of the store", () => {
    const { step, put } = engineOf({ pages: 100 });
    const [small, large, unpinned] = [keyOf(1, 1), keyOf(1, 2), keyOf(1, 3)];
    put(small, 10);
    put(large, 15);
    put(unpinned, 30);
    step({ kind: "pin-requested", processId: A, keys: [small] });
    step({ kind: "pin-requested", processId: B, keys: [large, large] });
    expect(step({ kind: "freed", keys: [small] })).toEqual([]);
    expect(step({ kind: "freed", keys: [unpinned] })).toEqual([]);
    expect(step({ kind: "freed", keys: [large] })).toEqual([{ kind: "collect", processIds: [B] }]);
    step({ kind: "process-gone", processId: B });
    const next = keyOf(1, 4);
    put(next, 15);
    step({ kind: "pin-requested", processId: A, keys: [next] });
    step({ kind: "unpinned", processId: A, keys: [small] });
    expect(step({ kind: "freed", keys: [next] })).toEqual([]);
  });

  it("at 80 % it asks processes to collect, and only after the time of grace spills the oldest", () => {
    const { engine, step, put } = engineOf({ pages: 100 });
    for (let count = 1; count <= 8; count++) put(keyOf(1, count), 10);
    const [grant, collect] = step(allocate(1, 2));
    expect([grant?.kind, collect]).toEqual(["grant", { kind: "collect", processIds: [A, B] }]);
    expect(engine.nextWakeMs()).toBe(50);
    expect(step({ kind: "tick" }, 49)).toEqual([]);
    expect(step({ kind: "tick" }, 50)).toEqual([
      {
        kind: "spill",
        batchId: 1,
        objects: [
          { key: keyOf(1, 1), offset: 0, bytes: 10 * PAGE },
          { key: keyOf(1, 2), offset: 10 * PAGE, bytes: 10 * PAGE },
          { key: keyOf(1, 3), offset: 20 * PAGE, bytes: 10 * PAGE },
        ],
      },
    ]);
  });

  it("a request that does not fit is granted when the spill for it has ended, before those behind it", () => {
    const { step, put } = engineOf({ pages: 100 });
    for (let count = 1; count <= 10; count++) put(keyOf(1, count), 10);
    step({ kind: "process-gone", processId: B });
    const [spill] = step(allocate(1, 15), 1_000);
    expect(spill).toMatchObject({ kind: "spill" });
    expect(step(allocate(2, 1))).toEqual([]);
    if (spill?.kind !== "spill") return;
    const slots = slotsOf(spill.objects);
    const grants = step({ kind: "spilled", batchId: spill.batchId, slots }).filter(
      (command) => command.kind === "grant",
    );
    expect(grants.map((grant) => grant.requestId)).toEqual([1, 2]);
  });

  it("an object on disk is restored for its first pin, and for all who wait, exactly once", () => {
    const { engine, step, put } = engineOf({ pages: 100 });
    for (let count = 1; count <= 10; count++) put(keyOf(1, count), 10);
    step({ kind: "process-gone", processId: A });
    const [spill] = step(allocate(1, 1, B), 1_000).filter((command) => command.kind === "spill");
    const slots = slotsOf(spill?.objects ?? []);
    step({ kind: "spilled", batchId: 1, slots });
    const key = keyOf(1, 1);
    const [restore] = step({ kind: "pin-requested", processId: B, keys: [key] });
    expect(restore).toMatchObject({ kind: "restore", key, slot: slots[0] });
    expect(step({ kind: "pin-requested", processId: B, keys: [key] })).toEqual([]);
    expect(step({ kind: "restored", key }).filter((command) => command.kind === "pinned")).toHaveLength(2);
    expect(engine.stats().restoredBytesTotal).toBe(10 * PAGE);
  });

  it("an object that finds room nowhere is read where it lies on disk, and its copy there stays as long as it is read", () => {
    const { engine, step, put } = engineOf({ pages: 100, spillBytesMax: 30 * PAGE, sharesFiles: true });
    for (let count = 1; count <= 10; count++) put(keyOf(1, count), 10);
    step({ kind: "process-gone", processId: A });
    const [spill] = step(allocate(1, 1, B), 1_000).filter((command) => command.kind === "spill");
    const slots = slotsOf(spill?.objects ?? []);
    expect(slots).toHaveLength(3);
    step({ kind: "spilled", batchId: 1, slots });
    // All that is left in memory is in use, and all that is free is taken.
    for (let count = 4; count <= 10; count++) step({ kind: "pin-requested", processId: B, keys: [keyOf(1, count)] });
    step(allocate(2, 29, B));
    const key = keyOf(1, 1);
    expect(step({ kind: "pin-requested", processId: B, keys: [key] })).toEqual([]);
    const late = step({ kind: "tick" }, 2_000);
    expect(late).toContainEqual({ kind: "pinned-on-disk", processId: B, key, slot: slots[0] });
    expect(step({ kind: "freed", keys: [key] })).toEqual([]);
    expect(engine.stats().spilledBytes).toBe(30 * PAGE);
    expect(step({ kind: "unpinned", processId: B, keys: [key] })).toContainEqual({
      kind: "drop-slots",
      slots: [slots[0]],
    });
    expect(engine.stats().spilledBytes).toBe(20 * PAGE);
  });

  it("an object spilled while a process pinned it stays where it is, and later leaves memory without being written", () => {
    const { engine, step, put } = engineOf({ pages: 100 });
    for (let count = 1; count <= 10; count++) put(keyOf(1, count), 10);
    step({ kind: "process-gone", processId: B });
    const [spill] = step(allocate(1, 1), 1_000).filter((command) => command.kind === "spill");
    const key = spill?.objects[0]?.key ?? 0;
    step({ kind: "pin-requested", processId: A, keys: [key] });
    const slots = slotsOf(spill?.objects ?? []);
    step({ kind: "spilled", batchId: 1, slots });
    const before = engine.stats();
    expect(before.pinnedBytes).toBe(10 * PAGE);
    step({ kind: "unpinned", processId: A, keys: [key] });
    const after = step(allocate(2, 25));
    expect(after.filter((command) => command.kind === "spill").length).toBeLessThanOrEqual(1);
    expect(
      after.some((command) => command.kind === "spill" && command.objects.some((object) => object.key === key)),
    ).toBe(false);
  });

  it("a failed spill changes nothing, pauses the disk for a second, and is named when a request fails", () => {
    const { engine, step, put } = engineOf({ pages: 100 });
    for (let count = 1; count <= 10; count++) put(keyOf(1, count), 10);
    step({ kind: "process-gone", processId: B });
    step(allocate(1, 5), 1_000);
    const stats = engine.stats();
    expect(step({ kind: "spill-failed", batchId: 1, code: "ENOSPC", message: "no space" })).toEqual([]);
    expect(engine.stats()).toEqual(stats);
    expect(engine.nextWakeMs()).toBe(2_000);
    const fallback = step({ kind: "tick" }, 2_000).find((command) => command.kind === "reserve-fallback");
    expect(fallback).toMatchObject({ kind: "reserve-fallback", offset: 100 * PAGE, bytes: 5 * PAGE });
    const refused = step({ kind: "fallback-failed", ticket: 1, code: "ENOSPC", message: "no space" }).find(
      (command) => command.kind === "refuse",
    );
    expect(refused).toMatchObject({ requestId: 1, error: { code: "DISK_FULL" } });
    expect(refused?.kind === "refuse" && refused.error.message).toMatch(/no space.*site-1: 40 KiB in 1 object/s);
  });

  it("one that pinned objects make impossible does not hold up those behind it", () => {
    const { engine, step, put } = engineOf({ pages: 100 });
    // Two gaps of 10 pages, with a pinned object between them.
    put(keyOf(1, 1), 10);
    put(keyOf(1, 2), 10);
    put(keyOf(1, 3), 80);
    step({ kind: "pin-requested", processId: A, keys: [keyOf(1, 2), keyOf(1, 3)] });
    step({ kind: "process-gone", processId: B });
    step({ kind: "freed", keys: [keyOf(1, 1)] });
    expect(step(allocate(1, 20), 1_000)).toEqual([]);
    expect(step(allocate(2, 5))).toEqual([]);
    expect(engine.nextWakeMs()).toBe(1_020);
    expect(step({ kind: "tick" }, 1_020)).toMatchObject([{ kind: "grant", requestId: 2, offset: 0 }]);
  });

  it("a late, repeated or foreign event changes nothing", () => {
    const { engine, step, put } = engineOf({ pages: 100 });
    put(keyOf(1, 1), 10);
    const before = engine.stats();
    for (const event of [
      { kind: "spilled", batchId: 9, slots: [] },
      { kind: "spill-failed", batchId: 9, code: "EIO", message: "" },
      { kind: "restored", key: keyOf(1, 1) },
      { kind: "restore-failed", key: 99, message: "" },
      { kind: "fallback-ready", ticket: 5 },
      { kind: "unpinned", processId: B, keys: [keyOf(1, 1), 77] },
      { kind: "freed", keys: [12345] },
      { kind: "request-abandoned", requestId: 5 },
      { kind: "grant-failed", requestId: 1, processId: A, offset: 0, bytes: PAGE },
      { kind: "process-gone", processId: "c".repeat(24) as ProcessId },
    ] satisfies StoreEvent[]) {
      expect(step(event)).toEqual([]);
    }
    expect(engine.stats()).toEqual(before);
  });

  it("whatever happens, no two live ranges overlap, and when all are gone nothing is taken", () => {
    const action = fc.record({
      kind: fc.integer({ min: 0, max: 9 }),
      pages: fc.integer({ min: 1, max: 30 }),
      pick: fc.nat(),
    });
    fc.assert(
      fc.property(fc.array(action, { maxLength: 150 }), (actions) => {
        const engine = createStoreEngine({
          capacityBytes: 100 * PAGE,
          spillBytesMax: 200 * PAGE,
          putTimeoutMs: 500,
          sharesFiles: true,
          managesResidency: false,
        });
        let now = 0;
        let nextId = 1;
        const disk = new Set<string>();
        const overflowReserved: { ticket: number }[] = [];
        const spills: (StoreCommand & { kind: "spill" })[] = [];
        const restores: number[] = [];
        const granted: { offset: number; bytes: number; processId: ProcessId }[] = [];
        const sealed = new Map<number, number>();
        /** Where pinned objects are, by key: their pins and range. */
        const pins: { key: number; processId: ProcessId; offset: number; size: number }[] = [];
        /** Who reads a copy on disk. */
        let diskPins: { key: number; processId: ProcessId; slot: string }[] = [];
        const nameOf = (slot: DiskSlot): string => `${slot.fileId}:${slot.offset}`;
        let nextFile = 1;
        const readers = (): { offset: number; end: number; what: string }[] => [
          ...granted.map((range) => ({ offset: range.offset, end: range.offset + range.bytes, what: "granted" })),
          ...[...new Map(pins.map((pin) => [pin.key, pin])).values()].map((pin) => ({
            offset: pin.offset,
            end: pin.offset + Math.ceil(pin.size / PAGE) * PAGE,
            what: `pinned ${pin.key}`,
          })),
        ];
        function run(event: StoreEvent): void {
          for (const command of engine.step(event, now)) {
            if (command.kind === "grant") granted.push(command);
            else if (command.kind === "pinned" && !command.error) pins.push(command);
            else if (command.kind === "spill") spills.push(command);
            else if (command.kind === "restore") {
              expect(disk.has(nameOf(command.slot))).toBe(true);
              restores.push(command.key);
            } else if (command.kind === "pinned-on-disk") {
              expect(disk.has(nameOf(command.slot))).toBe(true);
              diskPins.push({ ...command, slot: nameOf(command.slot) });
            } else if (command.kind === "reserve-fallback") overflowReserved.push(command);
            else if (command.kind === "drop-slots")
              for (const slot of command.slots) {
                expect(diskPins.map((pin) => pin.slot)).not.toContain(nameOf(slot));
                expect(disk.delete(nameOf(slot))).toBe(true);
              }
          }
          const ranges = readers().sort((a, b) => a.offset - b.offset);
          for (let index = 1; index < ranges.length; index++) {
            const [a, b] = [ranges[index - 1], ranges[index]];
            if (a && b) expect(a.end, `${a.what} and ${b.what}`).toBeLessThanOrEqual(b.offset);
          }
        }
        const finishDisk = (): void => {
          for (const spill of spills.splice(0)) {
            const fileId = nextFile++;
            const slots = spill.objects.map((object, index) => ({ fileId, offset: index, bytes: object.bytes }));
            for (const slot of slots) disk.add(nameOf(slot));
            run({ kind: "spilled", batchId: spill.batchId, slots });
          }
          for (const key of restores.splice(0)) run({ kind: "restored", key });
          for (const { ticket } of overflowReserved.splice(0)) run({ kind: "fallback-ready", ticket });
        };
        run({ kind: "client-connected", processId: A, clientNumber: 1 });
        run({ kind: "client-connected", processId: B, clientNumber: 2 });
        for (const { kind, pages, pick } of actions) {
          const keys = [...sealed.keys()];
          const key = keys[pick % Math.max(1, keys.length)];
          const processId = pick % 2 === 0 ? A : B;
          if (kind <= 2) run(allocate(nextId++, pages, processId));
          else if (kind <= 4) {
            const [range] = granted.splice(pick % Math.max(1, granted.length), 1);
            if (!range) continue;
            const newKey = keyOf(range.processId === A ? 1 : 2, nextId++);
            sealed.set(newKey, range.bytes);
            run({
              kind: "sealed",
              processId: range.processId,
              key: newKey,
              offset: range.offset,
              bytes: range.bytes,
              callSite: "",
              pinned: false,
            });
          } else if (kind === 5 && key !== undefined) run({ kind: "pin-requested", processId, keys: [key] });
          else if (kind === 6) {
            const list = pick % 3 === 0 ? diskPins : pins;
            const [pin] = list.splice(pick % Math.max(1, list.length), 1);
            if (pin) run({ kind: "unpinned", processId: pin.processId, keys: [pin.key] });
          } else if (kind === 7 && key !== undefined) {
            sealed.delete(key);
            run({ kind: "freed", keys: [key] });
          } else if (kind === 8) finishDisk();
          else {
            now += pick % 400;
            run({ kind: "tick" });
          }
        }
        now += 10_000;
        for (let round = 0; round < 4; round++) {
          finishDisk();
          run({ kind: "tick" });
        }
        run({ kind: "freed", keys: [...sealed.keys()] });
        for (const processId of [A, B]) {
          diskPins = diskPins.filter((pin) => pin.processId !== processId);
          run({ kind: "process-gone", processId });
        }
        pins.length = 0;
        granted.length = 0;
        finishDisk();
        run({ kind: "tick" });
        expect(engine.stats()).toMatchObject({ usedBytes: 0, spilledBytes: 0, objects: 0, waiting: 0 });
        expect(disk.size).toBe(0);
      }),
      { numRuns: 300 },
    );
  });
});

describe("relief by other nodes", () => {
  const full = () => {
    const store = engineOf({ pages: 100, hasPeers: true });
    const { step } = store;
    let count = 0;
    /** Ten results of ten pages each, which A makes for B. */
    const make = (owner = B, isForeign = false): readonly StoreCommand[] => {
      const key = keyOf(1, ++count);
      const [grant] = step(allocate(count, 10));
      if (grant?.kind !== "grant") throw new Error("not granted");
      const { offset } = grant;
      return step({
        ...{ kind: "sealed", processId: A, key, offset, bytes: 10 * PAGE, callSite: "" },
        owner,
        isForeign,
        pinned: false,
      });
    };
    return { ...store, make };
  };
  const kinds = (commands: readonly StoreCommand[]): string[] => commands.map(({ kind }) => kind);
  const late = { kind: "tick" } as const;
  const keys = (...counts: number[]): number[] => counts.map((each) => keyOf(1, each));

  it("is asked for before memory is short, and not again within a second", () => {
    const { make, step } = full();
    for (let index = 0; index < 6; index++) expect(kinds(make())).toEqual([]);
    expect(kinds(step(allocate(7, 10)))).toEqual(["grant", "find-peers"]);
    expect(kinds(step(late, 999))).toEqual([]);
    expect(kinds(step(late, 1_000))).toEqual(["find-peers"]);
  });

  it("moves the oldest, of which nothing stays but that they are known; who waits gets their room", () => {
    const { engine, make, step } = full();
    for (let index = 0; index < 10; index++) make();
    step({ kind: "peers-have-room", bytes: 30 * PAGE });
    step(allocate(20, 20));
    const relief = step(late, 200);
    expect(relief).toMatchObject([{ kind: "relieve", objects: keys(1, 2, 3).map((key) => ({ key, owner: B })) }]);
    const [{ batchId }] = relief as [Extract<StoreCommand, { kind: "relieve" }>];
    // The disk is not used meanwhile.
    expect(step(late, 300)).toEqual([]);
    const after = step({ kind: "relieved", batchId, keys: keys(1, 2, 3) }, 400);
    expect(kinds(after).slice(0, 4)).toEqual(["copy-dropped", "copy-dropped", "copy-dropped", "grant"]);
    expect(after[0]).toMatchObject({ key: keyOf(1, 1), owner: B });
    expect(engine.stats()).toMatchObject({ relievedBytesTotal: 30 * PAGE, spilledBytes: 0, objects: 10 });
    expect(engine.keysSealedBy(A)).toHaveLength(10);
    step({ kind: "freed", keys: keys(1, 2) }, 400);
    expect(engine.stats().objects).toBe(8);
  });

  it("leaves to the disk what is refused, what was put, and what came from elsewhere", () => {
    const { make, step } = full();
    // B's own, A's own, and one that the node keeps for others.
    make();
    make(A);
    make(B, true);
    for (let index = 3; index < 10; index++) make(A);
    step({ kind: "peers-have-room", bytes: 100 * PAGE });
    step(allocate(20, 10));
    const [relief] = step(late, 200);
    expect(relief).toMatchObject({ kind: "relieve", objects: [{ key: keyOf(1, 1) }] });
    const { batchId } = relief as Extract<StoreCommand, { kind: "relieve" }>;
    const spill = step({ kind: "relieved", batchId, keys: [] }, 300);
    expect(spill).toMatchObject([{ kind: "spill", objects: [{ key: keyOf(1, 1) }, { key: keyOf(1, 2) }, {}] }]);
  });

  it("takes what was put too where there is no disk", () => {
    const { step, put } = engineOf({ pages: 100, hasPeers: true, spillBytesMax: 0 });
    for (let index = 1; index <= 10; index++) put(keyOf(1, index), 10);
    step({ kind: "peers-have-room", bytes: 20 * PAGE });
    step(allocate(20, 10));
    expect(kinds(step(late, 200))).toEqual(["relieve"]);
  });

  it("one that is read or freed meanwhile goes when that is over", () => {
    const { engine, make, step } = full();
    for (let index = 0; index < 10; index++) make();
    step({ kind: "peers-have-room", bytes: 20 * PAGE });
    step(allocate(20, 20));
    const [{ batchId }] = step(late, 200) as [Extract<StoreCommand, { kind: "relieve" }>];
    expect(step({ kind: "pin-requested", processId: B, keys: keys(1) }, 210)).toMatchObject([
      { kind: "pinned", size: 10 * PAGE },
    ]);
    step({ kind: "freed", keys: keys(2) }, 210);
    expect(kinds(step({ kind: "relieved", batchId, keys: keys(1, 2) }, 220))).not.toContain("copy-dropped");
    expect(engine.exists(keyOf(1, 2))).toBe(false);
    const unpinned = step({ kind: "unpinned", processId: B, keys: keys(1) }, 230);
    expect(unpinned[0]).toMatchObject({ kind: "copy-dropped", key: keyOf(1, 1), owner: B });
    expect(step({ kind: "pin-requested", processId: B, keys: keys(1) }, 240)).toMatchObject([
      { error: { code: "OBJECT_LOST" } },
    ]);
  });

  it("the disk is spared for a moment while it is asked who has room, and no longer", () => {
    const { make, step } = full();
    for (let index = 0; index < 10; index++) make();
    step(allocate(20, 10), 1_000);
    expect(kinds(step(late, 1_060))).toEqual([]);
    expect(kinds(step(late, 1_100))).toEqual(["spill"]);
  });
});
