/**
 * The node's listening socket, opened before anything else is loaded: the first workers may be quicker than the node.
 * Connections wait, unread, until somebody accepts them.
 */
import { createServer, type Server, type Socket } from "node:net";

export interface EarlySocket {
  /** Hands over what has come and what will come; to be called once. */
  accept(handler: (socket: Socket) => void): void;
  /** Closes every connection and removes the socket. */
  close(): Promise<void>;
}

const CLOSE_GRACE_MS = 500;

/** The socket exists when this returns; whether it works is known when `listening` resolves. */
export function openEarlySocket(path: string): { readonly socket: EarlySocket; readonly listening: Promise<void> } {
  const sockets = new Set<Socket>();
  let waiting: Socket[] = [];
  let handler: ((socket: Socket) => void) | undefined;
  const server: Server = createServer({ pauseOnConnect: true }, (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
    if (handler) handler(socket);
    else waiting.push(socket);
  });
  const listening = new Promise<void>((resolve, reject) => {
    server.once("listening", resolve);
    server.once("error", reject);
  });
  server.listen(path);
  return {
    listening,
    socket: {
      accept(accepting) {
        handler = accepting;
        const earlier = waiting;
        waiting = [];
        for (const socket of earlier) accepting(socket);
      },
      async close() {
        // What was written last is still on its way; a peer that does not read it is not waited for.
        const ended = [...sockets].map(
          (socket) => new Promise<void>((resolve) => socket.once("close", () => resolve())),
        );
        for (const socket of sockets) socket.end();
        let timer: NodeJS.Timeout | undefined;
        const late = new Promise<void>((resolve) => {
          timer = setTimeout(resolve, CLOSE_GRACE_MS);
        });
        await Promise.race([Promise.all(ended), late]);
        clearTimeout(timer);
        for (const socket of sockets) socket.destroy();
        await new Promise<void>((resolve) => server.close(() => resolve()));
      },
    },
  };
}
