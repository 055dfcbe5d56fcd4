/** Stores of several nodes in one process, with real sockets between them, which are cut, slowed down and refused. */
import { mkdtempSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, test } from "vitest";
import { newNodeId, newProcessId, nodeTag, type ProcessId, storedName } from "../../src/base/ids.ts";
import { NodeObjects } from "../../src/node/objects.ts";
import { encodeHead, RequestReader, STATUS } from "../../src/pull/bulk-format.ts";
import { BulkLinks } from "../../src/pull/mod.ts";
import { type OpenObject, type StoreServer, startStore } from "../../src/store/mod.ts";
import { dialBulk, listenPeers } from "../../src/transport/mod.ts";
import { TestProxy } from "../../src/transport/test-proxy.ts";
import type { AboutCopies } from "../../src/wire/cluster-messages.ts";
import type { StoredValue, StorePinned } from "../../src/wire/messages.ts";
import { eventually } from "../eventually.ts";

const MIB = 2 ** 20;
const TOKEN = "token";
const ended: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ended.splice(0).reverse()) await end();
});

class Cluster {
  readonly nodes = new Map<string, TestNode>();
  readonly dead = new Set<string>();

  async add(capacityBytes = 64 * MIB): Promise<TestNode> {
    const node = await TestNode.start(this, capacityBytes);
    this.nodes.set(node.tag, node);
    return node;
  }

  async kill(node: TestNode): Promise<void> {
    this.dead.add(node.tag);
    this.nodes.delete(node.tag);
    await node.stop();
    for (const other of this.nodes.values()) other.objects.nodeDied(node.tag);
  }
}

class TestNode {
  readonly nodeId = newNodeId();
  readonly tag = nodeTag(this.nodeId);
  readonly process = newProcessId(this.nodeId);
  readonly said: string[] = [];
  isOld = false;
  objects!: NodeObjects;
  store!: StoreServer;
  proxy!: TestProxy;
  private readonly waiting = new Map<ProcessId, ((pinned: StorePinned) => void)[]>();
  readonly folder = mkdtempSync(join(tmpdir(), "mo-"));
  private stopped: Promise<void> | undefined;
  private close!: () => Promise<void>;

  static async start(cluster: Cluster, capacityBytes: number): Promise<TestNode> {
    const node = new TestNode();
    const { nodeId, tag, folder } = node;
    const self = newProcessId(nodeId);
    node.store = await startStore({
      ...{ self, directory: folder, capacityBytes, spillDirectory: folder, spillBytesMax: 0, putTimeoutMs: 500 },
      now: () => performance.now(),
      log: () => {},
      requestCollect: () => {},
      onPinned: (process, pinned) => node.objects.pinned(process, pinned),
      onCopyDropped: (key, owner) => node.objects.copyDropped(key, owner),
    });
    node.objects = new NodeObjects({
      ...{ nodeId, self, store: node.store, capacityBytes, stripedBytesMin: 4 * MIB },
      onPinned: (process, pinned) => node.waiting.get(process)?.shift()?.(pinned),
      onOrphans: () => {},
      published: () => [],
      resolve: (home) => home,
      send: (to, message: AboutCopies) => {
        node.said.push(message.t);
        setImmediate(() => cluster.nodes.get(to)?.objects.hear(tag, message));
      },
      isDead: (to) => cluster.dead.has(to),
      keeper: (besides) => [...cluster.nodes.keys()].find((one) => !besides.has(one)),
      mayKeep: (to) => cluster.nodes.has(to),
      findRooms: () => Promise.reject(new Error("nothing is put with copies")),
      onCopied: () => {},
      onMoved: () => {},
      links: new BulkLinks(async (to) =>
        dialBulk({ address: cluster.nodes.get(to)?.proxy.address ?? "127.0.0.1:1", token: TOKEN, who: {} }),
      ),
      offer: () => Promise.reject(new Error("all of these can be dialled")),
      nowMs: () => performance.now(),
      log: () => {},
    });
    const listener = await listenPeers({
      ...{ host: "127.0.0.1", port: 0, tokens: () => [TOKEN] },
      accept: () => {
        throw new Error("only bulk connections are expected");
      },
      acceptSocket: (socket) => (node.isOld ? node.serveAsOld(socket) : node.objects.serve(socket)),
    });
    node.proxy = await TestProxy.to(listener);
    node.close = async () => {
      node.proxy.close();
      await listener.close();
      node.objects.close();
      await node.store.close();
      rmSync(folder, { recursive: true, force: true });
    };
    ended.push(() => node.stop());
    return node;
  }

  /** Knows nothing of where a request ends: sends all that there is. */
  serveAsOld(socket: Socket): void {
    const requests = new RequestReader();
    socket.on("error", () => {});
    socket.on("data", async (chunk: Buffer) => {
      for (const { name, from } of requests.push(chunk)) {
        const reading = await this.objects.open(name);
        if (!reading || !("memory" in reading.place)) throw new Error("all of it lies in the arena");
        socket.write(encodeHead(STATUS.ok, reading.size - from));
        socket.write(Buffer.from(reading.place.memory.subarray(from)));
        reading.close();
      }
    });
    socket.resume();
  }

