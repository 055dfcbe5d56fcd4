/** A machine with a head: production's, with the ways, the time and the state of the simulation; its process may end and be started again. */
import type { Clock, MobulaError } from "../../core/src/base/mod.ts";
import type { StateStore } from "../../core/src/control/mod.ts";
import { Candidate } from "../../core/src/head/candidate.ts";
import { Gate } from "../../core/src/head/gate.ts";
import { HeadRuntime } from "../../core/src/head/runtime.ts";
import type { HeadIdentity, ToControl } from "../../core/src/wire/cluster-messages.ts";
import type { Connection } from "./connection.ts";
import { HeadWatch } from "./head-watch.ts";
import type { SimHeads } from "./heads.ts";
import type { Place } from "./network.ts";
import type { SimNode } from "./node.ts";
import { ServersWay } from "./servers.ts";
import { stateOn } from "./state.ts";
import type { World } from "./world.ts";

/** Clocks of heads run so much faster or slower than others. */
const DRIFT = 0.02;
const START_AGAIN_MS = 200;

/** What decides for the cluster while its head leads. */
export interface HeadLife {
  readonly runtime: HeadRuntime;
  readonly gate: Gate;
  readonly watch: HeadWatch;
}

export class SimHead {
  readonly heads: SimHeads;
  readonly place: Place;
  readonly address: string;
  isUp = false;
  life: HeadLife | undefined;
  /** Another, as far as it knows. */
  leader: string | undefined;
  readonly world: World;
  private readonly drift: number;
  /** Counts its processes. */
  private run = 0;
  private stoppedAtMs = 0;
  private readonly connections = new Set<Connection>();
  /** Of its process, while that is stopped. */
  private readonly due: (() => void)[] = [];
  private readonly greeting = new Set<() => void>();

  constructor(heads: SimHeads, name: string) {
    this.heads = heads;
    this.world = heads.world;
    this.place = { name, machine: name, isPaused: false, isLost: false, slowness: 1 };
    this.address = `${name}:1`;
    this.drift = heads.servers ? 1 + DRIFT * (2 * this.world.prng.float() - 1) : 1;
  }

  get isLeading(): boolean {
    return this.life?.gate.isLeading() ?? false;
  }

  start(): void {
    if (this.isUp) return;
    this.isUp = true;
    this.place.isPaused = false;
    this.run++;
    const { disk } = this.heads;
    if (disk) this.leadAlone(stateOn(disk, ++this.heads.epochs));
    else this.stand();
  }

  crash(): void {
    if (!this.isUp) return;
    this.world.note(this.place.name, "crashes");
    this.isUp = false;
    this.run++;
    this.due.length = 0;
    for (const reset of this.greeting) reset();
    this.greeting.clear();
    this.leader = undefined;
    this.life = undefined;
    for (const connection of this.connections) connection.break();
    this.heads.disk?.crash();
  }

  pause(): void {
    if (!this.isUp) return;
    this.world.note(this.place.name, "is stopped");
    this.stoppedAtMs = this.world.clock.nowMs;
    this.world.network.stop(this.place);
  }

  /** Somebody connects: it greets at once, or when it goes on, and resets the connection when it is killed before. */
  greet(greeted: () => void, reset: () => void): void {
    if (!this.place.isPaused) {
      greeted();
      return;
    }
    this.greeting.add(reset);
    this.due.push(() => {
      this.greeting.delete(reset);
      greeted();
    });
  }

  /** Its timers are due before it reads what has come meanwhile. */
  resume(): void {
    if (!this.isUp || !this.place.isPaused) return;
    this.world.note(this.place.name, "goes on");
    this.place.isPaused = false;
    this.life?.watch.resumed(this.stoppedAtMs);
    for (const run of this.due.splice(0)) run();
    this.world.network.resume(this.place);
  }

