/**
 * One leader by lease, over a replicated log. There is no clock that machines share, and no other service: the log is
 * both the lease and the fence.
 *
 * 1. The leader writes a record at least every `beatMs`. Its lease lasts `leaderMs` from when it *sent* the last one
 *    that was written; then it is suspended, and does nothing but to go on trying. If one is written after all, nobody
 *    else has begun, and it leads again.
 * 2. A standby reads the log. When it has read nothing new for `standbyMs`, which is longer, it writes that it begins,
 *    as the record right after the last that it read. So it can only succeed if the leader wrote nothing since, and
 *    then the leader's lease, which began before the standby read its last record, is over (by clocks that may differ
 *    in speed as much as the two times do).
 * 3. From there on whatever the old leader writes is refused, or passed over by all readers. What it orders of nodes is
 *    refused by them: every order carries its epoch.
 */
import { type Clock, every, MobulaError, machineClock, pause } from "../base/mod.ts";
import type { StateStore } from "./kv.ts";
import { catchUp } from "./log-append.ts";
import { LogView } from "./log-view.ts";
import type { ReplicatedLog } from "./replicated-log.ts";
import { begin, LogState } from "./state-log.ts";

export interface LeaseTimes {
  readonly beatMs: number;
  readonly leaderMs: number;
  readonly standbyMs: number;
  /** How often a standby reads. */
  readonly pollMs: number;
}

/** A standby leads 2.6 s after its leader's death, and the time of a write; a leader may miss four beats. */
const LEASE_TIMES: LeaseTimes = { beatMs: 400, leaderMs: 2_000, standbyMs: 2_400, pollMs: 150 };

export interface CampaignOptions {
  /** How others reach this process; at most 256 characters. They read it from the log. */
  readonly leader: string;
  readonly times?: LeaseTimes;
  readonly giveUpMs?: number;
  readonly clock?: Clock;
  /** Ends the campaign; who leads already resigns instead. */
  readonly signal?: AbortSignal;
  /** Somebody else leads now. */
  readonly onLeader?: (leader: { readonly epoch: number; readonly leader: string }) => void;
  /** The log cannot be reached; the campaign goes on. */
  readonly onTrouble?: (error: MobulaError) => void;
}

export type LeaderStatus =
  | { readonly kind: "leading" }
  /** Must not act: somebody else may lead soon. */
  | { readonly kind: "suspended" }
  /** For good. */
  | { readonly kind: "lost"; readonly error: MobulaError };

export interface Leadership {
  readonly epoch: number;
  readonly state: StateStore;
  /** Asked before each act: true only while nobody else can lead. */
  isLeading(): boolean;
  /** Told of each change; one listener. */
  onStatus(listener: (status: LeaderStatus) => void): void;
  /** Makes what was committed durable, and lets a standby lead at once. Does not close the log. */
  resign(): Promise<void>;
}

/**
 * Waits until this process leads.
 *
 * @throws the signal's reason; MobulaError `STATE_CORRUPT` (`internal`) and VersionMismatchError (`invalid`), since
 * waiting does not help.
 */
export async function campaign(log: ReplicatedLog, options: CampaignOptions): Promise<Leadership> {
  const { signal, times = LEASE_TIMES, clock = machineClock } = options;
  const view = new LogView();
  let heardMs = clock.nowMs();
  let knownEpoch = 0;
  for (;;) {
    signal?.throwIfAborted();
    const before = view.lastSeq;
    try {
      // Also when it fails half way: what was read by then is news.
      await catchUp(log, view).finally(() => {
        if (view.lastSeq > before) heardMs = clock.nowMs();
      });
      if (view.epoch > knownEpoch) {
        knownEpoch = view.epoch;
        options.onLeader?.({ epoch: view.epoch, leader: view.leader });
      }
      const isVacant = view.lastSeq === 0 || view.hasResigned || clock.nowMs() - heardMs >= times.standbyMs;
      if (isVacant) {
        signal?.throwIfAborted();
        const won = await begin(log, view, options);
        if (won instanceof LogState) {
          if (signal?.aborted) await won.resign();
          signal?.throwIfAborted();
          return lead(won, times, clock);
        }
        if (won.kind === "failed" || won.kind === "unknown") throw won.error;
        heardMs = clock.nowMs();
        continue;
      }
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof MobulaError) || error.kind === "internal" || error.kind === "invalid") throw error;
      options.onTrouble?.(error);
    }
    await pause(times.pollMs, signal, clock);
  }
}

function lead(state: LogState, times: LeaseTimes, clock: Clock): Leadership {
  let untilMs = state.begunMs + times.leaderMs;
  let status: LeaderStatus = { kind: "leading" };
  let listener: (status: LeaderStatus) => void = () => {};
  let isResigning = false;
  const isInTime = () => !isResigning && clock.nowMs() < untilMs;
  const become = (next: LeaderStatus): void => {
    if (status.kind === next.kind || status.kind === "lost") return;
    status = next;
    listener(next);
  };

  let endExpiry = (): void => {};
  const awaitExpiry = (): void => {
    endExpiry();
    endExpiry = clock.later(Math.max(1, untilMs - clock.nowMs()), () => {
      if (isInTime()) awaitExpiry();
      else become({ kind: "suspended" });
    });
  };
  const endBeats = every(times.beatMs, () => state.beat(), clock);
  const stop = (): void => {
    endBeats();
    endExpiry();
  };
  state.onWritten = (sentMs) => {
    untilMs = Math.max(untilMs, sentMs + times.leaderMs);
    if (!isInTime()) return;
    become({ kind: "leading" });
    awaitExpiry();
  };
  state.onEnded = (error) => {
    stop();
    become({ kind: "lost", error });
  };
  awaitExpiry();

  return {
    epoch: state.epoch,
    state,
    isLeading: () => status.kind !== "lost" && isInTime(),
    onStatus: (next) => {
      listener = next;
    },
    async resign() {
      // Before the record is on its way: from then on somebody else may lead.
      isResigning = true;
      stop();
      await state.resign();
      become({ kind: "lost", error: new MobulaError("STATE_FENCED", "unavailable", "this leader has resigned") });
    },
  };
}
