/**
 * The hot messages: MessagePack arrays whose first element is a number below. They pass between an owner and a worker
 * it has leased or whose actors it calls. Fields that are usually absent come last or are nil.
 */

import { unreachable } from "../base/assert.ts";
import { MobulaError } from "../base/errors.ts";
import type { ObjectKey, StoredName } from "../base/ids.ts";
import type { ValueRecord } from "./messages.ts";
import type { FrameReader } from "./msgpack-reader.ts";
import type { FrameWriter } from "./msgpack-writer.ts";

/** Owner → worker. */
export const TO_WORKER = {
  /** [0, template, name, language, code, numReturns, flags, streamBufferItems, nested] once for each connection, before the first task that needs it. */
  template: 0,
  /** [1, seq, attempt, template, claimSlot, claimSequence, args, nested, deps] */
  task: 1,
  /** [2, actor, actorId, incarnation] names an actor by a number on this connection. */
  actor: 2,
  /**
   * [3, method, name, displayName, numReturns, group, retry, streamBufferItems, failuresMax, retryDelayMs]. displayName
   * is empty for the class and the method; streamBufferItems is 0 for a method that is no generator; failuresMax is 0
   * for no limit, else one more than the retries.
   */
  method: 3,
  /** [4, seq, attempt, actor, method, claimSlot, claimSequence, args, nested, deps] */
  call: 4,
  /** [5, seq, code, isRecursive] abort its signal and what it submitted; drop it if it has not started. */
  cancel: 5,
  /** [6, seq, consumed] the consumer of a stream has taken so many items. */
  streamAck: 6,
  /** [7, seq…] give these back if they have not started (used where there are no claim words). */
  takeBack: 7,
  /** [8, template] no task will name it again; said of those that hold refs. */
  forgetTemplate: 8,
  /** [9, leaseId] the tasks that follow were sent under this lease; those of one that has ended come back unstarted. */
  lease: 9,
  /** [10] the owner that this connection speaks for is dead: what it ran here is this one's. Answered by `inherited`. */
  inherit: 10,
  /**
   * [11, (seq, attempt)…] answers to tasks that took `ANSWER_KEPT_FROM_MICROS` or more have been heard, and what they gave has
   * been said to the owner's node, as far as others have its refs: they need not be kept for an heir. Older owners do not say it.
   */
  heard: 11,
} as const;

/** A worker keeps the answer of a task that took so long until it was heard: what took less is as quickly made again. */
export const ANSWER_KEPT_FROM_MICROS = 10_000;

/** Worker → owner. */
export const TO_OWNER = {
  /** [0, seq, attempt, runMicros, bytes] one small return without refs: nearly every result. */
  ok: 0,
  /** [1, seq, attempt, runMicros, [value…]] */
  results: 1,
  /** [2, seq, attempt, runMicros, bytes, nested, isRetryable] */
  error: 2,
  /** [3, seq, attempt, index, value] */
  streamItem: 3,
  /** [4, seq, attempt, runMicros, count] */
  streamEnd: 4,
  /** [5, seq…] never started and never will: run them elsewhere. */
  returned: 5,
  /** [6, actor, incarnation] that actor has left this worker: nothing more comes of its calls. */
  actorGone: 6,
  /** [7, (seq, attempt)…] this is what the dead owner's tasks have come to here: they run, or their answers follow. */
  inherited: 7,
  /** [8, seq, attempt, name…] not begun: these stored arguments are not to be had any more. */
  argumentsLost: 8,
} as const;

export const TEMPLATE_FLAGS = {
  stream: 1,
  /** A run may be ended by force or may not be repeated: results leave before it begins and when it ends. */
  prompt: 2,
} as const;
/** In `claimSlot`: this task was sent without a claim word. */
export const NO_CLAIM = 0;

const AT_INLINE = 0;
const AT_STORED = 1;
const AT_ERROR = 2;

/** [0, bytes, nested] · [1, name, size, home, nested] · [2, bytes, nested] */
export function writeValue(out: FrameWriter, value: ValueRecord): void {
  switch (value.at) {
    case "inline":
    case "error":
      out.array(3);
      out.uint(value.at === "inline" ? AT_INLINE : AT_ERROR);
      out.bin(value.bytes);
      break;
    case "stored":
      out.array(5);
      out.uint(AT_STORED);
      out.string(value.name);
      out.uint(value.size);
      out.string(value.home);
      break;
    default:
      unreachable(value);
  }
  writeKeys(out, value.nested);
}

/** The value's bytes are a copy, so that it may be kept. */
export function readValue(reader: FrameReader): ValueRecord {
  reader.array();
  const at = reader.uint();
  switch (at) {
    case AT_INLINE:
      return { at: "inline", bytes: Buffer.from(reader.bin()), nested: readKeys(reader) };
    case AT_ERROR:
      return { at: "error", bytes: Buffer.from(reader.bin()), nested: readKeys(reader) };
    case AT_STORED:
      return {
        at: "stored",
        name: reader.string() as StoredName,
        size: reader.uint(),
        home: reader.string(),
        nested: readKeys(reader),
      };
    default:
      throw new MobulaError("MALFORMED_FRAME", "invalid", `malformed frame: a value of unknown kind ${at}`);
  }
}

const NO_KEYS: readonly ObjectKey[] = Object.freeze([]);

export function writeKeys(out: FrameWriter, keys: readonly string[]): void {
  if (keys.length === 0) {
    out.nil();
    return;
  }
  out.array(keys.length);
  for (const key of keys) out.string(key);
}

export function readKeys(reader: FrameReader): readonly ObjectKey[] {
  if (reader.tryNil()) return NO_KEYS;
  const count = reader.array();
  const keys: ObjectKey[] = [];
  for (let index = 0; index < count; index++) keys.push(reader.string() as ObjectKey);
  return keys;
}

export function writeValues(out: FrameWriter, values: readonly ValueRecord[]): void {
  if (values.length === 0) {
    out.nil();
    return;
  }
  out.array(values.length);
  for (const value of values) writeValue(out, value);
}

export function readValues(reader: FrameReader): readonly ValueRecord[] {
  if (reader.tryNil()) return [];
  const count = reader.array();
  const values: ValueRecord[] = [];
  for (let index = 0; index < count; index++) values.push(readValue(reader));
  return values;
}