  /** Of its process as it is now. */
  private get clock(): Clock {
    const { world, run, drift } = this;
    const { clock } = world;
    const startMs = clock.nowMs;
    return {
      nowMs: () => startMs + (clock.nowMs - startMs) * drift,
      later: (ms, then) => {
        let isDue = true;
        const call = (): void => {
          if (!isDue || this.run !== run) return;
          if (this.place.isPaused) {
            this.due.push(call);
            return;
          }
          isDue = false;
          world.wake();
          then();
        };
        clock.schedule(ms / drift, call);
        return () => {
          isDue = false;
        };
      },
    };
  }

  // ── leading ────────────────────────────────────────────────────────────────────────────────────────────────────────

  private stand(): void {
    const { servers } = this.heads;
    if (!servers) return;
    const { clock, world, place, address, run } = this;
    const { name } = place;
    const stateLog = new ServersWay(world, servers, { place, later: clock.later });
    const candidate = new Candidate(
      { stateLog, address, clock },
      {
        onLeader: (leader) => {
          this.leader = leader === address ? undefined : leader;
        },
        onTrouble: ({ message }) => world.note(name, `does not reach its state: ${message}`),
        onSuspended: () => world.note(name, "is suspended"),
        onLost: ({ message }) => world.note(name, `does not lead: ${message}`),
        lead: async (state, gate) => {
          const watched = this.heads.acknowledged.watched(state, await state.list(""));
          const life = await this.open(watched, gate, clock);
          if (this.run === run) this.life = life;
          return {
            stop: () => {
              life.runtime.stop();
              if (this.life === life) this.life = undefined;
            },
          };
        },
      },
    );
    candidate.ended.catch((error: Error) => {
      world.failure ??= error;
    });
  }

  /** Nobody else can. */
  private leadAlone(state: StateStore): void {
    const { clock, world, run } = this;
    const gate = new Gate(() => this.run === run);
    world.wake();
    this.open(state, gate, clock).then(
      (life) => {
        if (this.run === run) this.life = life;
      },
      (error: MobulaError) => {
        // A full disk: the process ends, and somebody starts it again.
        if (error.kind !== "exhausted") world.failure ??= error;
        else if (this.run === run) this.crash();
        world.clock.schedule(START_AGAIN_MS, () => this.start());
      },
    );
  }

  private async open(state: StateStore, gate: Gate, clock: Clock): Promise<HeadLife> {
    const { world, place, address } = this;
    const log = { write: (_level: unknown, message: string): void => world.note(place.name, message) };
    const runtime = await HeadRuntime.open(
      {
        log,
        refusals: { recent: [] },
        state,
        gate,
        place: null,
        loopLag: { maxMs: 0 },
        clock,
      },
      () => address,
    );
    this.heads.begins();
    world.note(place.name, `leads, in epoch ${state.epoch}`);
    return { runtime, gate, watch: new HeadWatch(this, runtime, gate) };
  }

  // ── connections ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** @throws what the door of a head refuses with. */
  accept(node: SimNode, connection: Connection, deliver: (message: object) => void): HeadIdentity {
    const { life, world, place } = this;
    if (!life) throw new RangeError("a head that does not lead accepts nobody");
    const { runtime, watch } = life;
    const { nodeId } = node;
    this.connections.add(connection);
    // What is on its way then is not read any more: a node that has come by another way has said it all anew.
    let isDestroyed = false;
    const handlers = runtime.node(
      {
        send: (message) => {
          watch.says(nodeId, message);
          connection.sayToNode(() => deliver(message));
        },
        close: () => connection.closedByHead(),
        destroy: () => {
          isDestroyed = true;
          connection.break();
        },
      },
      nodeId,
    );
    connection.onHeadClosed = () => {
      this.connections.delete(connection);
      world.wake();
      if (this.life === life) handlers.onClose(undefined);
    };
    connection.onHeadHears = (message: ToControl) => {
      if (this.life !== life || isDestroyed) return;
      watch.hears(node, message);
      if (message.t !== "node-report") world.note(place.name, `hears ${message.t} of ${node.place.name}`, message);
      world.wake();
      handlers.onMessage(message);
    };
    return runtime.who;
  }
}
