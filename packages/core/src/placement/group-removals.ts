/**
 * Removals that a control after this one must know of. Who has asked for a group asks again when control is another than before, and
 * what a node has placed it states again: either may not know that somebody elsewhere has removed the group meanwhile. So such a
 * removal is written down before it is acknowledged.
 *
 * It is forgotten when control has led for so long since that all nodes have been heard, or are dead.
 */
import type { MobulaError } from "../base/errors.ts";
import type { GroupId } from "./group-protocol.ts";

export const REMOVED_GROUP_PREFIX = "removed-group/";

export interface GroupRemovalsEffects {
  nowMs(): number;
  persist(
    changes: readonly { readonly key: string; readonly value: Uint8Array | null }[],
    done: (error: MobulaError | undefined) => void,
  ): void;
}

/** A node that is not heard for that long is dead; a control that begins gives it as long again. */
const KEPT_MS = 30_000;
/** That it is there says all. */
const VALUE = Uint8Array.of(1);

export class GroupRemovals {
  private readonly effects: GroupRemovalsEffects;
  /** Until when each is kept, in the order of these times. */
  private readonly kept = new Map<GroupId, number>();
  /** What could not be written yet. */
  private readonly unwritten = new Map<GroupId, () => void>();

  constructor(effects: GroupRemovalsEffects) {
    this.effects = effects;
  }

  restore(entries: readonly { readonly key: string }[]): void {
    for (const { key } of entries) this.keep(key.slice(REMOVED_GROUP_PREFIX.length));
  }

  has(groupId: GroupId): boolean {
    return this.kept.has(groupId);
  }

  get isEmpty(): boolean {
    return this.kept.size === 0;
  }

  /** `done` is called when it is written down. */
  note(groupId: GroupId, done: () => void): void {
    this.keep(groupId);
    this.effects.persist([{ key: REMOVED_GROUP_PREFIX + groupId, value: VALUE }], (error) => {
      if (error) this.unwritten.set(groupId, done);
      else done();
    });
  }

  /** What could not be written. */
  retry(): void {
    const again = [...this.unwritten];
    this.unwritten.clear();
    for (const [groupId, done] of again) this.note(groupId, done);
  }

  forgetDue(): void {
    const nowMs = this.effects.nowMs();
    const due: GroupId[] = [];
    for (const [groupId, untilMs] of this.kept) {
      if (untilMs > nowMs) break;
      due.push(groupId);
    }
    if (due.length === 0) return;
    for (const groupId of due) this.kept.delete(groupId);
    this.effects.persist(
      due.map((groupId) => ({ key: REMOVED_GROUP_PREFIX + groupId, value: null })),
      (error) => {
        if (error) for (const groupId of due) this.keep(groupId);
      },
    );
  }

  private keep(groupId: GroupId): void {
    this.kept.delete(groupId);
    this.kept.set(groupId, this.effects.nowMs() + KEPT_MS);
  }
}
