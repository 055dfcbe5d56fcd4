/** Hostile connections, from a seed: what they say, and how they leave. */
import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { newProcessId } from "../../src/base/ids.ts";
import { createPrng, type Prng } from "../../src/base/prng.ts";
import { WIRE_VERSION } from "../../src/base/wire-version.ts";
import { introduce } from "../../src/transport/mod.ts";
import { pack } from "../../src/wire/mod.ts";
import { type Client, type Listeners, TOKEN } from "./listeners.ts";

export interface Attack {
  readonly kind: "tcp" | "unix";
  readonly frames: number;
  readonly seed: number;
  /** Works meanwhile. */
  readonly client: Client;
}

export interface Outcome {
  readonly connections: number;
  readonly frames: number;
  readonly byWay: Readonly<Record<string, number>>;
  readonly trips: number;
}

const LANES = 24;
/** So many of the lanes may be held by connections that say nothing, or little. */
const SLOW_MAX = 8;
/** Nobody may hold a connection longer: the listeners give strangers 500 ms. */
const HELD_MS_MAX = 20_000;

const bytesOf = (random: Prng, length: number): Buffer => Buffer.from(random.hex(length), "hex");

function frameOf(body: Buffer, length = body.length): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt32LE(length >>> 0);
  return Buffer.concat([header, body]);
}

/** Something where a field is expected. */
function nonsense(random: Prng, depth = 0): unknown {
  const choices: (() => unknown)[] = [
    () => null,
    () => random.chance(0.5),
    () => random.between(-5, 5),
    () => random.float() * 2 ** random.below(70),
    () => Number.NaN,
    () => bytesOf(random, random.below(64)),
    () => bytesOf(random, random.below(300)).toString("latin1"),
    () => "__proto__",
    () => 2n ** BigInt(random.below(63)),
    () => new Date(random.below(2 ** 31)),
    () => new Error("hostile"),
    () => new Map([[1, 2]]),
    () => (depth > 3 ? [] : Array.from({ length: random.below(6) }, () => nonsense(random, depth + 1))),
    () => (depth > 3 ? {} : { t: "hello", constructor: nonsense(random, depth + 1), length: -1 }),
  ];
  return (random.pick(choices) as () => unknown)();
}

function helloTcp(random: Prng): Record<string, unknown> {
  return {
    t: "hello",
    version: WIRE_VERSION,
    nonce: bytesOf(random, 16),
    body: pack({ role: "node", who: "me", session: { id: random.hex(16), attempt: 1, received: 0, isNew: true } }),
    proof: bytesOf(random, 32),
  };
}

function helloUnix(random: Prng): Record<string, unknown> {
  return {
    t: "hello",
    version: WIRE_VERSION,
    token: random.hex(16),
    role: "tool",
    language: "js",
    pid: 1,
    processId: newProcessId(),
  };
}

/** Ways to make the bytes of one frame. */
const WAYS: Readonly<Record<string, (random: Prng, hello: Record<string, unknown>) => Buffer>> = {
  "random bytes": (random) => bytesOf(random, random.between(1, 2_000)),
  "random body": (random) => frameOf(bytesOf(random, random.between(0, 2_000))),
  "huge length": (random) => frameOf(bytesOf(random, 8), random.between(65_536, 2 ** 32 - 1)),
  "longest allowed": (random) => frameOf(Buffer.alloc(65_000, random.below(256))),
  "truncated hello": (random, hello) => {
    const bytes = frameOf(pack(hello));
    return bytes.subarray(0, random.below(bytes.length));
  },
  "mutated hello": (random, hello) => {
    const bytes = frameOf(pack(hello));
    for (let count = random.between(1, 8); count > 0; count--) bytes[random.below(bytes.length)] = random.below(256);
    return bytes;
  },
  "hello with nonsense": (random, hello) => {
    const fields = Object.keys(hello);
    for (let count = random.between(1, 3); count > 0; count--) {
      hello[random.pick(fields) as string] = nonsense(random);
    }
    return frameOf(pack(hello));
  },
  "hello without a field": (random, hello) => {
    delete hello[random.pick(Object.keys(hello)) as string];
    return frameOf(pack(hello));
  },
  "another message": (random) =>
    frameOf(pack({ t: random.pick(["query", "lease-demand", "goodbye"]), ...[nonsense(random)] })),
  "hot frame": (random) => frameOf(Buffer.concat([Buffer.from([0x93]), bytesOf(random, 40)])),
  "acknowledgement or goodbye": (random) =>
    frameOf(random.chance(0.5) ? Buffer.from([0xc0]) : Buffer.concat([Buffer.from([0xcf]), bytesOf(random, 8)])),
  "deep nesting": (random) => frameOf(Buffer.alloc(60_000, random.pick([0x91, 0x81, 0xc7]))),
  "large counts": (random) =>
    frameOf(Buffer.concat([Buffer.from([random.pick([0xdd, 0xdf, 0xc6, 0xdb, 0xc9]) as number]), bytesOf(random, 60)])),
  "right hello of a wrong token": (_random, hello) => frameOf(pack(hello)),
};
const WAY_NAMES = Object.keys(WAYS);

