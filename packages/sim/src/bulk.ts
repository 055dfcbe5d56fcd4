/**
 * What carries the bytes of objects between stores, in virtual time, as `pull/bulk-links.ts` and `pull/bulk-server.ts` do over
 * sockets: a request, then all the bytes from there on, as far as they have come; a source that is silent for long is given up.
 */
import { ConnectionLostError } from "../../core/src/base/mod.ts";
import { type Fetch, GoneError, type Reading, type Tag } from "../../core/src/pull/mod.ts";
import { Channel } from "./network.ts";
import type { SimNode } from "./node.ts";
import { PAGE_BYTES } from "./store.ts";
import type { World } from "./world.ts";

const STALLED_MS = 10_000;
const STALL_CHECK_MS = 1_000;

export class SimBulk {
  private readonly node: SimNode;
  private readonly transfers = new Map<Transfer, Tag>();
  /** Transfers that have ended well. */
  done = 0;

  constructor(node: SimNode) {
    this.node = node;
  }

  async fetch(tag: Tag, what: Fetch): Promise<void> {
    what.signal.throwIfAborted();
    const source = this.node.neighbour(tag);
    if (!source) throw new ConnectionLostError(`no node of the tag ${tag} is known`);
    const transfer = new Transfer(this.node, source, what);
    this.transfers.set(transfer, tag);
    try {
      await transfer.ended;
      this.done++;
    } finally {
      this.transfers.delete(transfer);
    }
  }

  forget(tag: Tag): void {
    for (const [transfer, source] of this.transfers)
      if (source === tag) transfer.end(new ConnectionLostError("the source was given up"));
  }

  close(): void {
    for (const transfer of this.transfers.keys()) transfer.end(new ConnectionLostError("the node ends"));
  }
}

class Transfer {
  readonly ended: Promise<void>;
  end: (error?: Error) => void = () => {};
  private readonly world: World;
  private readonly node: SimNode;
  private readonly source: SimNode;
  private readonly what: Fetch;
  private readonly request: Channel;
  private readonly answer: Channel;
  private at: number;
  private heardAtMs: number;
  private isOver = false;
  /** At the source. */
  private reading: Reading | undefined;
  private isClosed = false;

  constructor(node: SimNode, source: SimNode, what: Fetch) {
    const { world } = node;
    this.world = world;
    this.node = node;
    this.source = source;
    this.what = what;
    this.at = what.from;
    this.heardAtMs = world.clock.nowMs;
    this.request = new Channel(world, { from: node.place, to: source.place });
    this.answer = new Channel(world, { from: source.place, to: node.place });
    this.ended = new Promise((resolve, reject) => {
      const abort = (): void => this.end(what.signal.reason as Error);
      this.end = (error) => {
        if (this.isOver) return;
        this.isOver = true;
        what.signal.removeEventListener("abort", abort);
        this.request.close(() => this.close());
        this.answer.cutOff();
        world.wake();
        if (error) reject(error);
        else resolve();
      };
      what.signal.addEventListener("abort", abort);
    });
    this.request.send(() => this.serve());
    this.watch();
  }

  private watch(): void {
    this.node.later(STALL_CHECK_MS, () => {
      if (this.isOver) return;
      if (this.world.clock.nowMs - this.heardAtMs < STALLED_MS) this.watch();
      else this.end(new ConnectionLostError(`nothing came for ${STALLED_MS} ms`));
    });
  }

  // ── at the source ──────────────────────────────────────────────────────────────────────────────────────────────────

  private serve(): void {
    const { source, what } = this;
    if (source.isOver) return;
    this.world.wake();
    source.objects.open(what.name).then(
      (reading) => this.opened(reading),
      (error: Error) => this.breakOff(error),
    );
  }

  private opened(reading: Reading | undefined): void {
    const { what, world } = this;
    if (!reading || what.to > reading.size) {
      reading?.close();
      this.tell(() => this.end(new GoneError(`the source has no object ${what.name}`)));
      return;
    }
    if (this.isClosed) {
      reading.close();
      return;
    }
    world.note(this.source.place.name, `gives ${what.name} from ${what.from} to ${what.to} to ${this.node.place.name}`);
    this.reading = reading;
    reading.whenFailed = () => this.breakOff(new Error("its copy was dropped"));
    this.give(reading, what.from);
  }

  private give(reading: Reading, at: number): void {
    const { source, world } = this;
    if (this.isClosed || source.isOver) return;
    if (at >= this.what.to) {
      this.close();
      return;
    }
    world.wake();
    const end = Math.min(reading.availableFrom(at), this.what.to, at + PAGE_BYTES * world.prng.between(1, 4));
    if (end <= at) {
      reading.more().then(
        () => this.give(reading, at),
        (error: Error) => this.breakOff(error),
      );
      return;
    }
    if (!("memory" in reading.place)) throw new RangeError("this store has its objects in memory");
    const bytes = reading.place.memory.slice(at, end);
    this.tell(() => this.arrive(bytes));
    source.later(world.delayMs() / 4, () => this.give(reading, end));
  }

  private tell(deliver: () => void): void {
    this.answer.send(() => {
      if (!this.node.isOver && !this.isOver) deliver();
    });
  }

  /** What was sent before still arrives. */
  private breakOff({ message }: Error): void {
    if (this.isClosed) return;
    this.tell(() => this.end(new ConnectionLostError(`the connection to the source was lost: ${message}`)));
    this.close();
  }

  private close(): void {
    this.isClosed = true;
    if (!this.source.isOver) this.reading?.close();
    this.reading = undefined;
  }

  // ── at the receiver ────────────────────────────────────────────────────────────────────────────────────────────────

  private arrive(bytes: Uint8Array): void {
    const { place, to, onBytes } = this.what;
    if (!("memory" in place)) throw new RangeError("this store has its objects in memory");
    place.memory.set(bytes, this.at);
    this.at += bytes.length;
    this.heardAtMs = this.world.clock.nowMs;
    onBytes(bytes.length);
    this.world.wake();
    if (this.at >= to) this.end();
  }
}
