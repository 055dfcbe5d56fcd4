/** `create(bytes)`: an object that is written where it will be read. */
import { ObjectStoreFullError, RefReleasedError } from "../base/errors.ts";
import { INLINE_BYTES_MAX } from "../base/limits.ts";
import type { Client } from "../client/mod.ts";
import { headOfBytes } from "../codec/mod.ts";
import type { WritableAllocation } from "../store/mod.ts";
import type { ObjectRef, WritableObject } from "./types.ts";

export class WritableObjectImpl implements WritableObject {
  readonly view: Uint8Array<ArrayBuffer>;
  private readonly client: Client;
  private readonly allocation: WritableAllocation | undefined;
  private readonly size: number;
  private state: "open" | "sealed" | "aborted" = "open";

  constructor(client: Client, bytes: number, callSite: string) {
    this.client = client;
    const { store } = client;
    if (!store || bytes < INLINE_BYTES_MAX) {
      this.size = bytes;
      this.view = new Uint8Array(bytes);
      return;
    }
    const head = headOfBytes(bytes);
    this.size = head.length + bytes;
    this.allocation = client.run(() => store.create(this.size, callSite));
    this.allocation.bytes.set(head);
    this.view = this.allocation.bytes.subarray(head.length);
  }

  seal(): ObjectRef<Uint8Array<ArrayBuffer>> {
    this.checkOpen("seal()");
    this.state = "sealed";
    const ref = this.allocation ? this.client.adoptAllocation(this.allocation, this.size) : this.client.put(this.view);
    return ref as unknown as ObjectRef<Uint8Array<ArrayBuffer>>;
  }

  abort(): void {
    if (this.state !== "open") return;
    this.state = "aborted";
    this.allocation?.abort();
  }

  [Symbol.dispose](): void {
    this.abort();
  }

  private checkOpen(call: string): void {
    if (this.state !== "open") throw new RefReleasedError(`${call}: the object was ${this.state} before`);
    if (this.client.isClosed) throw new ObjectStoreFullError(`${call}: its store went with shutdown()`);
  }
}