/** Runs an attack, and meanwhile what the client does. */
export async function attack(listeners: Listeners, { kind, frames, seed, client }: Attack): Promise<Outcome> {
  const random = createPrng(seed);
  const byWay: Record<string, number> = {};
  let connections = 0;
  let sent = 0;
  let slow = 0;

  const count = (way: string, number = 1): void => {
    sent += number;
    byWay[way] = (byWay[way] ?? 0) + number;
  };

  const one = async (): Promise<void> => {
    connections++;
    const socket = listeners.connect(kind);
    socket.on("error", () => {}).resume();
    const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
    await Promise.race([new Promise<void>((resolve) => socket.once("connect", resolve)), closed]);
    if (socket.destroyed) return;
    if (kind === "tcp" && random.chance(0.1)) await insider(socket, random, count);
    else if (slow < SLOW_MAX && random.chance(0.02)) {
      slow++;
      await holdOn(socket, kind, random, count, closed);
      slow--;
    } else {
      for (let number = random.between(1, 3); number > 0; number--) {
        const way = random.pick(WAY_NAMES) as string;
        const hello = kind === "tcp" ? helloTcp(random) : helloUnix(random);
        socket.write((WAYS[way] as (typeof WAYS)[string])(random, hello));
        count(way);
      }
      leave(socket, random);
    }
    await closedInTime(closed);
  };

  const lane = async (): Promise<void> => {
    while (sent < frames) await one();
  };
  let isOver = false;
  const work = async (): Promise<void> => {
    while (!isOver) {
      await client.trip();
      await delay(2);
    }
  };
  const working = work();
  await Promise.race([Promise.all(Array.from({ length: LANES }, lane)), working]);
  isOver = true;
  await working;
  return { connections, frames: sent, byWay, trips: client.trips };
}

async function closedInTime(closed: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () => reject(new Error(`a hostile connection is held for more than ${HELD_MS_MAX} ms`)),
      HELD_MS_MAX,
    );
  });
  await Promise.race([closed, late]);
  clearTimeout(timer);
}

function leave(socket: Socket, random: Prng): void {
  const way = random.below(4);
  if (way === 0) socket.end();
  else if (way === 1) socket.destroy();
  else if (way === 2 && "resetAndDestroy" in socket && socket.remoteAddress !== undefined) socket.resetAndDestroy();
  // Or stays, half-open or not, until the listener has had enough.
}

/** Says little or nothing, for as long as it is let. */
async function holdOn(
  socket: Socket,
  kind: "tcp" | "unix",
  random: Prng,
  count: (way: string) => void,
  closed: Promise<unknown>,
): Promise<void> {
  const isSilent = random.chance(0.3);
  count(isSilent ? "silence" : "byte by byte");
  const bytes = frameOf(pack(kind === "tcp" ? helloTcp(random) : helloUnix(random)));
  for (let at = 0; !isSilent && at < bytes.length && !socket.destroyed; at++) {
    socket.write(bytes.subarray(at, at + 1));
    await Promise.race([delay(10), closed]);
  }
}

/** Knows the token, has a session, and sends garbage over it. */
async function insider(socket: Socket, random: Prng, count: (way: string, number?: number) => void): Promise<void> {
  const session = { id: random.hex(16), attempt: 1, received: 0, isNew: true };
  try {
    await introduce(socket, { token: TOKEN, role: "node", who: nonsense(random), session });
  } catch {
    // There are too many strangers just now.
    return;
  }
  socket.on("error", () => {}).resume();
  const way = random.pick([
    "random body",
    "huge length",
    "hot frame",
    "acknowledgement or goodbye",
    "deep nesting",
  ]) as string;
  const number = random.between(1, 4);
  for (let left = number; left > 0; left--) socket.write((WAYS[way] as (typeof WAYS)[string])(random, {}));
  count(`insider: ${way}`, number);
  // A session without a goodbye is kept for a while by whoever accepted it.
  leave(socket, random);
  if (!socket.destroyed) socket.end();
}
