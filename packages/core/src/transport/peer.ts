/**
 * One end of a connection, and the plainest kind of it: a socket, whose end is the end.
 *
 * A write to a process that has died fails at once, while what that had sent may be unread. So a failed write ends only
 * the writing; the connection has ended when everything was read.
 */
import type { Socket } from "node:net";
import type { FrameWriter } from "../wire/mod.ts";
import { FramePeer } from "./frame-peer.ts";

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
  /** Called once, before what was written leaves: something has to be known elsewhere by then. */
  beforeFlush: (() => void) | undefined;
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

export class SocketPeer extends FramePeer {
  private readonly socket: Socket;
  private waitsForRoom = false;
  /** Set by a write that failed: why, for when the last of what was sent here has been read. */
  private writeFailure: Error | undefined;

  constructor(socket: Socket, handlers: PeerHandlers) {
    super(handlers);
    this.socket = socket;
    let failure: Error | undefined;
    surviveFailedWrites(socket, (error) => {
      this.writeFailure ??= error;
    });
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

  get unsentBytes(): number {
    return this.socket.writableLength;
  }

  flush(): void {
    const { out } = this;
    if (out.isEmpty) return;
    if (this.isClosed || this.writeFailure) {
      out.position = 0;
      return;
    }
    this.leaving();
    write(this.socket, takeBytes(out), this.waitsForRoom);
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
}

/** What was written, in a buffer of its own. */
export function takeBytes(out: FrameWriter): Buffer {
  return out.position <= COPY_BYTES_MAX ? out.takeCopy() : out.take();
}

/** The part of a socket that Node.js does not document, present for pipes and TCP alike. */
interface WithHandle {
  readonly _handle?: { setBlocking?(isBlocking: boolean): number };
}

/** @param waitsForRoom returns only when the system has taken everything. */
export function write(socket: Socket & WithHandle, bytes: Buffer, waitsForRoom: boolean): void {
  // While something still leaves in the background, order is kept by not forcing anything past it.
  const handle = waitsForRoom && socket.writableLength === 0 ? socket._handle : undefined;
  handle?.setBlocking?.(true);
  socket.write(bytes);
  handle?.setBlocking?.(false);
}

/** Told of a failed write, Node.js would close the socket and throw away what is unread. */
export function surviveFailedWrites(socket: Socket, onFailure: (error: Error) => void): void {
  const survive = (done: (error?: Error | null) => void) => (error?: NodeJS.ErrnoException | null) => {
    if (!error || !isTakenNoMore(error)) {
      done(error);
      return;
    }
    onFailure(error);
    done();
  };
  const writeOne = socket._write.bind(socket);
  const writeMany = socket._writev?.bind(socket);
  socket._write = (chunk, encoding, done) => writeOne(chunk, encoding, survive(done));
  if (writeMany) socket._writev = (chunks, done) => writeMany(chunks, survive(done));
}

/** The other end is closed. */
const isTakenNoMore = ({ code }: NodeJS.ErrnoException): boolean => code === "EPIPE" || code === "ECONNRESET";
