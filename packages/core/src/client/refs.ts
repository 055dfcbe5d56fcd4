/** The refs and streams that a program holds: small objects that name an object of the client's table. */

import { RefReleasedError } from "../base/errors.ts";
import { type ObjectKey, objectIdHex, objectKey, type ProcessId, type Seq } from "../base/ids.ts";
import type { Client } from "./client.ts";

// A program may hold a million refs, so what can be true of one is one number.
const READY = 1;
const CALL = 2;
const RELEASED = 4;
const VIEWED = 8;

/** How a ref stands to its owner's record. */
export class Ref {
  readonly client: Client;
  readonly seq: Seq;
  /** Set when another process owns the object; `seq` is then this process's own number for it. */
  private readonly foreignOwner: ProcessId | undefined;
  private readonly ownerSeq: Seq;
  /** The bytes of a small value; unless `isReady`, the owner has not been told of it, because nobody else asked for it. */
  local: Uint8Array | undefined;
  /** The last `wait` that it was part of. */
  waitMark = 0;
  private flags = 0;

  constructor(client: Client, seq: Seq, local: Uint8Array | undefined, foreignOwner?: ProcessId, ownerSeq: Seq = seq) {
    this.client = client;
    this.seq = seq;
    this.foreignOwner = foreignOwner;
    this.ownerSeq = ownerSeq;
    this.local = local;
  }

  /** Its name, if another process owns it. */
  get foreignKey(): ObjectKey | undefined {
    const { foreignOwner, ownerSeq } = this;
    return foreignOwner === undefined ? undefined : objectKey(foreignOwner, ownerSeq);
  }

  /** The owner said that there is a value. */
  get isReady(): boolean {
    return (this.flags & READY) !== 0;
  }
  set isReady(isSet: boolean) {
    this.flag(READY, isSet);
  }

  /** It is the result of an actor's call. */
  get isCall(): boolean {
    return (this.flags & CALL) !== 0;
  }
  set isCall(isSet: boolean) {
    this.flag(CALL, isSet);
  }

  get isReleased(): boolean {
    return (this.flags & RELEASED) !== 0;
  }
  set isReleased(isSet: boolean) {
    this.flag(RELEASED, isSet);
  }

  /** Its value was read from the store. */
  get wasViewed(): boolean {
    return (this.flags & VIEWED) !== 0;
  }
  set wasViewed(isSet: boolean) {
    this.flag(VIEWED, isSet);
  }

  private flag(bit: number, isSet: boolean): void {
    this.flags = isSet ? this.flags | bit : this.flags & ~bit;
  }

  get id(): string {
    const { client, foreignOwner, ownerSeq } = this;
    return objectIdHex(foreignOwner ?? client.processId, ownerSeq, client.jobId, 1);
  }

  /** @throws RefReleasedError when the ref was released, or belongs to an earlier `init`. */
  check(client: Client): void {
    if (this.isReleased)
      throw new RefReleasedError(`ref ${this.id} was released; keep it as long as you need its value`);
    if (this.client !== client) {
      throw new RefReleasedError(`ref ${this.id} belongs to an earlier init(); its value went with shutdown()`);
    }
  }

  [Symbol.dispose](): void {
    this.client.release(this);
  }

  get [Symbol.toStringTag](): string {
    return "ObjectRef";
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return `ObjectRef(${this.id})`;
  }
}

export const isRef = (value: unknown): value is Ref => value instanceof Ref;
