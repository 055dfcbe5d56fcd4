/** Sessions over real TCP, through a proxy that cuts, swallows and refuses. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { NameTakenError } from "../base/errors.ts";
import { createPrng } from "../base/prng.ts";
import { WIRE_VERSION } from "../base/wire-version.ts";
import { FrameReader } from "../wire/mod.ts";
import type { PeerListenOptions } from "./accept.ts";
import type { DialOptions } from "./dial.ts";
import { connectTcp, dialPeer, introduce, listenPeers, type ResumablePeer } from "./mod.ts";
import { TestCertificates } from "./test-certificates.ts";
import { TestProxy } from "./test-proxy.ts";
import { Tls } from "./tls.ts";

const TOKEN = "secret";
const quick = { backoff: { firstMs: 1, maxMs: 5 } };

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

/** Events as they come, and what waits for them. */
class Log {
  readonly received: unknown[] = [];
  readonly news: string[] = [];
  closed: { error: Error | undefined } | undefined;
  private readonly waiting = new Set<() => void>();

  private readonly reader = new FrameReader();
  readonly options = {
    handlers: {
      onMessage: (message: object) => this.add(message),
      onHotFrame: (buffer: Buffer, start: number, end: number) => {
        this.reader.reset(buffer, start, end).array();
        this.add(this.reader.uint());
      },
      onClose: (error: Error | undefined) => {
        this.closed = { error };
        this.wake();
      },
    },
    onSuspended: () => {
      this.news.push("suspended");
      this.wake();
    },
    onResumed: () => {
      this.news.push("resumed");
      this.wake();
    },
  };

  private add(message: unknown): void {
    this.received.push(message);
    this.wake();
  }

  private wake(): void {
    for (const check of [...this.waiting]) check();
  }

  until(condition: (log: this) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = (): void => {
        if (!condition(this)) return;
        this.waiting.delete(check);
        resolve();
      };
      this.waiting.add(check);
      check();
    });
  }
}

interface Listener {
  readonly address: string;
  readonly port: number;
  /** Of each session, in order. */
  readonly logs: Log[];
  readonly peers: ResumablePeer[];
  readonly refusals: string[];
  close(): Promise<void>;
}

async function listen(options: Partial<PeerListenOptions> = {}): Promise<Listener> {
  const logs: Log[] = [];
  const peers: ResumablePeer[] = [];
  const refusals: string[] = [];
  const listener = await listenPeers({
    host: "127.0.0.1",
    port: 0,
    tokens: () => [TOKEN],
    who: "the listener",
    accept(peer) {
      const log = new Log();
      logs.push(log);
      peers.push(peer);
      return log.options;
    },
    onRefused: ({ message }) => refusals.push(message),
    ...options,
  });
  open.push(listener);
  return { ...listener, logs, peers, refusals };
}

async function proxyTo(listener: { port: number }): Promise<TestProxy> {
  const proxy = await TestProxy.to(listener);
  open.push(proxy);
  return proxy;
}

async function dial(address: string, log: Log, options: Partial<DialOptions> = {}) {
  const dialled = await dialPeer({
    address,
    token: () => TOKEN,
    role: "node",
    who: "me",
    ...quick,
    ...log.options,
    ...options,
  });
  open.push({ close: () => dialled.peer.destroy() });
  return dialled;
}

function hot(peer: ResumablePeer, number: number): void {
  peer.out.begin();
  peer.out.array(1);
  peer.out.uint(number);
  peer.out.end();
  peer.schedule();
}

const count = (to: number): number[] => Array.from({ length: to }, (_, index) => index);

