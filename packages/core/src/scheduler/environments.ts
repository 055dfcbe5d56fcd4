/**
 * Runtime environments of demands, as far as leases depend on them: what has to be made ready on this machine (files, packages)
 * is ordered while other work goes on, and workers start in it when it is there.
 *
 * - What waits for its environment takes no room from what could run.
 * - One that failed refuses what waits for it, and for a while what is asked for anew; then a new demand tries again.
 * - One that nobody has needed for {@link RELEASE_AFTER_MS} is given back: its files may be thrown away then.
 */
import type { RuntimeEnv } from "../wire/messages.ts";
import type { SchedulerCommand } from "./protocol.ts";
import type { Ask, Worker } from "./state.ts";

/** Demands come and go in a moment while control divides them. */
const RELEASE_AFTER_MS = 10_000;
const RETRY_AFTER_MS = 2_000;
const RETRY_AFTER_MS_MAX = 5 * 60_000;
/** One that failed and was not asked for again is forgotten, with the number of its failures. */
const FORGET_AFTER_MS = 10 * 60_000;

interface EnvironmentState {
  state: "preparing" | "ready" | "failed";
  sinceMs: number;
  /** Why it failed, or what is done now. */
  words: string;
  failures: number;
  retryAtMs: number;
  unneededSinceMs: number | undefined;
}

/** Whether something has to be there before a worker can start in it. */
export const needsPreparation = (env: RuntimeEnv | undefined): boolean =>
  env?.files !== undefined || env?.npm !== undefined;

export class Environments {
  private readonly states = new Map<string, EnvironmentState>();

  isReady(ask: Ask): boolean {
    return !ask.needsPreparation || this.states.get(ask.envKey)?.state === "ready";
  }

  /** Why what asks for it now is refused; undefined when it is not. */
  problem({ envKey, needsPreparation }: Ask, nowMs: number): string | undefined {
    const state = needsPreparation ? this.states.get(envKey) : undefined;
    return state?.state === "failed" && nowMs < state.retryAtMs ? state.words : undefined;
  }

  /** Orders what is not under way. */
  prepare(asks: Iterable<Ask>, nowMs: number, out: SchedulerCommand[]): void {
    for (const { envKey, runtimeEnv } of asks) {
      const known = this.states.get(envKey);
      if (!runtimeEnv || (known && known.state !== "failed")) continue;
      this.states.set(envKey, {
        ...{ state: "preparing", sinceMs: nowMs, words: "", failures: known?.failures ?? 0 },
        ...{ retryAtMs: 0, unneededSinceMs: undefined },
      });
      out.push({ kind: "prepare-environment", envKey, runtimeEnv });
    }
  }

  ready(envKey: string, nowMs: number): void {
    const state = this.states.get(envKey);
    if (state?.state !== "preparing") return;
    Object.assign(state, { state: "ready", sinceMs: nowMs, words: "", failures: 0 });
  }

  failed(envKey: string, message: string, nowMs: number): void {
    const state = this.states.get(envKey);
    if (state?.state !== "preparing") return;
    const waitMs = Math.min(RETRY_AFTER_MS * 2 ** state.failures, RETRY_AFTER_MS_MAX);
    const failures = state.failures + 1;
    Object.assign(state, { state: "failed", sinceMs: nowMs, words: message, failures, retryAtMs: nowMs + waitMs });
  }

  progress(envKey: string, words: string): void {
    const state = this.states.get(envKey);
    if (state?.state === "preparing") state.words = words;
  }

  /** What waits for it, in words: what is done and for how long. */
  explain(ask: Ask, nowMs: number): string | undefined {
    if (this.isReady(ask)) return undefined;
    const state = this.states.get(ask.envKey);
    const doing = state?.words ? `: ${state.words}` : "";
    const since = state ? `, ${Math.round((nowMs - state.sinceMs) / 1000)} s` : "";
    return `It waits for its environment${doing}${since}.`;
  }

  /** Gives back what no worker and no demand needs any more. */
  release(asks: Iterable<Ask>, workers: Iterable<Worker>, nowMs: number, out: SchedulerCommand[]): void {
    if (this.states.size === 0) return;
    const needed = new Set<string>();
    for (const { envKey } of asks) needed.add(envKey);
    for (const { envKey } of workers) needed.add(envKey);
    for (const [envKey, state] of this.states) {
      if (needed.has(envKey) && state.state !== "failed") {
        state.unneededSinceMs = undefined;
        continue;
      }
      state.unneededSinceMs ??= nowMs;
      if (nowMs < releasedAtMs(state)) continue;
      this.states.delete(envKey);
      if (state.state !== "failed") out.push({ kind: "release-environment", envKey });
    }
  }

  nextDeadlineMs(): number | undefined {
    let next: number | undefined;
    for (const state of this.states.values()) {
      if (state.unneededSinceMs !== undefined) next = Math.min(next ?? Number.POSITIVE_INFINITY, releasedAtMs(state));
    }
    return next;
  }
}

const releasedAtMs = ({ state, unneededSinceMs = 0, retryAtMs }: EnvironmentState): number =>
  state === "failed" ? retryAtMs + FORGET_AFTER_MS : unneededSinceMs + RELEASE_AFTER_MS;
