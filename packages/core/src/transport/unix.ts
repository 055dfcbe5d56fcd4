/** Unix sockets: listen and connect. */
import { connect, createServer, type Server } from "node:net";
import { ConnectionLostError } from "../base/errors.ts";
import { listenHere } from "./listen-here.ts";
import { type PeerHandlers, SocketPeer } from "./peer.ts";

export interface Listener {
  readonly path: string;
  close(): Promise<void>;
}

/**
 * Accepts connections at `path`, which must lie in a folder private to the user.
 *
 * @param accept is given each new peer and returns its handlers.
 */
export async function listenUnix(path: string, accept: (peer: SocketPeer) => PeerHandlers): Promise<Listener> {
  const peers = new Set<SocketPeer>();
  const server: Server = createServer((socket) => {
    const peer: SocketPeer = new SocketPeer(socket, noHandlers);
    peer.handlers = accept(peer);
    peers.add(peer);
    socket.once("close", () => peers.delete(peer));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => resolve());
    listenHere(server, path, -1, -1);
  });
  return {
    path,
    close: () =>
      new Promise((resolve) => {
        for (const peer of peers) peer.destroy();
        server.close(() => resolve());
      }),
  };
}

const noHandlers: PeerHandlers = { onMessage() {}, onClose() {} };

/** Connects, or rejects with ConnectionLostError (`unavailable`) within `timeoutMs`, default 5,000. */
export function connectUnix(path: string, handlers: PeerHandlers, timeoutMs = 5_000): Promise<SocketPeer> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    const timer = setTimeout(() => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    const onError = (error: Error): void => {
      clearTimeout(timer);
      reject(new ConnectionLostError(`cannot connect to ${path}: ${error.message}`, { cause: error }));
    };
    socket.once("error", onError);
    socket.once("connect", () => {
      clearTimeout(timer);
      socket.off("error", onError);
      resolve(new SocketPeer(socket, handlers));
    });
  });
}
