/**
 * How the bytes of one object come here.
 *
 * 1. The home of its owner is asked of whom to take it: a large one in stripes, each of another source (trees.ts).
 * 2. When a source fails the home is asked for another, and the stripe goes on where it stopped.
 * 3. When one stripe has come long before another, the source of that one is slow: the home is asked for a better one.
 */
import { setTimeout as delay } from "node:timers/promises";
import { MobulaError } from "../base/errors.ts";
import type { StoredName } from "../base/ids.ts";
import { WIRE_VERSION } from "../base/wire-version.ts";
import type { Place } from "../store/mod.ts";
import type { CopyFrom, CopyLocate } from "../wire/cluster-messages.ts";
import { type BulkLinks, GoneError } from "./bulk-links.ts";
import { STRIPES, type Tag } from "./trees.ts";

export interface ArrivalOptions {
  readonly name: StoredName;
  readonly size: number;
  /** From this size on it comes in stripes. */
  readonly stripedBytesMin?: number | undefined;
  readonly links: Pick<BulkLinks, "fetch">;
  /** Ends it from outside, and is aborted when it fails. */
  readonly ended: AbortController;
  isHomeDead(): boolean;
  /** To the home. */
  ask(message: CopyLocate): void;
  /** More bytes are there. */
  onBytes(): void;
  nowMs(): number;
  /** Rejects when the signal comes. Left out: by the clock of the machine. */
  readonly sleep?: ((ms: number, signal: AbortSignal) => Promise<void>) | undefined;
}

interface Stripe {
  /** Undefined: it is the whole. */
  readonly number: number | undefined;
  readonly begin: number;
  readonly end: number;
  /** The bytes before this one are there. */
  at: number;
  source: Tag | undefined;
  /** What comes of that source: since when, and from where on. */
  sinceMs: number;
  sinceAt: number;
  fetching: AbortController | undefined;
  unreachableSinceMs: number | undefined;
  why: string;
}

type Failed = NonNullable<CopyLocate["failed"]>;

/** Of what is smaller many come at the same time, and keep all links busy without it: each in stripes of its own took three times as long. */
const STRIPED_BYTES_MIN = 64 * 2 ** 20;
/** Stripes begin at whole pages. */
const ALIGNED_BYTES = 4096;
const RETRY_MS = 200;
/** How long a source that lives and cannot be reached is tried. */
const PATIENCE_MS = 30_000;
/** A source is slow when the rest of its stripe would take more than this part of the time in which the other one has come. */
const SLOW_SHARE = 0.5;
/** It is looked after this part of that time, and not more often than that. */
const LOOK_SHARE = 0.125;
const LOOK_MS_MIN = 50;

export class Arrival {
  private readonly options: ArrivalOptions;
  private readonly sleep: NonNullable<ArrivalOptions["sleep"]>;
  private stripes: readonly Stripe[] = [];
  private readonly asked: {
    readonly question: CopyLocate;
    readonly stripe: number | undefined;
    resolve(answer: CopyFrom): void;
  }[] = [];

  constructor(options: ArrivalOptions) {
    this.options = options;
    this.sleep = options.sleep ?? ((ms, signal) => delay(ms, undefined, { signal }));
  }

  /** Up to where all bytes are there that follow each other from this one on. */
  availableFrom(at: number): number {
    let end = at;
    for (const stripe of this.stripes) {
      if (end < stripe.begin || end >= stripe.end) continue;
      end = Math.max(end, stripe.at);
      if (end < stripe.end) break;
    }
    return end;
  }

  /** Resolves when all bytes are in place. @throws MobulaError when there is no source (any more); the reason of the signal. */
  async complete(place: Place): Promise<void> {
    const { size, ended, nowMs } = this.options;
    const whole = newStripe(undefined, 0, size);
    const { source, sources } = await this.find(whole);
    if (sources?.length === STRIPES) {
      const bytes = Math.ceil(size / STRIPES / ALIGNED_BYTES) * ALIGNED_BYTES;
      this.stripes = sources.map((one, number) => ({
        ...newStripe(number, Math.min(size, number * bytes), Math.min(size, (number + 1) * bytes)),
        source: one,
      }));
    } else this.stripes = [{ ...whole, source }];
    const beganMs = nowMs();
    const over = new AbortController();
    let isFirst = true;
    const bringing = this.stripes.map(async (stripe) => {
      try {
        await this.bring(stripe, place);
      } catch (error) {
        ended.abort(error);
        throw error;
      }
      if (isFirst && this.stripes.length > 1) void this.watch(nowMs() - beganMs, over.signal);
      isFirst = false;
    });
    // None of them writes to the place after that.
    await Promise.allSettled(bringing);
    over.abort();
    await Promise.all(bringing);
  }

