/** Records of jobs at control, changed by compare-and-set. */
import { MobulaError } from "../base/errors.ts";
import type { Queries } from "../wire/queries.ts";
import { type JobEvent, type Step, step } from "./life.ts";
import {
  decodeLink,
  decodeRecord,
  driverKey,
  encodeRecord,
  isEnded,
  type JobRecord,
  type JobSpec,
  newRecord,
  recordKey,
} from "./record.ts";

/** Control's questions about keys, whoever passes them on. */
export type AskKv = <M extends "kv-get" | "kv-list" | "kv-commit">(
  method: M,
  params: Queries[M]["params"],
) => Promise<Queries[M]["result"]>;

/** Whoever changes a record at the same time gets it done in one of so many attempts. */
const ATTEMPTS_MAX = 50;

export class Records {
  private readonly ask: AskKv;
  private readonly nowMs: () => number;

  constructor(ask: AskKv, nowMs: () => number) {
    this.ask = ask;
    this.nowMs = nowMs;
  }

  /** False when there is one with this id. @throws what control says. */
  async add(spec: JobSpec): Promise<boolean> {
    const key = recordKey(spec.submissionId);
    const value = encodeRecord(newRecord(spec, this.nowMs()));
    const outcome = await this.ask("kv-commit", { changes: [{ key, value, expect: 0 }] });
    if (outcome.kind === "committed") return true;
    // Asked again over a new connection, control may have written it the first time.
    const kept = await this.ask("kv-get", { key });
    return kept !== null && Buffer.compare(kept.value, value) === 0;
  }

  async get(submissionId: string): Promise<JobRecord | undefined> {
    const kept = await this.ask("kv-get", { key: recordKey(submissionId) });
    return kept ? decodeRecord(kept.value) : undefined;
  }

  /** What follows from an event, written down; undefined when there is no such job. @throws what control says. */
  async apply(submissionId: string, event: JobEvent): Promise<{ step: Step; record: JobRecord } | undefined> {
    const key = recordKey(submissionId);
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const kept = await this.ask("kv-get", { key });
      if (!kept) return undefined;
      const before = decodeRecord(kept.value);
      const next = step(before, event, this.nowMs());
      if (next.kind === "unchanged") return { step: next, record: before };
      const { record, changes } = await this.withDriver(next.record);
      const value = encodeRecord(record);
      const outcome = await this.ask("kv-commit", { changes: [{ key, value, expect: kept.revision }, ...changes] });
      if (outcome.kind === "committed") return { step: { kind: "changed", record }, record };
    }
    throw new MobulaError(
      "JOB_BUSY",
      "unavailable",
      `the record of job ${submissionId} is changed by others all the time`,
    );
  }

  /** Deletes the record of a job that has ended; false when there is none, or it has changed. */
  async remove(submissionId: string): Promise<boolean> {
    const key = recordKey(submissionId);
    const kept = await this.ask("kv-get", { key });
    if (!kept || !isEnded(decodeRecord(kept.value))) return false;
    const changes = [
      { key, value: null, expect: kept.revision },
      { key: driverKey(submissionId), value: null },
    ];
    return (await this.ask("kv-commit", { changes })).kind === "committed";
  }

  /** At its end the record takes over what the driver said of itself. */
  private async withDriver(record: JobRecord): Promise<{
    record: JobRecord;
    changes: readonly { readonly key: string; readonly value: null }[];
  }> {
    if (!isEnded(record)) return { record, changes: [] };
    const key = driverKey(record.spec.submissionId);
    const kept = await this.ask("kv-get", { key });
    if (!kept) return { record, changes: [] };
    return { record: { ...record, jobId: decodeLink(kept.value).jobId }, changes: [{ key, value: null }] };
  }
}
