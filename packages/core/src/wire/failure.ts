/** The bytes of an error value: plain MessagePack that any process and language can make, with the user's error inside. */
import type { ErrorKind } from "../base/errors.ts";
import { pack, unpack } from "./cold.ts";
import type { Language } from "./language.ts";

export interface FailureRecord {
  readonly code: string;
  readonly kind: ErrorKind;
  readonly message: string;
  /** The cause as a packed value of the codec (the user's error), when there is one. */
  readonly cause?: Uint8Array;
  /** The cause as another failure, when the runtime itself failed because of one. */
  readonly because?: FailureRecord;
  /** Language of the packed cause. */
  readonly language?: Language;
}

export const packFailure = (failure: FailureRecord): Uint8Array => pack(failure);

/** Never throws: bytes that are not a failure become an INTERNAL one. */
export function unpackFailure(bytes: Uint8Array): FailureRecord {
  try {
    const failure = unpack(bytes) as FailureRecord;
    if (typeof failure?.code === "string" && typeof failure.message === "string") return failure;
  } catch {
    // Falls through: what it was cannot be known.
  }
  return { code: "INTERNAL", kind: "internal", message: "an error arrived that could not be read" };
}
