/**
 * What clients and the node's store say to each other on the store's own socket: a little-endian length of 4 bytes,
 * then a MessagePack array. It is separate from the node's connection because `put` is synchronous: the client sends
 * and receives on it with blocking calls.
 */
import { pack, unpack } from "msgpackr";
import type { ErrorKind, ProcessId } from "../base/mod.ts";
import type { StoreKey } from "../wire/messages.ts";

/** A frame is a few numbers and a call site; more is not one of ours. */
const STORE_FRAME_BYTES_MAX = 64 * 1024;
export const CALL_SITE_LENGTH_MAX = 1_000;

export type ToStore =
  | readonly ["hello", requestId: number, processId: ProcessId, pid: number]
  /** See `allocate-requested` in engine-events.ts. */
  | readonly ["allocate", requestId: number, bytes: number, wishBytes: number, callSite: string]
  /**
   * With `pinned` the producer keeps a view: it holds a pin from the start, and gives it back with "unpin". The owner is the
   * process that will free it, "" for the producer.
   */
  | readonly [
      "sealed",
      key: StoreKey,
      offset: number,
      bytes: number,
      callSite: string,
      pinned: boolean,
      owner: ProcessId | "",
    ]
  | readonly ["unpin", key: StoreKey]
  | readonly ["give-back", offset: number, bytes: number]
  /** Nothing of this client is written any more; what closes now closes in order. */
  | readonly ["bye"];

export type FromStore =
  /** `firstKey` is the first of the client's keys; `overflowPath` is the file behind offsets from `arenaBytes` on. */
  | readonly [
      "welcome",
      requestId: number,
      firstKey: StoreKey,
      arenaBytes: number,
      overflowPath: string,
      putTimeoutMs: number,
    ]
  /** Of a fresh range some pages do not exist yet. */
  | readonly ["granted", requestId: number, offset: number, bytes: number, isFresh: boolean]
  | readonly ["refused", requestId: number, code: string, kind: ErrorKind, message: string];

export function encodeFrame(message: ToStore | FromStore): Uint8Array {
  const body = pack(message);
  const frame = new Uint8Array(4 + body.byteLength);
  new DataView(frame.buffer).setUint32(0, body.byteLength, true);
  frame.set(body, 4);
  return frame;
}

export interface FrameReader<Message> {
  /** Adds received bytes and returns the messages that are now complete. */
  push(bytes: Uint8Array): readonly Message[];
}

/** The sender is another process of the same user and version, so that only the outer shape is checked. */
export function createFrameReader<Message extends ToStore | FromStore>(): FrameReader<Message> {
  let pending: Uint8Array = new Uint8Array(0);
  return {
    push(bytes) {
      const joined = new Uint8Array(pending.byteLength + bytes.byteLength);
      joined.set(pending);
      joined.set(bytes, pending.byteLength);
      const header = new DataView(joined.buffer);
      const messages: Message[] = [];
      let at = 0;
      while (at + 4 <= joined.byteLength) {
        const length = header.getUint32(at, true);
        if (length > STORE_FRAME_BYTES_MAX) throw new Error(`store frame of ${length} bytes`);
        if (at + 4 + length > joined.byteLength) break;
        const message: unknown = unpack(joined.subarray(at + 4, at + 4 + length));
        if (!Array.isArray(message) || typeof message[0] !== "string")
          throw new Error("store frame that is not a message");
        messages.push(message as unknown as Message);
        at += 4 + length;
      }
      pending = joined.subarray(at);
      return messages;
    },
  };
}
