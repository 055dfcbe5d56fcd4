import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { decode, encode } from "./mod.ts";

const folder = mkdtempSync(join(tmpdir(), "mobula-python-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** A Python with the `msgpack` package, or undefined when this machine cannot have one. */
function preparePython(): string | undefined {
  const has = (python: string) => spawnSync(python, ["-c", "import msgpack"]).status === 0;
  if (has("python3")) return "python3";
  const python = join(folder, "bin/python");
  if (spawnSync("python3", ["-m", "venv", folder]).status !== 0) return undefined;
  spawnSync(python, ["-m", "pip", "install", "--quiet", "msgpack"], { timeout: 50_000 });
  return has(python) ? python : undefined;
}

const python = preparePython();

/** What docs/value-format.md says, in Python: header, table, inband, buffers; extension types where data needs them. */
const PRELUDE = `
import json, struct, sys, msgpack
raw = sys.stdin.buffer.read()
first, = struct.unpack_from("<I", raw, 0)
inband_length, = struct.unpack_from("<I", raw, 4)
assert first & 0xf0 == 0x10, "format version"
count = first >> 8
lengths = struct.unpack_from(f"<{count}Q", raw, 8)
start = 8 + 8 * count
inband = raw[start:start + inband_length]
buffers, at = [], start + inband_length
for length in lengths:
    at = (at + 63) // 64 * 64
    buffers.append(memoryview(raw)[at:at + length])
    at += length
def ext(code, data):
    if code == 8:
        kind, index, offset, size = struct.unpack_from(">BIQQ", data)
        return buffers[index][offset:offset + size].cast({1: "B", 2: "B", 11: "d", 7: "i"}[kind & 0x3f])
    if code == 5: return int.from_bytes(data, "big", signed=True)
    return msgpack.ExtType(code, data)
value = msgpack.unpackb(inband, ext_hook=ext, timestamp=3)
`;

function inPython(value: unknown, script: string): string {
  return execFileSync(python ?? "", ["-c", PRELUDE + script], {
    input: encode(value).toBytes(),
    encoding: "utf8",
  }).trim();
}

describe.skipIf(python === undefined)(
  "Python's msgpack reads the same bytes (skipped without Python 3, pip and the msgpack package)",
  () => {
    it("plain data is ordinary data", () => {
      const value = {
        none: null,
        yes: true,
        ints: [0, -1, 255, 65536, -70000, 4294967295],
        big: 2 ** 40,
        float: 1.5,
        text: "日本 🐟",
        nested: [{ a: [[], {}] }],
      };
      expect(JSON.parse(inPython(value, "print(json.dumps(value))"))).toEqual(value);
    });

    it("bytes are bytes, bigints are ints, dates are datetimes", () => {
      const script = "print(repr([value['bytes'], value['ints'], [str(one) for one in value['dates']]]))";
      const value = {
        bytes: new Uint8Array([1, 2, 255]),
        ints: [5n, -5n, 2n ** 64n - 1n, 2n ** 100n, -(2n ** 100n)],
        dates: [new Date(1_700_000_000_250), new Date(-1500)],
      };
      expect(inPython(value, script)).toBe(
        "[b'\\x01\\x02\\xff', [5, -5, 18446744073709551615, 1267650600228229401496703205376, -1267650600228229401496703205376], ['2023-11-14 22:13:20.250000+00:00', '1969-12-31 23:59:58.500000+00:00']]",
      );
    });

    it("large arrays of numbers are viewed where they lie", () => {
      const value = { a: new Float64Array(1000).map((_, i) => i / 2), b: [new Int32Array(500).fill(-7)] };
      expect(inPython(value, "print(value['a'].nbytes, value['a'][999], value['b'][0][499], len(buffers))")).toBe(
        "8000 499.5 -7 2",
      );
    });

    it("a Map is a marked list, which a reader can make what it likes of", () => {
      const value = new Map<unknown, unknown>([
        ["k", 1],
        [2, "v"],
      ]);
      const script = "mark, items = value\nprint(mark.code, list(mark.data), dict(zip(items[::2], items[1::2])))";
      expect(inPython(value, script)).toBe("4 [4] {'k': 1, 2: 'v'}");
    });

    it("what Python packs is read back", () => {
      const script = `
import datetime
body = msgpack.packb({"n": 1, "f": 1.5, "s": "é", "b": b"xy", "l": [None, True, -3], "big": 2**60, "t": datetime.datetime.fromtimestamp(7, datetime.timezone.utc), 5: "five"}, datetime=True)
print((struct.pack("<II", 0x10, len(body)) + body).hex())`;
      const bytes = Buffer.from(inPython(null, script), "hex");
      expect(decode(bytes)).toEqual({
        n: 1,
        f: 1.5,
        s: "é",
        b: new Uint8Array([120, 121]),
        l: [null, true, -3],
        big: 2n ** 60n,
        t: new Date(7000),
        5: "five",
      });
    });
  },
);
