/** What a call gave, as messages to the owner that asked for it. */

import {
  type NodeId,
  nodeTag,
  nodeTagOf,
  type ObjectKey,
  type ProcessId,
  type Seq,
  type StoredName,
  storedName,
} from "../base/ids.ts";
import { INLINE_BYTES_MAX } from "../base/limits.ts";
import { type Client, failureOf } from "../client/mod.ts";
import type { NestedRef, OwnerRuntime } from "../owner/mod.ts";
import type { Peer } from "../transport/mod.ts";
import { TO_OWNER, type ValueRecord, writeKeys, writeValue } from "../wire/mod.ts";

const NO_KEYS: readonly ObjectKey[] = [];

export class ResultWriter {
  private readonly client: Client;
  private readonly runtime: OwnerRuntime;
  private readonly peer: Peer;
  private readonly owner: ProcessId;

  constructor(client: Client, runtime: OwnerRuntime, peer: Peer, owner: ProcessId) {
    this.client = client;
    this.runtime = runtime;
    this.peer = peer;
    this.owner = owner;
  }

  /**
   * What a function or method `name` gave, as its one return or its several.
   *
   * @throws TypeError when there are more or fewer values than numReturns; SerializationError, ObjectStoreFullError.
   * Nothing was written then.
   */
  answer(
    { seq, attempt }: { readonly seq: Seq; readonly attempt: number },
    runMicros: number,
    value: unknown,
    numReturns: number,
    name: string,
  ): void {
    if (numReturns === 1) {
      this.ok(seq, attempt, runMicros, value, name);
      return;
    }
    if (!Array.isArray(value) || value.length !== numReturns) {
      const got = Array.isArray(value) ? `${value.length} values` : typeof value;
      throw new TypeError(`${name} has numReturns ${numReturns} but returned ${got}`);
    }
    this.several(seq, attempt, runMicros, value, name);
  }

  private ok(seq: Seq, attempt: number, runMicros: number, value: unknown, name: string): void {
    const packed = this.client.values.encode(value, "result");
    const { out } = this.peer;
    if (packed.byteLength <= INLINE_BYTES_MAX && packed.nested.length === 0) {
      out.begin();
      out.array(5);
      out.uint(TO_OWNER.ok);
      out.uint(seq);
      out.uint(attempt);
      out.uint(runMicros);
      out.bin(packed.toBytes());
      out.end();
      return;
    }
    this.writeResults(seq, attempt, runMicros, [this.record(packed, name)]);
  }

  private several(seq: Seq, attempt: number, runMicros: number, values: readonly unknown[], name: string): void {
    // All are encoded before the first is stored: most failures leave nothing behind.
    const packed = values.map((value) => this.client.values.encode(value, "result"));
    const records = packed.map((each) => this.record(each, name));
    this.writeResults(seq, attempt, runMicros, records);
  }

  private writeResults(seq: Seq, attempt: number, runMicros: number, values: readonly ValueRecord[]): void {
    const { out } = this.peer;
    out.begin();
    out.array(5);
    out.uint(TO_OWNER.results);
    out.uint(seq);
    out.uint(attempt);
    out.uint(runMicros);
    out.array(values.length);
    for (const value of values) writeValue(out, value);
    out.end();
  }

  /** What the tasks of a dead owner have come to here. */
  inherited(tasks: readonly { readonly seq: Seq; readonly attempt: number }[]): void {
    const { out } = this.peer;
    out.begin();
    out.array(2 * tasks.length + 1);
    out.uint(TO_OWNER.inherited);
    for (const { seq, attempt } of tasks) {
      out.uint(seq);
      out.uint(attempt);
    }
    out.end();
    this.peer.schedule();
  }

  item(seq: Seq, attempt: number, index: number, value: unknown, name: string): void {
    const record = this.record(this.client.values.encode(value, "item"), name);
    const { out } = this.peer;
    out.begin();
    out.array(5);
    out.uint(TO_OWNER.streamItem);
    out.uint(seq);
    out.uint(attempt);
    out.uint(index);
    writeValue(out, record);
    out.end();
    this.peer.schedule();
  }

  /** A task or call that was not begun, for these stored arguments are not to be had. */
  argumentsLost(seq: Seq, attempt: number, names: readonly StoredName[]): void {
    const { out } = this.peer;
    out.begin();
    out.array(3 + names.length);
    out.uint(TO_OWNER.argumentsLost);
    out.uint(seq);
    out.uint(attempt);
    for (const name of names) out.string(name);
    out.end();
  }

  flush(): void {
    this.peer.flush();
  }

  streamEnd(seq: Seq, attempt: number, runMicros: number, count: number): void {
    const { out } = this.peer;
    out.begin();
    out.array(5);
    out.uint(TO_OWNER.streamEnd);
    out.uint(seq);
    out.uint(attempt);
    out.uint(runMicros);
    out.uint(count);
    out.end();
  }

  error(seq: Seq, attempt: number, runMicros: number, thrown: unknown, name: string, isRetryable: boolean): void {
    const where = `node ${this.client.nodeId.slice(0, 8)}, pid ${process.pid}, attempt ${attempt}`;
    const failure = failureOf(thrown, name, where, this.client.values);
    const nested = this.grant(failure.nested);
    const { out } = this.peer;
    out.begin();
    out.array(7);
    out.uint(TO_OWNER.error);
    out.uint(seq);
    out.uint(attempt);
    out.uint(runMicros);
    out.bin(failure.bytes);
    writeKeys(out, nested);
    out.bool(isRetryable);
    out.end();
  }

  /** Calls that never started here and never will. */
  returned(seqs: readonly Seq[]): void {
    const { out } = this.peer;
    out.begin();
    out.array(seqs.length + 1);
    out.uint(TO_OWNER.returned);
    for (const seq of seqs) out.uint(seq);
    out.end();
    this.peer.schedule();
  }

  /** Nothing more comes of the calls of this actor. */
  actorGone(num: number, incarnation: number): void {
    const { out } = this.peer;
    out.begin();
    out.array(3);
    out.uint(TO_OWNER.actorGone);
    out.uint(num);
    out.uint(incarnation);
    out.end();
    this.peer.schedule();
  }

  /** @param name of the function that gave it. */
  private record(packed: ReturnType<Client["values"]["encode"]>, name: string): ValueRecord {
    const nested = this.grant(this.client.values.nested(packed));
    const { store } = this.client;
    if (packed.byteLength <= INLINE_BYTES_MAX || !store) return { at: "inline", bytes: packed.toBytes(), nested };
    const key = store.put(packed.byteLength, `result of ${name}`, (target) => packed.writeInto(target), this.owner);
    return {
      at: "stored",
      name: storedName(nodeTag(this.client.nodeId as NodeId), key),
      size: packed.byteLength,
      home: nodeTagOf(this.owner),
      nested,
    };
  }

  /**
   * Refs inside a result can be asked for, and are held by its receiver, before they leave; and what makes them does not
   * end with this process, which may be killed as soon as they have.
   */
  private grant(nested: readonly NestedRef[]): readonly ObjectKey[] {
    if (nested.length === 0) return NO_KEYS;
    const { objects, handover } = this.runtime.enter();
    const keys = objects.useNested(nested);
    handover?.escaping(keys);
    objects.publishNested(keys);
    this.runtime.toNode({ t: "hold-grant", to: this.owner, keys });
    objects.holds.drop(keys);
    handover?.copy();
    this.peer.beforeFlush = this.runtime.flushNode;
    this.runtime.schedule();
    return keys;
  }
}
