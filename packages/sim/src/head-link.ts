/** A node's connection to control: production's, over the ways of the simulation. */
import { ConnectionLostError, type MobulaError } from "../../core/src/base/mod.ts";
import { ClusterLink } from "../../core/src/node/cluster-link.ts";
import type { HeadSession, HeadWays, SessionOptions } from "../../core/src/node/head-ways.ts";
import { NotLeadingError } from "../../core/src/transport/mod.ts";
import type { HeadIdentity, ToControl } from "../../core/src/wire/cluster-messages.ts";
import { Connection } from "./connection.ts";
import type { SimHead } from "./head.ts";
import type { SimNode } from "./node.ts";

/** As `node/head-ways.ts` has them. */
const CONNECT_MS = 1_200;
const OTHER_MS = 2_000;
const GREET_MS = 10_000;
const PROBE_MS = 1_000;

export class HeadLink {
  private readonly node: SimNode;
  private link: ClusterLink | undefined;
  private connection: Connection | undefined;
  /** Of heads that have welcomed this node. */
  private welcomedIn = 0;
  /** Of the head that is being heard. */
  private hearing = 0;

  constructor(node: SimNode, addresses: string) {
    this.node = node;
    const { world } = node;
    const heard =
      <A extends readonly unknown[]>(what: (...values: A) => void) =>
      (...values: A): void => {
        this.checkEpoch();
        world.wake();
        what(...values);
      };
    world.wake();
    ClusterLink.join({
      address: addresses,
      ways: { dial: (address, options) => this.dial(address, options), ask: (address) => this.ask(address) },
      clock: { nowMs: () => world.clock.nowMs, later: (ms, run) => node.laterAwake(ms, run) },
      random: () => world.prng.float(),
      node: node.description,
      isPatient: true,
      use: (isFirst) => node.use(isFirst),
      onNodes: heard((nodes) => node.routing.heardOf(nodes)),
      onWelcomed: heard((welcome, link) => {
        this.link = link;
        this.welcomedIn = this.hearing;
        node.routing.welcomed(welcome);
      }),
      onFound: heard((message) => node.routing.found(message)),
      onDivided: heard((message) => node.broker.divided(message)),
      onBundles: heard((order) => node.groups.ordered(order)),
      onGroupsNoted: heard((noted) => node.groups.noted(noted)),
      onSaying: () => node.groups.local.tell(),
      onDrain: heard((deadlineMs) => node.drains(deadlineMs)),
      onActors: heard((message) => node.routing.fromControl(message)),
      onLimits() {
        // No job has a quota here.
      },
      onQuery() {
        // Nobody asks.
      },
      onLost: () => node.routing.controlLost(),
      onExpelled: ({ code }) => node.expelled(code),
      onNews: (message) => world.note(node.place.name, message),
    }).catch(({ code }: MobulaError) => node.expelled(code));
  }

  changed(): void {
    this.link?.changed();
  }

  report(isAll?: boolean): void {
    this.link?.report(isAll);
  }

  get isConnected(): boolean {
    return this.link?.isConnected === true;
  }

  isOfVersion(version: number): boolean {
    return this.link?.isOfVersion(version) === true;
  }

  query: ClusterLink["query"] = (method, params) =>
    this.link?.query(method, params) ??
    Promise.reject(new ConnectionLostError("this node is only joining its cluster"));

  say(message: ToControl): void {
    this.link?.say(message);
  }

  /** The network drops the connection. */
  reset(): void {
    this.connection?.break();
  }

  private checkEpoch(): void {
    const { node, hearing, welcomedIn } = this;
    if (hearing >= welcomedIn) return;
    const detail = `${node.nodeId} obeys one of epoch ${hearing}, and was welcomed in epoch ${welcomedIn}`;
    node.world.failSoon("a node obeys no head that another has followed", detail);
  }

