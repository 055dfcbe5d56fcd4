/** Two peers in one thread: for `address: "inline"` and for tests. Same frames, same corking, no sockets. */
import { FrameWriter, isHotFrame, unpack, writeCold } from "../wire/mod.ts";
import type { Peer, PeerHandlers } from "./peer.ts";

export class MemoryPeer implements Peer {
  readonly out = new FrameWriter();
  isClosed = false;
  beforeFlush: (() => void) | undefined;
  readonly unsentBytes = 0;
  handlers: PeerHandlers | undefined;
  private other: MemoryPeer | undefined;
  private isScheduled = false;

  static pair(): [MemoryPeer, MemoryPeer] {
    const left = new MemoryPeer();
    const right = new MemoryPeer();
    left.other = right;
    right.other = left;
    return [left, right];
  }

  send(message: object): void {
    if (this.isClosed) return;
    writeCold(this.out, message);
    this.schedule();
  }

  schedule(): void {
    if (this.isScheduled) return;
    this.isScheduled = true;
    setImmediate(() => {
      this.isScheduled = false;
      this.flush();
    });
  }

  waitForRoom(): void {
    // There is always room.
  }

  flush(): void {
    if (this.out.isEmpty) return;
    const { beforeFlush } = this;
    this.beforeFlush = undefined;
    beforeFlush?.();
    const bytes = this.out.takeCopy();
    // As over a socket, nothing of the other side runs inside the call that sends.
    if (!this.isClosed) setImmediate(() => this.deliver(bytes));
  }

  private deliver(bytes: Buffer): void {
    const { other } = this;
    const handlers = other?.handlers;
    if (!other || other.isClosed || !handlers) return;
    for (let at = 0; at < bytes.length; ) {
      const start = at + 4;
      const end = start + bytes.readUInt32LE(at);
      if (isHotFrame(bytes, start)) handlers.onHotFrame?.(bytes, start, end);
      else handlers.onMessage(unpack(bytes.subarray(start, end)) as { t: string });
      at = end;
    }
    handlers.onBatchEnd?.();
    other.flush();
  }

  close(): void {
    if (this.isClosed) return;
    this.flush();
    this.destroy();
  }

  destroy(error?: Error): void {
    if (this.isClosed) return;
    const { other } = this;
    this.isClosed = true;
    this.handlers?.onClose(error);
    if (other && !other.isClosed) setImmediate(() => other.destroy(error));
  }
}
