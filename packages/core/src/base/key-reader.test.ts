import { describe, expect, test } from "vitest";
import { newProcessId, objectKey, type ProcessId, type Seq } from "./ids.ts";
import { KeyReader } from "./key-reader.ts";

const bytesOf = (text: string): Buffer => Buffer.from(`<${text}>`);
const read = (reader: KeyReader, text: string): boolean => {
  const bytes = bytesOf(text);
  return reader.read(bytes, 1, bytes.length - 1);
};

describe("names of objects, read from bytes", () => {
  test("of one owner after another, with small and large numbers", () => {
    const reader = new KeyReader();
    const [first, second] = [newProcessId(), newProcessId()];
    const names: [ProcessId, number][] = [
      [first, 1],
      [first, 35],
      [first, 36],
      [second, 2 ** 31],
      [first, 2 ** 41 + 7],
      [second, 2 ** 41 + 8],
    ];
    for (const [owner, seq] of names) {
      expect(read(reader, objectKey(owner, seq as Seq))).toBe(true);
      expect([reader.owner, reader.seq]).toEqual([owner, seq]);
    }
  });

  test("anything else is left to who reads texts", () => {
    const reader = new KeyReader();
    const owner = newProcessId();
    for (const text of [
      "",
      owner,
      `${owner}.`,
      `${owner}x1`,
      `${owner}.A`,
      `${owner}.1-`,
      `${owner}.${"z".repeat(11)}`,
    ])
      expect(read(reader, text)).toBe(false);
  });
});
