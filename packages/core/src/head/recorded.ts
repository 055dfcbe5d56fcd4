/**
 * The head as one engine, which is recorded (node/recording.ts): all that decides for the cluster, and the order in which one part
 * asks the other: members, control of actors and their places, the division of leases, placement groups, preemption and quotas.
 * They share what is known of nodes, so that none of them does the same again without the others.
 */
import { type Clock, machineClock, wallMs as machineWallMs } from "../base/clock.ts";
import { type StateStore, stateId } from "../control/mod.ts";
import { type EngineKind, Recording } from "../node/mod.ts";
import type { Peer } from "../transport/mod.ts";
import type { Host } from "./door.ts";
import type { Gate } from "./gate.ts";
import { earmarkAfterMs } from "./groups.ts";
import { HeadRuntime, type HeadRuntimeOptions } from "./runtime.ts";

/** What it is made with. */
interface Start extends Required<Pick<HeadRuntimeOptions, "place" | "earmarkAfterMs">> {
  readonly epoch: number;
}

type Pieces = Pick<AsyncIterator<Awaited<ReturnType<StateStore["list"]>>, void, undefined>, "next"> & {
  end(): Promise<unknown>;
};

/** All that it asks of the world, but for what it says to who is connected. */
interface World
  extends Clock,
    Required<Pick<HeadRuntimeOptions, "wallMs" | "random">>,
    Pick<StateStore, "get" | "list" | "commit">,
    Pick<Gate, "pass"> {
  address(): string;
  write: HeadRuntimeOptions["log"]["write"];
  refused(): HeadRuntimeOptions["refusals"]["recent"];
  lagMs(): number;
  isOpen(): boolean;
  snapshot(): Pieces;
}

export const HEAD: EngineKind<Start, World, Promise<HeadRuntime>> = {
  name: "head",
  make: ({ epoch, ...start }, world) =>
    HeadRuntime.open(
      {
        ...start,
        log: { write: world.write },
        refusals: {
          get recent() {
            return world.refused();
          },
        },
        loopLag: {
          get maxMs() {
            return world.lagMs();
          },
        },
        gate: {
          get isOpen() {
            return world.isOpen();
          },
          pass: (act) => world.pass(act),
        },
        state: {
          epoch,
          get: (key) => world.get(key),
          list: (prefix) => world.list(prefix),
          commit: (changes, done) => world.commit(changes, done),
          snapshot: () => inPieces(world),
        },
        clock: { nowMs: world.nowMs, later: world.later },
        wallMs: world.wallMs,
        random: world.random,
      },
      world.address,
    ),
  told: ["node", "tool", "standby", "stateServiceAt", "stop", "isSuspended"],
};

async function* inPieces(world: World): ReturnType<StateStore["snapshot"]> {
  const pieces = world.snapshot();
  try {
    for (let next = await pieces.next(); !next.done; next = await pieces.next()) yield next.value;
  } finally {
    await pieces.end();
  }
}

/** Recorded if engines are. @throws MobulaError when the state cannot be read. */
export async function openHead(
  options: HeadRuntimeOptions,
  address: () => string,
): Promise<Host & Pick<HeadRuntime, "stop">> {
  const { state, place } = options;
  const start = { epoch: state.epoch, place, earmarkAfterMs: options.earmarkAfterMs ?? earmarkAfterMs() };
  const recording = Recording.of(HEAD.name, "head", start);
  if (!recording) return HeadRuntime.open(options, address);
  // A state that has none yet is given one at random.
  await stateId(state);
  const world = recording.world(worldOf(options, address));
  const runtime = recording.told(await HEAD.make(start, world), HEAD.told);
  return {
    who: runtime.who,
    get isSuspended() {
      return runtime.isSuspended;
    },
    node: (peer, nodeId) => runtime.node(wayOf(peer), nodeId),
    tool: (peer) => runtime.tool(wayOf(peer)),
    standby: (peer, at) => runtime.standby(wayOf(peer), at),
    stateServiceAt: (at, url) => runtime.stateServiceAt(at, url),
    stop: () => runtime.stop(),
  };
}

function worldOf(options: HeadRuntimeOptions, address: () => string): World {
  const { log, refusals, loopLag, gate, state, clock = machineClock, wallMs = machineWallMs } = options;
  return {
    address,
    nowMs: clock.nowMs,
    later: clock.later,
    wallMs,
    random: options.random ?? Math.random,
    write: (level, message) => log.write(level, message),
    refused: () => refusals.recent,
    lagMs: () => loopLag.maxMs,
    isOpen: () => gate.isOpen,
    pass: (act) => gate.pass(act),
    get: (key) => state.get(key),
    list: (prefix) => state.list(prefix),
    commit: (changes, done) => state.commit(changes, done),
    snapshot() {
      const pieces = state.snapshot()[Symbol.asyncIterator]();
      return { next: () => pieces.next(), end: async () => pieces.return?.() };
    },
  };
}

/** What a head does with a connection. */
const wayOf = (peer: Peer): Peer =>
  ({
    send: (message: object) => peer.send(message),
    close: () => peer.close(),
    destroy: () => peer.destroy(),
  }) as Peer;
