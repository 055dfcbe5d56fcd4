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
 * @throws ConnectionLostError when it cannot be reached or does not answer; AuthenticationError; what it answers with.
 */
export const askHead = <M extends keyof Queries>(
  head: HeadAddress,
  method: M,
  params: Queries[M]["params"],
): Promise<Queries[M]["result"]> =>
  atLeader(head, async (address, timeoutMs) => {
    const tool = await connectTool({ ...head, address }, timeoutMs);
    try {
      return await tool.ask(method, params);
    } finally {
      tool.close();
    }
  });

/** Does something at the head that leads, whichever was named; begins anew at another one while heads agree on who leads. */
export async function atLeader<T>(
  { address }: HeadAddress,
  act: (address: string, timeoutMs: number | undefined) => Promise<T>,
): Promise<T> {
  const heads = new HeadAddresses(address);
  for (const untilMs = monotonicMs() + LEADER_MS; ; await delay(AGAIN_MS)) {
    try {
      return await act(heads.current, heads.all.length > 1 ? OTHER_MS : undefined);
    } catch (error) {
      const isElsewhere = error instanceof NotLeadingError || heads.all.length > 1;
      if (!(error instanceof ConnectionLostError || error instanceof NotLeadingError) || !isElsewhere) throw error;
      if (monotonicMs() > untilMs) throw error;
      heads.failed(error);
    }
  }
}

/** A connection to one head. */
export interface Tool {
  /** One question at a time. @throws ConnectionLostError when there is no answer in time; what it answers with. */
  ask<M extends keyof Queries>(method: M, params: Queries[M]["params"]): Promise<Queries[M]["result"]>;
  close(): void;
}

/** @throws ConnectionLostError when it cannot be reached; AuthenticationError; NotLeadingError. */
export async function connectTool({ address, token, tls }: HeadAddress, timeoutMs: number | undefined): Promise<Tool> {
  const socket = await connectTcp(address, { tls: tls && (await openTls(tls)), timeoutMs });
  await introduce(socket, { role: "tool", who: null, token, timeoutMs });
  let settle: ((answer: Answer | Error) => void) | undefined;
  let ended: Error | undefined;
  const peer = new SocketPeer(socket, {
    onMessage: (message) => settle?.(message as Answer), // A head says nothing else to tools.
    onClose: (error) => {
      ended = error ?? new ConnectionLostError(`the head at ${address} closed the connection`);
      settle?.(ended);
    },
  });
  socket.resume();
  return {
    close: () => peer.close(),
    ask: (method, params) =>
      new Promise((resolve, reject) => {
        if (ended) {
          reject(ended);
          return;
        }
        const timer = setTimeout(() => {
          peer.destroy();
          settle?.(new ConnectionLostError(`the head at ${address} did not answer within ${ANSWER_MS} ms`));
        }, ANSWER_MS);
        settle = (answer) => {
          settle = undefined;
          clearTimeout(timer);
          if (answer instanceof Error) reject(answer);
          else if (answer.error) reject(errorFromCode(answer.error.code, answer.error.kind, answer.error.message));
          else resolve(answer.result as never); // Of the method that was asked for.
        };
        peer.send({ t: "query", id: 1, method, params });
      }),
  };
}
