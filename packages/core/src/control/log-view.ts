/**
 * What a replicated log says, after any number of its records. A pure machine: every reader that has read as far knows
 * the same.
 *
 * 1. A record counts if it is where it says it is, and of the epoch that has begun last; or if it begins the next one.
 *    Anything else is a stale writer's, and passed over by all. So an old leader can do no harm, whatever checks the
 *    servers made.
 * 2. Entries are kept in the order of the records that hold them. To shorten the log, the writer writes the oldest
 *    ones again (`oldest`); then all before the new oldest one can go. So the log never needs a snapshot: from its
 *    first record on it holds everything, and it is at most about twice as long as what it holds.
 * 3. A reader that finds a gap (trimmed while it was slow) begins anew with what is left, for the same reason. Each
 *    record says from where on the log is whole: if more than that is missing, something was lost, and `isWhole` is
 *    false.
 */
import type { StateEntry } from "./kv.ts";
import { type DecodedRecord, decodeBody, decodeRecord, type RecordBody } from "./log-record.ts";
import type { LogRecord } from "./replicated-log.ts";

interface PlacedEntry extends StateEntry {
  /** The first record that is needed to read it. */
  readonly seq: number;
}

/** What a record and an entry weigh besides their bytes, about. */
const OVERHEAD_BYTES = 64;

export class LogView {
  private readonly placed = new Map<string, PlacedEntry>();
  private records: { readonly seq: number; readonly bytes: number }[] = [];
  private parts: Uint8Array[] = [];
  private partsSeq = 0;
  private firstSeq = 0;
  /** The log holds everything from here on, says its last record. */
  base = 0;

  /** The last record that was read, whether it counted or not. */
  lastSeq = 0;
  revision = 0;
  epoch = 0;
  /** Who began the epoch; empty before the first one. */
  leader = "";
  /** The last leader ended in order. */
  hasResigned = false;
  liveBytes = 0;
  logBytes = 0;
  /** Records that did not count. */
  ignored = 0;

  /** Whether the record counted. */
  apply({ seq, data }: LogRecord): boolean {
    if (seq <= this.lastSeq) return false;
    if (seq > this.lastSeq + 1) this.beginAt(seq);
    this.lastSeq = seq;
    this.records.push({ seq, bytes: data.length + OVERHEAD_BYTES });
    this.logBytes += data.length + OVERHEAD_BYTES;
    const record = decodeRecord(data);
    if (!this.counts(record, seq)) {
      this.ignored++;
      return false;
    }
    const { header, body } = record;
    this.epoch = header.epoch;
    this.leader = header.leader;
    if (header.base > this.base) this.trimmed(header.base);
    this.applyBody(body, seq);
    this.revision = header.revision;
    return true;
  }

  /** False if records that are needed are not there: they were lost. Asked when everything has been read. */
  get isWhole(): boolean {
    return this.lastSeq === 0 || this.firstSeq <= Math.max(this.base, 1);
  }

  get recordCount(): number {
    return this.records.length;
  }

  get entryCount(): number {
    return this.placed.size;
  }

  get(key: string): StateEntry | undefined {
    return this.placed.get(key);
  }

  entries(): IterableIterator<StateEntry> {
    return this.placed.values();
  }

  /** The entries that hold up the trimming most, about `bytes` of them. */
  oldest(bytes: number): StateEntry[] {
    const entries: StateEntry[] = [];
    let sum = 0;
    for (const entry of this.placed.values()) {
      if (sum >= bytes) break;
      entries.push(entry);
      sum += weight(entry);
    }
    return entries;
  }

  /** Everything before this record can go. */
  get needed(): number {
    for (const { seq } of this.placed.values()) return seq;
    return this.parts.length > 0 ? this.partsSeq : this.lastSeq;
  }

  private counts({ header, body }: DecodedRecord, seq: number): boolean {
    if (header.after !== seq - 1) return false;
    // The first record that is left: the writer trimmed up to one that counted.
    if (this.firstSeq === seq) return true;
    return header.epoch === (body.kind === "begin" ? this.epoch + 1 : this.epoch);
  }

  private beginAt(seq: number): void {
    this.placed.clear();
    this.records = [];
    this.parts = [];
    this.liveBytes = 0;
    this.logBytes = 0;
    this.base = 0;
    this.firstSeq = seq;
  }

  private trimmed(base: number): void {
    this.base = base;
    let count = 0;
    for (const { seq, bytes } of this.records) {
      if (seq >= base) break;
      this.logBytes -= bytes;
      count++;
    }
    this.records.splice(0, count);
  }

  private applyBody(body: RecordBody, seq: number): void {
    if (body.kind !== "part") this.parts = [];
    switch (body.kind) {
      case "begin":
        this.hasResigned = false;
        break;
      case "resign":
        this.hasResigned = true;
        break;
      case "part":
        // The pieces of a body that never got its last one are left behind.
        if (body.index === 0) {
          this.parts = [];
          this.partsSeq = seq;
        }
        this.parts.push(body.bytes);
        if (body.isLast) {
          const whole = decodeBody(Buffer.concat(this.parts));
          this.applyBody(whole, this.partsSeq);
        }
        break;
      case "commits":
        for (const { key, value, revision } of body.carried) this.put(key, value, revision, seq);
        for (const { revision, changes } of body.commits) {
          for (const { key, value } of changes) {
            if (value === null) this.remove(key);
            else this.put(key, value, revision, seq);
          }
        }
        break;
    }
  }

  /** Last in the order of the map, since its record is the last one. */
  private put(key: string, value: Uint8Array, revision: number, seq: number): void {
    this.remove(key);
    // A copy: the bytes of the record would live as long as the smallest value in it.
    const entry: PlacedEntry = { key, value: new Uint8Array(value), revision, seq };
    this.placed.set(key, entry);
    this.liveBytes += weight(entry);
  }

  private remove(key: string): void {
    const entry = this.placed.get(key);
    if (entry === undefined) return;
    this.placed.delete(key);
    this.liveBytes -= weight(entry);
  }
}

const weight = ({ key, value }: StateEntry): number => key.length + value.length + OVERHEAD_BYTES;
