/** Who was refused lately: a wrong token is often the only sign of a node or a head that is missing. */
import { monotonicMs } from "../base/clock.ts";
import type { HeadsInfo } from "../wire/mod.ts";

const KEPT_MS = 60_000;
/** Anybody can be refused, so there may be any number. */
const KEPT = 16;

export class Refusals {
  private readonly last = new Map<string, { readonly message: string; readonly atMs: number }>();

  /** @param from an address without a port. */
  note(from: string, message: string): void {
    this.last.delete(from);
    this.last.set(from, { message, atMs: monotonicMs() });
    const [oldest] = this.last.keys();
    if (this.last.size > KEPT && oldest !== undefined) this.last.delete(oldest);
  }

  get recent(): NonNullable<HeadsInfo["refused"]> {
    const since = monotonicMs() - KEPT_MS;
    return [...this.last].flatMap(([from, { message, atMs }]) => (atMs < since ? [] : [{ from, message }]));
  }
}
