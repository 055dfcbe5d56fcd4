/**
 * The servers that keep replicated state (`control/replicated-log.ts`), and a head's way to them: what is asked may arrive late,
 * never, or long after whoever asked has given up; answers are lost, to records that were written too.
 */
import { MobulaError } from "../../core/src/base/mod.ts";
import { MemoryLog } from "../../core/src/control/log-memory.ts";
import type { AppendOutcome, LogRecord, ReplicatedLog } from "../../core/src/control/replicated-log.ts";
import type { Place } from "./network.ts";
import type { World } from "./world.ts";

/** Who asks waits for so long. */
const ANSWER_MS = 1_000;
/** What cannot be delivered is sent again, for a while. */
const AGAIN_MS = 200;
const SENT_AGAIN_MAX = 50;
const LOST_CHANCE = 0.01;
const LAG_CHANCE = 0.1;
const LAG_MAX = 3;

export class SimServers {
  readonly machine = "servers";
  readonly log = new MemoryLog();
  /** Too few of them live. */
  areDown = false;
  isFull = false;
  /** Their leaders change: a record may be let through that follows another one. */
  areWeak = false;
  private readonly world: World;

  constructor(world: World) {
    this.world = world;
  }

  /** A replica may not have come so far. */
  read(from: number): readonly LogRecord[] {
    const { prng } = this.world;
    const records = this.log.records.filter(({ seq }) => seq >= from);
    const lag = prng.chance(LAG_CHANCE) ? prng.below(LAG_MAX + 1) : 0;
    return records.slice(0, Math.max(0, records.length - lag)).slice(0, 100);
  }

  append(data: Uint8Array, after: number): AppendOutcome {
    const { log, world } = this;
    const last = log.records.at(-1)?.seq ?? 0;
    if (after !== last && !(this.areWeak && world.prng.chance(0.5))) return { kind: "refused" };
    if (this.isFull)
      return { kind: "failed", error: new MobulaError("DISK_FULL", "exhausted", "the servers are full") };
    return { kind: "appended", seq: log.add(data) };
  }
}

/** The process that asks: it hears nothing while it is stopped, and nothing more when it has ended. */
export interface Asker {
  readonly place: Place;
  later(ms: number, run: () => void): () => void;
}

const unanswered = (): MobulaError =>
  new MobulaError("STATE_UNAVAILABLE", "unavailable", "the servers did not answer in time");

export class ServersWay implements ReplicatedLog {
  readonly name = "the simulated log";
  readonly recordBytesMax = 1 << 20;
  private readonly world: World;
  private readonly servers: SimServers;
  private readonly asker: Asker;

  constructor(world: World, servers: SimServers, asker: Asker) {
    this.world = world;
    this.servers = servers;
    this.asker = asker;
  }

  async read(from: number): Promise<readonly LogRecord[]> {
    const records = await this.ask(() => this.servers.read(from));
    if (!records) throw unanswered();
    return records;
  }

  async append(data: Uint8Array, after: number): Promise<AppendOutcome> {
    return (await this.ask(() => this.servers.append(data, after))) ?? { kind: "unknown", error: unanswered() };
  }

  async trim(before: number): Promise<void> {
    if (!(await this.ask(() => this.servers.log.trim(before).then(() => true)))) throw unanswered();
  }

  async close(): Promise<void> {}

  /** Undefined: no answer in time. */
  private ask<T>(act: () => T): Promise<T | undefined> {
    const { world, servers, asker } = this;
    const { clock, prng, network } = world;
    const isCut = (): boolean => servers.areDown || network.isCut(asker.place.machine, servers.machine);
    return new Promise((resolve) => {
      asker.later(ANSWER_MS, () => resolve(undefined));
      const arrive = (tries: number): void => {
        if (isCut()) {
          if (tries < SENT_AGAIN_MAX && !prng.chance(0.1)) clock.schedule(AGAIN_MS, () => arrive(tries + 1));
          return;
        }
        const answer = act();
        clock.schedule(world.delayMs(), () => {
          if (!isCut() && !prng.chance(LOST_CHANCE)) asker.later(0, () => resolve(answer));
        });
      };
      clock.schedule(world.delayMs(), () => arrive(0));
    });
  }
}
