/**
 * `wait`: which refs and streams are ready. The owner is asked once for each ref; what it says is kept on the ref, so
 * that waiting for the next of a thousand costs a scan of a list and no message.
 */
import type { Seq } from "../base/ids.ts";
import { LOOKED_AT_MAX } from "./gets.ts";
import type { Waited } from "./open-waits.ts";
import type { Ref } from "./refs.ts";
import { RefStream } from "./streams.ts";

export interface WaitLimits {
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

interface ActiveWait {
  /** Ends the wait when enough is ready. */
  check(): void;
  fail(error: unknown): void;
}

export class WaitTable {
  /** Refs that the owner will speak of. They are held until then. */
  private readonly watched = new Map<Seq, Ref>();
  private readonly active = new Set<ActiveWait>();
  private readonly callbacks = new Map<Seq, () => void>();
  private isCheckScheduled = false;
  private readonly watch: (seqs: readonly Seq[]) => void;

  constructor(watch: (seqs: readonly Seq[]) => void) {
    this.watch = watch;
  }

  /** The owner says that there is a value. */
  ready(seq: Seq): void {
    const ref = this.watched.get(seq);
    if (ref) {
      this.watched.delete(seq);
      ref.isReady = true;
    }
    const callback = this.callbacks.get(seq);
    if (callback) {
      this.callbacks.delete(seq);
      callback();
    }
    this.changed();
  }

  /** Something became ready: who waits looks once, however much it was. */
  changed(): void {
    if (this.isCheckScheduled || this.active.size === 0) return;
    this.isCheckScheduled = true;
    queueMicrotask(() => {
      this.isCheckScheduled = false;
      for (const wait of [...this.active]) wait.check();
    });
  }

  released(seq: Seq): void {
    if (this.watched.size > 0) this.watched.delete(seq);
  }

  /** Calls `done` once when the ref has a value. */
  onReady(ref: Ref, done: () => void): void {
    this.callbacks.set(ref.seq, done);
    this.ask([ref]);
  }

  private ask(refs: readonly Ref[]): void {
    const seqs: Seq[] = [];
    for (const ref of refs) {
      if (isDone(ref) || this.watched.has(ref.seq)) continue;
      this.watched.set(ref.seq, ref);
      seqs.push(ref.seq);
    }
    if (seqs.length > 0) this.watch(seqs);
  }

  /**
   * Resolves when `needed` of the items are ready, or the time is over.
   *
   * @param begun called when it has to wait, with a way to end it by an error; what it returns is called at the end.
   */
  wait<W extends Ref | RefStream>(
    items: readonly W[],
    needed: number,
    limits: WaitLimits,
    begun: (fail: (error: Error) => void) => () => void,
  ): Promise<{ ready: W[]; pending: W[] }> {
    if (hasEnough(items, needed)) return Promise.resolve(split(items, needed));
    this.ask(items.filter((item) => !(item instanceof RefStream)) as Ref[]);
    // An owner on this thread has answered already.
    if (hasEnough(items, needed)) return Promise.resolve(split(items, needed));
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const finish = (end: () => void): void => {
        if (!this.active.delete(wait)) return;
        if (timer) clearTimeout(timer);
        limits.signal?.removeEventListener("abort", abort);
        ended();
        end();
      };
      const wait: ActiveWait = {
        check: () => {
          if (hasEnough(items, needed)) finish(() => resolve(split(items, needed)));
        },
        fail: (error) => finish(() => reject(error)),
      };
      const abort = (): void => wait.fail(limits.signal?.reason);
      this.active.add(wait);
      const ended = begun((error) => wait.fail(error));
      limits.signal?.addEventListener("abort", abort, { once: true });
      if (limits.timeoutMs !== undefined) {
        timer = setTimeout(() => finish(() => resolve(split(items, needed))), limits.timeoutMs);
      }
    });
  }

  failAll(error: Error): void {
    for (const wait of [...this.active]) wait.fail(error);
    this.watched.clear();
  }
}

function isDone(item: Ref | RefStream): boolean {
  if (item instanceof RefStream) return item.state.items.length > 0 || item.state.isEnded;
  return item.isReady || item.local !== undefined;
}

function hasEnough(items: readonly (Ref | RefStream)[], needed: number): boolean {
  let ready = 0;
  for (const item of items) if (isDone(item) && ++ready >= needed) return true;
  return false;
}

/** Both lists in the order given; at most `needed` are called ready. */
function split<W extends Ref | RefStream>(items: readonly W[], needed: number): { ready: W[]; pending: W[] } {
  const ready: W[] = [];
  let at = 0;
  const pending: W[] = [];
  for (; at < items.length && ready.length < needed; at++) {
    const item = items[at] as W;
    if (isDone(item)) ready.push(item);
    else pending.push(item);
  }
  return { ready, pending: pending.length === 0 ? items.slice(at) : pending.concat(items.slice(at)) };
}

/** What a `wait` waits for, as it is when somebody asks. */
export class WaitedItems implements Waited {
  readonly call = "wait";
  private readonly items: readonly (Ref | RefStream)[];

  constructor(items: readonly (Ref | RefStream)[]) {
    this.items = items;
  }

  get refs(): number {
    return this.items.length;
  }

  missing(): number {
    return this.pending().length;
  }

  ids(max: number): readonly string[] {
    return this.pending()
      .slice(0, max)
      .map(({ id }) => id);
  }

  private pending(): readonly (Ref | RefStream)[] {
    return this.items.slice(0, LOOKED_AT_MAX).filter((item) => !isDone(item));
  }
}
