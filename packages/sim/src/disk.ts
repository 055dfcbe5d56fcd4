/** The disk of control: commits become durable in order, after a while; a crash keeps some of those under way. */
import { MobulaError } from "../../core/src/base/mod.ts";
import type { StateChange } from "../../core/src/control/kv.ts";
import type { World } from "./world.ts";

interface Commit {
  readonly changes: readonly StateChange[];
  readonly done: (error: MobulaError | undefined) => void;
}

export class Disk {
  private readonly world: World;
  private readonly kept = new Map<string, Uint8Array>();
  private underWay: Commit[] = [];
  private lastMs = 0;
  isFull = false;

  constructor(world: World) {
    this.world = world;
  }

  commit(changes: readonly StateChange[], done: (error: MobulaError | undefined) => void): void {
    const { clock } = this.world;
    const commit: Commit = { changes, done };
    this.underWay.push(commit);
    this.lastMs = Math.max(this.lastMs, clock.nowMs + this.world.delayMs());
    clock.schedule(this.lastMs - clock.nowMs, () => {
      if (this.underWay[0] !== commit) return;
      this.underWay.shift();
      if (this.isFull) {
        done(new MobulaError("DISK_FULL", "exhausted", "the disk is full"));
        return;
      }
      this.write(changes);
      done(undefined);
    });
  }

  /** Some of what was under way is there later, though nobody was told. */
  crash(): void {
    const kept = this.world.prng.below(this.underWay.length + 1);
    if (!this.isFull) for (const { changes } of this.underWay.slice(0, kept)) this.write(changes);
    this.underWay = [];
    this.lastMs = 0;
  }

  entries(): readonly { readonly key: string; readonly value: Uint8Array }[] {
    return [...this.kept].map(([key, value]) => ({ key, value }));
  }

  private write(changes: readonly StateChange[]): void {
    for (const { key, value } of changes) {
      if (value === null) this.kept.delete(key);
      else this.kept.set(key, value);
    }
  }
}
