import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import { NameTakenError } from "../base/errors.ts";
import { WIRE_VERSION } from "../base/wire-version.ts";
import { pack, unpack } from "../wire/mod.ts";
import { connectTcp, introduce, Strangers } from "./mod.ts";
import { closed, TestListener, type TestListenerOptions, TOKEN } from "./test-listener.ts";

const open: { close(): unknown }[] = [];
afterEach(async () => {
  for (const one of open.splice(0)) await one.close();
});

async function listen(options?: TestListenerOptions): Promise<TestListener> {
  const listener = await TestListener.open(options);
  open.push(listener);
  return listener;
}

const hello = { token: TOKEN, role: "node", who: { nodeId: "n1" } };

async function dial(listener: TestListener, more: Partial<Parameters<typeof introduce>[1]> = {}) {
  const socket = await connectTcp(listener.address);
  return { socket, welcome: await introduce(socket, { ...hello, ...more }) };
}

/** A connection whose bytes are the test's own. */
async function stranger(listener: TestListener): Promise<Socket> {
  const socket = connect(listener.port, "127.0.0.1");
  socket.on("error", () => {});
  await once(socket, "connect");
  return socket;
}

const frame = (message: unknown): Buffer => {
  const body = pack(message);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(body.length);
  return Buffer.concat([length, body]);
};

async function receive(socket: Socket): Promise<Record<string, unknown>> {
  const [bytes] = (await once(socket, "data")) as [Buffer];
  return unpack(bytes.subarray(4, 4 + bytes.readUInt32LE(0))) as Record<string, unknown>;
}

describe("who knows the token", () => {
  test("is welcomed; each side learns who the other is, and the token never travels", async () => {
    const listener = await listen();
    const proxied: Buffer[] = [];
    const socket = await connectTcp(listener.address);
    const write = socket.write.bind(socket);
    socket.write = ((bytes: Buffer) => {
      proxied.push(bytes);
      return write(bytes);
    }) as typeof socket.write;
    socket.on("data", (bytes) => proxied.push(bytes));
    const welcome = await introduce(socket, hello);
    expect(welcome).toMatchObject({ version: WIRE_VERSION, who: { greets: { nodeId: "n1" } } });
    expect(listener.hellos).toMatchObject([{ version: WIRE_VERSION, role: "node", who: { nodeId: "n1" } }]);
    expect(proxied).toHaveLength(3);
    expect(Buffer.concat(proxied).includes(TOKEN)).toBe(false);
    socket.destroy();
  });

  test("gets what follows the welcome in the same packet unread", async () => {
    const listener = await listen({
      onWelcomed: (socket) => void socket.on("error", () => {}).write("and this"),
    });
    const { socket } = await dial(listener);
    const [bytes] = await once(socket.resume(), "data");
    expect(`${bytes}`).toBe("and this");
    socket.destroy();
  });

  test("is told why, when the listener refuses it all the same", async () => {
    const listener = await listen({
      onHello() {
        throw new NameTakenError("node n1 is here already");
      },
    });
    await expect(dial(listener)).rejects.toMatchObject({
      code: "NAME_TAKEN",
      kind: "invalid",
      message: "node n1 is here already",
    });
    expect(listener.refusals).toEqual(["NAME_TAKEN"]);
  });
});

