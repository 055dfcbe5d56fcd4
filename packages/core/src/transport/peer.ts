/**
 * One end of a connection: length-prefixed frames in both directions.
 *
 * Writes are corked: everything written in one turn of the event loop leaves in one system call, when the turn ends or
 * when somebody calls `flush`. Frames are handed out in place, without copying, in the order they were sent.
 *
 * A write to a process that has died fails at once, while what that had sent may be unread. So a failed write ends only
 * the writing; the connection has ended when everything was read.
 */
import type { Socket } from "node:net";
import { ConnectionLostError } from "../base/errors.ts";
import { FRAME_BYTES_MAX } from "../base/limits.ts";
import { type Batch, Batcher, FrameWriter, isHotFrame, unbatch, unpack, writeCold } from "../wire/mod.ts";

/** Up to this size a flush copies and keeps its buffer; above, the buffer itself is handed to the system. */
const COPY_BYTES_MAX = 64 * 1024;

export interface PeerHandlers {
  /** A cold message, decoded. */
  onMessage(message: { readonly t: string }): void;
  /** A hot frame, in place: valid only during the call. Without this handler, hot frames end the connection. */
  onHotFrame?(buffer: Buffer, start: number, end: number): void;
  /** All frames of one read have been handed out. What was written to the peer by then leaves when this returns. */
  onBatchEnd?(): void;
  /** Called exactly once, whoever ended the connection; `error` says why when it was not a plain close. */
  onClose(error: Error | undefined): void;
}

export interface Peer {
  /** Where hot frames are written; call `schedule` afterwards. */
  readonly out: FrameWriter;
  readonly isClosed: boolean;
  /** Bytes handed to the system and not yet taken by it. */
  readonly unsentBytes: number;
  /** Writes one cold message. Dropped without a word after the connection has closed. */
  send(message: object): void;
  /** Makes sure that what was written leaves at the end of this turn. */
  schedule(): void;
  flush(): void;
  /** From now on a flush returns only when the system has taken everything: the thread may not come back for long. */
  waitForRoom(): void;
  /** Sends what is pending, then closes. */
  close(): void;
  /** Closes at once. */
  destroy(error?: Error): void;
}

/** The part of a socket that Node.js does not document, present for pipes and TCP alike. */
interface WithHandle {
  readonly _handle?: { setBlocking?(isBlocking: boolean): number };
}

export class SocketPeer implements Peer {
  private readonly frames = new FrameWriter();
  private readonly batcher = new Batcher((message) => writeCold(this.frames, message));
  isClosed = false;
  /** Lowered until the peer has authenticated. */
  frameBytesMax = FRAME_BYTES_MAX;
  handlers: PeerHandlers;
  private readonly socket: Socket & WithHandle;
  private isScheduled = false;
  private isReceiving = false;
  private isClosing = false;
  private waitsForRoom = false;
  /** Set by a write that failed: why, for when the last of what was sent here has been read. */
  private writeFailure: Error | undefined;
  /** The beginning of a frame whose end has not arrived. */
  private partial: Buffer[] = [];
  private partialBytes = 0;
  private partialNeeds = 0;

  constructor(socket: Socket, handlers: PeerHandlers) {
    this.socket = socket;
    this.handlers = handlers;
    let failure: Error | undefined;
    this.surviveFailedWrites(socket);
    socket.on("data", (chunk: Buffer) => this.receive(chunk));
    socket.on("end", () => {
      if (this.writeFailure) socket.destroy(this.writeFailure);
    });
    socket.on("error", (error) => {
      failure = error;
    });
    socket.on("close", () => {
      this.isClosed = true;
      this.out.position = 0;
      this.handlers.onClose(failure);
    });
  }

  /** Told of a failed write, Node.js would close the socket and throw away what is unread. */
  private surviveFailedWrites(socket: Socket): void {
    const survive = (done: (error?: Error | null) => void) => (error?: NodeJS.ErrnoException | null) => {
      if (!error || !isTakenNoMore(error)) {
        done(error);
        return;
      }
      this.writeFailure ??= error;
      done();
    };
    const write = socket._write.bind(socket);
    const writeMany = socket._writev?.bind(socket);
    socket._write = (chunk, encoding, done) => write(chunk, encoding, survive(done));
    if (writeMany) socket._writev = (chunks, done) => writeMany(chunks, survive(done));
  }

  get out(): FrameWriter {
    // Frames leave in the order in which they were given.
    if (!this.batcher.isEmpty) this.batcher.flush();
    return this.frames;
  }

  get unsentBytes(): number {
    return this.socket.writableLength;
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

  flush(): void {
    if (this.out.isEmpty) return;
    if (this.isClosed || this.writeFailure) {
      this.out.position = 0;
      return;
    }
    // While something still leaves in the background, order is kept by not forcing anything past it.
    const handle = this.waitsForRoom && this.unsentBytes === 0 ? this.socket._handle : undefined;
    handle?.setBlocking?.(true);
    this.socket.write(this.out.position <= COPY_BYTES_MAX ? this.out.takeCopy() : this.out.take());
    handle?.setBlocking?.(false);
  }

  waitForRoom(): void {
    this.waitsForRoom = true;
  }

  close(): void {
    if (this.isClosed || this.isClosing) return;
    this.flush();
    this.isClosing = true;
    this.socket.end();
  }

  destroy(error?: Error): void {
    this.isClosing = true;
    this.socket.destroy(error);
  }

  private receive(chunk: Buffer): void {
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
    const message = unpack(chunk.subarray(start, end));
    if (typeof message !== "object" || message === null || typeof (message as { t?: unknown }).t !== "string") {
      throw new ConnectionLostError("a message without a type");
    }
    if ((message as { t: string }).t === "batch") unbatch(message as Batch, (one) => this.handlers.onMessage(one));
    else this.handlers.onMessage(message as { t: string });
  }
}

/** The other end is closed. */
const isTakenNoMore = ({ code }: NodeJS.ErrnoException): boolean => code === "EPIPE" || code === "ECONNRESET";
