import { describe, expect, it } from "vitest";
import { VIEW_BYTES_MIN } from "../base/limits.ts";
import { type ByteSource, decode, encode, type Packed } from "./mod.ts";

const roundTrip = <T>(value: T): T => decode(encode(value).toBytes()) as T;

/** A stored object in memory, which notes what is asked of it. */
function stored(packed: Packed): { source: ByteSource; views: number[]; memory: Uint8Array } {
  const memory = new Uint8Array(packed.byteLength).fill(0xee);
  packed.writeInto(memory);
  const views: number[] = [];
  const source: ByteSource = {
    byteLength: memory.length,
    copy: (offset, length) => memory.slice(offset, offset + length),
    view(offset, length) {
      views.push(offset);
      return memory.slice(offset, offset + length).buffer;
    },
  };
  return { source, views, memory };
}

describe("buffers travel out of band", () => {
  it("ten levels of containers around a buffer do not bring it inband", () => {
    const big = new Float64Array(100_000).fill(2.5);
    let value: unknown = big;
    for (let i = 0; i < 10; i++) value = i % 2 === 0 ? { inner: value } : [new Map([["k", value]])];
    const packed = encode(value);
    expect(packed.byteLength - big.byteLength).toBeLessThan(400);
    const { source, views } = stored(packed);
    let at = decode(source) as never;
    for (let i = 9; i >= 0; i--)
      at = i % 2 === 0 ? (at as { inner: never }).inner : ((at as Map<string, never>[])[0]?.get("k") as never);
    expect(at).toEqual(big);
    expect(views).toHaveLength(1);
  });

  it("every buffer begins at a multiple of 64 bytes, and the gaps hold zeros", () => {
    const values = Array.from({ length: 5 }, (_, i) => new Uint8Array(VIEW_BYTES_MIN + i).fill(i + 1));
    const { source, views, memory } = stored(encode(values));
    expect(decode(source)).toEqual(values);
    for (const offset of views) expect(offset % 64).toBe(0);
    expect(memory.includes(0xee)).toBe(false);
  });

  it("buffers of 64 KiB and more of a stored object are views, smaller ones copies of their own", () => {
    const { source, views } = stored(
      encode([new Uint8Array(VIEW_BYTES_MIN), new Uint8Array(VIEW_BYTES_MIN - 1), new Uint8Array(10)]),
    );
    const [a, b, c] = decode(source) as Uint8Array[];
    expect(views).toHaveLength(1);
    expect([a?.buffer.byteLength, b?.buffer.byteLength, c?.buffer.byteLength]).toEqual([
      VIEW_BYTES_MIN,
      VIEW_BYTES_MIN - 1,
      10,
    ]);
  });

  it("what is decoded from bytes is independent of them", () => {
    const bytes = encode([new Uint8Array(100).fill(1), new Uint8Array(5000).fill(1)]).toBytes();
    const [small, large] = decode(bytes) as Uint8Array[];
    bytes.fill(0);
    expect(small?.every((one) => one === 1)).toBe(true);
    expect(large?.every((one) => one === 1)).toBe(true);
  });

  it("two decodings of the same bytes are independent", () => {
    const bytes = encode(new Uint8Array(5000)).toBytes();
    const first = decode(bytes) as Uint8Array;
    first.fill(9);
    expect((decode(bytes) as Uint8Array)[0]).toBe(0);
  });

  it("a view ships its own bytes, and its buffer holds nothing else afterwards", () => {
    const whole = new ArrayBuffer(1 << 20);
    const packed = encode(new Uint8Array(whole, 1000, 3000));
    expect(packed.byteLength).toBeLessThan(3200);
    expect((decode(packed.toBytes()) as Uint8Array).buffer.byteLength).toBe(3000);
    const pooled = Buffer.from("from the pool");
    expect(roundTrip(pooled).buffer.byteLength).toBe(pooled.length);
    expect(new Uint32Array(roundTrip(new Uint8Array(8)).buffer)).toHaveLength(2);
  });

  it("views that overlap still share memory, views that do not are separate", () => {
    const whole = new ArrayBuffer(100_000);
    const value = {
      a: new Uint8Array(whole, 3, 5000),
      b: new Float64Array(whole, 16, 8),
      c: new Uint8Array(whole, 90_000, 2000),
    };
    const back = roundTrip(value);
    expect(back.a.buffer).toBe(back.b.buffer);
    expect(back.c.buffer).not.toBe(back.a.buffer);
    expect(back.c.buffer.byteLength).toBe(2000);
    back.b[0] = 1;
    expect(back.a.slice(13, 21)).toEqual(new Uint8Array(new Float64Array([1]).buffer));
  });

  it("small views that overlap share memory too, in whatever order and with data around them", () => {
    const pool = Buffer.from("hello, world");
    const value = [
      "before",
      pool.subarray(2, 6),
      { deep: [pool, 1.5] },
      pool.subarray(5),
      "after",
      Buffer.from("other"),
    ];
    const back = roundTrip(value) as [string, Buffer, { deep: [Buffer, number] }, Buffer, string, Buffer];
    expect(back.map(String)).toEqual(value.map(String));
    back[2].deep[0][5] = 0x21;
    expect([String(back[1]), String(back[3])]).toEqual(["llo!", "! world"]);
    expect(back[2].deep[1]).toBe(1.5);
    expect(back[5].buffer.byteLength).toBe(5);
  });

  it("an ArrayBuffer and the views of it in one value stay together", () => {
    const buffer = new ArrayBuffer(16);
    const back = roundTrip({ view: new Uint8Array(buffer, 4, 4), buffer, empty: new Uint8Array(buffer, 16, 0) });
    expect(back.view.buffer).toBe(back.buffer);
    expect(back.empty.buffer).toBe(back.buffer);
    expect([back.view.byteOffset, back.empty.byteOffset]).toEqual([4, 16]);
  });

  it("resizable buffers stay resizable, and views that follow their length go on following", () => {
    for (const size of [16, 64]) {
      const buffer = new ArrayBuffer(size, { maxByteLength: 64 });
      new Uint8Array(buffer).fill(7);
      const value = {
        buffer,
        follows: new Uint8Array(buffer),
        fixed: new Uint8Array(buffer, 0, size),
        data: new DataView(buffer),
        floats: new Float64Array(buffer, 8),
      };
      const back = roundTrip(value);
      expect(new Uint8Array(buffer).every((one) => one === 7)).toBe(true);
      expect(back.follows.every((one) => one === 7)).toBe(true);
      expect([back.buffer.resizable, back.buffer.maxByteLength]).toEqual([true, 64]);
      back.buffer.resize(32);
      expect([back.follows.length, back.data.byteLength, back.floats.length]).toEqual([32, 32, 3]);
      expect(back.fixed.length).toBe(size === 16 ? 16 : 0);
    }
  });

  it("a typed array of 1 GiB is neither copied while encoding nor changed on the way", () => {
    const size = 2 ** 30;
    const big = new Uint8Array(size);
    for (let i = 0; i < size; i += 4093) big[i] = i;
    const packed = encode({ big, label: "large" });
    expect(packed.byteLength).toBeLessThan(size + 256);
    const target = new Uint8Array(packed.byteLength);
    packed.writeInto(target);
    const source: ByteSource = {
      byteLength: target.length,
      copy: (offset, length) => target.slice(offset, offset + length),
      // The one buffer there is; the store maps it, here it is cut out without a third gigabyte.
      view: (offset, length) => target.buffer.transfer(offset + length).slice(offset),
    };
    const back = decode(source) as { big: Uint8Array };
    expect(back.big.length).toBe(size);
    let same = true;
    for (let i = 0; i < size; i += 4093) same &&= back.big[i] === big[i];
    expect(same).toBe(true);
  });
});
