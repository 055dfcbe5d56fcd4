/** Which head a node listens to, of several: real listeners in this process. */
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { newNodeId } from "../base/ids.ts";
import { WIRE_VERSION } from "../base/wire-version.ts";
import { Access, listenPeers, NotLeadingError, type Peer, type TcpListener } from "../transport/mod.ts";
import type {
  FromControl,
  HeadIdentity,
  NodeDescription,
  NodeReport,
  NodeUse,
  ToControl,
} from "../wire/cluster-messages.ts";
import { ClusterLink } from "./cluster-link.ts";
import { tcpWays } from "./head-ways.ts";

const TOKEN = "a-token-of-a-test-cluster";

/** What a head is to a node, and no more. */
class Head {
  who: HeadIdentity;
  standsBy: { readonly leader: string | undefined } | undefined;
  /** As soon as it can, and before the node has joined. */
  ordersAtOnce = false;
  readonly joins: ToControl[] = [];
  readonly reports: NodeReport[] = [];
  onReport: () => void = () => {};
  onStated: () => void = () => {};
  version = WIRE_VERSION;
  onJoin: () => void = () => {};
  private peer: Peer | undefined;
  private listener: TcpListener | undefined;

  constructor(who: HeadIdentity) {
    this.who = who;
  }

  async open(port = 0): Promise<this> {
    const head = this;
    this.listener = await listenPeers({
      host: "127.0.0.1",
      port,
      version: this.version,
      tokens: () => [TOKEN],
      get who() {
        return head.who;
      },
      check: () => {
        if (head.standsBy) throw new NotLeadingError(head.standsBy.leader);
      },
      accept: (peer) => {
        head.peer = peer;
        if (head.ordersAtOnce) peer.send({ t: "node-drain", deadlineMs: 1 });
        return { handlers: { onMessage: (message) => head.hear(message as ToControl), onClose() {} } };
      },
      acceptSocket: (socket) => socket.destroy(),
    });
    return this;
  }

  get address(): string {
    return this.listener?.address ?? "";
  }

  say(message: FromControl): void {
    this.peer?.send(message);
  }

  /** Ends the session. */
  drop(): void {
    this.peer?.destroy();
  }

  private hear(message: ToControl): void {
    if (message.t === "node-report") {
      this.reports.push(message);
      this.onReport();
    }
    if (message.t === "node-statement") this.onStated();
    if (message.t !== "node-join") return;
    this.joins.push(message);
    this.say({ t: "node-welcome", epoch: this.who.epoch, nodes: [] });
    this.onJoin();
  }

  joined(): Promise<void> {
    return new Promise((resolve) => {
      this.onJoin = resolve;
    });
  }

  async close(): Promise<void> {
    await this.listener?.close();
  }
}

