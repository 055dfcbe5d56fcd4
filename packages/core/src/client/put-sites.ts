/**
 * Where a program puts small values, and how many: a loop that puts thousands a second is better off without. A put takes 0.1 µs
 * and its place some microseconds, so that is taken for one put every 15 ms, which then counts for all since the one before. How
 * many lie between is drawn by chance, or two places that take turns would be taken for one.
 */
import type { PutTally } from "../events/mod.ts";
import { callSite } from "./call-site.ts";

/** What is larger is worth a put: the place of what goes to the store is known anyway. */
const SMALL_BYTES = 4_096;
const SAMPLED_EVERY_MS = 15;
const STRIDE = { min: 64, max: 65_536 };
/** Fewer are not spoken of. */
const TOLD_PUTS = 1_000;
const TOLD_EVERY_MS = 250;
const SITES_MAX = 50;

export class PutSites {
  private readonly tell: (tallies: readonly PutTally[]) => void;
  private readonly nowMs: () => number;
  private readonly place: () => string;
  private readonly sites = new Map<string, { times: number; bytes: number }>();
  private left = STRIDE.min;
  private sampledAtMs = Number.NEGATIVE_INFINITY;
  private times = 0;
  private bytes = 0;
  private untold = 0;
  private toldAtMs = Number.NEGATIVE_INFINITY;

  constructor(tell: PutSites["tell"], nowMs: () => number, place = callSite) {
    this.tell = tell;
    this.nowMs = nowMs;
    this.place = place;
  }

  seen(bytes: number): void {
    if (bytes > SMALL_BYTES) return;
    this.times++;
    this.bytes += bytes;
    if (--this.left <= 0) this.sample();
  }

  private sample(): void {
    const { times, bytes, sites } = this;
    const site = this.place();
    const known = sites.get(site);
    if (known) {
      known.times += times;
      known.bytes += bytes;
    } else if (sites.size < SITES_MAX) sites.set(site, { times, bytes });
    this.untold += times;
    this.times = 0;
    this.bytes = 0;
    const nowMs = this.nowMs();
    const wished = (times / (nowMs - this.sampledAtMs)) * SAMPLED_EVERY_MS;
    this.left = 1 + Math.floor(Math.random() * 2 * Math.min(STRIDE.max, Math.max(STRIDE.min, wished)));
    this.sampledAtMs = nowMs;
    if (this.untold < TOLD_PUTS || nowMs - this.toldAtMs < TOLD_EVERY_MS) return;
    this.toldAtMs = nowMs;
    this.untold = 0;
    this.tell([...sites].map(([at, sums]) => ({ site: at, ...sums })));
    sites.clear();
  }
}
