import { once } from "node:events";
import { renameSync } from "node:fs";
import { createServer, connect as rawConnect, type Socket } from "node:net";
import { afterAll, afterEach, describe, expect, test } from "vitest";
import type { TlsFiles } from "../wire/mod.ts";
import { connectTcp, introduce, listenTcp, parseAddress, parsePorts, type TcpListener } from "./mod.ts";
import { TestCertificates } from "./test-certificates.ts";
import { TestListener, TOKEN } from "./test-listener.ts";
import { Tls } from "./tls.ts";

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

async function listen(...args: Parameters<typeof listenTcp>): Promise<TcpListener> {
  const listener = await listenTcp(...args);
  open.push(listener);
  return listener;
}

const text = (socket: Socket): Promise<string> =>
  new Promise((resolve) => {
    socket.once("data", (bytes) => resolve(`${bytes}`));
    socket.resume();
  });

describe("addresses", () => {
  test("host and port, also of IPv6, are told apart", () => {
    expect(parseAddress("node-1.example:6380")).toEqual({ host: "node-1.example", port: 6380 });
    expect(parseAddress("10.0.0.1:1")).toEqual({ host: "10.0.0.1", port: 1 });
    expect(parseAddress("[::1]:65535")).toEqual({ host: "::1", port: 65_535 });
    expect(parseAddress("head", 6380)).toEqual({ host: "head", port: 6380 });
    expect(parseAddress("[fd00::2]", 6380)).toEqual({ host: "fd00::2", port: 6380 });
  });

  test.each(["", "head", ":6380", "::1:6380", "[head]:1", "[::1]6380", "head:65536", "head:-1", "head:1:2", "a b:1"])(
    "%j is refused as an address",
    (address) => {
      expect(() => parseAddress(address)).toThrow(/is not an address; write host:port/);
    },
  );

  test("a port, a range, and nothing else is a range of ports", () => {
    expect(parsePorts(0)).toEqual({ first: 0, last: 0 });
    expect(parsePorts("6380")).toEqual({ first: 6380, last: 6380 });
    expect(parsePorts("20000-20100")).toEqual({ first: 20_000, last: 20_100 });
    for (const bad of [-1, 65_536, 1.5, "", "a", "2-1", "1-65536", "1-2-3"]) {
      expect(() => parsePorts(bad)).toThrow(/is not a port/);
    }
  });
});

describe("listening and connecting", () => {
  test.each(["127.0.0.1", "::1", "localhost"])("on %s, bytes go both ways", async (host) => {
    const listener = await listen({ host, port: 0 }, (socket) => {
      socket.pipe(socket);
    });
    expect(parseAddress(listener.address)).toEqual({ host, port: listener.port });
    const socket = await connectTcp(listener.address);
    socket.write("there and back");
    expect(await text(socket)).toBe("there and back");
    socket.destroy();
  });

  test("the first free port of a range is taken, and a range without one is named", async () => {
    const taken = await listen({ host: "127.0.0.1", port: 0 }, () => {});
    const { port } = taken;
    const next = await listen({ host: "127.0.0.1", port: `${port}-${port + 20}` }, () => {});
    expect(next.port).toBeGreaterThan(port);
    expect(next.port).toBeLessThanOrEqual(port + 20);
    await expect(listenTcp({ host: "127.0.0.1", port: `${port}` }, () => {})).rejects.toMatchObject({
      code: "CONNECTION_LOST",
      message: `cannot listen on 127.0.0.1:${port}: no port is free`,
    });
  });

  test("the advertised address is the one that was given, with the port that was found", async () => {
    for (const [advertise, expected] of [
      ["head.example", (port: number) => `head.example:${port}`],
      ["head.example:7000", () => "head.example:7000"],
      ["fd00::2", (port: number) => `[fd00::2]:${port}`],
    ] as const) {
      const listener = await listen({ host: "127.0.0.1", port: 0, advertise }, () => {});
      expect(listener.address).toBe(expected(listener.port));
    }
    const everywhere = await listen({ host: "::", port: 0 }, () => {});
    expect(everywhere.address).not.toMatch(/^\[::\]|^0\.0\.0\.0/);
  });

  test("where nobody listens, connecting fails and says where", async () => {
    const listener = await listenTcp({ host: "127.0.0.1", port: 0 }, () => {});
    await listener.close();
    await expect(connectTcp(listener.address)).rejects.toMatchObject({
      code: "CONNECTION_LOST",
      kind: "unavailable",
      message: expect.stringContaining(`cannot connect to ${listener.address}: connect ECONNREFUSED`),
    });
  });

  test("a listener that does not finish TLS is given up after the timeout", async () => {
    const silent = createServer(() => {});
    silent.listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as { port: number };
    const tls = new Tls({});
    await expect(connectTcp(`127.0.0.1:${port}`, { tls, timeoutMs: 50 })).rejects.toThrow("no answer within 50 ms");
    silent.close();
  });

  test("connecting can be given up", async () => {
    const { port } = await listen({ host: "127.0.0.1", port: 0 }, () => {});
    await expect(connectTcp(`127.0.0.1:${port}`, { signal: AbortSignal.abort() })).rejects.toThrow("it was given up");
  });

  test("closing the listener ends its connections", async () => {
    const listener = await listenTcp({ host: "127.0.0.1", port: 0 }, () => {});
    const socket = await connectTcp(listener.address);
    const closed = once(socket.resume(), "close");
    await listener.close();
    await closed;
  });
});

