/** The records of all jobs, read from control when somebody asks, and only those that have changed. */
import {
  DRIVER_PREFIX,
  type DriverLink,
  decodeLink,
  decodeRecord,
  type JobRecord,
  RECORD_PREFIX,
} from "../entrypoint/mod.ts";
import type { Queries } from "../wire/queries.ts";

/** Whoever asks within this time gets what was read last. */
const FRESH_MS = 100;
const READS_AT_ONCE = 32;

export type Ask = <M extends keyof Queries>(method: M, params: Queries[M]["params"]) => Promise<Queries[M]["result"]>;

/** A job with the driver that its command has started, if that has joined. */
export interface KnownJob {
  readonly record: JobRecord;
  readonly driver: DriverLink | undefined;
}

interface Kept<T> {
  readonly revision: number;
  readonly value: T;
}

export class KnownJobs {
  private readonly ask: Ask;
  private readonly nowMs: () => number;
  private records = new Map<string, Kept<JobRecord>>();
  private drivers = new Map<string, Kept<DriverLink>>();
  private changes = 0;
  private readMs = Number.NEGATIVE_INFINITY;
  private reading: Promise<void> | undefined;

  constructor(ask: Ask, nowMs: () => number) {
    this.ask = ask;
    this.nowMs = nowMs;
  }

  /** The newest first. */
  async all(): Promise<readonly KnownJob[]> {
    if (this.nowMs() - this.readMs > FRESH_MS) {
      this.reading ??= this.read();
      const { reading } = this;
      await reading.finally(() => {
        if (this.reading === reading) this.reading = undefined;
      });
    }
    return this.last;
  }

  /** Who has changed a job sees that. */
  changed(): void {
    this.changes++;
    this.readMs = Number.NEGATIVE_INFINITY;
    this.reading = undefined;
  }

  /** As it was read last. */
  get last(): readonly KnownJob[] {
    return [...this.records]
      .map(([id, { value }]) => ({ record: value, driver: this.drivers.get(id)?.value }))
      .sort((a, b) => b.record.submittedAtMs - a.record.submittedAtMs);
  }

  /** As it is now. */
  async one(submissionId: string): Promise<KnownJob | undefined> {
    const [record, driver] = await Promise.all([
      this.ask("kv-get", { key: RECORD_PREFIX + submissionId }),
      this.ask("kv-get", { key: DRIVER_PREFIX + submissionId }),
    ]);
    return record
      ? { record: decodeRecord(record.value), driver: driver ? decodeLink(driver.value) : undefined }
      : undefined;
  }

  private async read(): Promise<void> {
    const [atMs, { changes }] = [this.nowMs(), this];
    const [records, drivers] = await Promise.all([
      this.readChanged(RECORD_PREFIX, this.records, decodeRecord),
      this.readChanged(DRIVER_PREFIX, this.drivers, decodeLink),
    ]);
    this.records = records;
    this.drivers = drivers;
    // What was changed meanwhile may not be in it.
    if (this.changes === changes) this.readMs = atMs;
  }

  private async readChanged<T>(
    prefix: string,
    before: ReadonlyMap<string, Kept<T>>,
    decode: (bytes: Uint8Array) => T,
  ): Promise<Map<string, Kept<T>>> {
    const now = new Map<string, Kept<T>>();
    const changed: string[] = [];
    for (let after = ""; ; ) {
      const { entries, isLast } = await this.ask("kv-list", { prefix, after, keysOnly: true });
      for (const { key, revision } of entries) {
        const id = key.slice(prefix.length);
        const kept = before.get(id);
        if (kept?.revision === revision) now.set(id, kept);
        else changed.push(id);
      }
      after = entries.at(-1)?.key ?? after;
      if (isLast) break;
    }
    for (let at = 0; at < changed.length; at += READS_AT_ONCE) {
      const some = changed.slice(at, at + READS_AT_ONCE);
      const values = await Promise.all(some.map((id) => this.ask("kv-get", { key: prefix + id })));
      for (const [index, kept] of values.entries()) {
        if (kept) now.set(some[index] as string, { revision: kept.revision, value: decode(kept.value) });
      }
    }
    return now;
  }
}
