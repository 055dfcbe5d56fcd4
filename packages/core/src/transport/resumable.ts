/**
 * A peer over TCP that outlives its connections: a cut is a pause. For those who use it, it is a peer like any other.
 *
 * 1. Each direction is a stream of frames whose bytes both sides count. Who sends keeps what has not been acknowledged.
 * 2. Who receives acknowledges with what it sends next, after 256 KiB, or after 50 ms. An acknowledgement is a frame that is
 *    a MessagePack number: how far the other stream has arrived. It is part of its stream like all others.
 * 3. When the connection breaks, the side that dialled makes another (`dial.ts`). In its handshake both say how far they got,
 *    and each sends the rest again. A frame that was cut in two goes on where it was cut.
 * 4. The session ends by a goodbye (the frame nil) from either side; by refusal, when the other side has no such session (it
 *    has given up, or is another process); by `destroy`, when its owner knows better; after a time without a connection; or
 *    when more is kept than is allowed.
 */
import type { Socket } from "node:net";
import { ConnectionLostError } from "../base/errors.ts";
import { FramePeer } from "./frame-peer.ts";
import { KeptBytes } from "./kept-bytes.ts";
import { type PeerHandlers, surviveFailedWrites, takeBytes, write } from "./peer.ts";

export interface ResumableOptions {
  readonly handlers: PeerHandlers;
  /** Milliseconds without a connection after which the session ends. Without, only its owner and the other side end it. */
  readonly suspendedMsMax?: number | undefined;
  /** The connection broke, and another may follow. `why` is missing when the other side just closed it. */
  onSuspended?(why: Error | undefined): void;
  onResumed?(): void;
  /** The session ends when more bytes than this were written and not acknowledged. Default 256 MiB. */
  readonly keptBytesMax?: number | undefined;
}

/** At 64 KiB the packets of acknowledgements cost a stream of small frames a fifth of its rate; at 256 KiB, nothing. */
const ACK_BYTES = 256 * 1024;
const ACK_WITH_FRAMES_BYTES = 16 * 1024;
const ACK_DELAY_MS = 50;
const ACK_FRAME_BYTES = 13;
const UINT64 = 0xcf;
const NIL = 0xc0;
const GOODBYE = Buffer.from([1, 0, 0, 0, NIL]);
/** Without a connection, so much is gathered before it is put by. */
const KEPT_PART_BYTES = 64 * 1024;
/** So much may be under way; what is kept beyond it counts as unsent. */
const UNDER_WAY_BYTES = 4 * 1024 * 1024;
const KEPT_BYTES_MAX = 256 * 1024 * 1024;
/** What a process that is gone had sent arrives within so long, or in pieces that are not further apart. */
const LAST_WORDS_MS = 1_000;
/** How long a goodbye may take to arrive, and a connection to end after the last word. */
const CLOSE_TIMEOUT_MS = 5_000;

export class ResumablePeer extends FramePeer {
  private options: Omit<ResumableOptions, "handlers">;
  private socket: Socket | undefined;
  /** Takes our listeners off the socket. */
  private unlisten: (() => void) | undefined;
  private hasBegun = false;
  private writeFailure: Error | undefined;
  private waitsForRoom = false;

  private readonly kept = new KeptBytes();
  /** The position in our stream after the last frame that was not an acknowledgement. */
  private newsTo = 0;
  /** Where our goodbye ends in our stream. */
  private goodbyeTo = Number.POSITIVE_INFINITY;

  /** How much of the other side's stream has arrived, and how much it was last told. */
  private received = 0;
  private acknowledged = 0;
  /** The end of the last whole frame by then, and the acknowledgements that have arrived since. */
  private boundary = 0;
  private acksSince = 0;
  private ackedLately = false;
  /** At the beginning of a connection, the other side may repeat what has arrived since it was told. */
  private repeated = 0;

  private ackTimer: NodeJS.Timeout | undefined;
  private suspendTimer: NodeJS.Timeout | undefined;
  private closeTimer: NodeJS.Timeout | undefined;
  private lastWordsTimer: NodeJS.Timeout | undefined;

  /** For who makes the connections: there is none any more; the session has ended. */
  whenDetached: (() => void) | undefined;
  whenEnded: (() => void) | undefined;

  constructor(options: ResumableOptions) {
    super(options.handlers);
    this.options = options;
  }

  configure(options: ResumableOptions): void {
    this.handlers = options.handlers;
    this.options = options;
  }

  get isConnected(): boolean {
    return this.socket !== undefined;
  }

  /** How much of the other side's stream has arrived. */
  get receivedBytes(): number {
    return this.received;
  }

  get sentBytes(): number {
    return this.kept.to;
  }

  /** How much of ours is known to have arrived. */
  get arrivedBytes(): number {
    return this.kept.from;
  }

  /** Whether the other side has something to acknowledge. */
  get awaitsAck(): boolean {
    return this.newsTo > this.kept.from;
  }

