/**
 * Leads when it is its turn: it stands by, leads with everything read anew from the log (control/leadership.ts), and when it
 * has lost, drops all that it knew and stands by again.
 */
import type { Clock } from "../base/clock.ts";
import { MobulaError } from "../base/errors.ts";
import { campaign, type Leadership, prepareState, type ReplicatedLog, type StateStore } from "../control/mod.ts";
import { Gate } from "./gate.ts";

/** What decides for the cluster while this process leads. */
export interface Leading {
  stop(): void;
}

export interface CandidateEffects {
  /** Somebody else leads, or it has begun to itself. */
  onLeader(address: string): void;
  /** Replicated state cannot be reached; it goes on trying. */
  onTrouble(error: MobulaError): void;
  /** It is its turn: what is read anew leads from now on, and says nothing past the gate. */
  lead(state: StateStore, gate: Gate): Promise<Leading>;
  /** It must not act; it may lead again. */
  onSuspended(): void;
  /** It leads no more, and stands by again. */
  onLost(error: MobulaError): void;
}

export interface CandidateOptions {
  readonly stateLog: ReplicatedLog;
  /** Where others reach it. */
  readonly address: string;
  readonly clock?: Clock;
}

export class Candidate {
  /** Ends when it was stopped. @throws Error when nothing can come of it: the state cannot be used. */
  readonly ended: Promise<void>;
  private readonly options: CandidateOptions;
  private readonly effects: CandidateEffects;
  private readonly stopped = new AbortController();
  private leadership: Leadership | undefined;

  constructor(options: CandidateOptions, effects: CandidateEffects) {
    this.options = options;
    this.effects = effects;
    this.ended = this.run();
  }

  get isStopped(): boolean {
    return this.stopped.signal.aborted;
  }

  /** Lets another lead at once. */
  async stop(): Promise<void> {
    this.stopped.abort(new MobulaError("STATE_FENCED", "unavailable", "this head ends"));
    await this.leadership?.resign();
    // Whoever waits for its end is told how it failed; the campaign that is broken off here is no failure.
    await this.ended.catch(() => {});
  }

  private async run(): Promise<void> {
    const { stateLog, address, clock } = this.options;
    const { signal } = this.stopped;
    while (!signal.aborted) {
      const leadership = await campaign(stateLog, {
        leader: address,
        signal,
        onLeader: ({ leader }) => this.effects.onLeader(leader),
        onTrouble: (error) => this.effects.onTrouble(error),
        ...(clock && { clock }),
      });
      this.leadership = leadership;
      try {
        await this.lead(leadership);
      } catch (error) {
        // As for the campaign: a state that is full, or that cannot be reached, may be another one soon.
        if (!(error instanceof MobulaError) || error.kind === "internal" || error.kind === "invalid") throw error;
        this.effects.onLost(error);
        await leadership.resign();
      } finally {
        this.leadership = undefined;
      }
    }
  }

  /** Until it has lost. */
  private async lead(leadership: Leadership): Promise<void> {
    const gate = new Gate(() => leadership.isLeading());
    const { promise: lost, resolve } = Promise.withResolvers<MobulaError>();
    leadership.onStatus((status) => {
      if (status.kind === "leading") gate.open();
      else if (status.kind === "lost") resolve(status.error);
      else this.effects.onSuspended();
    });
    let leading: Leading | undefined;
    try {
      await prepareState(leadership.state);
      leading = await this.effects.lead(leadership.state, gate);
      this.effects.onLost(await lost);
    } finally {
      gate.end();
      leading?.stop();
    }
  }
}