  // ── ways ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  private dial(address: string, options: SessionOptions): ReturnType<HeadWays["dial"]> {
    const { node } = this;
    const { world, place } = node;
    return new Promise((resolve, reject) => {
      const { signal } = options;
      signal.addEventListener("abort", () => reject(new ConnectionLostError("given up")));
      this.reach(address, options.isOneOfSeveral ? OTHER_MS : GREET_MS, reject, (head) => {
        if (signal.aborted) return;
        if (!head.life || head.life.runtime.isSuspended) {
          reject(new NotLeadingError(head.life ? undefined : head.leader));
          return;
        }
        const connection = new Connection(world, place, head.place);
        this.connection = connection;
        const session = new Session(node, connection);
        let hasBegun = false;
        let who: HeadIdentity | undefined;
        connection.onNodeClosed = () => {
          if (node.isOver) return;
          node.whenRunning(() => {
            world.wake();
            const isNews = !session.isClosed;
            session.isClosed = true;
            const lost = new ConnectionLostError("the session has ended");
            if (!hasBegun) reject(lost);
            else if (isNews) options.handlers.onClose(lost);
          });
        };
        session.onDestroyed = (error) => {
          if (hasBegun) options.handlers.onClose(error);
        };
        signal.addEventListener("abort", () => session.destroy());
        const welcome = new Promise<void>((begun) => connection.sayToNode(begun));
        who = head.accept(node, connection, (message) => {
          if (node.isOver || session.isClosed || !who) return;
          const said = message as { readonly t: string };
          world.note(place.name, `hears ${said.t} of ${head.place.name}`, said);
          this.hearing = who.epoch;
          options.handlers.onMessage(said);
        });
        const greeted = who;
        void welcome.then(() => {
          if (node.isOver || session.isClosed) return;
          hasBegun = true;
          resolve({ session, head: greeted, version: Number.POSITIVE_INFINITY });
        });
      });
    });
  }

  private ask(address: string): Promise<HeadIdentity> {
    return new Promise((resolve, reject) => {
      this.reach(address, PROBE_MS, reject, (head) => {
        const { life } = head;
        if (life && !life.runtime.isSuspended)
          this.node.laterAwake(this.node.world.delayMs(), () => resolve(life.runtime.who));
        else reject(new NotLeadingError(life ? undefined : head.leader));
      });
    });
  }

  /** A connection to the head's process, which answers. */
  private reach(
    address: string,
    greetMs: number,
    fail: (error: Error) => void,
    greeted: (head: SimHead) => void,
  ): void {
    const { node } = this;
    const { world, place } = node;
    const head = world.head?.at(address);
    if (!head) return;
    const delayMs = 2 * world.delayMs();
    const isCut = world.network.isCut(place.machine, head.place.machine);
    let isWaiting = true;
    const lost = (why: string): void => {
      isWaiting = false;
      fail(new ConnectionLostError(`${address} ${why}`));
    };
    node.laterAwake(isCut ? CONNECT_MS : delayMs, () => {
      if (isCut) lost("cannot be reached");
      else if (!head.isUp) lost("refuses connections");
      else {
        // One that is stopped greets when it goes on.
        node.laterAwake(greetMs, () => isWaiting && lost("does not greet"));
        const ended = (then: () => void) => (): void => {
          if (!isWaiting) return;
          isWaiting = false;
          world.wake();
          then();
        };
        head.greet(
          ended(() => greeted(head)),
          () =>
            node.laterAwake(
              world.delayMs(),
              ended(() => lost("has ended")),
            ),
        );
      }
    });
  }
}

class Session implements HeadSession {
  isClosed = false;
  onDestroyed: (error: Error | undefined) => void = () => {};
  private readonly node: SimNode;
  private readonly connection: Connection;

  constructor(node: SimNode, connection: Connection) {
    this.node = node;
    this.connection = connection;
  }

  /** A cut is noticed by what does not arrive. */
  get isConnected(): boolean {
    return true;
  }

  get awaitsAck(): boolean {
    return this.connection.hasUnderWay;
  }

  get arrivedBytes(): number {
    return this.connection.arrived;
  }

  send(message: object): void {
    if (this.isClosed) return;
    const said = message as ToControl;
    this.connection.sayToHead(said);
    // What a node says twice means the same as once.
    if (said.t === "node-join" && this.node.world.prng.chance(0.1)) this.connection.sayToHead(said);
  }

  close(): void {
    this.destroy();
  }

  destroy(error?: Error): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.connection.break();
    this.onDestroyed(error);
  }
}