describe("a session", () => {
  test.each(["127.0.0.1", "::1"])("on %s: both sides know each other, and messages go both ways", async (host) => {
    const hellos: unknown[] = [];
    const there = new Log();
    const listener = await listen({
      host,
      accept(peer, hello) {
        hellos.push(hello);
        peer.send({ t: "early" });
        return there.options;
      },
    });
    const here = new Log();
    const { peer, listener: who } = await dial(listener.address, here);
    expect(who).toMatchObject({ who: "the listener", version: WIRE_VERSION });
    expect(hellos).toMatchObject([{ who: "me", role: "node", version: WIRE_VERSION }]);
    peer.send({ t: "there" });
    hot(peer, 7);
    await Promise.all([
      here.until(({ received }) => received.length === 1),
      there.until(({ received }) => received.length === 2),
    ]);
    expect(here.received).toEqual([{ t: "early" }]);
    expect(there.received).toEqual([{ t: "there" }, 7]);
    peer.close();
    await Promise.all([
      here.until(({ closed }) => closed !== undefined),
      there.until(({ closed }) => closed !== undefined),
    ]);
    expect([here.closed, there.closed]).toEqual([{ error: undefined }, { error: undefined }]);
  });

  test("a connection that needs no session gets its socket, where the listener offers that", async () => {
    const without = await listen();
    const refused = await connectTcp(without.address);
    await expect(introduce(refused, { token: TOKEN, role: "bulk", who: 1 })).rejects.toMatchObject({
      code: "AUTHENTICATION",
    });
    const sockets: Socket[] = [];
    const listener = await listen({ acceptSocket: (socket) => void sockets.push(socket) });
    const socket = await connectTcp(listener.address);
    await introduce(socket, { token: TOKEN, role: "bulk", who: 1 });
    sockets[0]?.pipe(sockets[0]);
    socket.write("raw");
    const [bytes] = await once(socket.resume(), "data");
    expect(`${bytes}`).toBe("raw");
    socket.destroy();
  });

  test("that is not wanted is refused with the listener's reason", async () => {
    const listener = await listen({
      accept() {
        throw new NameTakenError("n1 is here");
      },
    });
    await expect(dial(listener.address, new Log())).rejects.toMatchObject({
      code: "NAME_TAKEN",
      message: "n1 is here",
    });
  });

  test("is tried again until the listener is there, by who is patient", async () => {
    const listener = await listen();
    const proxy = await proxyTo(listener);
    proxy.plan = (connection) => (connection < 5 ? "refuse" : {});
    await expect(dial(proxy.address, new Log())).rejects.toMatchObject({ code: "CONNECTION_LOST" });
    await dial(proxy.address, new Log(), { patienceMs: 60_000 });
    expect(proxy.connections).toBe(6);
    await expect(dial(proxy.address, new Log(), { patienceMs: 60_000, token: () => "wrong" })).rejects.toMatchObject({
      code: "AUTHENTICATION",
    });
    expect(proxy.connections).toBe(7);
  });

  test("whose welcome was lost is one session all the same", async () => {
    const listener = await listen();
    const proxy = await proxyTo(listener);
    // The challenge has 50 bytes or so; the welcome is cut in two.
    proxy.plan = (connection) => (connection === 0 ? { down: 100 } : {});
    const { peer } = await dial(proxy.address, new Log(), { patienceMs: 60_000 });
    hot(peer, 1);
    await listener.logs[0]?.until(({ received }) => received.length === 1);
    expect(proxy.connections).toBe(2);
    expect(listener.logs).toHaveLength(1);
  });
});

/** Both sides say numbers to each other, each the next when it has heard one; some of it by cold messages. */
function converse(peer: ResumablePeer, log: Log, turns: number): void {
  let next = 0;
  const say = (): void => {
    if (next >= turns) return;
    if (next % 5 === 4) peer.send({ t: "n", n: next });
    else hot(peer, next);
    next++;
  };
  const add = log.options.handlers.onMessage;
  const addHot = log.options.handlers.onHotFrame;
  peer.handlers = {
    ...log.options.handlers,
    onMessage(message) {
      add(message);
      say();
    },
    onHotFrame(...frame) {
      addHot(...frame);
      say();
    },
  };
  say();
  say();
}