  stop(): Promise<void> {
    this.stopped ??= this.close();
    return this.stopped;
  }

  /** An object of which each MiB has another first byte, for an owner on `home`. */
  async make(bytes: number, home: TestNode): Promise<StoredValue> {
    const room = await this.store.makeRoom(bytes, "test");
    if (!("memory" in room.place)) throw new Error("the arena has room");
    for (let at = 0; at < bytes; at += MIB) room.place.memory.fill(1 + at / MIB, at, at + MIB);
    const { key, unpin } = room.seal(home.process, false);
    unpin();
    return { at: "stored", name: storedName(this.tag, key), size: bytes, home: home.tag, nested: [] };
  }

  pin(value: StoredValue, process = this.process): Promise<StorePinned> {
    return new Promise((resolve) => {
      this.waiting.set(process, [...(this.waiting.get(process) ?? []), resolve]);
      this.objects.pin(process, { values: [value] });
    });
  }

  /** Pins it, looks at every byte, and lets go. */
  async read(value: StoredValue): Promise<void> {
    const { key, error } = await this.pin(value);
    expect(error).toBeUndefined();
    const object: OpenObject = await this.store.open(key);
    if (!("memory" in object.place)) throw new Error("copies lie in the arena");
    for (let at = 0; at < value.size; at += MIB) {
      const part = object.place.memory.subarray(at, Math.min(at + MIB, value.size));
      expect(part.every((byte) => byte === 1 + at / MIB)).toBe(true);
    }
    object.close();
    this.store.unpin(this.process, [key]);
  }

  get objectsKept(): number {
    return this.store.stats().objects;
  }
}

describe("a copy", () => {
  test("goes on from another node where its source broke off, and is whole", async () => {
    const cluster = new Cluster();
    const [a, b, c] = [await cluster.add(), await cluster.add(), await cluster.add()];
    const value = await a.make(16 * MIB, a);
    await b.read(value);
    // It has the larger part of each half from one, and no more than the rest from the other.
    a.proxy.plan = () => ({ down: 5 * MIB });
    b.proxy.plan = () => ({ down: 5 * MIB });
    await c.read(value);
    expect(a.proxy.bytesDown + b.proxy.bytesDown).toBeLessThan(16 * MIB + 16 * MIB + MIB);
  });

  test("is had from whoever has one when its maker dies on the way", async () => {
    const cluster = new Cluster();
    const [home, a, b, c] = [await cluster.add(), await cluster.add(), await cluster.add(), await cluster.add()];
    const value = await a.make(8 * MIB, home);
    await b.read(value);
    a.proxy.plan = () => ({ down: 3 * MIB, swallows: true });
    b.proxy.plan = () => "refuse";
    const reading = c.read(value);
    await eventually(() => a.proxy.bytesDown > 10 * MIB && b.proxy.connections > 0, "the sources are asked");
    b.proxy.plan = () => ({});
    await cluster.kill(a);
    await reading;
  });

  test("is passed on while it comes, and both go on when its source breaks off", async () => {
    const cluster = new Cluster();
    const [a, b, c] = [await cluster.add(), await cluster.add(), await cluster.add()];
    const value = await a.make(16 * MIB, a);
    a.proxy.plan = () => ({ down: 5 * MIB, swallows: true });
    const first = b.read(value);
    await eventually(() => a.proxy.bytesDown >= 10 * MIB, "a part of both halves has come");
    const second = c.read(value);
    await eventually(() => b.proxy.bytesDown >= 9 * MIB, "that part is passed on");
    a.proxy.plan = () => ({ down: 2 * MIB, swallows: true });
    a.proxy.cut();
    await eventually(() => b.proxy.bytesDown >= 13 * MIB, "and the next, as soon as it is there");
    a.proxy.plan = () => ({});
    a.proxy.cut();
    await Promise.all([first, second]);
  });

  /** Two that ask at the same time, while the maker is asked: each gets one half of it, and has the other of the other one. */
  async function two() {
    const cluster = new Cluster();
    const [home, a, b, c] = [await cluster.add(), await cluster.add(), await cluster.add(), await cluster.add()];
    return { cluster, a, b, c, value: await a.make(16 * MIB, home) };
  }

  test("in halves, each of another node, is whole when one of these dies while they come", async () => {
    const { cluster, a, b, c, value } = await two();
    a.proxy.plan = () => ({ down: 5 * MIB, swallows: true });
    void b.pin(value);
    const ofC = c.read(value);
    await eventually(() => Math.min(b.proxy.bytesDown, c.proxy.bytesDown) >= 4 * MIB, "they pass on what they have");
    expect(a.proxy.bytesDown).toBeLessThan(11 * MIB);
    a.proxy.plan = () => ({});
    await cluster.kill(b);
    a.proxy.cut();
    await ofC;
  });

  test("does not wait long for a node of which nothing comes, when its other half is there", async () => {
    const { b, c, a, value } = await two();
    b.proxy.plan = () => ({ down: 2 * MIB, swallows: true });
    const beganAt = performance.now();
    await Promise.all([b.read(value), c.read(value)]);
    expect(b.proxy.bytesDown).toBeGreaterThan(MIB);
    expect(a.proxy.bytesDown, "it had the rest of the maker").toBeGreaterThan(20 * MIB);
    expect(performance.now() - beganAt, "silent sources are given up after 10 s").toBeLessThan(5_000);
  });

  test("of a node that sends more than it was asked for, as those of an older release, is whole", async () => {
    const cluster = new Cluster();
    const [a, b] = [await cluster.add(), await cluster.add()];
    a.isOld = true;
    const value = await a.make(16 * MIB, a);
    await b.read(value);
    expect(a.proxy.connections).toBeGreaterThan(1);
  });

  test("of one that nobody has any more is an error, at once", async () => {
    const cluster = new Cluster();
    const [home, a] = [await cluster.add(), await cluster.add()];
    const value = await a.make(MIB, home);
    await cluster.kill(a);
    expect((await home.pin(value)).error).toMatchObject({ code: "OBJECT_LOST", kind: "lost" });
  });

  test("whose home died is an error, and those that there were go", async () => {
    const cluster = new Cluster();
    const [home, a, b] = [await cluster.add(), await cluster.add(), await cluster.add()];
    const value = await a.make(MIB, home);
    await b.read(value);
    await cluster.kill(home);
    expect((await b.pin(value)).error).toMatchObject({ code: "OBJECT_LOST" });
    expect([a.objectsKept, b.objectsKept]).toEqual([0, 0]);
  });

  test("that nobody has pinned makes room for others, and is fetched again", async () => {
    const cluster = new Cluster();
    const [a, b] = [await cluster.add(), await cluster.add(16 * MIB)];
    const values = [];
    for (let index = 0; index < 5; index++) values.push(await a.make(5 * MIB, a));
    for (const value of [...values, ...values]) await b.read(value);
    expect(b.said.filter((said) => said === "copy-held").length).toBeGreaterThan(10);
    expect(b.objectsKept).toBeLessThan(4);
  });

  test("larger than the store is refused with the store's own error, and others go on", async () => {
    const cluster = new Cluster();
    const [a, b] = [await cluster.add(), await cluster.add(8 * MIB)];
    const [large, small] = [await a.make(12 * MIB, a), await a.make(MIB, a)];
    expect((await b.pin(large)).error).toMatchObject({ code: "STORE_FULL" });
    await b.read(small);
  });
});

