/**
 * Which processes of this node are to be told when one of another node is gone, because they have a session with it: what
 * breaks is no word of a death, so sessions live until somebody knows.
 */
import { nodeTagOf, type ProcessId } from "../base/ids.ts";
import type { Home } from "../control/mod.ts";
import type { ProcessGone } from "../wire/messages.ts";

export interface ProcessWatchEffects {
  /** Control lists it among those that live. */
  isKnown(home: Home): boolean;
  /** From now on `gone` is called when the process is gone; at once if it is already. */
  watch(process: ProcessId): void;
  send(to: ProcessId, message: ProcessGone): void;
  /** Does it after so many milliseconds, unless the function that this gives is called before. */
  later(ms: number, run: () => void): () => void;
}

/** A node that has just joined is heard of so much later than its processes, at most. Who is not heard of then has died. */
const UNKNOWN_MS = 5_000;

export class ProcessWatch {
  private readonly effects: ProcessWatchEffects;
  private readonly watchers = new Map<ProcessId, Set<ProcessId>>();
  /** Of nodes that control has not told of. */
  private readonly unknown = new Map<ProcessId, () => void>();

  constructor(effects: ProcessWatchEffects) {
    this.effects = effects;
  }

  add(watcher: ProcessId, process: ProcessId): void {
    const watchers = this.watchers.get(process);
    if (watchers) {
      watchers.add(watcher);
      return;
    }
    this.watchers.set(process, new Set([watcher]));
    if (this.effects.isKnown(nodeTagOf(process))) this.effects.watch(process);
    else
      this.unknown.set(
        process,
        this.effects.later(UNKNOWN_MS, () => this.gone(process)),
      );
  }

  /** Control has told of nodes. */
  nodesChanged(): void {
    for (const [process, stopWaiting] of this.unknown) {
      if (!this.effects.isKnown(nodeTagOf(process))) continue;
      stopWaiting();
      this.unknown.delete(process);
      this.effects.watch(process);
    }
  }

  gone(process: ProcessId): void {
    const watchers = this.watchers.get(process) ?? [];
    this.watchers.delete(process);
    this.unknown.get(process)?.();
    this.unknown.delete(process);
    const isLost = !this.effects.isKnown(nodeTagOf(process));
    for (const watcher of watchers) this.effects.send(watcher, { t: "process-gone", processId: process, isLost });
  }

  /** A process of this node is gone. */
  left(watcher: ProcessId): void {
    for (const watchers of this.watchers.values()) watchers.delete(watcher);
  }
}