const said = (turns: number): unknown[] => count(turns).map((n) => (n % 5 === 4 ? { t: "n", n } : n));

describe("connections that are cut", () => {
  const turns = 12;

  async function conversation(cuts: (connection: number) => { up?: number; down?: number }): Promise<TestProxy> {
    const there = new Log();
    const listener = await listen({
      accept(peer) {
        setImmediate(() => converse(peer, there, turns));
        return there.options;
      },
    });
    const proxy = await proxyTo(listener);
    proxy.plan = cuts;
    const here = new Log();
    const { peer } = await dial(proxy.address, here, { patienceMs: 60_000 });
    converse(peer, here, turns);
    await Promise.all([here, there].map((log) => log.until(({ received }) => received.length >= turns)));
    peer.close();
    await Promise.all([here, there].map((log) => log.until(({ closed }) => closed !== undefined)));
    expect(here.received).toEqual(said(turns));
    expect(there.received).toEqual(said(turns));
    expect([here.closed, there.closed]).toEqual([{ error: undefined }, { error: undefined }]);
    proxy.close();
    await listener.close();
    return proxy;
  }

  test.each(["up", "down"] as const)(
    "after any byte %s, handshake and goodbye included, deliver everything once and in order",
    async (direction) => {
      const whole = await conversation(() => ({}));
      expect(whole.connections).toBe(1);
      const total = direction === "up" ? whole.bytesUp : whole.bytesDown;
      expect(total).toBeGreaterThan(250);
      const lane = async (first: number, step: number): Promise<void> => {
        for (let position = first; position <= total; position += step) {
          const proxy = await conversation((connection) => (connection === 0 ? { [direction]: position } : {}));
          expect(proxy.connections, `cut after ${position}`).toBeGreaterThanOrEqual(position < total - 40 ? 2 : 1);
        }
      };
      await Promise.all(count(16).map((first) => lane(first, 16)));
    },
  );

  test.each([1, 2, 3])(
    "again and again on both sides, with large frames, deliver everything once and in order (seed %i)",
    async (seed) => {
      const random = createPrng(seed);
      const there = new Log();
      const peers: ResumablePeer[] = [];
      const listener = await listen({
        accept(peer) {
          peers.push(peer);
          return there.options;
        },
      });
      const proxy = await proxyTo(listener);
      let calm = false;
      // A handshake passes in most; sometimes not even that.
      proxy.plan = () =>
        calm ? {} : { up: random.between(0, 60_000), down: random.between(0, 60_000), resets: random.chance(0.3) };
      const here = new Log();
      const { peer } = await dial(proxy.address, here, { patienceMs: 60_000 });
      const sent: [unknown[], unknown[]] = [[], []];
      const cuts = (): number => here.news.filter((one) => one === "suspended").length;
      for (let step = 0; step < 200 || cuts() < 8; step++) {
        const side = random.below(2) as 0 | 1;
        const from = [peer, peers[0] as ResumablePeer][side] as ResumablePeer;
        const list = sent[side];
        if (random.chance(0.05)) {
          const message = { t: "large", step, bytes: Buffer.alloc(random.between(1, 300_000), step) };
          from.send(message);
          list.push(message);
        } else {
          for (let burst = random.between(1, 20); burst > 0; burst--) {
            hot(from, list.length);
            list.push(list.length);
          }
        }
        if (random.chance(0.3) || step >= 200) await new Promise((resolve) => setImmediate(resolve));
        if (random.chance(0.02)) proxy.cut(random.chance(0.5));
      }
      calm = true;
      await Promise.all([
        there.until(({ received }) => received.length >= sent[0].length),
        here.until(({ received }) => received.length >= sent[1].length),
      ]);
      expect(there.received).toEqual(sent[0]);
      expect(here.received).toEqual(sent[1]);
      expect([here.closed, there.closed]).toEqual([undefined, undefined]);
    },
  );

  test("do not disturb other connections of the same listener", async () => {
    const listener = await listen();
    const proxy = await proxyTo(listener);
    const [steady, shaky] = [new Log(), new Log()];
    const { peer: other } = await dial(listener.address, steady);
    const { peer } = await dial(proxy.address, shaky);
    for (let round = 0; round < 20; round++) {
      const resumed = shaky.news.length + 2;
      proxy.cut(round % 2 === 0);
      hot(peer, round);
      hot(other, round);
      await shaky.until(({ news }) => news.length >= resumed);
    }
    await Promise.all(listener.logs.map((log) => log.until(({ received }) => received.length === 20)));
    expect(listener.logs.map(({ received }) => received)).toEqual([count(20), count(20)]);
    expect(steady.news).toEqual([]);
  });
});

