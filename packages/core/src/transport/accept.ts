/** The side of connections that listens: who knows the token gets a session, or comes back to the one it has. */

import type { Socket } from "node:net";
import { AuthenticationError, ConnectionLostError, type MobulaError } from "../base/errors.ts";
import { type GreetOptions, greet, type Hello } from "./handshake.ts";
import { type ResumableOptions, ResumablePeer } from "./resumable.ts";
import { readRequest } from "./session.ts";
import { Strangers } from "./strangers.ts";
import { listenTcp, type TcpListener, type TcpListenOptions } from "./tcp.ts";

export interface PeerListenOptions extends TcpListenOptions {
  /** The tokens that are valid now. A new one is added before others begin to use it, and the old one removed after. */
  readonly tokens: () => readonly string[];
  readonly version?: number;
  readonly handshakeTimeoutMs?: number;
  /** Who this is, told to all who know a token; plain data. Read anew for each. */
  readonly who?: unknown;
  /**
   * Looks at every hello that was proven, before anything else does.
   *
   * @throws MobulaError to refuse it.
   */
  check?(hello: Hello): void;
  /**
   * Somebody new. What is written to the peer here waits until the welcome has left.
   *
   * @throws MobulaError to refuse it.
   */
  accept(peer: ResumablePeer, hello: Hello): ResumableOptions;
  /** A connection that asks for no session: its socket, paused. Without this they are refused. */
  acceptSocket?(socket: Socket, hello: Hello): void;
  /** For the log; a connection was refused. */
  onRefused?(error: MobulaError, from: string): void;
}

interface Session {
  readonly peer: ResumablePeer;
  attempt: number;
}

/** @throws InvalidOptionError; ConnectionLostError when no port is free. */
export async function listenPeers(options: PeerListenOptions): Promise<TcpListener> {
  const sessions = new Map<string, Session>();
  const { acceptSocket } = options;

  const begin = (id: string, hello: Hello): Session => {
    const peer = new ResumablePeer(UNUSED);
    const session = { peer, attempt: 0 };
    peer.whenEnded = () => sessions.delete(id);
    sessions.set(id, session);
    try {
      peer.configure(options.accept(peer, hello));
    } catch (error) {
      sessions.delete(id);
      throw error;
    }
    return session;
  };

  const greeting: GreetOptions = {
    strangers: new Strangers(options.handshakeTimeoutMs),
    tokens: options.tokens,
    ...(options.version !== undefined && { version: options.version }),
    onRefused: (error, from) => options.onRefused?.(error, from),
    onHello(hello) {
      options.check?.(hello);
      if (hello.session === undefined || hello.session === null) {
        if (!acceptSocket) throw new AuthenticationError("hello names no session, and this listener demands one");
        return { who: options.who };
      }
      const { id, attempt, isNew } = readRequest(hello.session);
      const session = sessions.get(id) ?? (isNew ? begin(id, hello) : undefined);
      if (!session) {
        throw new ConnectionLostError(
          "the listener does not know the session that is to be resumed: it has ended it, or is another process than before",
        );
      }
      if (attempt <= session.attempt) throw new ConnectionLostError("a later connection of the same session was first");
      session.attempt = attempt;
      return { who: options.who, session: { received: session.peer.receivedBytes } };
    },
    onWelcomed(socket, hello) {
      if (hello.session === undefined || hello.session === null) {
        acceptSocket?.(socket, hello);
        return;
      }
      const { id, received } = readRequest(hello.session);
      const peer = sessions.get(id)?.peer;
      // Whoever accepts may have ended it at once.
      if (peer) peer.attach(socket, peer.receivedBytes, received);
      else socket.destroy();
    },
  };

  const listener = await listenTcp(options, (socket) => greet(socket, greeting));
  return {
    ...listener,
    async close() {
      for (const { peer } of [...sessions.values()]) peer.destroy();
      await listener.close();
    },
  };
}

const UNUSED: ResumableOptions = { handlers: { onMessage() {}, onClose() {} } };
