/** Cold messages: MessagePack maps, through msgpackr without its private record extension, so any language reads them. */
import { Packr } from "msgpackr";
import type { FrameWriter } from "./msgpack-writer.ts";

const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true, copyBuffers: true } as ConstructorParameters<
  typeof Packr
>[0]);

/** Plain data to MessagePack. */
export const pack = (value: unknown): Buffer => packr.pack(value);
/** The inverse; byte strings are copies and may be kept. */
export const unpack = (bytes: Uint8Array): unknown => packr.unpack(bytes);

export function writeCold(out: FrameWriter, message: object): void {
  const bytes = packr.pack(message);
  out.begin();
  out.raw(bytes, 0, bytes.length);
  out.end();
}

/** Hot messages are arrays, cold ones maps. */
export function isHotFrame(buffer: Buffer, start: number): boolean {
  const tag = buffer[start] ?? 0;
  return (tag >= 0x90 && tag <= 0x9f) || tag === 0xdc || tag === 0xdd;
}