test("over mutual TLS, cuts and exchanged certificates are no more than pauses", async () => {
  const certificates = new TestCertificates();
  open.push({ close: () => certificates.remove() });
  certificates.makeAuthority("cluster");
  for (const name of ["listener", "dialler"]) certificates.make(name, "cluster");
  const tls = new Tls(certificates.of("listener", "cluster"));
  const own = new Tls(certificates.of("dialler", "cluster"));
  const listener = await listen({ tls });
  const proxy = await proxyTo(listener);
  const random = createPrng(7);
  // The two hellos and certificates of TLS take some thousand bytes.
  proxy.plan = () => ({ up: random.between(0, 12_000), down: random.between(0, 12_000), resets: random.chance(0.3) });
  const log = new Log();
  const { peer } = await dial(proxy.address, log, { tls: own, patienceMs: 60_000 });
  const [there] = listener.peers as [ResumablePeer];
  let count = 0;
  for (; count < 200 || log.news.length < 10; count++) {
    hot(peer, count);
    peer.send({ t: "some", bytes: Buffer.alloc(random.below(500)) });
    hot(there, count);
    await new Promise((resolve) => setImmediate(resolve));
    if (count === 100) {
      for (const name of ["listener", "dialler"]) certificates.make(name, "cluster", "anew");
      tls.reload();
      own.reload();
      proxy.cut();
    }
  }
  proxy.plan = () => ({});
  await log.until(({ received }) => received.length === count);
  await listener.logs[0]?.until(({ received }) => received.length === 2 * count);
  expect(log.received).toEqual(Array.from({ length: count }, (_, number) => number));
  expect(listener.logs[0]?.received.filter((one) => typeof one === "number")).toEqual(log.received);
  expect(log.closed).toBeUndefined();
});