describe("TLS", () => {
  const certificates = new TestCertificates();
  afterAll(() => certificates.remove());
  const file = (name: string): string => certificates.file(name);
  const of = (name: string, ca?: string): TlsFiles => certificates.of(name, ca);

  certificates.makeAuthority("cluster");
  certificates.makeAuthority("stranger");
  certificates.make("node", "cluster");
  certificates.make("intruder", "stranger");

  test("with a certificate alone, the token proves who is there, and no byte is readable on the way", async () => {
    const listener = await TestListener.open({ tls: new Tls(of("node")) });
    open.push(listener);
    const seen: Buffer[] = [];
    const proxy = createServer((socket) => {
      const onward = rawConnect(listener.port, "127.0.0.1");
      for (const one of [socket, onward]) one.on("error", () => {}).on("data", (bytes: Buffer) => seen.push(bytes));
      socket.pipe(onward).pipe(socket);
    });
    proxy.listen(0, "127.0.0.1");
    await once(proxy, "listening");
    open.push(proxy);
    const { port } = proxy.address() as { port: number };
    const socket = await connectTcp(`127.0.0.1:${port}`, { tls: new Tls({}) });
    const welcome = await introduce(socket, { token: TOKEN, role: "node", who: "somebody special" });
    expect(welcome.who).toEqual({ greets: "somebody special" });
    expect(Buffer.concat(seen).includes("somebody special")).toBe(false);
    socket.destroy();
  });

  test("who sits between two TLS connections cannot pass proofs on", async () => {
    const listener = await TestListener.open({ tls: new Tls(of("node")) });
    const between = await listenTcp({ host: "127.0.0.1", port: 0, tls: new Tls(of("intruder")) }, async (socket) => {
      const onward = await connectTcp(listener.address, { tls: new Tls({}) });
      onward.on("error", () => {});
      socket
        .on("error", () => {})
        .pipe(onward)
        .pipe(socket);
    });
    open.push(listener, between);
    const socket = await connectTcp(between.address, { tls: new Tls({}) });
    await expect(introduce(socket, { token: TOKEN, role: "node", who: 1 })).rejects.toMatchObject({
      code: "AUTHENTICATION",
    });
    expect(listener.hellos).toEqual([]);
  });

  test("with an authority, both sides demand certificates that it signed", async () => {
    const listener = await TestListener.open({ tls: new Tls(of("node", "cluster")) });
    open.push(listener);
    const socket = await connectTcp(listener.address, { tls: new Tls(of("node", "cluster")) });
    expect((await introduce(socket, { token: TOKEN, role: "node", who: 1 })).who).toEqual({ greets: 1 });
    socket.destroy();
    // TLS 1.3 tells the dialler after its own part is done, so it is the handshake that fails.
    for (const files of [{}, of("intruder")]) {
      const refused = await connectTcp(listener.address, { tls: new Tls(files) });
      await expect(introduce(refused, { token: TOKEN, role: "node", who: 1 })).rejects.toMatchObject({
        code: "CONNECTION_LOST",
      });
    }
    await expect(connectTcp(listener.address, { tls: new Tls(of("intruder", "stranger")) })).rejects.toThrow(
      /cannot connect/,
    );
    expect(listener.hellos).toHaveLength(1);
  });

  test("a certificate for another name is refused, unless that is the name that is expected", async () => {
    const listener = await listen({ host: "::1", port: 0, tls: new Tls(of("node")) }, (socket) =>
      socket.on("error", () => {}),
    );
    const ca = file("cluster.pem");
    await expect(connectTcp(listener.address, { tls: new Tls({ ca }) })).rejects.toThrow(
      /IP: ::1 is not in the cert's list/,
    );
    const socket = await connectTcp(listener.address, { tls: new Tls({ ca, serverName: "node.mobula" }) });
    socket.destroy();
  });

  test("certificates are exchanged while it runs: new connections see the new ones, old connections go on", async () => {
    certificates.make("changing", "cluster", "first");
    const tls = new Tls(of("changing"));
    const listener = await listen({ host: "127.0.0.1", port: 0, tls }, (socket) =>
      socket.on("error", () => {}).pipe(socket),
    );
    const subject = async (): Promise<[Socket, unknown]> => {
      const socket = await connectTcp(listener.address, { tls: new Tls({}) });
      return [socket, (socket as import("node:tls").TLSSocket).getPeerCertificate().subject.CN];
    };
    const [old, before] = await subject();
    expect(before).toBe("first");
    certificates.make("changed", "cluster", "second");
    renameSync(file("changed.key"), file("changing.key"));
    // Half of an exchange: the key does not fit the certificate, so the old pair stays.
    expect(() => tls.reload()).toThrow(/cannot be used/);
    const [between, still] = await subject();
    expect(still).toBe("first");
    renameSync(file("changed.pem"), file("changing.pem"));
    tls.reload();
    const [fresh, after] = await subject();
    expect(after).toBe("second");
    old.write("goes on");
    expect(await text(old)).toBe("goes on");
    for (const socket of [old, between, fresh]) socket.destroy();
  });

  test("files that cannot be used are named", () => {
    expect(() => new Tls({ cert: file("none.pem") })).toThrow(/cannot read .*none\.pem for TLS/);
    expect(() => new Tls({ ...of("node"), key: file("intruder.key") })).toThrow(
      /node\.pem.*intruder\.key cannot be used/,
    );
  });

  test("a listener without a certificate is refused", async () => {
    await expect(listenTcp({ host: "127.0.0.1", port: 0, tls: new Tls({}) }, () => {})).rejects.toThrow(
      /needs a certificate/,
    );
  });
});
