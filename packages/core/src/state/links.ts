/** The nodes that are connected to the service: what they send, and what they are asked. */
import { setTimeout as delay } from "node:timers/promises";
import { monotonicMs } from "../base/clock.ts";
import { AuthenticationError, ConnectionLostError } from "../base/errors.ts";
import { listenPeers, type Peer, SocketPeer, type TcpListener, type Tls } from "../transport/mod.ts";
import type { Queries } from "../wire/queries.ts";
import type { NodeSample, ToStateService } from "../wire/state-messages.ts";
import { Questions } from "./questions.ts";

export interface LinksOptions {
  readonly host: string;
  readonly advertise?: string | undefined;
  readonly tokens: () => readonly string[];
  readonly tls: Tls | undefined;
  /** Batches of events of a node, each once. */
  onEvents(nodeId: string, batches: readonly Uint8Array[]): void;
}

const ANSWER_MS = 2_000;
/** Nodes are told of a service, and dial it, within this time. */
const FIRST_MS = 2_000;
const WAIT_MS = 10;
const NODE_ID = /^[0-9a-f]{32}$/;
/** What is remembered of nodes that are gone: up to where their events were taken. */
const RUNS_MAX = 20_000;

interface Linked {
  readonly peer: Peer;
  name: string;
  run: string;
  sample: NodeSample | undefined;
  readonly questions: Questions;
}

export interface ExpectedNode {
  readonly nodeId: string;
  readonly name: string;
}

export interface LinkedNode {
  readonly nodeId: string;
  readonly name: string;
  readonly sample: NodeSample | undefined;
}

export class Links {
  private readonly options: LinksOptions;
  private readonly nodes = new Map<string, Linked>();
  /** Which batch of each run comes next. */
  private readonly taken = new Map<string, number>();
  private listener: TcpListener | undefined;
  private readonly sinceMs = monotonicMs();
  /** Those that control counts on. */
  expected: (() => Promise<readonly ExpectedNode[]>) | undefined;

  static async open(options: LinksOptions): Promise<Links> {
    const links = new Links(options);
    const { host, advertise, tokens, tls } = options;
    links.listener = await listenPeers({
      ...{ host, port: 0, advertise, tokens, tls, who: { service: "state" } },
      check({ role, who }) {
        if (role !== "node" || !NODE_ID.test(String((who as { readonly nodeId?: unknown } | null)?.nodeId)))
          throw new AuthenticationError("only nodes connect to the state service here; people do by HTTP");
      },
      accept: () => {
        throw new AuthenticationError("the state service keeps no sessions");
      },
      acceptSocket: (socket, { who }) => {
        links.accept((who as { readonly nodeId: string }).nodeId, (handlers) => new SocketPeer(socket, handlers));
        socket.resume();
      },
    });
    return links;
  }

  private constructor(options: LinksOptions) {
    this.options = options;
  }

  get address(): string {
    return this.listener?.address ?? "";
  }

  all(): readonly LinkedNode[] {
    return [...this.nodes].map(([nodeId, { name, sample }]) => ({ nodeId, name, sample }));
  }

  /** Ids of those that are here, when those that are on their way have come. */
  async known(): Promise<readonly string[]> {
    await this.missing();
    return [...this.nodes.keys()];
  }

  get(nodeId: string): LinkedNode | undefined {
    const node = this.nodes.get(nodeId);
    return node && { nodeId, name: node.name, sample: node.sample };
  }

  /** @throws ConnectionLostError when the node is not connected or does not answer in time; what it answers with. */
  ask<M extends keyof Queries>(
    nodeId: string,
    method: M,
    params: Queries[M]["params"],
    timeoutMs = ANSWER_MS,
  ): Promise<Queries[M]["result"]> {
    const node = this.nodes.get(nodeId);
    if (!node) return Promise.reject(new ConnectionLostError(`node ${nodeId} is not connected to the state service`));
    return node.questions.ask(node.peer, method, params, { timeoutMs, who: `node ${node.name}` });
  }

  /** Asks all nodes at once; who does not answer is named. */
  async askAll<M extends keyof Queries>(
    method: M,
    params: Queries[M]["params"],
    timeoutMs?: number,
  ): Promise<{ readonly answers: (readonly [nodeId: string, Queries[M]["result"]])[]; readonly partial: string[] }> {
    const answers: (readonly [string, Queries[M]["result"]])[] = [];
    const partial = (await this.missing()).map(({ name }) => `node ${name} is not connected to the state service`);
    await Promise.all(
      [...this.nodes].map(async ([nodeId, { name }]) => {
        try {
          answers.push([nodeId, await this.ask(nodeId, method, params, timeoutMs)]);
        } catch (error) {
          partial.push(`node ${name}: ${(error as Error).message}`);
        }
      }),
    );
    return { answers, partial };
  }

  /** Nodes that should be here and are not; those that a service which has just begun waits for are on their way. */
  private async missing(): Promise<readonly ExpectedNode[]> {
    const expected = (await this.expected?.()) ?? [];
    const missing = (): readonly ExpectedNode[] => expected.filter(({ nodeId }) => !this.nodes.has(nodeId));
    while (missing().length > 0 && monotonicMs() - this.sinceMs < FIRST_MS) await delay(WAIT_MS);
    return missing();
  }

  private accept(nodeId: string, open: (handlers: SocketPeer["handlers"]) => SocketPeer): void {
    const peer: SocketPeer = open({
      onMessage: (message) => this.hear(nodeId, node, message as ToStateService), // Read field by field.
      onClose: () => {
        if (this.nodes.get(nodeId) === node) this.nodes.delete(nodeId);
        node.questions.lost(`the connection to node ${node.name} was lost`);
      },
    });
    const node: Linked = { peer, name: nodeId, run: "", sample: undefined, questions: new Questions() };
    this.nodes.get(nodeId)?.peer.destroy();
    this.nodes.set(nodeId, node);
  }

  private hear(nodeId: string, node: Linked, message: ToStateService): void {
    switch (message.t) {
      case "linked": {
        node.name = String(message.name);
        node.run = `${nodeId} ${message.run}`;
        node.peer.send({ t: "events-taken", next: this.taken.get(node.run) ?? 0 });
        return;
      }
      case "events": {
        const next = this.taken.get(node.run) ?? 0;
        const fresh = message.batches.slice(Math.max(0, next - message.first));
        if (fresh.length > 0) this.options.onEvents(nodeId, fresh);
        this.taken.delete(node.run);
        this.taken.set(node.run, Math.max(next, message.first + message.batches.length));
        for (const old of this.taken.keys()) {
          if (this.taken.size <= RUNS_MAX) break;
          this.taken.delete(old);
        }
        return;
      }
      case "counts":
        if (this.taken.has(node.run)) return;
        this.options.onEvents(nodeId, message.batches);
        this.taken.set(node.run, message.next);
        return;
      case "sample":
        node.sample = message;
        return;
      case "answer":
        node.questions.answered(message);
        return;
      default:
      // A newer node may say things that this version does not know.
    }
  }
}