describe("who does not know the token", () => {
  test("is refused by AuthenticationError, in the answer to its hello", async () => {
    const listener = await listen();
    await expect(dial(listener, { token: "wrong" })).rejects.toMatchObject({
      code: "AUTHENTICATION",
      message: expect.stringMatching(/token is wrong/),
    });
    expect(listener.refusals).toEqual(["AUTHENTICATION"]);
    expect(listener.hellos).toEqual([]);
  });

  test("cannot use an empty token where none is set", async () => {
    const listener = await listen({ tokens: () => [""] });
    await expect(dial(listener, { token: "" })).rejects.toMatchObject({ code: "AUTHENTICATION" });
  });

  test("cannot repeat what another has said", async () => {
    const listener = await listen();
    const socket = await connectTcp(listener.address);
    const said: Buffer[] = [];
    const write = socket.write.bind(socket);
    socket.write = ((bytes: Buffer) => {
      said.push(bytes);
      return write(bytes);
    }) as typeof socket.write;
    await introduce(socket, hello);
    const replay = await stranger(listener);
    await receive(replay);
    replay.write(Buffer.concat(said));
    expect(await receive(replay)).toMatchObject({ t: "refused", code: "AUTHENTICATION" });
    socket.destroy();
    await closed(replay);
  });

  test("cannot change what is said on the way", async () => {
    const listener = await listen();
    const socket = await connectTcp(listener.address);
    const write = socket.write.bind(socket);
    socket.write = ((bytes: Buffer) => {
      const changed = Buffer.from(bytes);
      changed[changed.indexOf("n1") + 1] = "2".charCodeAt(0);
      return write(changed);
    }) as typeof socket.write;
    await expect(introduce(socket, hello)).rejects.toMatchObject({ code: "AUTHENTICATION" });
  });

  test("cannot pass for a listener", async () => {
    const listener = await listen();
    listener.hellos.length = 0;
    const socket = await connectTcp(listener.address);
    // Answers as it likes: a proof by another token.
    const emit = socket.emit.bind(socket);
    let frames = 0;
    socket.emit = ((event: string, ...args: unknown[]) => {
      if (event === "data" && ++frames === 2) {
        return emit(
          "data",
          frame({ t: "welcome", body: pack({ role: "listener", who: "me" }), proof: Buffer.alloc(32, 7) }),
        );
      }
      return emit(event, ...args);
    }) as typeof socket.emit;
    await expect(introduce(socket, hello)).rejects.toMatchObject({
      code: "AUTHENTICATION",
      message: expect.stringMatching(/listener does not know the token/),
    });
  });
});

test("tokens are exchanged while it runs: first both are valid, then the new one alone", async () => {
  let tokens = [TOKEN];
  const listener = await listen({ tokens: () => tokens });
  const first = await dial(listener);
  tokens = ["new", TOKEN];
  const second = await dial(listener);
  const third = await dial(listener, { token: "new" });
  tokens = ["new"];
  await expect(dial(listener)).rejects.toMatchObject({ code: "AUTHENTICATION" });
  const fourth = await dial(listener, { token: "new" });
  expect(listener.sockets.map(({ destroyed }) => destroyed)).toEqual([false, false, false, false]);
  for (const { socket } of [first, second, third, fourth]) socket.destroy();
});

describe("versions", () => {
  test.each([
    [7, 7, 7],
    [7, 6, 6],
    [6, 7, 6],
  ])("a listener of version %i and a dialler of version %i speak %i", async (theirs, own, spoken) => {
    const listener = await listen({ version: theirs });
    const { socket, welcome } = await dial(listener, { version: own });
    expect(welcome.version).toBe(spoken);
    expect(listener.hellos).toMatchObject([{ version: spoken }]);
    socket.destroy();
  });

  test.each([
    [
      7,
      5,
      /^the process at \S+ speaks wire version 7 and the one before, this process 5: upgrade .* side of this process/,
    ],
    [
      5,
      7,
      /^this process speaks wire version 7 and the one before, the process at \S+ 5: upgrade .* side of the process at/,
    ],
  ])("a listener of version %i and a dialler of version %i part, naming both", async (theirs, own, words) => {
    const listener = await listen({ version: theirs });
    await expect(dial(listener, { version: own })).rejects.toMatchObject({
      code: "VERSION_MISMATCH",
      kind: "invalid",
      message: expect.stringMatching(words),
    });
  });

  test("a hello of an unknown version is refused, naming both", async () => {
    const listener = await listen({ version: 7 });
    const socket = await stranger(listener);
    await receive(socket);
    socket.write(frame({ t: "hello", version: 99, nonce: Buffer.alloc(16) }));
    expect(await receive(socket)).toMatchObject({
      code: "VERSION_MISMATCH",
      message: expect.stringContaining(
        "wire version 7 and the one before, the process that connects 99: upgrade mobula on the side of the listener",
      ),
    });
    await closed(socket);
  });
});