describe("the other side", () => {
  test("that is another process refuses the session, and says so", async () => {
    const first = await listen();
    const proxy = await proxyTo(first);
    const log = new Log();
    const { peer } = await dial(proxy.address, log);
    // Another listener takes the port, as a process that was started anew does.
    hot(peer, 1);
    await first.logs[0]?.until(({ received }) => received.length === 1);
    proxy.plan = () => "refuse";
    proxy.cut();
    await first.close();
    const second = await listen({ port: first.port });
    proxy.plan = () => ({});
    hot(peer, 2);
    await log.until(({ closed }) => closed !== undefined);
    expect(log.closed?.error).toMatchObject({
      code: "CONNECTION_LOST",
      message: expect.stringMatching(/does not know the session/),
    });
    expect(second.logs).toEqual([]);
  });

  test("that ended the session while there was no connection refuses it", async () => {
    const listener = await listen();
    const proxy = await proxyTo(listener);
    const log = new Log();
    await dial(proxy.address, log);
    proxy.plan = () => "refuse";
    proxy.cut();
    await listener.logs[0]?.until(({ news }) => news.length === 1);
    listener.peers[0]?.destroy(new Error("declared dead"));
    proxy.plan = () => ({});
    await log.until(({ closed }) => closed !== undefined);
    expect(log.closed?.error).toMatchObject({ message: expect.stringMatching(/it has ended it/) });
  });

  test("that has another token by now refuses the session; one that was told in time does not", async () => {
    let tokens = [TOKEN];
    let token = TOKEN;
    const listener = await listen({ tokens: () => tokens });
    const proxy = await proxyTo(listener);
    const [told, untold] = [new Log(), new Log()];
    await dial(proxy.address, told, { token: () => token });
    await dial(proxy.address, untold);
    tokens = ["new", TOKEN];
    token = "new";
    tokens = ["new"];
    proxy.cut();
    await untold.until(({ closed }) => closed !== undefined);
    await told.until(({ news }) => news.includes("resumed"));
    expect(untold.closed?.error).toMatchObject({ code: "AUTHENTICATION" });
    expect(told.closed).toBeUndefined();
  });

  test("that reads slowly slows nobody else down, and gets everything", async () => {
    const listener = await listen();
    const log = new Log();
    const { peer } = await dial(listener.address, log);
    const other = await dial(listener.address, new Log());
    const [slow] = listener.peers as [ResumablePeer];
    const { socket } = slow as unknown as { socket: Socket };
    socket.pause();
    const frames = 200;
    for (let number = 0; number < frames; number++) peer.send({ t: "large", number, bytes: Buffer.alloc(100_000) });
    peer.flush();
    expect(peer.unsentBytes).toBeGreaterThan(10_000_000);
    hot(other.peer, 1);
    await listener.logs[1]?.until(({ received }) => received.length === 1);
    // A little at a time.
    const step = setInterval(() => {
      socket.resume();
      setImmediate(() => socket.pause());
    }, 1);
    await listener.logs[0]?.until(({ received }) => received.length === frames);
    clearInterval(step);
    socket.resume();
    await expect.poll(() => peer.unsentBytes).toBe(0);
    expect(listener.logs[0]?.received.map((message) => (message as { number: number }).number)).toEqual(count(frames));
    expect(log.news).toEqual([]);
  });

  test("whose connection leads nowhere any more is reached by another one", async () => {
    for (const lost of [
      { up: 400, swallows: true },
      { down: 300, swallows: true },
    ]) {
      const listener = await listen();
      const proxy = await proxyTo(listener);
      proxy.plan = (connection) => (connection === 0 ? lost : {});
      const log = new Log();
      const { peer } = await dial(proxy.address, log, { stalledMs: 50 });
      // The dialler's silence is noticed by what it has sent itself, so it goes on sending.
      for (let number = 0; number < 100; number++) {
        hot(peer, number);
        hot(listener.peers[0] as ResumablePeer, number);
        await new Promise((resolve) => setImmediate(resolve));
      }
      await listener.logs[0]?.until(({ received }) => received.length === 100);
      await log.until(({ received }) => received.length === 100);
      expect(listener.logs[0]?.received).toEqual(count(100));
      expect(log.received).toEqual(count(100));
      expect(proxy.connections).toBeGreaterThan(1);
      expect(log.closed).toBeUndefined();
    }
  });

  test("whose connection leads nowhere, and that cannot be reached by another one, is known to be away", async () => {
    const listener = await listen();
    const proxy = await proxyTo(listener);
    proxy.plan = () => ({ up: 400, swallows: true });
    const log = new Log();
    const { peer } = await dial(proxy.address, log, { stalledMs: 50 });
    proxy.stopListening();
    for (let number = 0; number < 100; number++) hot(peer, number);
    await log.until(({ news }) => news.length === 1);
    expect(log.news).toEqual(["suspended"]);
    expect(peer.unsentBytes).toBeGreaterThan(0);
  });

  test("that is busy is not given up: its first connection goes on", async () => {
    // A listener in a process of its own, whose thread is away for half a second.
    const child = spawn(
      process.execPath,
      [...process.execArgv, "--conditions=mobula-source", `${import.meta.dirname}/fixtures/busy-listener.ts`],
      {
        stdio: ["pipe", "pipe", "inherit"],
      },
    );
    open.push({ close: () => child.kill("SIGKILL") });
    const [address] = await once(child.stdout, "data");
    const log = new Log();
    const { peer } = await dial(`${address}`.trim(), log, { stalledMs: 20 });
    peer.send({ t: "compute", ms: 500 });
    peer.flush();
    for (let number = 0; number < 10; number++) peer.send({ t: "echo", number });
    await log.until(({ received }) => received.length === 10);
    expect(log.received).toEqual(count(10).map((number) => ({ t: "echo", number })));
    expect(log.news).toEqual([]);
  });

  test("that is gone for longer than the owner allows ends the session", async () => {
    const listener = await listen();
    const proxy = await proxyTo(listener);
    const log = new Log();
    await dial(proxy.address, log, { suspendedMsMax: 100 });
    proxy.plan = () => "refuse";
    proxy.cut();
    await log.until(({ closed }) => closed !== undefined);
    expect(log.closed?.error).toMatchObject({ message: "there was no connection for 100 ms" });
    const tries = proxy.connections;
    expect(tries).toBeGreaterThan(5);
    // Nobody dials on.
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(proxy.connections - tries).toBeLessThanOrEqual(1);
  });

  test("that speaks another protocol on the same port is tried again, not believed", async () => {
    const listener = await listen();
    const proxy = await proxyTo(listener);
    const log = new Log();
    const { peer } = await dial(proxy.address, log);
    const web = createServer((socket) => void socket.on("error", () => {}).end("HTTP/1.1 400 Bad Request\r\n\r\n"));
    web.listen(0, "127.0.0.1");
    await once(web, "listening");
    open.push(web);
    const target = proxy as unknown as { target: number };
    target.target = (web.address() as { port: number }).port;
    const before = proxy.connections;
    proxy.cut();
    await expect.poll(() => proxy.connections).toBeGreaterThan(before + 3);
    target.target = listener.port;
    hot(peer, 1);
    await listener.logs[0]?.until(({ received }) => received.length === 1);
    expect(log.closed).toBeUndefined();
  });
});

