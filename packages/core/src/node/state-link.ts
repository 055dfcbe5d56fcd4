/**
 * A node's connection to the state service: it sends what ran as that is reported, and answers what the service asks. When the
 * service is killed nothing here waits for it; the next one is sent what the ring of events still holds.
 */
import { connectTcp, introduce, SocketPeer, type Tls } from "../transport/mod.ts";
import type { Answer, Query } from "../wire/messages.ts";
import type { FromStateService, NodeSample, ToStateService } from "../wire/state-messages.ts";
import type { EventRing } from "./event-ring.ts";

export interface StateLinkOptions {
  readonly nodeId: string;
  readonly name: string;
  readonly ring: EventRing;
  readonly token: () => string;
  readonly tls?: Tls | undefined;
  answer(query: Query): Promise<Answer>;
  sample(): Omit<NodeSample, "t">;
  onNews(message: string): void;
}

const SAMPLE_MS = 1_000;
const REDIAL_MS = { first: 200, max: 5_000 };
/** What the service has not read keeps at most so much here, beside the ring. */
const UNSENT_BYTES_MAX = 4 * 2 ** 20;
const EVENTS_BYTES = 2 ** 20;

export class StateLink {
  private readonly options: StateLinkOptions;
  /** Of this process: it numbers its batches. */
  private readonly run = `${process.pid}-${Date.now().toString(36)}`;
  private address: string | undefined;
  private peer: SocketPeer | undefined;
  private next = 0;
  private failures = 0;
  private timer: NodeJS.Timeout | undefined;
  private isDialling = false;
  /** The service says first what it has of this run; then it is sent the rest. */
  private isTold = false;

  constructor(options: StateLinkOptions) {
    this.options = options;
    options.ring.onPushed = () => this.sendEvents();
  }

  /** Where the service listens now; undefined: there is none. */
  to(address: string | undefined): void {
    if (address === this.address && (this.peer || this.isDialling)) return;
    this.address = address;
    this.failures = 0;
    this.peer?.destroy();
    if (address !== undefined) void this.dial();
  }

  close(): void {
    this.to(undefined);
    clearTimeout(this.timer);
  }

  private async dial(): Promise<void> {
    const { address } = this;
    if (address === undefined || this.isDialling || this.peer) return;
    this.isDialling = true;
    clearTimeout(this.timer);
    const { nodeId, name, ring, token, tls, onNews } = this.options;
    try {
      const socket = await connectTcp(address, { tls });
      await introduce(socket, { role: "node", who: { nodeId }, token: token() });
      const peer = new SocketPeer(socket, {
        onMessage: (message) => this.hear(message as FromStateService), // The service says nothing else.
        onClose: () => {
          clearInterval(sampling);
          if (this.peer === peer) this.peer = undefined;
          this.redial();
        },
      });
      const sampling = setInterval(() => {
        this.say({ t: "sample", ...this.options.sample() });
        this.sendEvents();
      }, SAMPLE_MS);
      sampling.unref();
      this.peer = peer;
      this.isTold = false;
      this.failures = 0;
      this.next = ring.oldest;
      this.say({ t: "linked", nodeId: nodeId as never, name, run: this.run, oldest: this.next });
      this.say({ t: "sample", ...this.options.sample() });
      socket.resume();
    } catch (error) {
      // A service that is being started again is away for a moment.
      if (this.failures++ === 5)
        onNews(`the state service at ${address} cannot be reached: ${(error as Error).message}`);
      this.redial();
    } finally {
      this.isDialling = false;
      if (this.address !== address) void this.dial();
    }
  }

  private redial(): void {
    if (this.address === undefined) return;
    clearTimeout(this.timer);
    const { first, max } = REDIAL_MS;
    this.timer = setTimeout(() => void this.dial(), Math.min(max, first * 2 ** this.failures));
    this.timer.unref();
  }

  private say(message: ToStateService): void {
    this.peer?.send(message);
  }

  private hear(message: FromStateService): void {
    if (message.t === "events-taken") {
      const { ring } = this.options;
      // It has never heard of this run.
      if (message.next === 0 && ring.oldest > 0) this.say({ t: "counts", next: ring.oldest, batches: ring.counts() });
      this.next = Math.max(this.next, message.next);
      this.isTold = true;
      this.sendEvents();
    } else if (message.t === "query") {
      const { peer } = this;
      void this.options.answer(message).then((answer) => peer?.send(answer));
    }
  }

  private sendEvents(): void {
    const { peer } = this;
    if (!peer || !this.isTold) return;
    const { ring } = this.options;
    while (this.next < ring.end && peer.unsentBytes < UNSENT_BYTES_MAX) {
      const { first, batches } = ring.from(this.next, EVENTS_BYTES);
      this.say({ t: "events", first, batches });
      peer.flush();
      this.next = first + batches.length;
    }
  }
}