  private async bring(stripe: Stripe, place: Place): Promise<void> {
    const { links, nowMs, name, size, ended, onBytes: told } = this.options;
    const { signal } = ended;
    let failed: Failed | undefined;
    const onBytes = (bytes: number): void => {
      stripe.at += bytes;
      stripe.unreachableSinceMs = undefined;
      told();
    };
    while (stripe.at < stripe.end) {
      const source = stripe.source ?? (await this.find(stripe, failed)).source;
      failed = undefined;
      signal.throwIfAborted();
      const fetching = new AbortController();
      const abort = (): void => fetching.abort(signal.reason);
      signal.addEventListener("abort", abort, { once: true });
      Object.assign(stripe, { source, fetching, sinceMs: nowMs(), sinceAt: stripe.at });
      try {
        const part = { from: stripe.at, to: stripe.end };
        await links.fetch(source, { name, size, place, ...part, onBytes, signal: fetching.signal });
      } catch (error) {
        signal.throwIfAborted();
        // Else it is to go on with a better one.
        if (stripe.source === source) {
          stripe.source = undefined;
          stripe.why = `: ${(error as Error).message}`;
          failed = { source, isGone: error instanceof GoneError };
        }
      } finally {
        signal.removeEventListener("abort", abort);
        stripe.fetching = undefined;
      }
    }
  }

  /** @param tookMs in which the other one has come. */
  private async watch(tookMs: number, over: AbortSignal): Promise<void> {
    const { nowMs } = this.options;
    while (!over.aborted) {
      await this.sleep(Math.max(tookMs * LOOK_SHARE, LOOK_MS_MIN), over).catch(() => over.aborted);
      for (const stripe of this.stripes) {
        const { source, fetching, at, end, sinceMs, sinceAt } = stripe;
        const left = ((end - at) / (at - sinceAt)) * (nowMs() - sinceMs);
        if (over.aborted || !fetching || source === undefined || at === end || left < tookMs * SLOW_SHARE) continue;
        // A home that cannot be asked is found out by whoever has to ask it.
        const better = await this.locate(stripe, { source, isGone: false, isSlow: true }).catch(() => undefined);
        if (stripe.fetching !== fetching || better?.source == null || better.source === source) continue;
        stripe.source = better.source;
        fetching.abort(new Error("another source has more time"));
      }
    }
  }

  // ── of whom ────────────────────────────────────────────────────────────────────────────────────────────────────────

  private async find(stripe: Stripe, failed?: Failed): Promise<CopyFrom & { readonly source: Tag }> {
    const { nowMs, ended } = this.options;
    let why = failed;
    for (;;) {
      const answer = await this.locate(stripe, why);
      const { source, retry } = answer;
      if (source !== null) return { ...answer, source };
      why = undefined;
      if (!retry) throw lost(`no node that lives has it${stripe.why}`);
      stripe.unreachableSinceMs ??= nowMs();
      if (nowMs() - stripe.unreachableSinceMs > PATIENCE_MS) throw unreachable(stripe.why);
      await this.sleep(RETRY_MS, ended.signal).catch(() => ended.signal.throwIfAborted());
    }
  }

  private locate({ number }: Stripe, failed: Failed | undefined): Promise<CopyFrom> {
    const { isHomeDead, ask, name, size, ended, stripedBytesMin = STRIPED_BYTES_MIN } = this.options;
    if (isHomeDead()) return Promise.reject(homeDied());
    const stripes = WIRE_VERSION < 2 ? {} : { stripes: size < stripedBytesMin ? 1 : STRIPES };
    return new Promise((resolve, reject) => {
      const { signal } = ended;
      const abort = (): void => reject(signal.reason);
      if (signal.aborted) return abort();
      signal.addEventListener("abort", abort, { once: true });
      const question: CopyLocate = {
        ...{ t: "copy-locate", name, ...stripes },
        ...(number !== undefined && { stripe: number }),
      };
      this.asked.push({
        question,
        stripe: number,
        resolve: (answer) => {
          signal.removeEventListener("abort", abort);
          resolve(answer);
        },
      });
      ask({ ...question, ...(failed && { failed }) });
    });
  }

  /** What the home has not answered is asked once more: another has the say now. */
  askAgain(): void {
    for (const { question } of this.asked) this.options.ask(question);
  }

  /** What the home says. Homes of version 1 do not say of which stripe. */
  answered(answer: CopyFrom): void {
    const index = this.asked.findIndex(({ stripe }) => stripe === answer.stripe);
    const [asked] = this.asked.splice(Math.max(index, 0), 1);
    asked?.resolve(answer);
  }
}

const newStripe = (number: number | undefined, begin: number, end: number): Stripe => ({
  ...{ number, begin, end, at: begin, source: undefined, sinceMs: 0, sinceAt: begin },
  ...{ fetching: undefined, unreachableSinceMs: undefined, why: "" },
});

const lost = (why: string): MobulaError => new MobulaError("OBJECT_LOST", "lost", why);
export const homeDied = (): MobulaError => lost("the node of its owner has died");
const unreachable = (why: string): MobulaError =>
  new MobulaError("NOT_REACHABLE", "unavailable", `who has it lives and cannot be reached${why}`);
