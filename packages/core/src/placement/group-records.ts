/**
 * Groups as they are written down, and what waits for that: whatever follows a record of a group happens when it is durable.
 * Records of many groups are on their way at once.
 *
 * One that cannot be written is tried again at each `retry`, and what follows it waits on; but nobody has heard of a group whose
 * first record fails, so that is given up, unless a node has placed it and has it still.
 */
import type { MobulaError } from "../base/errors.ts";
import type { GroupId } from "./group-protocol.ts";

export interface GroupRecordsEffects {
  /** `done` is called when the change is durable, in the order of the changes. */
  persist(
    changes: readonly { readonly key: string; readonly value: Uint8Array | null }[],
    done: (error: MobulaError | undefined) => void,
  ): void;
  /** The first record of the group is durable. */
  began(groupId: GroupId): void;
  /** The first record of the group could not be written; nothing more of it will be. */
  gaveUp(groupId: GroupId, error: MobulaError): void;
  /** For the log. */
  news(message: string): void;
}

export const GROUP_PREFIX = "group/";

type Written = (error: MobulaError | undefined) => void;

interface Records {
  /** Nothing of it was ever written. */
  isNew: boolean;
  /** It lives, written down or not. */
  isKept: boolean;
  isGivenUp: boolean;
  isFailing: boolean;
  /** Of its records, numbered from 1: the last, and the last that is durable with all before it. */
  last: number;
  written: number;
  readonly waiting: { readonly behind: number; run(): void }[];
}

export class GroupRecords {
  private readonly effects: GroupRecordsEffects;
  private readonly groups = new Map<GroupId, Records>();
  /** Last records that failed. */
  private readonly failed = new Map<GroupId, Uint8Array | null>();
  /** Those that can wait, in the order in which they are due. */
  private readonly later = new Map<GroupId, { value(): Uint8Array; readonly dueMs: number }>();
  /** What is handed over at the end of this turn. */
  private changes: { readonly key: string; readonly value: Uint8Array | null }[] = [];
  private whenWritten: Written[] = [];

  constructor(effects: GroupRecordsEffects) {
    this.effects = effects;
  }

  /** A group of which nothing is written; before its first record. `isKept`: it lives all the same. */
  begin(groupId: GroupId, isKept = false): void {
    const records = this.records(groupId);
    records.isNew = true;
    records.isKept = isKept;
  }

  /** @param value null when there is no such group any more. */
  save(groupId: GroupId, value: Uint8Array | null): void {
    const records = this.records(groupId);
    const isUnwritten = this.later.delete(groupId) && records.isNew && records.last === 0;
    if (isUnwritten && value === null) records.isGivenUp = true;
    const number = ++records.last;
    if (records.isGivenUp) this.wrote(groupId, records, number, value);
    else this.write(groupId, records, number, value);
  }

  /** At the given time, unless something is saved of it before. Nothing waits for that. */
  saveLater(groupId: GroupId, value: () => Uint8Array, dueMs: number): void {
    this.later.delete(groupId);
    this.later.set(groupId, { value, dueMs });
  }

  saveDue(nowMs: number): void {
    for (const [groupId, { value, dueMs }] of this.later) {
      if (dueMs > nowMs) return;
      this.save(groupId, value());
    }
  }

  /** When all that was saved of the group before is durable; at once if it is. */
  after(groupId: GroupId, run: () => void): void {
    const records = this.groups.get(groupId);
    if (!records || records.written >= records.last) run();
    else records.waiting.push({ behind: records.last, run });
  }

  /** Nothing that follows a record waits. */
  isUpToDate(groupId: GroupId): boolean {
    return (this.groups.get(groupId)?.waiting.length ?? 0) === 0;
  }

  /** What could not be written. */
  retry(): void {
    for (const [groupId, value] of [...this.failed]) {
      this.failed.delete(groupId);
      const records = this.groups.get(groupId);
      if (records) this.write(groupId, records, records.last, value);
    }
  }

  private write(groupId: GroupId, records: Records, number: number, value: Uint8Array | null): void {
    this.failed.delete(groupId);
    this.gather(GROUP_PREFIX + groupId, value, (error) => {
      if (!error) {
        this.wrote(groupId, records, number, value);
        return;
      }
      if (records.isNew && !records.isKept) {
        records.isGivenUp = true;
        this.effects.gaveUp(groupId, error);
        this.wrote(groupId, records, records.last, null);
      } else if (number === records.last) {
        // A later one that is on its way says all that this one does.
        if (!records.isFailing) {
          this.effects.news(
            `placement group ${groupId} cannot be written down, which is tried again: ${error.message}`,
          );
        }
        records.isFailing = true;
        this.failed.set(groupId, value);
      }
    });
  }

  private gather(key: string, value: Uint8Array | null, done: Written): void {
    if (this.changes.length === 0) queueMicrotask(() => this.persist());
    this.changes.push({ key, value });
    this.whenWritten.push(done);
  }

  private persist(): void {
    const { changes, whenWritten } = this;
    this.changes = [];
    this.whenWritten = [];
    // Of two changes of one key the later counts.
    this.effects.persist(changes, (error) => {
      for (const done of whenWritten) done(error);
    });
  }

  private wrote(groupId: GroupId, records: Records, number: number, value: Uint8Array | null): void {
    if (records.isNew && value) this.effects.began(groupId);
    records.isNew = false;
    records.isFailing = false;
    records.written = Math.max(records.written, number);
    while ((records.waiting[0]?.behind ?? Number.POSITIVE_INFINITY) <= records.written) records.waiting.shift()?.run();
    const isOver = value === null && records.written === records.last && records.waiting.length === 0;
    if (isOver && this.groups.get(groupId) === records) this.groups.delete(groupId);
  }

  private records(groupId: GroupId): Records {
    let records = this.groups.get(groupId);
    if (!records) {
      records = { isNew: false, isKept: false, isGivenUp: false, isFailing: false, last: 0, written: 0, waiting: [] };
      this.groups.set(groupId, records);
    }
    return records;
  }
}
