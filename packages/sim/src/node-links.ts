/** What a node says to others, as `node/peers.ts`: in order, held back until there is an address, dropped for the dead. */
import type { NodeId } from "../../core/src/base/mod.ts";
import type { BetweenNodes, NodeStanding } from "../../core/src/wire/cluster-messages.ts";
import { Channel } from "./network.ts";
import type { SimNode } from "./node.ts";

interface Link {
  address: string | null;
  isDead: boolean;
  out: Channel | undefined;
  waiting: BetweenNodes[];
}

export class NodeLinks {
  private readonly node: SimNode;
  private readonly links = new Map<NodeId, Link>();

  constructor(node: SimNode) {
    this.node = node;
  }

  know({ nodeId, address, state }: NodeStanding): void {
    if (nodeId === this.node.nodeId) return;
    const link = this.link(nodeId);
    link.address = address;
    if (state === "dead") {
      link.isDead = true;
      link.waiting = [];
      link.out?.cutOff();
      return;
    }
    for (const message of link.waiting.splice(0)) this.send(nodeId, message);
  }

  isDead(node: NodeId): boolean {
    return this.links.get(node)?.isDead ?? false;
  }

  send(to: NodeId, message: BetweenNodes): void {
    const link = this.link(to);
    if (link.isDead) return;
    if (link.address === null) {
      link.waiting.push(message);
      return;
    }
    const { world, place, nodeId } = this.node;
    const other = world.nodes.get(to);
    if (!other) throw new RangeError(`${to} is no node`);
    link.out ??= new Channel(world, { from: place, to: other.place });
    link.out.send(() => {
      if (other.isOver || other.links.isDead(nodeId)) return;
      world.note(other.place.name, `hears ${message.t} of ${place.name}`, message);
      other.hears(nodeId, message);
    });
  }

  private link(node: NodeId): Link {
    let link = this.links.get(node);
    if (!link) {
      link = { address: null, isDead: false, out: undefined, waiting: [] };
      this.links.set(node, link);
    }
    return link;
  }
}
