/** How a node reaches heads: a session with one of them, and a question to each. */

import type { NodeId } from "../base/ids.ts";
import {
  type Access,
  connectTcp,
  dialPeer,
  introduce,
  type PeerHandlers,
  type ResumablePeer,
} from "../transport/mod.ts";
import type { HeadIdentity } from "../wire/cluster-messages.ts";

/** A session, over connections that come and go. */
export type HeadSession = Pick<
  ResumablePeer,
  "isConnected" | "isClosed" | "awaitsAck" | "arrivedBytes" | "send" | "close" | "destroy"
>;

export interface SessionOptions {
  readonly handlers: PeerHandlers;
  /** The connection broke, and another may follow. */
  onSuspended(why: Error | undefined): void;
  onResumed(): void;
  /** There are others, so this one is not waited for. */
  readonly isOneOfSeveral: boolean;
  readonly signal: AbortSignal;
}

export interface HeadWays {
  /** @throws ConnectionLostError, NotLeadingError; AuthenticationError, VersionMismatchError. */
  dial(
    address: string,
    options: SessionOptions,
  ): Promise<{ readonly session: HeadSession; readonly head: HeadIdentity; readonly version: number }>;
  /** Who leads there. @throws MobulaError when nobody does. */
  ask(address: string, signal: AbortSignal): Promise<HeadIdentity>;
}

/**
 * Of 4 s of silence a cut may take all but a report's interval and this. A connection that was cut repeats itself at intervals that
 * double: after 2 s of cut, a second one is there a second before the first.
 */
const STALLED = { stalledMs: 500, connectTimeoutMs: 1_200 };
/** A new head is found within half a second; and many nodes that look for one do not keep it from beginning. */
export const REDIAL = { firstMs: 50, maxMs: 500 };
/** One of several heads that does not greet within this time is not waited for. */
const OTHER_MS = 2_000;
const PROBE_MS = 1_000;

export const tcpWays = (access: Access, nodeId: NodeId): HeadWays => ({
  async dial(address, { isOneOfSeveral, ...options }) {
    const { peer, listener } = await dialPeer({
      address,
      token: access.token,
      tls: access.tls,
      role: "node",
      who: { nodeId },
      backoff: REDIAL,
      ...STALLED,
      ...(isOneOfSeveral && { handshakeTimeoutMs: OTHER_MS }),
      ...options,
    });
    return { session: peer, head: listener.who as HeadIdentity, version: listener.version };
  },

  async ask(address, signal) {
    const socket = await connectTcp(address, { tls: access.tls, timeoutMs: PROBE_MS, signal });
    try {
      const hello = { role: "tool", who: null, token: access.token(), timeoutMs: PROBE_MS, signal };
      return (await introduce(socket, hello)).who as HeadIdentity;
    } finally {
      socket.destroy();
    }
  },
});
