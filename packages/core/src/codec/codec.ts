/**
 * The two functions that everything else here serves.
 */
import type { Problem } from "./custom.ts";
import { type DecodeContext, Decoder } from "./decoder.ts";
import { type EncodeContext, Encoder } from "./encoder.ts";
import type { ByteSource } from "./input.ts";
import type { Packed } from "./packed.ts";

/** The encoder that is not at work. Encoding can happen inside encoding (a getter that calls `put`): then it is absent. */
let idle: Encoder | undefined;

const NO_CONTEXT: EncodeContext & DecodeContext = {};

/**
 * Turns a value into bytes. Nothing of it is copied that lies in a buffer of 1 KiB or more: see {@link Packed}.
 *
 * @throws SerializationError (`invalid`) when any part cannot be shipped, naming its path, type and a way out; nothing
 * is kept of the value then.
 */
export function encode(value: unknown, context: EncodeContext = NO_CONTEXT): Packed {
  const encoder = idle ?? new Encoder();
  idle = undefined;
  try {
    return encoder.encode(value, context);
  } finally {
    idle = encoder;
  }
}

/**
 * Makes the value again. From the bytes of a message everything is copied out, so that the value is independent of
 * them; from a stored object, buffers of 64 KiB and more are the object's own private views.
 *
 * @throws MobulaError with code `MALFORMED_VALUE` (`invalid`) when the bytes are not a value of this format version;
 * errors of customizers and deserializers as they are.
 */
export function decode(source: Uint8Array | ByteSource, context: DecodeContext = NO_CONTEXT): unknown {
  return new Decoder(source, context).decode();
}

/**
 * Tells everything in a value that could not be shipped, in the words that {@link encode} would use.
 */
export function inspectSerializability(
  value: unknown,
  context: EncodeContext = NO_CONTEXT,
): { readonly ok: boolean; readonly problems: readonly Problem[] } {
  const encoder = new Encoder();
  const problems = encoder.inspect(value, context);
  return { ok: problems.length === 0, problems };
}
