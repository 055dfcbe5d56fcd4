/** Asks control: the head that leads, or the node that has no head. One connection, many questions; made anew when it is lost. */
import { ConnectionLostError } from "../base/errors.ts";
import { type NodeId, newProcessId } from "../base/ids.ts";
import { SPOKEN_VERSIONS } from "../base/wire-version.ts";
import type { ControlPlace } from "../node/mod.ts";
import {
  connectTcp,
  connectUnix,
  HeadAddresses,
  introduce,
  type Peer,
  SocketPeer,
  type Tls,
} from "../transport/mod.ts";
import type { Answer } from "../wire/messages.ts";
import type { Queries } from "../wire/queries.ts";
import { Questions } from "./questions.ts";

export interface ControlClientOptions {
  readonly place: ControlPlace;
  readonly token: () => string;
  readonly tls: Tls | undefined;
}

const ANSWER_MS = 5_000;
const CONNECT_MS = 3_000;
const ATTEMPTS = 3;

export type Ask = <M extends keyof Queries>(
  method: M,
  params: Queries[M]["params"],
  timeoutMs?: number,
) => Promise<Queries[M]["result"]>;

export class ControlClient {
  private readonly options: ControlClientOptions;
  private readonly heads: HeadAddresses | undefined;
  private peer: Promise<Peer> | undefined;
  private readonly questions = new Questions();

  constructor(options: ControlClientOptions) {
    this.options = options;
    const { place } = options;
    this.heads = place.kind === "head" ? new HeadAddresses(place.address) : undefined;
  }

  /** @throws ConnectionLostError when it cannot be reached or does not answer in time; what it answers with. */
  readonly ask: Ask = async (method, params, timeoutMs = ANSWER_MS) => {
    for (let attempt = 1; ; attempt++) {
      try {
        this.peer ??= this.connect();
        return await this.questions.ask(await this.peer, method, params, { timeoutMs, who: "control" });
      } catch (error) {
        // Another head may lead.
        if (!(error instanceof ConnectionLostError) || attempt >= ATTEMPTS) throw error;
        this.heads?.failed(error);
      }
    }
  };

  private connect(): Promise<Peer> {
    const connecting = this.options.place.kind === "head" ? this.connectHead() : this.connectNode(this.options.place);
    connecting.catch(() => this.lost(connecting, undefined));
    return connecting;
  }

  private lost(connection: Promise<Peer> | undefined, error: Error | undefined): void {
    if (connection && this.peer !== connection) return;
    this.peer = undefined;
    this.questions.lost(`the connection to control was lost${error ? `: ${error.message}` : ""}`);
  }

  private async connectHead(): Promise<Peer> {
    const { token, tls } = this.options;
    const socket = await connectTcp(this.heads?.current ?? "", { tls, timeoutMs: CONNECT_MS });
    await introduce(socket, { role: "tool", who: null, token: token(), timeoutMs: CONNECT_MS });
    const peer = new SocketPeer(socket, {
      onMessage: (message) => this.hear(message as Answer), // A head says nothing else to tools.
      onClose: (error) => this.lost(undefined, error),
    });
    socket.resume();
    return peer;
  }

  private connectNode({ nodeSocket, token, nodeId }: ControlPlace & { readonly kind: "node" }): Promise<Peer> {
    return new Promise((resolve, reject) => {
      const fail = (error: Error): void => {
        reject(error);
        this.lost(undefined, error);
      };
      const hear = (message: { readonly t: string; readonly message?: string }): void => {
        if (message.t === "welcome") connected.then(resolve, fail);
        else if (message.t === "refused") fail(new ConnectionLostError(`the node refused: ${message.message}`));
        else this.hear(message as unknown as Answer);
      };
      const connected = connectUnix(nodeSocket, {
        onMessage: hear,
        onClose: (error) => fail(error ?? new ConnectionLostError("the node closed the connection")),
      });
      connected.then(
        (peer) =>
          peer.send({
            ...{ t: "hello", ...SPOKEN_VERSIONS, token, language: "js", role: "tool" },
            ...{ processId: newProcessId(nodeId as NodeId), pid: process.pid },
          }),
        fail,
      );
    });
  }

  private hear(message: Answer): void {
    if (message.t === "answer") this.questions.answered(message);
  }
}
