/** A head whose state is replicated: whoever calls is let in to what leads, or told who does; as a standby, it calls the leader. */
import { MobulaError } from "../base/errors.ts";
import type { ReplicatedLog, StateStore } from "../control/mod.ts";
import { Candidate, type Leading } from "./candidate.ts";
import type { Door, DoorOptions } from "./door.ts";
import type { Gate } from "./gate.ts";
import type { LoopLag } from "./loop-lag.ts";
import { openHead } from "./recorded.ts";
import { standBy } from "./standing-by.ts";

export interface ReplicatedHeadOptions extends DoorOptions {
  readonly door: Door;
  readonly stateLog: ReplicatedLog;
  readonly loopLag: LoopLag;
  /** For people. */
  readonly place: string;
  /** It leads, or knows who does. */
  onKnown(): void;
  /** The one that leads does not let it stand by; it goes on trying. */
  onRefused(error: MobulaError): void;
  /** Nothing can come of it: the state cannot be used. */
  onFailed(error: Error): void;
}

export class ReplicatedHead {
  private readonly options: ReplicatedHeadOptions;
  private readonly candidate: Candidate;
  private standing: AbortController | undefined;

  constructor(options: ReplicatedHeadOptions) {
    this.options = options;
    const { door, stateLog, log } = options;
    this.candidate = new Candidate(
      { stateLog, address: door.address },
      {
        onLeader: (address) => this.follow(address),
        onTrouble: ({ message }) => log.write("warn", `replicated state cannot be reached: ${message}`),
        lead: (state, gate) => this.lead(state, gate),
        onSuspended: () => log.write("warn", "replicated state takes nothing: this head is suspended"),
        onLost: ({ message }) => log.write("warn", `this head does not lead: ${message}`),
      },
    );
    void this.candidate.ended.catch((error: Error) => {
      if (!this.candidate.isStopped) options.onFailed(error);
    });
  }

  /** Lets another head lead at once. */
  async stop(): Promise<void> {
    this.standing?.abort();
    await this.candidate.stop();
    await this.options.door.close();
    await this.options.stateLog.close();
  }

  private follow(leader: string): void {
    const { door, access, log, place, onKnown, onRefused } = this.options;
    this.standing?.abort();
    door.leader = undefined;
    door.refusedBy = undefined;
    // The log may end with what this one has begun itself, or with a backup that was put back, which nobody can be referred to.
    if (leader === door.address || leader === "") return;
    log.write("info", `the head at ${leader} leads; this one stands by`);
    door.leader = leader;
    this.standing = new AbortController();
    void standBy(leader, {
      address: door.address,
      access,
      signal: this.standing.signal,
      onWelcomed: () => {
        door.refusedBy = undefined;
        onKnown();
      },
      onMissed: onKnown,
      onRefused: (error) => {
        const hint = error.code === "AUTHENTICATION" ? "; all heads of a cluster need the same token" : "";
        const why = `the head at ${leader}, which leads on the state in ${place}, refuses this one: ${error.message}${hint}`;
        if (door.refusedBy === undefined) log.write("error", why);
        door.refusedBy = leader;
        onRefused(new MobulaError(error.code, error.kind, why));
      },
    });
  }

  private async lead(state: StateStore, gate: Gate): Promise<Leading> {
    const { log, refusals, door, place, loopLag, onKnown } = this.options;
    this.standing?.abort();
    const runtime = await openHead({ log, refusals, state, gate, place, loopLag }, () => door.address);
    log.write("info", `this head leads, in epoch ${state.epoch}`);
    door.host = runtime;
    onKnown();
    return {
      stop() {
        door.host = undefined;
        runtime.stop();
      },
    };
  }
}
