/** A node's connection to control, as long as it lasts: both ways in order, what had not arrived is lost when it breaks. */
import { Channel, type Place } from "./network.ts";
import type { World } from "./world.ts";

export interface ConnectionEnds {
  onNodeClosed(): void;
  onHeadClosed(): void;
}

export class Connection {
  private readonly world: World;
  private readonly toHead: Channel;
  private readonly toNode: Channel;
  private readonly ends: ConnectionEnds;
  private isOpen = true;

  constructor(world: World, node: Place, head: Place, ends: ConnectionEnds) {
    this.world = world;
    this.toHead = new Channel(world, { from: node, to: head });
    this.toNode = new Channel(world, { from: head, to: node });
    this.ends = ends;
  }

  sayToHead(deliver: () => void): void {
    this.toHead.send(deliver);
  }

  sayToNode(deliver: () => void): void {
    this.toNode.send(deliver);
  }

  /** Either end is gone, or the network gave up: each side finds out in its time. */
  break(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.toHead.lose();
    this.toNode.lose();
    const { clock } = this.world;
    clock.schedule(this.world.delayMs(), () => this.ends.onHeadClosed());
    clock.schedule(this.world.delayMs(), () => this.ends.onNodeClosed());
  }

  /** Closed by control: what it said before still arrives. */
  closedByHead(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.toHead.cutOff();
    this.toNode.close(() => this.ends.onNodeClosed());
  }
}
