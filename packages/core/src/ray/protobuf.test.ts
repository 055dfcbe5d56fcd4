import { expect, test } from "vitest";
import { bytesField, bytesFields, MalformedMessageError, numberField } from "./protobuf.ts";

test("fields come back by their numbers, and those of other types are passed over", () => {
  const message = Buffer.concat([
    numberField(1, 300),
    bytesField(2, "first"),
    bytesField(2, "last"),
    // 64 and 32 bits.
    Buffer.from([(3 << 3) | 1, 1, 2, 3, 4, 5, 6, 7, 8, (4 << 3) | 5, 1, 2, 3, 4]),
    bytesField(20, Buffer.alloc(200, 7)),
  ]);
  const found = bytesFields(message);
  expect([...found.keys()]).toEqual([2, 20]);
  expect(String(found.get(2))).toBe("last");
  expect(found.get(20)).toEqual(Buffer.alloc(200, 7));
});

test("numbers are written as protobuf does", () => {
  expect(numberField(1, 150).toString("hex")).toBe("089601");
  expect(numberField(16, 0).toString("hex")).toBe("800100");
  expect(numberField(3, -1).toString("hex")).toBe("18ffffffffffffffffff01");
  expect(numberField(1, 2 ** 40).toString("hex")).toBe("08808080808020");
});

test.each([
  ["a length past the end", [0x0a, 5, 1]],
  ["a number without end", [0x08, ...Array<number>(11).fill(0xff)]],
  ["no number at all", [0x08]],
  ["a length of 2^60", [0x0a, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]],
  ["a type that there is not", [0x0b]],
  ["half of 64 bits", [0x09, 1, 2]],
])("%s is refused", (_what, bytes) => {
  expect(() => bytesFields(Buffer.from(bytes))).toThrow(MalformedMessageError);
});