  get unsentBytes(): number {
    const { socket, kept, out } = this;
    return socket ? Math.max(socket.writableLength, kept.bytes - UNDER_WAY_BYTES) : kept.bytes + out.position;
  }

  /**
   * Goes on over this connection, which is paused; one that there still is is given up.
   *
   * @param told how much of its stream the other side was told to have arrived; it sends again from there.
   * @param theirs how much of ours has arrived there.
   */
  attach(socket: Socket, told: number, theirs: number): void {
    if (this.isClosed) {
      socket.destroy();
      return;
    }
    const wasSuspended = this.hasBegun && !this.socket;
    this.hasBegun = true;
    this.letGo();
    clearTimeout(this.suspendTimer);
    this.listen(socket);
    this.repeated = this.received - told;
    if (this.repeated < 0 || theirs < this.kept.from || theirs > this.kept.to) {
      this.finish(new ConnectionLostError("the two sides of the connection do not agree on what has arrived"));
      return;
    }
    this.released(theirs);
    socket.cork();
    for (const bytes of this.kept.all()) socket.write(bytes);
    this.flush();
    socket.uncork();
    if (wasSuspended && !this.isClosed) this.options.onResumed?.();
    socket.resume();
    // It may have broken since its handshake, and told nobody here.
    if (socket.destroyed) this.suspend(undefined);
  }

  private listen(socket: Socket): void {
    let failure: Error | undefined;
    this.socket = socket;
    this.writeFailure = undefined;
    surviveFailedWrites(socket, (error) => {
      if (socket === this.socket) this.writeFailure ??= error;
    });
    const onData = (chunk: Buffer): void => this.arrived(chunk);
    // Nobody ends a connection without a goodbye, unless it has died.
    const onEnd = (): void => void socket.destroy(this.writeFailure);
    const onError = (error: Error): void => {
      failure = error;
    };
    const onClose = (): void => this.suspend(failure);
    socket.on("data", onData).on("end", onEnd).on("error", onError).on("close", onClose);
    this.unlisten = () => {
      socket.off("data", onData).off("end", onEnd).off("error", onError).off("close", onClose);
      socket.on("error", ignore);
    };
  }

  private letGo(): Socket | undefined {
    const { socket } = this;
    this.socket = undefined;
    this.unlisten?.();
    this.unlisten = undefined;
    return socket?.destroy();
  }

  /** Gives the connection up; another may follow. */
  suspend(why: Error | undefined): void {
    if (!this.letGo()) return;
    const { suspendedMsMax } = this.options;
    if (suspendedMsMax !== undefined) {
      this.suspendTimer = setTimeout(
        () => this.finish(new ConnectionLostError(`there was no connection for ${suspendedMsMax} ms`, { cause: why })),
        suspendedMsMax,
      );
    }
    this.options.onSuspended?.(why);
    if (this.lastWordsTimer) this.finish(new ConnectionLostError("the process at the other end is gone"));
    if (!this.isClosed) this.whenDetached?.();
  }

  // ── sending ────────────────────────────────────────────────────────────────────────────────────────────────────────

  flush(): void {
    const { out, kept, socket } = this;
    if (out.isEmpty) return;
    if (this.isClosed) {
      out.position = 0;
      return;
    }
    this.leaving();
    this.newsTo = kept.to + out.position;
    if (socket) {
      // While frames are being handed out it is not known which of those that have arrived are acknowledgements.
      if (!this.isReceiving && this.isAckDue()) this.writeAck();
      this.transmit(socket);
    } else if (out.position >= KEPT_PART_BYTES) {
      kept.push(out.position * 2 < out.buffer.length ? out.takeCopy() : out.take());
    }
    const { keptBytesMax = KEPT_BYTES_MAX } = this.options;
    if (kept.bytes + out.position > keptBytesMax) {
      const where = socket ? "" : ", and there is no connection to it";
      this.finish(
        new ConnectionLostError(
          `more than ${keptBytesMax} bytes were written that the other side has not acknowledged${where}`,
        ),
      );
    }
  }

  private transmit(socket: Socket): void {
    const bytes = takeBytes(this.out);
    this.kept.push(bytes);
    if (!this.writeFailure) write(socket, bytes, this.waitsForRoom);
  }

  waitForRoom(): void {
    this.waitsForRoom = true;
  }

  close(): void {
    if (this.isClosed || this.isClosing) return;
    const { out } = this;
    out.raw(GOODBYE, 0, GOODBYE.length);
    this.goodbyeTo = this.kept.to + out.position;
    this.flush();
    this.isClosing = true;
    if (!this.isClosed) this.closeTimer = setTimeout(() => this.finish(undefined), CLOSE_TIMEOUT_MS);
  }

  destroy(error?: Error): void {
    this.finish(error);
  }

  /** The process at the other end is gone for good: the session ends when what that had sent before has been read. */
  otherIsGone(): void {
    if (this.isClosed || this.lastWordsTimer) return;
    const gone = new ConnectionLostError("the process at the other end is gone");
    if (!this.socket) {
      this.finish(gone);
      return;
    }
    // Its machine closes the connection, unless it cannot.
    const { received } = this;
    this.lastWordsTimer = setTimeout(() => {
      this.lastWordsTimer = undefined;
      if (this.received === received) this.finish(gone);
      else this.otherIsGone();
    }, LAST_WORDS_MS);
  }

