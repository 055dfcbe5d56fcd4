/**
 * The node's socket: who connects, and whether it may. Until a peer has said hello with the right version and token its
 * frames are small, its time is short, and nothing it sends reaches the rest of the node.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { AuthenticationError, type MobulaError } from "../base/errors.ts";
import type { ProcessId } from "../base/ids.ts";
import { FRAME_BYTES_MAX, HANDSHAKE_BYTES_MAX } from "../base/limits.ts";
import { commonVersion, WIRE_VERSION } from "../base/wire-version.ts";
import { type Peer, type PeerHandlers, refusal, SocketPeer, Strangers } from "../transport/mod.ts";
import type { Hello, ToNode } from "../wire/messages.ts";
import type { EarlySocket } from "./early-socket.ts";

export interface ConnectionsOptions {
  readonly socket: EarlySocket;
  /** Whoever connects must know one of them. */
  readonly tokens: () => readonly string[];
  /** Milliseconds for hello; tests shorten it. */
  readonly handshakeTimeoutMs?: number;
  /** May refuse by throwing a MobulaError. */
  onHello(hello: Hello, peer: Peer): void;
  onMessage(from: ProcessId, message: Exclude<ToNode, Hello>): void;
  onClose(processId: ProcessId, error: Error | undefined): void;
  /** A message could not be handled: our bug, or a peer that sends nonsense. Its connection ends. */
  onFailure(processId: ProcessId, error: unknown): void;
}

export function acceptConnections(options: ConnectionsOptions): void {
  const strangers = new Strangers(options.handshakeTimeoutMs);

  const accept = (peer: SocketPeer): PeerHandlers => {
    peer.frameBytesMax = HANDSHAKE_BYTES_MAX;
    let processId: ProcessId | undefined;
    const stranger = strangers.meet((why) => peer.destroy(why));
    return {
      onMessage(message) {
        if (processId === undefined) {
          const hello = message as Hello; // Checked field by field by checkHello.
          const problem = checkHello(hello, options.tokens());
          if (problem) {
            refuse(peer, problem);
            return;
          }
          try {
            options.onHello(hello, peer);
          } catch (error) {
            refuse(peer, error as MobulaError); // onHello throws nothing else.
            return;
          }
          stranger.part();
          processId = hello.processId;
          peer.frameBytesMax = FRAME_BYTES_MAX;
          return;
        }
        try {
          options.onMessage(processId, message as Exclude<ToNode, Hello>);
        } catch (error) {
          options.onFailure(processId, error);
          throw error;
        }
      },
      onClose(error) {
        stranger.part();
        if (processId !== undefined) options.onClose(processId, error);
      },
    };
  };
  options.socket.accept((socket) => {
    const peer: SocketPeer = new SocketPeer(socket, silent);
    peer.handlers = accept(peer);
    socket.resume();
  });
}

const silent: PeerHandlers = { onMessage() {}, onClose() {} };

function refuse(peer: SocketPeer, error: MobulaError): void {
  peer.send(refusal(error));
  peer.close();
}

function checkHello(hello: Hello, tokens: readonly string[]): MobulaError | undefined {
  if (hello.t !== "hello") return new AuthenticationError("the first message of a connection must be hello");
  const given = typeof hello.token === "string" ? hash(hello.token) : undefined;
  if (!given || !tokens.some((known) => timingSafeEqual(given, hash(known)))) {
    return new AuthenticationError("the token is wrong; it must be the one that the node was started with");
  }
  try {
    commonVersion(hello, WIRE_VERSION, "the node", "the process that connects");
  } catch (error) {
    return error as MobulaError; // As it throws.
  }
  const isProcess = typeof hello.processId === "string" && /^[0-9a-f]{24}$/.test(hello.processId);
  if (!isProcess || !Number.isInteger(hello.pid) || !["driver", "worker", "tool"].includes(hello.role)) {
    return new AuthenticationError("hello lacks a valid processId, pid or role");
  }
  return undefined;
}

const hash = (token: string): Buffer => createHash("sha256").update(token).digest();
