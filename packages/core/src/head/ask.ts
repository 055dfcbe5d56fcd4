/** Asking a head from outside, as a tool: the command line, and the test kit. */
import { setTimeout as delay } from "node:timers/promises";
import { monotonicMs } from "../base/clock.ts";
import { ConnectionLostError, errorFromCode } from "../base/errors.ts";
import { connectTcp, HeadAddresses, introduce, NotLeadingError, openTls, SocketPeer } from "../transport/mod.ts";
import type { Answer, Queries, TlsFiles } from "../wire/mod.ts";

const ANSWER_MS = 5_000;

export interface HeadAddress {
  /** `host:port`, of several heads if there are. */
  readonly address: string;
  readonly token: string;
  readonly tls?: TlsFiles | undefined;
}

/** Heads agree within this time on who leads. */
const LEADER_MS = 10_000;
const AGAIN_MS = 100;
/** One of several that does not greet within this time is not waited for. */
const OTHER_MS = 1_000;

/**
 * Asks the head that leads, whichever was named.
 *
 * @throws what {@link askOne} throws.
 */
export async function askHead<M extends keyof Queries>(
  { address, token, tls }: HeadAddress,
  method: M,
  params: Queries[M]["params"],
): Promise<Queries[M]["result"]> {
  const heads = new HeadAddresses(address);
  for (const untilMs = monotonicMs() + LEADER_MS; ; await delay(AGAIN_MS)) {
    try {
      const timeoutMs = heads.all.length > 1 ? OTHER_MS : undefined;
      return await askOne({ address: heads.current, token, tls }, method, params, timeoutMs);
    } catch (error) {
      const isElsewhere = error instanceof NotLeadingError || heads.all.length > 1;
      if (!(error instanceof ConnectionLostError || error instanceof NotLeadingError) || !isElsewhere) throw error;
      if (monotonicMs() > untilMs) throw error;
      heads.failed(error);
    }
  }
}

/** @throws ConnectionLostError when it cannot be reached or does not answer; AuthenticationError; what it answers with. */
async function askOne<M extends keyof Queries>(
  { address, token, tls }: HeadAddress,
  method: M,
  params: Queries[M]["params"],
  timeoutMs: number | undefined,
): Promise<Queries[M]["result"]> {
  const socket = await connectTcp(address, { tls: tls && (await openTls(tls)), timeoutMs });
  await introduce(socket, { role: "tool", who: null, token, timeoutMs });
  return new Promise((resolve, reject) => {
    const peer = new SocketPeer(socket, {
      onMessage: (message) => {
        const { result, error } = message as Answer; // A head says nothing else to tools.
        peer.close();
        if (error) reject(errorFromCode(error.code, error.kind, error.message));
        else resolve(result as Queries[M]["result"]);
      },
      onClose: (error) => fail(error ?? new ConnectionLostError(`the head at ${address} closed the connection`)),
    });
    const fail = (error: Error): void => {
      clearTimeout(timer);
      reject(error);
    };
    const timer = setTimeout(() => {
      peer.destroy();
      fail(new ConnectionLostError(`the head at ${address} did not answer within ${ANSWER_MS} ms`));
    }, ANSWER_MS);
    socket.resume();
    peer.send({ t: "query", id: 1, method, params });
  });
}
