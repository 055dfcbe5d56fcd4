/** A replicated log in memory, that several writers share: for tests and the simulator. Faults are the caller's to add. */
import type { AppendOutcome, LogRecord, ReplicatedLog } from "./replicated-log.ts";

export class MemoryLog implements ReplicatedLog {
  readonly name = "the log in memory";
  readonly recordBytesMax: number;
  records: LogRecord[] = [];
  private lastSeq = 0;

  constructor(recordBytesMax = 1 << 20) {
    this.recordBytesMax = recordBytesMax;
  }

  async read(from: number): Promise<readonly LogRecord[]> {
    return this.records.filter(({ seq }) => seq >= from).slice(0, 100);
  }

  async append(data: Uint8Array, after: number): Promise<AppendOutcome> {
    return after === this.lastSeq ? { kind: "appended", seq: this.add(data) } : { kind: "refused" };
  }

  async trim(before: number): Promise<void> {
    this.records = this.records.filter(({ seq }) => seq >= before);
  }

  async close(): Promise<void> {}

  /** As a server does that lets a record through which follows another one. */
  add(data: Uint8Array): number {
    this.records.push({ seq: ++this.lastSeq, data });
    return this.lastSeq;
  }
}