test("a connection of the same session that was overtaken by a later one is refused", async () => {
  const listener = await listen();
  const session = { id: "ab".repeat(16), attempt: 2, received: 0, isNew: true };
  const hello = { token: TOKEN, role: "node", who: 1 };
  const [later, earlier] = await Promise.all([connectTcp(listener.address), connectTcp(listener.address)]);
  await introduce(later, { ...hello, session });
  await expect(introduce(earlier, { ...hello, session: { ...session, attempt: 1 } })).rejects.toThrow(
    /a later connection/,
  );
  expect(listener.peers[0]?.isConnected).toBe(true);
  later.destroy();
});

test.each([
  [{}],
  [{ id: "x", attempt: 1, received: 0, isNew: true }],
  [{ id: "ab".repeat(16), attempt: -1, received: 0, isNew: true }],
  [{ id: "ab".repeat(16), attempt: 1, received: 1.5, isNew: true }],
  [{ id: "ab".repeat(16), attempt: 1, received: 0, isNew: 1 }],
])("a hello with the session %j is refused", async (session) => {
  const listener = await listen();
  const socket = await connectTcp(listener.address);
  await expect(introduce(socket, { token: TOKEN, role: "node", who: 1, session })).rejects.toThrow(/no valid session/);
});

test("closing the listener says goodbye to everybody", async () => {
  const listener = await listen();
  const logs = [new Log(), new Log()];
  for (const log of logs) await dial(listener.address, log);
  await listener.close();
  await Promise.all(logs.map((log) => log.until(({ closed }) => closed !== undefined)));
  expect(logs.map(({ closed }) => closed)).toEqual([{ error: undefined }, { error: undefined }]);
});
