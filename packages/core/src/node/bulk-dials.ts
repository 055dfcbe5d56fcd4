/**
 * Connections to nodes that are asked for objects. One that has no address is told to dial this node, and is asked on the
 * connection that comes.
 */
import type { Socket } from "node:net";
import { ConnectionLostError } from "../base/errors.ts";
import { type NodeId, nodeTag } from "../base/ids.ts";
import type { Tag } from "../pull/mod.ts";
import { type Access, type BulkConnection, bulkFrom, dialBulk, offerBulk } from "../transport/mod.ts";
import type { NodeStanding } from "../wire/cluster-messages.ts";

export interface BulkDialsOptions {
  readonly here: NodeId;
  access(): Access;
  standing(node: Tag): NodeStanding | undefined;
  /** Tells a node to dial. */
  tell(node: Tag): void;
}

const OFFER_MS = 5_000;

export class BulkDials {
  private readonly options: BulkDialsOptions;
  /** Those who wait for a node to dial, in order. */
  private readonly waiting = new Map<Tag, ((connection: BulkConnection) => void)[]>();

  constructor(options: BulkDialsOptions) {
    this.options = options;
  }

  /** @throws ConnectionLostError and what else keeps a connection from being made. */
  dial(node: Tag): Promise<BulkConnection> {
    const address = this.addressOf(node);
    return address === null ? this.askToDial(node) : dialBulk({ address, ...this.parts });
  }

  /** @throws as {@link dial} */
  async offer(node: Tag): Promise<Socket> {
    const address = this.addressOf(node);
    if (address === null) throw new ConnectionLostError("neither of two nodes can be dialled");
    return offerBulk({ address, ...this.parts });
  }

  /** A node that cannot be dialled has come; the socket is paused. */
  arrived(node: NodeId, socket: Socket): void {
    const next = this.waiting.get(nodeTag(node))?.shift();
    if (next) next(bulkFrom(socket));
    else socket.destroy();
  }

  private get parts() {
    const access = this.options.access();
    return { token: access.token(), tls: access.tls, who: { nodeId: this.options.here } };
  }

  private addressOf(node: Tag): string | null {
    const standing = this.options.standing(node);
    if (!standing) throw new ConnectionLostError(`node ${node} is not known`);
    return standing.address;
  }

  private askToDial(node: Tag): Promise<BulkConnection> {
    return new Promise((resolve, reject) => {
      const waiting = this.waiting.get(node) ?? [];
      this.waiting.set(node, waiting);
      const come = (connection: BulkConnection): void => {
        clearTimeout(timer);
        resolve(connection);
      };
      const timer = setTimeout(() => {
        waiting.splice(waiting.indexOf(come), 1);
        reject(new ConnectionLostError(`node ${node}, which cannot be dialled, has not dialled within ${OFFER_MS} ms`));
      }, OFFER_MS);
      waiting.push(come);
      this.options.tell(node);
    });
  }
}
