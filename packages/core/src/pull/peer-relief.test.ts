import { expect, test, vi } from "vitest";
import { storedName } from "../base/ids.ts";
import { hasPlenty, PeerRelief } from "./peer-relief.ts";
import type { StoreRoom } from "./replicas.ts";
import type { Tag } from "./trees.ts";

const [A, B, C, HOME] = ["a", "b", "c", "d"].map((letter) => letter.repeat(8)) as [Tag, Tag, Tag, Tag];
const room = (node: Tag, freeBytes: number): StoreRoom => ({ node, freeBytes, capacityBytes: 1_000, labels: {} });
const object = (count: number, size = 100) => ({ name: storedName(A, count), size, home: HOME });

function reliefAt(rooms: readonly StoreRoom[]) {
  const asked: string[] = [];
  const found: number[] = [];
  let nowMs = 0;
  const relief = new PeerRelief({
    here: A,
    findRooms: async () => rooms,
    mayKeep: () => true,
    send: (home, { name, to }) => void asked.push(`${home[0]}: ${name.slice(8)} to ${to?.[0]}`),
    found: (bytes) => void found.push(bytes),
    nowMs: () => nowMs,
  });
  return {
    ...{ relief, asked, found },
    pass: (ms: number): void => {
      nowMs += ms;
    },
  };
}

test("others are given only what leaves a good part of their stores free, and this node is none of them", async () => {
  const { relief, found } = reliefAt([room(A, 1_000), room(B, 900), room(C, 450), room(HOME, 300)]);
  await relief.find();
  expect(found).toEqual([550]);
  expect([hasPlenty(1_000, 600, 100), hasPlenty(1_000, 650, 100)]).toEqual([true, false]);
});

test("objects go where there is the most room, by way of their home; moved is what it says that another keeps", async () => {
  const { relief, asked } = reliefAt([room(B, 650), room(C, 600)]);
  await relief.find();
  const moving = relief.move([object(1), object(2), object(3)]);
  expect(asked.map((line) => line.slice(-4))).toEqual(["to b", "to c", "to b"]);
  for (const [count, isMoved] of [
    [1, true],
    [2, false],
    [3, true],
  ] as const)
    relief.answered(storedName(A, count), isMoved);
  expect(await moving).toEqual([storedName(A, 1), storedName(A, 3)]);
});

test("after one that was refused, or took too long, nobody is asked for a while", async () => {
  vi.useFakeTimers();
  const { relief, found, pass, asked } = reliefAt([room(B, 900)]);
  await relief.find();
  const moving = relief.move([object(1)]);
  await vi.advanceTimersByTimeAsync(3_000);
  expect(await moving).toEqual([]);
  // Too late: it lies on the disk by now.
  relief.answered(storedName(A, 1), true);
  await relief.find();
  expect(await relief.move([object(2)])).toEqual([]);
  expect(asked).toHaveLength(1);
  pass(10_000);
  await relief.find();
  expect(found).toEqual([500, 0, 500]);
  vi.useRealTimers();
});
