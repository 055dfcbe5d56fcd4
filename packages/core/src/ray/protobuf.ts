/** As much of protobuf as a few flat messages need: fields of bytes and text, and numbers. Pure. */
const VARINT = 0;
const FIXED_64 = 1;
const BYTES = 2;
const FIXED_32 = 5;

/** What was sent is not a message. */
export class MalformedMessageError extends Error {}

export const bytesField = (field: number, value: Uint8Array | string): Buffer => {
  const bytes = Buffer.from(value);
  return Buffer.concat([varint(field * 8 + BYTES), varint(bytes.length), bytes]);
};

/** @param value a whole number; one below zero is as if it had 64 bits and no sign. */
export const numberField = (field: number, value: number): Buffer =>
  Buffer.concat([varint(field * 8 + VARINT), varint(value)]);

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest > 0x7fn; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  return Buffer.from([...bytes, Number(rest)]);
}

/**
 * Fields of bytes and text by their number, of several with one number the last; what else there is is left out.
 *
 * @throws MalformedMessageError
 */
export function bytesFields(message: Buffer): ReadonlyMap<number, Buffer> {
  const found = new Map<number, Buffer>();
  let at = 0;
  const skip = (bytes: number): number => {
    const from = at;
    at += bytes;
    if (at > message.length) throw new MalformedMessageError("the message ends within a field");
    return from;
  };
  const readVarint = (): number => {
    let value = 0;
    for (let factor = 1; ; factor *= 0x80) {
      const byte = message[skip(1)] ?? 0;
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value;
      // Ten bytes are the longest that there are.
      if (factor >= 0x80 ** 9) throw new MalformedMessageError("a number has no end");
    }
  };
  while (at < message.length) {
    const tag = readVarint();
    const field = Math.floor(tag / 8);
    switch (tag % 8) {
      case VARINT:
        readVarint();
        break;
      case FIXED_64:
        skip(8);
        break;
      case BYTES: {
        const length = readVarint();
        found.set(field, message.subarray(skip(length), at));
        break;
      }
      case FIXED_32:
        skip(4);
        break;
      default:
        throw new MalformedMessageError(`field ${field} has no type that there is`);
    }
  }
  return found;
}
