/**
 * One object from the node that made it to many others that ask for it at the same time: production decides who gets it from
 * whom, and what is passed on when (`pull/`); links of a given speed and length carry it in virtual time.
 *
 * A node's link takes and gives so many bytes a second, both at once, whoever they are for. A message takes `latencyMs` to another
 * node; to pass on what came takes `handlingMs`, and as much is handed on at once as one read brings.
 */
import { type NodeId, nodeTag, type ProcessId, storedName } from "../../core/src/base/mod.ts";
import { NodeObjects, type NodeObjectsStore } from "../../core/src/node/objects.ts";
import { type Fetch, GoneError, type Pulled, type Reading, type Tag } from "../../core/src/pull/mod.ts";
import type { StorePinned } from "../../core/src/wire/messages.ts";
import { VirtualClock } from "./clock.ts";

export interface BroadcastOptions {
  readonly nodes: number;
  readonly bytes: number;
  readonly bytesPerSecond: number;
  /** One way. */
  readonly latencyMs: number;
  readonly handlingMs: number;
  readonly readBytes: number;
  /** They ask one after the other within so long. Left out: all at the same moment. */
  readonly withinMs?: number;
  /** These, by the order in which they ask, have links that carry a tenth. */
  readonly slow?: readonly number[];
}

type Link = Pick<BroadcastOptions, "bytesPerSecond" | "latencyMs" | "handlingMs" | "readBytes">;
const link = (gbitPerSecond: number, latencyMs: number): Link => ({
  bytesPerSecond: (gbitPerSecond * 1e9) / 8,
  latencyMs,
  handlingMs: 0.03,
  readBytes: 256 * 1024,
});

/** Kinds of networks: a slow one, one of a data centre and of an availability zone, a fast one. */
export const LINKS: readonly Link[] = [link(1, 0.1), link(10, 0.05), link(10, 0.25), link(25, 0.05), link(100, 0.05)];

/** Of a new connection: that of TCP, and the handshake of the nodes. */
const DIAL_TRIPS = 4;
const KEY = 1;

/** Resolves when all that waits for settled promises has gone on, and what waits for that. */
const othersTurn = (): Promise<void> => new Promise((resolve) => process.nextTick(resolve));

const SLOWNESS = 10;

/** @returns for each node, virtual milliseconds from its question until it has all of it. */
export async function broadcast(options: BroadcastOptions): Promise<readonly number[]> {
  const run = new Broadcast(options);
  return run.toEnd();
}

class Broadcast {
  readonly clock = new VirtualClock();
  readonly options: BroadcastOptions;
  readonly byTag = new Map<Tag, Node>();
  /** Promises were settled: what waits for them goes on before time does. */
  isAwake = true;
  private left: number;

  constructor(options: BroadcastOptions) {
    this.options = options;
    this.left = options.nodes;
    for (let number = 0; number <= options.nodes; number++) {
      const node = new Node(this, number);
      this.byTag.set(node.tag, node);
    }
  }

  async toEnd(): Promise<readonly number[]> {
    const { nodes, bytes, withinMs = 0 } = this.options;
    const [maker, ...others] = this.byTag.values();
    if (!maker) throw new RangeError("somebody has to make it");
    const value = { name: storedName(maker.tag, KEY), size: bytes, home: maker.tag };
    for (const [index, node] of others.entries()) this.later((index * withinMs) / nodes, () => node.ask(value));
    while (this.left > 0) {
      if (this.isAwake) {
        this.isAwake = false;
        await othersTurn();
      }
      if (!this.clock.step()) throw new Error(`${this.left} nodes wait for ever`);
    }
    return others.map(({ tookMs }) => tookMs);
  }

  /** What is done may settle promises. */
  later(ms: number, run: () => void): void {
    this.clock.schedule(ms, () => {
      this.isAwake = true;
      run();
    });
  }

  hasOne(): void {
    this.left--;
  }
}

class Node {
  readonly tag: Tag;
  readonly process: ProcessId;
  readonly objects: NodeObjects;
  private readonly run: Broadcast;
  private givesFromMs = 0;
  private takesFromMs = 0;
  private nextKey: number;
  private askedMs = 0;
  /** From its question until it has all of it. */
  tookMs = 0;
  private readonly bytesPerSecond: number;

