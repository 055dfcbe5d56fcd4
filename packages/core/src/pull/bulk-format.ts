/**
 * What a bulk connection carries: requests of a few bytes one way, and for each, in order, an answer with all the bytes that
 * were asked for the other way. A request is a length and MessagePack; an answer's head is a status, and how many bytes follow.
 */
import { ConnectionLostError } from "../base/errors.ts";
import type { StoredName } from "../base/ids.ts";
import { WIRE_VERSION } from "../base/wire-version.ts";
import { pack, unpack } from "../wire/mod.ts";

export interface BulkRequest {
  readonly name: StoredName;
  /** The bytes before this one are there already. */
  readonly from: number;
  /** And those from this one on are not wanted. Processes of version 1 do not say it, and send all that there is. */
  readonly to?: number | undefined;
}

const REQUEST_BYTES_MAX = 256;
/** Of an object, or of something that a program's modules need (code/packs.ts). */
const NAME = /^(?:[0-9a-f]{8}\.[0-9a-z]{1,11}|code\.[0-9a-f]{64}(?:\.\d{1,7}\.\d{1,7})?)$/;
export const HEAD_BYTES = 16;
export const STATUS = { ok: 1, gone: 2 } as const;

export function encodeRequest(request: BulkRequest): Uint8Array {
  const body = pack(request);
  const frame = new Uint8Array(4 + body.length);
  new DataView(frame.buffer).setUint32(0, body.length, true);
  frame.set(body, 4);
  return frame;
}

/** Takes requests out of a stream of bytes. */
export class RequestReader {
  private rest: Uint8Array = new Uint8Array(0);

  /** @throws ConnectionLostError when the bytes are not requests. */
  push(chunk: Uint8Array): readonly BulkRequest[] {
    this.rest = this.rest.length === 0 ? chunk : Buffer.concat([this.rest, chunk]);
    const requests: BulkRequest[] = [];
    while (this.rest.length >= 4) {
      const length = Buffer.from(this.rest.buffer, this.rest.byteOffset).readUInt32LE(0);
      if (length > REQUEST_BYTES_MAX) throw new ConnectionLostError(`a request of ${length} bytes was refused`);
      if (this.rest.length < 4 + length) break;
      requests.push(checkRequest(unpack(this.rest.subarray(4, 4 + length))));
      this.rest = this.rest.subarray(4 + length);
    }
    // It may be part of memory that is used again.
    this.rest = Uint8Array.from(this.rest);
    return requests;
  }
}

function checkRequest(value: unknown): BulkRequest {
  const { name, from, to } = (value ?? {}) as Partial<BulkRequest>;
  if (typeof name !== "string" || !NAME.test(name)) {
    throw new ConnectionLostError("a request names no object");
  }
  if (!Number.isSafeInteger(from) || (from as number) < 0) throw new ConnectionLostError("a request begins nowhere");
  if (to === undefined || WIRE_VERSION < 2) return { name, from: from as number };
  if (!Number.isSafeInteger(to) || to < (from as number)) throw new ConnectionLostError("a request ends nowhere");
  return { name, from: from as number, to };
}

export function encodeHead(status: number, bytes: number): Uint8Array {
  const head = new Uint8Array(HEAD_BYTES);
  const view = new DataView(head.buffer);
  view.setUint32(0, status, true);
  view.setFloat64(8, bytes, true);
  return head;
}

export function decodeHead(head: Uint8Array): { readonly status: number; readonly bytes: number } {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  return { status: view.getUint32(0, true), bytes: view.getFloat64(8, true) };
}