describe("a node's link to its heads", () => {
  const folders: string[] = [];
  const heads: Head[] = [];
  let link: ClusterLink | undefined;
  let news: string[] = [];
  let use: NodeUse;
  let orders = 0;
  let onNews: () => void = () => {};
  let onWelcomed: (link: ClusterLink) => void = () => {};

  beforeEach(() => {
    news = [];
    orders = 0;
    use = { available: {}, storeUsedBytes: 0, storeSpilledBytes: 0, events: { keptBytes: 0, droppedBatches: 0 } };
  });
  afterEach(async () => {
    link?.close();
    for (const head of heads.splice(0)) await head.close();
    for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  });

  async function begin(who: HeadIdentity, version = WIRE_VERSION): Promise<Head> {
    const head = new Head(who);
    head.version = version;
    await head.open();
    heads.push(head);
    return head;
  }

  async function joinBy(address: string): Promise<void> {
    const folder = mkdtempSync(join(tmpdir(), "mobula-link-"));
    folders.push(folder);
    const tokenFile = join(folder, "token");
    writeFileSync(tokenFile, TOKEN, { mode: 0o600 });
    const node = { nodeId: newNodeId(), name: "n", address: null } as unknown as NodeDescription;
    const nothing = (): void => {};
    link = await ClusterLink.join({
      address,
      ways: tcpWays(await Access.open({ tokenFile }, nothing), node.nodeId),
      node,
      isPatient: false,
      use: () => use,
      onWelcomed: (_welcome, opened) => onWelcomed(opened),
      onNodes: nothing,
      onFound: nothing,
      onDivided: nothing,
      onBundles: nothing,
      onGroupsNoted: nothing,
      onSaying: nothing,
      onDrain: () => {
        orders++;
      },
      onLost: nothing,
      onActors: nothing,
      onQuery: nothing,
      onLimits: nothing,
      onExpelled: nothing,
      onNews: (message) => {
        news.push(message);
        onNews();
      },
    } as Parameters<typeof ClusterLink.join>[0]);
  }

  test("two heads that hang do not hold it up while a third says that it leads", async () => {
    const hanging = [0, 1].map(() => createServer().listen(0, "127.0.0.1"));
    await Promise.all(hanging.map((server) => once(server, "listening")));
    try {
      const leader = await begin({ epoch: 1, state: "s" });
      const addresses = hanging.map((server) => `127.0.0.1:${(server.address() as AddressInfo).port}`); // They listen on TCP.
      const startedMs = performance.now();
      await joinBy([...addresses, leader.address].join());
      // One after the other they would have had two seconds each.
      expect(performance.now() - startedMs).toBeLessThan(2_000);
      expect(leader.joins).toHaveLength(1);
    } finally {
      for (const server of hanging) server.close();
    }
  });

  test("a standby sends it on to the head that leads, which need not be known", async () => {
    const leader = await begin({ epoch: 1, state: "s" });
    const standby = await begin({ epoch: 0, state: "s" });
    standby.standsBy = { leader: leader.address };
    await joinBy(standby.address);
    expect([leader.joins.length, standby.joins.length]).toEqual([1, 0]);
  });

  test("what a head of an older epoch orders does not count, and it is left for the one that leads", async () => {
    const leader = await begin({ epoch: 2, state: "s" });
    const deposed = await begin({ epoch: 1, state: "s" });
    deposed.ordersAtOnce = true;
    await joinBy(`${leader.address},${deposed.address}`);
    const refused = new Promise<void>((resolve) => {
      onNews = () => {
        if (news.some((message) => message.includes("another has followed"))) resolve();
      };
    });
    const again = leader.joined();
    // The node's session ends, and for a moment the leader is not to be had.
    leader.standsBy = { leader: deposed.address };
    leader.drop();
    await refused;
    leader.standsBy = undefined;
    await again;
    expect(deposed.joins).toEqual([]);
    expect(orders).toBe(0);
  });

  test("a head that says that it cannot act is left for one that leads", async () => {
    const suspended = await begin({ epoch: 1, state: "s" });
    const leader = await begin({ epoch: 2, state: "s" });
    await joinBy(`${suspended.address},${leader.address}`);
    const joined = leader.joined();
    suspended.say({ t: "known-heads", addresses: [], isSuspended: true });
    await joined;
    expect([suspended.joins.length, leader.joins.length]).toEqual([1, 1]);
  });

  test("what a node says as it is welcomed for the first time is heard: control may wait for that", async () => {
    const head = await begin({ epoch: 1, state: "s" });
    const stated = new Promise<void>((resolve) => {
      head.onStated = resolve;
    });
    onWelcomed = (opened) => opened.say({ t: "node-statement", processes: [], retired: [], jobs: [], workers: [] });
    await joinBy(head.address);
    await stated;
  });

  test("of another state any epoch counts: that one was put back from a backup", async () => {
    const before = await begin({ epoch: 5, state: "s" });
    const restored = await begin({ epoch: 1, state: "t" });
    await joinBy(`${before.address},${restored.address}`);
    const joined = restored.joined();
    before.standsBy = { leader: restored.address };
    before.drop();
    await joined;
    expect(restored.joins).toHaveLength(1);
  });

  /** What the head hears when the node reports. */
  async function reported(head: Head): Promise<NodeUse | undefined> {
    const heard = new Promise<void>((resolve) => {
      head.onReport = resolve;
    });
    link?.report();
    await heard;
    return head.reports.at(-1)?.use;
  }

  test("a report says what is as before only to a head of wire version 1, which would misread its absence", async () => {
    const head = await begin({ epoch: 1, state: "s" });
    await joinBy(head.address);
    expect(await reported(head)).toEqual(use);
    expect(await reported(head)).toBeUndefined();
    const bundles = [{ groupId: "g", attempt: 1, free: [] }];
    use = { ...use, storeUsedBytes: 1, bundles };
    expect(await reported(head)).toEqual(use);
    use = { ...use, storeUsedBytes: 0 };
    delete (use as { bundles?: unknown }).bundles;
    expect(await reported(head)).toEqual(use);
    expect(await reported(head)).toBeUndefined();
    link?.close();

    const older = await begin({ epoch: 1, state: "s" }, 1);
    await joinBy(older.address);
    for (let round = 0; round < 2; round++) expect(await reported(older)).toEqual(use);
  });
});