  constructor(run: Broadcast, number: number) {
    this.run = run;
    const nodeId = (number + 1).toString(16).padStart(8, "0").padEnd(32, "0") as NodeId;
    this.tag = nodeTag(nodeId);
    this.process = `${this.tag}${"1".repeat(16)}` as ProcessId;
    // The first one has made it.
    this.nextKey = number === 0 ? KEY + 1 : KEY;
    const { clock, options } = run;
    const isSlow = options.slow?.includes(number - 1) ?? false;
    this.bytesPerSecond = options.bytesPerSecond / (isSlow ? SLOWNESS : 1);
    this.objects = new NodeObjects({
      ...{
        nodeId,
        self: `${this.tag}${"0".repeat(16)}` as ProcessId,
        store: this.store(),
        capacityBytes: 4 * options.bytes,
      },
      onPinned: (_process, pinned) => this.pinned(pinned),
      send: (to, message) => run.later(options.latencyMs, () => run.byTag.get(to)?.objects.hear(this.tag, message)),
      links: { fetch: (source, what) => this.fetch(source, what), forget() {}, close() {} },
      isDead: () => false,
      resolve: (home) => home,
      keeper: () => undefined,
      mayKeep: () => true,
      findRooms: () => Promise.resolve([]),
      published: () => [],
      onOrphans() {},
      onCopied() {},
      onMoved() {},
      offer: () => Promise.reject(new Error("all of these can be dialled")),
      nowMs: () => clock.nowMs,
      later: (ms, go) => {
        let isDue = true;
        run.later(ms, () => isDue && go());
        return () => {
          isDue = false;
        };
      },
      sleep: (ms) => new Promise((resolve) => run.later(ms, resolve)),
      log() {},
    });
  }

  ask(value: Pulled): void {
    this.askedMs = this.run.clock.nowMs;
    this.objects.pin(this.process, { values: [value] });
  }

  private pinned({ error }: Pick<StorePinned, "error">): void {
    if (error) throw new Error(error.message);
    this.tookMs = this.run.clock.nowMs - this.askedMs;
    this.run.hasOne();
  }

  /** With room for everything: what is kept of an object is that it is there. */
  private store(): NodeObjectsStore {
    const { bytes } = this.run.options;
    const place = { fd: -1, position: 0 };
    return {
      makeRoom: async () => ({ place, seal: () => ({ key: this.nextKey++, unpin() {} }), abandon() {} }),
      open: async () => ({ size: bytes, place, close() {} }),
      exists: (key) => key < this.nextKey,
      pin: (process, [key = 0]) => this.objects.pinned(process, { t: "store-pinned", key, offset: 0, size: bytes }),
      keep() {},
      free() {},
      processGone() {},
      peersHaveRoom() {},
      usedBytes: () => 0,
      ownedBeside: () => [],
      keysOwnedOn: () => [],
    };
  }

  private fetch(tag: Tag, what: Fetch): Promise<void> {
    const { run } = this;
    const source = run.byTag.get(tag);
    if (!source) return Promise.reject(new RangeError(`no node has the tag ${tag}`));
    return new Promise((resolve, reject) => {
      what.signal.addEventListener("abort", () => reject(what.signal.reason));
      run.later(run.options.latencyMs * (DIAL_TRIPS + 1), () => {
        void source.objects.open(what.name).then((reading) => {
          if (reading) source.give(reading, what.from, this, what, resolve);
          else run.later(run.options.latencyMs, () => reject(new GoneError("it has not begun to come there")));
        });
      });
    });
  }

  /** As much as one read brings, and the next when that has left and the other one is about to have it. */
  private give(reading: Reading, from: number, to: Node, what: Fetch, done: () => void): void {
    const { run } = this;
    const { latencyMs, handlingMs, readBytes } = run.options;
    if (what.signal.aborted) {
      reading.close();
      return;
    }
    const bytes = Math.min(reading.availableFrom(from) - from, what.to - from, readBytes);
    if (bytes <= 0) {
      void reading.more().then(() => this.give(reading, from, to, what, done));
      return;
    }
    const givenMs = (bytes / this.bytesPerSecond) * 1_000;
    const takenMs = (bytes / to.bytesPerSecond) * 1_000;
    const { nowMs } = run.clock;
    const beginsMs = Math.max(nowMs, this.givesFromMs);
    this.givesFromMs = beginsMs + givenMs;
    to.takesFromMs = Math.max(beginsMs + latencyMs, to.takesFromMs) + takenMs;
    const arrivesMs = Math.max(this.givesFromMs + latencyMs, to.takesFromMs);
    const end = from + bytes;
    run.later(arrivesMs + handlingMs - nowMs, () => {
      if (what.signal.aborted) return;
      what.onBytes(bytes);
      if (end === what.to) done();
    });
    if (end === what.to) reading.close();
    else {
      const nextMs = Math.max(this.givesFromMs, to.takesFromMs - latencyMs - takenMs);
      run.later(nextMs - nowMs, () => this.give(reading, end, to, what, done));
    }
  }
}
