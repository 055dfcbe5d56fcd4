/**
 * HTTP/1.1 and HTTP/2 on one port: a client that knows beforehand that it speaks HTTP/2 says so in its first bytes (RFC 9113, 3.4), before it
 * has heard anything, and no method of HTTP/1.1 begins like that.
 */
import type { EventEmitter } from "node:events";
import { createServer, type Server } from "node:net";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
/** So many of its bytes are like no method's. */
const TELLING_BYTES = 4;

export interface ProtocolOptions {
  readonly http1: EventEmitter;
  readonly http2: EventEmitter;
  readonly connectionsMax: number;
  /** For the first bytes. */
  readonly silenceMs: number;
}

/** Listens, and hands each connection to the server whose protocol it speaks. */
export function serveBoth({ http1, http2, connectionsMax, silenceMs }: ProtocolOptions): Server {
  const server = createServer((socket) => {
    const end = (): void => {
      socket.destroy();
    };
    socket.on("error", end);
    socket.setTimeout(silenceMs, end);
    let first = Buffer.alloc(0);
    const look = (): void => {
      const more = socket.read() as Buffer | null;
      if (more !== null) first = Buffer.concat([first, more]);
      const telling = first.subarray(0, TELLING_BYTES);
      const isHttp2 = telling.equals(PREFACE.subarray(0, telling.length));
      if (isHttp2 && telling.length < TELLING_BYTES) {
        socket.once("readable", look);
        return;
      }
      socket.off("error", end);
      socket.setTimeout(0);
      socket.off("timeout", end);
      socket.unshift(first);
      (isHttp2 ? http2 : http1).emit("connection", socket);
    };
    look();
  });
  server.maxConnections = connectionsMax;
  return server;
}
