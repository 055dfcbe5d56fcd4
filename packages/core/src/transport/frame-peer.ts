/**
 * What peers do with frames, whatever carries their bytes: length-prefixed frames in both directions.
 *
 * Writes are corked: everything written in one turn of the event loop leaves in one system call, when the turn ends or
 * when somebody calls `flush`. Frames are handed out in place, without copying, in the order they were sent.
 */
import { ConnectionLostError } from "../base/errors.ts";
import { FRAME_BYTES_MAX } from "../base/limits.ts";
import { type Batch, Batcher, FrameWriter, isHotFrame, unbatch, unpack, writeCold } from "../wire/mod.ts";
import type { Peer, PeerHandlers } from "./peer.ts";

export abstract class FramePeer implements Peer {
  isClosed = false;
  beforeFlush: (() => void) | undefined;
  /** Lowered until the peer has authenticated. */
  frameBytesMax = FRAME_BYTES_MAX;
  handlers: PeerHandlers;
  protected isClosing = false;
  protected isReceiving = false;
  /** The beginning of a frame whose end has not arrived. */
  protected partialBytes = 0;
  private partial: Buffer[] = [];
  private partialNeeds = 0;
  private readonly frames = new FrameWriter();
  private readonly batcher = new Batcher((message) => writeCold(this.frames, message));
  private isScheduled = false;

  constructor(handlers: PeerHandlers) {
    this.handlers = handlers;
  }

  abstract readonly unsentBytes: number;
  abstract flush(): void;
  abstract waitForRoom(): void;
  abstract close(): void;
  abstract destroy(error?: Error): void;

  get out(): FrameWriter {
    // Frames leave in the order in which they were given.
    if (!this.batcher.isEmpty) this.batcher.flush();
    return this.frames;
  }

  send(message: object): void {
    if (this.isClosed || this.isClosing) return;
    this.batcher.send(message);
    this.schedule();
  }

  schedule(): void {
    // Answers to what is being received leave when all of it has been.
    if (this.isScheduled || this.isReceiving) return;
    this.isScheduled = true;
    setImmediate(this.flushScheduled);
  }

  private readonly flushScheduled = (): void => {
    this.isScheduled = false;
    this.flush();
  };

  /** To be called before anything that was written leaves. */
  protected leaving(): void {
    const { beforeFlush } = this;
    this.beforeFlush = undefined;
    beforeFlush?.();
  }

  protected receive(chunk: Buffer): void {
    this.isReceiving = true;
    try {
      this.split(chunk);
      this.handlers.onBatchEnd?.();
    } catch (error) {
      this.destroy(error instanceof Error ? error : new ConnectionLostError(String(error)));
    } finally {
      this.isReceiving = false;
    }
    this.flush();
  }

  private split(arrived: Buffer): void {
    let chunk = arrived;
    if (this.partialBytes > 0) {
      this.partial.push(chunk);
      this.partialBytes += chunk.length;
      if (this.partialBytes < this.partialNeeds) return;
      chunk = Buffer.concat(this.partial, this.partialBytes);
      this.partial = [];
      this.partialBytes = 0;
    }
    let at = 0;
    const { length } = chunk;
    while (length - at >= 4) {
      const bytes = chunk.readUInt32LE(at);
      if (bytes > this.frameBytesMax) {
        throw new ConnectionLostError(
          `a frame of ${bytes} bytes was refused; at most ${this.frameBytesMax} are allowed`,
        );
      }
      const end = at + 4 + bytes;
      if (end > length) {
        this.keepPartial(chunk, at, end - at);
        return;
      }
      this.deliver(chunk, at + 4, end);
      if (this.isClosed) return;
      at = end;
    }
    if (at < length) this.keepPartial(chunk, at, 4);
  }

  private keepPartial(chunk: Buffer, at: number, needs: number): void {
    this.partial.push(chunk.subarray(at));
    this.partialBytes = chunk.length - at;
    this.partialNeeds = needs;
  }

  private deliver(chunk: Buffer, start: number, end: number): void {
    if (isHotFrame(chunk, start)) {
      if (!this.handlers.onHotFrame) throw new ConnectionLostError("an unexpected kind of message");
      this.handlers.onHotFrame(chunk, start, end);
      return;
    }
    if (this.isForTransport(chunk, start, end)) return;
    const message = unpack(chunk.subarray(start, end));
    if (typeof message !== "object" || message === null || typeof (message as { t?: unknown }).t !== "string") {
      throw new ConnectionLostError("a message without a type");
    }
    if ((message as { t: string }).t === "batch") unbatch(message as Batch, (one) => this.handlers.onMessage(one));
    else this.handlers.onMessage(message as { t: string });
  }

  /** Takes frames that are neither hot nor cold, if there are any on this kind of connection. */
  protected isForTransport(_chunk: Buffer, _start: number, _end: number): boolean {
    return false;
  }
}