describe("strangers", () => {
  test.each([
    ["another message", frame({ t: "lease-demand" }), /first message of a connection must be hello/],
    ["no map", frame(7), /must be hello/],
    [
      "a hello without a proof",
      frame({ t: "hello", version: WIRE_VERSION, nonce: Buffer.alloc(16) }),
      /lacks a body or a proof/,
    ],
    [
      "a proof of another length",
      frame({
        t: "hello",
        version: WIRE_VERSION,
        nonce: Buffer.alloc(16),
        body: Buffer.alloc(1),
        proof: Buffer.alloc(31),
      }),
      /lacks a body or a proof/,
    ],
  ])("who begins with %s is refused", async (_what, bytes, words) => {
    const listener = await listen();
    const socket = await stranger(listener);
    await receive(socket);
    socket.write(bytes);
    expect(await receive(socket)).toMatchObject({ t: "refused", message: expect.stringMatching(words) });
    await closed(socket);
  });

  test.each([
    ["a frame above 64 KiB", Buffer.from([0, 0, 1, 0])],
    ["a frame of 4 GiB", Buffer.from([255, 255, 255, 255, 1])],
    ["another protocol", Buffer.from("GET / HTTP/1.1\r\n\r\n")],
    ["what is no MessagePack", Buffer.from([2, 0, 0, 0, 0xc1, 0xc1])],
    ["an empty frame", Buffer.from([0, 0, 0, 0])],
  ])("who begins with %s is cut off", async (_what, bytes) => {
    const listener = await listen();
    const socket = await stranger(listener);
    socket.write(bytes);
    await closed(socket);
    const { socket: good } = await dial(listener);
    good.destroy();
  });

  test("have a time, whether silent or slow", async () => {
    const listener = await listen({ strangers: new Strangers(100) });
    const silent = await stranger(listener);
    const slow = await stranger(listener);
    const drip = setInterval(() => slow.write("\x10"), 10);
    await Promise.all([closed(silent), closed(slow)]);
    clearInterval(drip);
  });

  test("are 256 at most; who has been welcomed does not count, and room comes back", async () => {
    const listener = await listen();
    const known = await Promise.all(Array.from({ length: 10 }, () => dial(listener)));
    const strangers = await Promise.all(Array.from({ length: 256 }, () => stranger(listener)));
    await Promise.all(strangers.map((socket) => receive(socket)));
    await expect(dial(listener)).rejects.toThrow(/ended before the welcome/);
    const [one] = strangers;
    one?.destroy();
    await once(one as Socket, "close");
    await expect
      .poll(() =>
        dial(listener).then(
          ({ socket }) => known.push({ socket, welcome: known[0]?.welcome as never }),
          () => 0,
        ),
      )
      .toBeGreaterThan(10);
    for (const socket of strangers) socket.destroy();
    for (const { socket } of known) socket.destroy();
  });

  test("a listener that answers nothing is given up", async () => {
    const listener = await listen({ tokens: () => [], strangers: new Strangers() });
    const socket = await connectTcp(listener.address);
    socket.write = (() => true) as typeof socket.write;
    await expect(introduce(socket, { ...hello, timeoutMs: 50 })).rejects.toThrow("no welcome within 50 ms");
    expect(socket.destroyed).toBe(true);
  });
});

test("a listener that fails over a hello says so, and keeps the reason for its own log", async () => {
  const failures: unknown[] = [];
  const listener = await listen({
    onHello() {
      throw new TypeError("a secret of the listener");
    },
    onRefused: (error) => failures.push(error.cause),
  });
  await expect(dial(listener)).rejects.toMatchObject({
    code: "INTERNAL",
    message: "the listener failed to answer hello",
  });
  expect(failures).toMatchObject([{ message: "a secret of the listener" }]);
});
