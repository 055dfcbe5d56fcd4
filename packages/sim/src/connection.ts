/**
 * A session of a node with a head, as long as it lasts: both ways in order, what had not arrived is lost when it ends. Each side
 * hears of the end in its time.
 */
import type { ToControl } from "../../core/src/wire/cluster-messages.ts";
import { Channel, type Place } from "./network.ts";
import type { World } from "./world.ts";

export class Connection {
  onNodeClosed: () => void = () => {};
  onHeadClosed: () => void = () => {};
  onHeadHears: (message: ToControl) => void = () => {};
  private readonly world: World;
  private readonly toHead: Channel;
  private readonly toNode: Channel;
  private isOpen = true;
  /** The head has heard that it has ended, which comes last. */
  private isOver = false;

  constructor(world: World, node: Place, head: Place) {
    this.world = world;
    this.toHead = new Channel(world, { from: node, to: head });
    this.toNode = new Channel(world, { from: head, to: node });
  }

  /** Of what the node has said. */
  get arrived(): number {
    return this.toHead.arrived;
  }

  get hasUnderWay(): boolean {
    return this.toHead.hasUnderWay;
  }

  sayToHead(message: ToControl): void {
    this.toHead.send(() => {
      if (!this.isOver) this.onHeadHears(message);
    });
  }

  sayToNode(deliver: () => void): void {
    this.toNode.send(deliver);
  }

  /** Either end is gone, or gave it up. */
  break(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.toHead.lose();
    this.toNode.lose();
    const { clock } = this.world;
    clock.schedule(this.world.delayMs(), () => this.headClosed());
    clock.schedule(this.world.delayMs(), () => this.onNodeClosed());
  }

  private headClosed(): void {
    this.isOver = true;
    this.onHeadClosed();
  }

  /** Closed by control: what it said before still arrives. */
  closedByHead(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.toHead.cutOff();
    this.toNode.close(() => this.onNodeClosed());
    this.world.clock.schedule(this.world.delayMs(), () => this.headClosed());
  }
}
