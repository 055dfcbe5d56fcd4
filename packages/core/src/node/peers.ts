/**
 * Connections between nodes. What a node says to another leaves on the connection that it dialled itself, so all of it
 * arrives in order; one that cannot be dialled is told on the connection that it has dialled.
 */
import type { Socket } from "node:net";
import type { MobulaError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import {
  type Access,
  BULK_ROLE,
  BULK_SOURCE_ROLE,
  dialPeer,
  listenPeers,
  type Peer,
  type TcpListener,
} from "../transport/mod.ts";
import type { BetweenNodes, NodeStanding } from "../wire/cluster-messages.ts";

export interface NodePeersOptions {
  readonly here: NodeId;
  /** Undefined: it does not listen, and has connections to all others itself. */
  readonly host: string | undefined;
  readonly ports: number | string;
  readonly advertise?: string | undefined;
  readonly access: Access;
  onMessage(from: NodeId, message: BetweenNodes): void;
  /** Another node has connected to get objects; the socket is paused. */
  onBulk(socket: Socket): void;
  /** One that cannot be dialled has connected to be asked for objects; the socket is paused. */
  onBulkSource(from: NodeId, socket: Socket): void;
  onNews(message: string): void;
}

/** A node that does not answer is looked for as long as control has not given it up. */
const PATIENCE_MS = 60_000;
const ROLE = "node";

interface Link {
  address: string | null;
  isDead: boolean;
  /** On which this node speaks. */
  out: Peer | undefined;
  isDialling: boolean;
  /** Said before there was a connection. */
  waiting: BetweenNodes[];
  /** That the other node has dialled. */
  incoming: Peer | undefined;
}

export class NodePeers {
  private readonly options: NodePeersOptions;
  private readonly links = new Map<NodeId, Link>();
  private listener: TcpListener | undefined;
  private isClosed = false;

  /** @throws ConnectionLostError when no port is free. */
  static async open(options: NodePeersOptions): Promise<NodePeers> {
    const peers = new NodePeers(options);
    const { host, ports: port, advertise, access, onNews } = options;
    if (host === undefined) return peers;
    peers.listener = await listenPeers({
      host,
      port,
      advertise,
      tokens: access.tokens,
      tls: access.tls,
      who: { nodeId: options.here },
      accept: (peer, hello) => peers.accept(peer, (hello.who as { readonly nodeId: NodeId }).nodeId),
      acceptSocket: (socket, { role, who }) => {
        if (role === BULK_ROLE) options.onBulk(socket);
        else if (role === BULK_SOURCE_ROLE) options.onBulkSource((who as { readonly nodeId: NodeId }).nodeId, socket);
        else socket.destroy();
      },
      onRefused: (error: MobulaError, from) => onNews(`a connection from ${from} was refused: ${error.message}`),
    });
    return peers;
  }

  private constructor(options: NodePeersOptions) {
    this.options = options;
  }

  /** Where others reach this node; null when they cannot. */
  get address(): string | null {
    return this.listener?.address ?? null;
  }

  /** Neither can dial the other. */
  isOutOfReach(address: string | null): boolean {
    return address === null && this.options.host === undefined;
  }

  /** What control says of the others. */
  know({ nodeId, address, state }: NodeStanding): void {
    if (nodeId === this.options.here) return;
    const link = this.link(nodeId);
    link.address = address;
    if (state !== "dead") {
      if (this.options.host === undefined) void this.dial(nodeId, link);
      return;
    }
    link.isDead = true;
    link.waiting = [];
    link.out?.destroy();
    link.incoming?.destroy();
  }

  isDead(node: NodeId): boolean {
    return this.links.get(node)?.isDead ?? false;
  }

  /** Nothing happens when it is dead. */
  send(node: NodeId, message: BetweenNodes): void {
    const link = this.link(node);
    if (link.isDead || this.isClosed || this.isOutOfReach(link.address)) return;
    const peer = link.out ?? (link.address === null ? link.incoming : undefined);
    if (peer) peer.send(message);
    else {
      link.waiting.push(message);
      void this.dial(node, link);
    }
  }

  async close(): Promise<void> {
    this.isClosed = true;
    for (const { out } of this.links.values()) out?.close();
    await this.listener?.close();
  }

  private link(node: NodeId): Link {
    let link = this.links.get(node);
    if (!link) {
      link = { address: null, isDead: false, out: undefined, isDialling: false, waiting: [], incoming: undefined };
      this.links.set(node, link);
    }
    return link;
  }

  private accept(peer: Peer, from: NodeId): { readonly handlers: Parameters<typeof dialPeer>[0]["handlers"] } {
    const link = this.link(from);
    link.incoming = peer;
    if (link.address === null) for (const message of link.waiting.splice(0)) peer.send(message);
    return {
      handlers: {
        onMessage: (message) => {
          if (!link.isDead) this.options.onMessage(from, message as BetweenNodes);
        },
        onClose: () => {
          if (link.incoming === peer) link.incoming = undefined;
        },
      },
    };
  }

  private async dial(node: NodeId, link: Link): Promise<void> {
    if (link.isDialling || link.address === null) return;
    link.isDialling = true;
    const { here, access, onMessage, onNews } = this.options;
    try {
      while (!link.isDead && !this.isClosed && !link.out) {
        try {
          const { peer } = await dialPeer({
            address: link.address,
            token: access.token,
            tls: access.tls,
            role: ROLE,
            who: { nodeId: here },
            patienceMs: PATIENCE_MS,
            handlers: {
              onMessage: (message) => onMessage(node, message as BetweenNodes),
              onClose: () => {
                link.out = undefined;
                if (this.options.host === undefined && !this.isClosed) void this.dial(node, link);
              },
            },
          });
          link.out = peer;
          for (const message of link.waiting.splice(0)) peer.send(message);
          if (link.isDead) peer.destroy();
        } catch (error) {
          onNews(`node ${node} cannot be reached: ${(error as Error).message}`);
        }
      }
    } finally {
      link.isDialling = false;
    }
  }
}