describe("freeing", () => {
  test("ends a copy on its way, tells who waits, and leaves nothing anywhere", async () => {
    const cluster = new Cluster();
    const [a, b, c] = [await cluster.add(), await cluster.add(), await cluster.add()];
    const value = await a.make(8 * MIB, a);
    await c.read(value);
    for (const { proxy } of [a, c]) proxy.plan = () => ({ down: 3 * MIB, swallows: true });
    const before = a.proxy.bytesDown + c.proxy.bytesDown;
    const pinned = b.pin(value);
    await eventually(() => a.proxy.bytesDown + c.proxy.bytesDown >= before + 3 * MIB, "a part has come");
    a.objects.free([value.name]);
    expect((await pinned).error).toMatchObject({ code: "OBJECT_LOST", message: expect.stringContaining("released") });
    await eventually(() => [a, b, c].every(({ objectsKept }) => objectsKept === 0), "nothing is left");
    await eventually(() => b.store.stats().usedBytes === 0, "nor its room");
  });
});

test("many nodes that want one object pass it on to each other: no node gives it to all", async () => {
  const cluster = new Cluster();
  const maker = await cluster.add();
  const readers = await Promise.all(Array.from({ length: 6 }, () => cluster.add()));
  const value = await maker.make(24 * MIB, maker);
  await Promise.all(readers.map((reader) => reader.read(value)));
  const given = [maker, ...readers].map(({ proxy }) => proxy.bytesDown / (24 * MIB));
  // What is on its way when a reader turns to a faster source comes twice: of each at most what its sockets hold.
  const sum = given.reduce((a, b) => a + b, 0);
  expect(sum).toBeGreaterThanOrEqual(6);
  expect(sum).toBeLessThan(7);
  expect(Math.max(...given)).toBeLessThan(4);
});

test("a connection that says nonsense is ended, and harms nobody", async () => {
  const cluster = new Cluster();
  const [a, b] = [await cluster.add(), await cluster.add()];
  const value = await a.make(MIB, a);
  const nonsense = [
    Buffer.from([255, 255, 255, 255]),
    Buffer.from([4, 0, 0, 0, 1, 2, 3, 4]),
    Buffer.concat([Buffer.from([3, 0, 0, 0]), Buffer.from([0xc0, 0xc0, 0xc0])]),
  ];
  for (const bytes of nonsense) {
    const { socket, read } = await dialBulk({ address: a.proxy.address, token: TOKEN, who: {} });
    read({ room: () => undefined, filled: () => {}, overflowed: () => {} });
    socket.write(bytes);
    await new Promise((resolve) => socket.once("close", resolve));
  }
  await b.read(value);
});