  /** The other side does not know the session: when this side has said goodbye, because it has heard it. */
  refused(error: Error): void {
    this.finish(this.goodbyeTo === Number.POSITIVE_INFINITY ? error : undefined);
  }

  /** Our stream has arrived up to `position`. */
  private released(position: number): void {
    if (position > this.kept.to) throw new ConnectionLostError("what was never sent was acknowledged");
    // An acknowledgement that is sent again may say less than is known.
    if (position > this.kept.from) this.kept.release(position);
    if (position >= this.goodbyeTo) this.finish(undefined);
  }

  // ── receiving ──────────────────────────────────────────────────────────────────────────────────────────────────────

  private arrived(chunk: Buffer): void {
    let fresh = chunk;
    if (this.repeated > 0) {
      const skipped = Math.min(this.repeated, chunk.length);
      this.repeated -= skipped;
      fresh = chunk.subarray(skipped);
      if (fresh.length === 0) return;
    }
    this.received += fresh.length;
    this.receive(fresh);
    if (this.isClosed) return;
    if (this.received - this.acknowledged >= ACK_BYTES) this.acknowledge();
    else if (this.ackTimer === undefined && this.hasNews()) this.ackTimer = setTimeout(this.ackLate, ACK_DELAY_MS);
  }

  /** Whether anything but acknowledgements has arrived since the last one left; they are not acknowledged soon. */
  private hasNews(): boolean {
    return this.received - this.boundary > this.acksSince * ACK_FRAME_BYTES;
  }

  /** With each of many small frames it would be as much work as the frames. */
  private isAckDue(): boolean {
    return this.hasNews() && (!this.ackedLately || this.received - this.acknowledged >= ACK_WITH_FRAMES_BYTES);
  }

  private readonly ackLate = (): void => {
    this.ackTimer = undefined;
    this.ackedLately = false;
    if (this.hasNews()) this.acknowledge();
  };

  private acknowledge(): void {
    const { socket } = this;
    if (!socket) return;
    if (!this.out.isEmpty) this.newsTo = this.kept.to + this.out.position;
    this.writeAck();
    this.transmit(socket);
  }

  private writeAck(): void {
    const { out, received } = this;
    this.acknowledged = received;
    this.boundary = received - this.partialBytes;
    this.acksSince = 0;
    this.ackedLately = true;
    this.ackTimer ??= setTimeout(this.ackLate, ACK_DELAY_MS);
    out.begin();
    out.ensure(9);
    out.buffer[out.position] = UINT64;
    out.buffer.writeUInt32BE(Math.floor(received / 0x1_0000_0000), out.position + 1);
    out.buffer.writeUInt32BE(received % 0x1_0000_0000, out.position + 5);
    out.position += 9;
    out.end();
  }

  protected override isForTransport(chunk: Buffer, start: number, end: number): boolean {
    const tag = chunk[start];
    if (tag === UINT64 && end - start === 9) {
      this.acksSince++;
      this.released(chunk.readUInt32BE(start + 1) * 0x1_0000_0000 + chunk.readUInt32BE(start + 5));
      return true;
    }
    if (tag === NIL && end - start === 1) {
      this.finish(undefined);
      return true;
    }
    return false;
  }

  // ── the end ────────────────────────────────────────────────────────────────────────────────────────────────────────

  private finish(error: Error | undefined): void {
    if (this.isClosed) return;
    const { out } = this;
    if (this.socket && !this.writeFailure) this.sayGoodbye(this.socket, error !== undefined);
    else this.letGo();
    for (const timer of [this.ackTimer, this.suspendTimer, this.closeTimer, this.lastWordsTimer]) clearTimeout(timer);
    this.isClosed = true;
    this.isClosing = true;
    out.position = 0;
    this.kept.clear();
    this.whenEnded?.();
    // As with a socket, nothing of the owner runs inside the call that ends it.
    process.nextTick(() => this.handlers.onClose(error));
  }

  /** After what is under way. Who does not hear it, because the connection breaks, hears a refusal when it dials again. */
  private sayGoodbye(socket: Socket, isAtOnce: boolean): void {
    const { out } = this;
    if (isAtOnce) out.position = 0;
    else this.writeAck();
    out.raw(GOODBYE, 0, GOODBYE.length);
    this.socket = undefined;
    this.unlisten?.();
    this.unlisten = undefined;
    socket.end(takeBytes(out));
    const timer = setTimeout(() => socket.destroy(), CLOSE_TIMEOUT_MS);
    socket.once("close", () => clearTimeout(timer));
    // Unread, what it still says would make the system throw away what was said here.
    socket.resume();
  }
}

const ignore = (): void => {
  // The connection is not ours any more; how it ends is nobody's concern.
};
