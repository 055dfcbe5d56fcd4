/**
 * A head whose state is replicated: it stands by, and when it is its turn it leads, with everything read anew from the log
 * (control/leadership.ts). When it has lost, all that it knew is dropped, and it stands by again.
 */
import { MobulaError } from "../base/errors.ts";
import { campaign, type Leadership, prepareState, type ReplicatedLog } from "../control/mod.ts";
import type { Door, DoorOptions } from "./door.ts";
import { Gate } from "./gate.ts";
import { HeadRuntime } from "./runtime.ts";
import { standBy } from "./standing-by.ts";

export interface ReplicatedHeadOptions extends DoorOptions {
  readonly door: Door;
  readonly stateLog: ReplicatedLog;
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
  private readonly stopped = new AbortController();
  private readonly ended: Promise<void>;
  private leadership: Leadership | undefined;
  private standing: AbortController | undefined;

  constructor(options: ReplicatedHeadOptions) {
    this.options = options;
    this.ended = this.run().catch((error: Error) => {
      if (!this.stopped.signal.aborted) options.onFailed(error);
    });
  }

  /** Lets another head lead at once. */
  async stop(): Promise<void> {
    this.stopped.abort(new MobulaError("STATE_FENCED", "unavailable", "this head ends"));
    this.standing?.abort();
    await this.leadership?.resign();
    await this.ended;
    await this.options.door.close();
    await this.options.stateLog.close();
  }

  private async run(): Promise<void> {
    const { door, stateLog, log } = this.options;
    const { signal } = this.stopped;
    while (!signal.aborted) {
      const leadership = await campaign(stateLog, {
        leader: door.address,
        signal,
        onLeader: ({ leader }) => this.follow(leader),
        onTrouble: ({ message }) => log.write("warn", `replicated state cannot be reached: ${message}`),
      });
      this.standing?.abort();
      this.leadership = leadership;
      try {
        await this.lead(leadership);
      } catch (error) {
        if (!(error instanceof MobulaError) || error.kind !== "unavailable") throw error;
        log.write("warn", `it could not lead: ${error.message}`);
      } finally {
        door.host = undefined;
        this.leadership = undefined;
      }
    }
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

  /** Until it has lost. */
  private async lead(leadership: Leadership): Promise<void> {
    const { config, log, refusals, door, place, onKnown } = this.options;
    const { state, epoch } = leadership;
    const gate = new Gate(() => leadership.isLeading());
    const { promise: lost, resolve } = Promise.withResolvers<MobulaError>();
    leadership.onStatus((status) => {
      if (status.kind === "leading") gate.open();
      else if (status.kind === "lost") resolve(status.error);
      else log.write("warn", "replicated state takes nothing: this head is suspended");
    });
    let runtime: HeadRuntime | undefined;
    try {
      await prepareState(state);
      runtime = await HeadRuntime.open({ config, log, refusals, state, gate, place }, () => door.address);
      log.write("info", `this head leads, in epoch ${epoch}`);
      door.host = runtime;
      onKnown();
      const { message } = await lost;
      log.write("warn", `this head leads no more: ${message}`);
    } finally {
      gate.end();
      door.host = undefined;
      runtime?.stop();
    }
  }
}
