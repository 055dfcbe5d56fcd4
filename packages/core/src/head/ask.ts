/** Asking a head from outside, as a tool: the command line, and the test kit. */
import { ConnectionLostError, errorFromCode } from "../base/errors.ts";
import { connectTcp, introduce, openTls, SocketPeer } from "../transport/mod.ts";
import type { Answer, Queries, TlsFiles } from "../wire/mod.ts";

const ANSWER_MS = 5_000;

export interface HeadAddress {
  readonly address: string;
  readonly token: string;
  readonly tls?: TlsFiles | undefined;
}

/** @throws ConnectionLostError when it cannot be reached or does not answer; AuthenticationError; what it answers with. */
export async function askHead<M extends keyof Queries>(
  { address, token, tls }: HeadAddress,
  method: M,
  params: Queries[M]["params"],
): Promise<Queries[M]["result"]> {
  const socket = await connectTcp(address, { tls: tls && (await openTls(tls)) });
  await introduce(socket, { role: "tool", who: null, token });
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
