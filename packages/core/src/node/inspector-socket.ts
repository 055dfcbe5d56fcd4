/**
 * A WebSocket to the inspector of a process of this machine. That of Node.js would take 17 MB of the node's memory and
 * 20 ms of its one thread at the first use, and this needs little of the protocol: the other side is always Node.js.
 */
import { connect, type Socket } from "node:net";
import { ConnectionLostError } from "../base/errors.ts";
import { randomBytes } from "../base/random.ts";

export interface InspectorChannel {
  send(text: string): void;
  /** Whether more is to be read of what it says; not everything that an inspector is reached by can wait. */
  hold?(isHeld: boolean): void;
  close(): void;
}

export interface ChannelHandlers {
  onMessage(text: Buffer): void;
  /** Once, however it ends, unless {@link InspectorChannel.close} ended it. */
  onClose(): void;
}

const MESSAGE_BYTES_MAX = 256 * 2 ** 20;
const HEAD_BYTES_MAX = 4_096;
const OPCODE = { continuation: 0, text: 1, close: 8, ping: 9, pong: 10 } as const;
const FINAL = 0x80;
const MASKED = 0x80;

/** @param url as Node.js prints it: `ws://127.0.0.1:1234/<id>`. @throws ConnectionLostError */
export function connectInspector(url: string, handlers: ChannelHandlers, timeoutMs: number): Promise<InspectorChannel> {
  const { hostname, port, host, pathname } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    const failed = (why: string): void => {
      clearTimeout(timer);
      socket.destroy();
      reject(new ConnectionLostError(`its inspector ${why}`));
    };
    const timer = setTimeout(() => failed(`did not greet within ${timeoutMs} ms`), timeoutMs);
    socket.once("error", ({ message }) => failed(`could not be reached: ${message}`));
    socket.once("close", () => failed("closed the connection"));
    const key = randomBytes(16).toString("base64");
    socket.write(
      `GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
    );
    let head = "";
    const greeted = (bytes: Buffer): void => {
      head += bytes.toString("latin1");
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) {
        if (head.length > HEAD_BYTES_MAX) failed("did not answer as a WebSocket");
        return;
      }
      if (!head.startsWith("HTTP/1.1 101 ")) {
        failed(`refused the connection: ${head.slice(0, head.indexOf("\r\n"))}`);
        return;
      }
      clearTimeout(timer);
      socket.removeAllListeners();
      resolve(new InspectorSocket(socket, handlers, Buffer.from(head.slice(end + 4), "latin1")));
    };
    socket.on("data", greeted);
  });
}

class InspectorSocket implements InspectorChannel {
  private readonly socket: Socket;
  private readonly handlers: ChannelHandlers;
  private chunks: Buffer[] = [];
  private bytes = 0;
  /** So many must have come before it is worthwhile to look. */
  private needs = 2;
  private parts: Buffer[] = [];
  private isClosed = false;

  constructor(socket: Socket, handlers: ChannelHandlers, first: Buffer) {
    this.socket = socket;
    this.handlers = handlers;
    socket.on("data", (chunk: Buffer) => this.take(chunk));
    // Its close follows.
    socket.on("error", () => {});
    socket.on("close", () => this.ended());
    if (first.length > 0) this.take(first);
  }

  send(text: string): void {
    this.write(OPCODE.text, Buffer.from(text));
  }

  hold(isHeld: boolean): void {
    if (isHeld) this.socket.pause();
    else this.socket.resume();
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.write(OPCODE.close, Buffer.alloc(0));
    this.socket.end();
    this.socket.resume();
  }

  private ended(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.socket.destroy();
    this.handlers.onClose();
  }

  /** Whoever asks has to mask what he says; there is nobody here from whom it would have to be hidden. */
  private write(opcode: number, payload: Buffer): void {
    const { length } = payload;
    const mask = Buffer.alloc(4);
    const head =
      length < 126
        ? Buffer.from([FINAL | opcode, MASKED | length])
        : Buffer.from([FINAL | opcode, MASKED | 127, 0, 0, 0, 0, 0, 0, 0, 0]);
    if (length >= 126) head.writeBigUInt64BE(BigInt(length), 2);
    this.socket.write(Buffer.concat([head, mask, payload]));
  }

  private take(chunk: Buffer): void {
    this.chunks.push(chunk);
    this.bytes += chunk.length;
    while (this.bytes >= this.needs && !this.isClosed) {
      const all = this.chunks.length === 1 ? (this.chunks[0] as Buffer) : Buffer.concat(this.chunks, this.bytes);
      const size = this.frame(all);
      const rest = size === undefined ? all : all.subarray(size);
      if (size !== undefined) this.needs = 2;
      this.chunks = rest.length > 0 ? [rest] : [];
      this.bytes = rest.length;
    }
  }

  /** Handles the first frame, and gives its length; without all of it says how much is needed. */
  private frame(all: Buffer): number | undefined {
    const [first = 0, second = 0] = all;
    const short = second & 0x7f;
    const head = short === 126 ? 4 : short === 127 ? 10 : 2;
    if (all.length < head) {
      this.needs = head;
      return undefined;
    }
    const length = short === 126 ? all.readUInt16BE(2) : short === 127 ? Number(all.readBigUInt64BE(2)) : short;
    if (length > MESSAGE_BYTES_MAX) {
      this.ended();
      return undefined;
    }
    if (all.length < head + length) {
      this.needs = head + length;
      return undefined;
    }
    this.handle(first & 0x0f, (first & FINAL) !== 0, all.subarray(head, head + length));
    return head + length;
  }

  private handle(opcode: number, isFinal: boolean, payload: Buffer): void {
    if (opcode === OPCODE.close) this.ended();
    else if (opcode === OPCODE.ping) this.write(OPCODE.pong, payload);
    else if (opcode === OPCODE.text || opcode === OPCODE.continuation) {
      this.parts.push(payload);
      if (!isFinal) return;
      const parts = this.parts.splice(0);
      this.handlers.onMessage(parts.length === 1 ? payload : Buffer.concat(parts));
    }
  }
}
