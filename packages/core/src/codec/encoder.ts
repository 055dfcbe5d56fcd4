/**
 * Values to bytes.
 *
 * 1. Plain data is written as MessagePack, depth first.
 * 2. Every object gets a number when it is first met; meeting it again writes the number (identity, cycles).
 * 3. Everything else is a "node": an array that begins with a marker, says how to make the object, and ends with its
 *    content. Content can be put off: it is then written after the root, so that neither deep nesting nor a cycle
 *    through a class needs recursion.
 * 4. Views of buffers are collected and placed at the end (buffers.ts).
 *
 * The hot parts (plain data) are in this file; `encode-node.ts` has the rest.
 */
import { types } from "node:util";
import { InternalError, MobulaError } from "../base/errors.ts";
import { BufferCollector } from "./buffers.ts";
import { type Customizer, type EncodeSession, type Problem, problemOf, refusal } from "./custom.ts";
import { writeCustomNode, writeOther } from "./encode-node.ts";
import {
  BUFFER_COUNT_MAX,
  DEPTH_MAX,
  EARLY_DEPTH_MAX,
  EXT_BACK_REFERENCE,
  EXT_BIGINT,
  EXT_HOLE,
  EXT_LATER,
  EXT_NODE,
  EXT_SYMBOL,
  EXT_UNDEFINED,
  EXT_UTF16,
  FLAG_BACK_REFERENCES,
  FORMAT_VERSION,
  HEADER_BYTES,
  INBAND_BYTES_MAX,
  NODE_ARRAY,
  NODE_OBJECT,
} from "./format.ts";
import { EARLY_CYCLE, functionWords, LOCAL_SYMBOL, PROXY, TOO_DEEP, TOO_LARGE, type Words } from "./obstacles.ts";
import { Output } from "./output.ts";
import { Packed } from "./packed.ts";
import { formatPath, type Prefix, type Segment } from "./path.ts";
import { isDense } from "./properties.ts";
import type { SerializerRegistry } from "./serializers.ts";
import { WELL_KNOWN_SYMBOLS } from "./symbols.ts";

export interface EncodeContext {
  /** What the value is called in messages: "args", "value" (default), "result". */
  readonly root?: string;
  /** Functions, classes, refs, handles; without one, they are refused. */
  readonly customizer?: Customizer;
  /** The root is a list of arguments that was just made: it is not searched for holes and extra properties. */
  readonly rootIsArguments?: boolean;
  /** Serializers registered by the program. */
  readonly serializers?: SerializerRegistry;
}

/** Content that is written after the value that holds it. */
interface Later {
  readonly prefix: Prefix;
  readonly write: (depth: number) => void;
}

/** Up to this many objects a scan of a list finds one faster than a Map does. */
const SCAN_MAX = 12;

export class Encoder {
  readonly out = new Output();
  context: EncodeContext = NO_CONTEXT;
  private customizer: Customizer | undefined;
  /** Where in the value we are: `segments[d]` leads from depth d to d + 1. */
  readonly segments: Segment[] = [];
  private prefix: Prefix | undefined;
  private depth = 0;

  private met: object[] = [];
  private numbers: Map<object, number> | undefined;
  private hasBackReferences = false;
  private later: Later[] = [];
  /** Above 0 while a value is written that must exist before the one around it; all content is put off then. */
  private early = 0;
  /** Objects whose early values are being written. */
  private readonly unborn = new Set<object>();
  private collector: BufferCollector | undefined;
  private session: EncodeSession | undefined;
  private nested: Set<object> | undefined;
  /** Present when problems are collected instead of thrown. */
  problems: Problem[] | undefined;

  encode(value: unknown, context: EncodeContext): Packed {
    this.context = context;
    this.customizer = context.customizer;
    const { out } = this;
    out.begin(HEADER_BYTES);
    try {
      this.write(value, 0);
      this.drain();
      return this.finish();
    } catch (error) {
      out.abandon();
      throw this.explain(error);
    } finally {
      this.clear();
    }
  }

  /** Encodes only to find out what stands in the way. */
  inspect(value: unknown, context: EncodeContext): readonly Problem[] {
    const found: Problem[] = [];
    this.problems = found;
    try {
      this.encode(value, context);
    } catch (error) {
      const problem = problemOf(error);
      found.push(
        problem ?? { path: context.root ?? "value", type: "a value that cannot be shipped", advice: String(error) },
      );
    }
    return found;
  }

  private finish(): Packed {
    const { out } = this;
    const buffers = this.collector?.finish(out) ?? [];
    const length = out.pos - out.start - HEADER_BYTES;
    if (length > INBAND_BYTES_MAX || buffers.length > BUFFER_COUNT_MAX) throw this.refused(TOO_LARGE);
    const { bytes, start } = out;
    bytes[start] = (FORMAT_VERSION << 4) | (this.hasBackReferences ? FLAG_BACK_REFERENCES : 0);
    bytes[start + 1] = bytes[start + 2] = bytes[start + 3] = 0;
    bytes[start + 4] = length;
    bytes[start + 5] = length >>> 8;
    bytes[start + 6] = length >>> 16;
    bytes[start + 7] = length >>> 24;
    return new Packed(out.take(), buffers, this.nested ? [...this.nested] : NOTHING);
  }

  private clear(): void {
    if (this.met.length > 0) this.met.length = 0;
    this.numbers = undefined;
    this.hasBackReferences = false;
    if (this.later.length > 0) this.later = [];
    this.early = 0;
    if (this.unborn.size > 0) this.unborn.clear();
    this.collector = undefined;
    this.session = undefined;
    this.nested = undefined;
    this.problems = undefined;
    this.prefix = undefined;
    this.depth = 0;
    this.context = NO_CONTEXT;
    this.customizer = undefined;
  }

  // ── refusing ─────────────────────────────────────────────────────────────────────────────────────────────────────

  path(): string {
    return formatPath(this.context.root ?? "value", this.prefix, this.segments.slice(0, this.depth));
  }

  refused(words: Words): MobulaError {
    return refusal(this.path(), words.type, words.advice);
  }

  /** Refuses the value at `depth`: throws, or notes the problem and writes null in its place. */
  refuse(words: Words, depth: number): void {
    this.depth = depth;
    const error = this.refused(words);
    const problem = problemOf(error);
    if (!this.problems || !problem) throw error;
    this.problems.push(problem);
    this.out.byte(0xc0);
  }

  private explain(error: unknown): unknown {
    if (error instanceof MobulaError) return error;
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    const type = `a value whose reading failed (${text})`;
    return refusal(this.path(), type, "a getter, toJSON-like hook or serializer threw: see the cause", {
      cause: error,
    });
  }

  // ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────

  write(value: unknown, depth: number): void {
    switch (typeof value) {
      case "number":
        this.out.number(value);
        return;
      case "string":
        this.string(value);
        return;
      case "object":
        if (value === null) this.out.byte(0xc0);
        else this.object(value, depth);
        return;
      case "boolean":
        this.out.byte(value ? 0xc3 : 0xc2);
        return;
      case "undefined":
        this.out.ext1(EXT_UNDEFINED, 0);
        return;
      case "bigint":
        this.bigint(value);
        return;
      case "function":
        this.fn(value, depth);
        return;
      case "symbol":
        this.symbol(value, depth);
        return;
    }
  }

  string(value: string): void {
    if (this.out.string(value)) return;
    this.out.extHeader(EXT_UTF16, value.length * 2);
    this.out.raw(Buffer.from(value, "utf16le"));
  }

  private bigint(value: bigint): void {
    if (BigInt.asIntN(64, value) === value) {
      this.out.int64(0xd3, value);
    } else if (BigInt.asUintN(64, value) === value) {
      this.out.int64(0xcf, value);
    } else {
      // Two's complement, big-endian, as short as it goes with room for the sign.
      const magnitude = value < 0n ? ~value : value;
      const digits = magnitude.toString(16);
      const padded = digits.padStart(2 * (Math.floor(digits.length / 2) + 1), "0");
      const bytes = Buffer.from(padded, "hex");
      if (value < 0n) for (let i = 0; i < bytes.length; i++) bytes[i] = ~(bytes[i] ?? 0);
      this.out.extHeader(EXT_BIGINT, bytes.length);
      this.out.raw(bytes);
    }
  }

  symbol(value: symbol, depth: number): void {
    const key = Symbol.keyFor(value);
    const name = key === undefined ? WELL_KNOWN_SYMBOLS.nameOf(value) : key;
    if (name === undefined) {
      this.refuse(LOCAL_SYMBOL, depth);
      return;
    }
    const bytes = Buffer.from(name, "utf16le");
    this.out.extHeader(EXT_SYMBOL, bytes.length + 1);
    this.out.byte(key === undefined ? 1 : 0);
    this.out.raw(bytes);
  }

  /** Gives the object its number; true when it had one, and the reference is written. */
  private seen(value: object, depth: number): boolean {
    if (this.numbers) {
      const known = this.numbers.get(value);
      if (known !== undefined) {
        this.backReference(value, known, depth);
        return true;
      }
      this.numbers.set(value, this.numbers.size);
      return false;
    }
    const { met } = this;
    const known = met.indexOf(value);
    if (known >= 0) {
      this.backReference(value, known, depth);
      return true;
    }
    if (met.length >= SCAN_MAX) {
      const numbers = new Map<object, number>();
      for (const [number, one] of met.entries()) numbers.set(one, number);
      numbers.set(value, numbers.size);
      this.numbers = numbers;
    } else {
      met.push(value);
    }
    return false;
  }

  private backReference(value: object, number: number, depth: number): void {
    if (this.unborn.size > 0 && this.unborn.has(value)) {
      this.refuse(EARLY_CYCLE, depth);
      return;
    }
    this.hasBackReferences = true;
    const { out } = this;
    if (number < 0x100) {
      out.ext1(EXT_BACK_REFERENCE, number);
    } else {
      out.extHeader(EXT_BACK_REFERENCE, 4);
      out.uint32(number);
    }
  }

  private object(value: object, depth: number): void {
    if (this.seen(value, depth)) return;
    if (types.isProxy(value)) {
      this.refuse(PROXY, depth);
      return;
    }
    const prototype: unknown = Object.getPrototypeOf(value);
    if (Array.isArray(value)) {
      if (prototype === Array.prototype) this.array(value, depth);
      else writeOther(this, value, depth);
      return;
    }
    if (this.customizer && this.custom(value, depth)) return;
    if (prototype === Object.prototype) this.plainObject(value as Record<string, unknown>, depth);
    else writeOther(this, value, depth);
  }

  private fn(value: object, depth: number): void {
    if (this.seen(value, depth)) return;
    if (this.customizer && this.custom(value, depth)) return;
    this.refuse(types.isProxy(value) ? PROXY : functionWords(value), depth);
  }

  private custom(value: object, depth: number): boolean {
    this.depth = depth;
    this.session ??= { path: () => this.path() };
    let node: ReturnType<Customizer["encode"]>;
    try {
      node = this.customizer?.encode(value, this.session);
    } catch (error) {
      this.collect(error);
      return true;
    }
    if (!node) return false;
    if (node.nested) {
      this.nested ??= new Set();
      this.nested.add(node.nested);
    }
    writeCustomNode(this, value, node, depth);
    return true;
  }

  /** Notes a customizer's own error when problems are collected, and writes null; throws it otherwise. */
  private collect(error: unknown): void {
    if (!this.problems || !(error instanceof MobulaError) || error.code !== "NOT_SERIALIZABLE") throw error;
    this.problems.push(
      problemOf(error) ?? { path: this.path(), type: "a value that cannot be shipped", advice: error.message },
    );
    this.out.byte(0xc0);
  }

  array(value: readonly unknown[], depth: number): void {
    if (!(depth === 0 && this.context.rootIsArguments === true) && !isDense(value)) {
      writeOther(this, value, depth);
      return;
    }
    const { length } = value;
    if (this.mustPutOff(depth)) {
      this.node(NODE_ARRAY, 2);
      this.putOff((at) => this.elements(value, length, at), depth);
      return;
    }
    this.elements(value, length, depth);
  }

  /** An array with its elements, without a number of its own. */
  elements(value: readonly unknown[], length: number, depth: number): void {
    const { out, segments } = this;
    out.arrayHeader(length);
    this.depth = depth + 1;
    for (let i = 0; i < length; i++) {
      const element = value[i];
      if (typeof element === "number") {
        out.number(element);
      } else if (element === undefined && !(i in value)) {
        out.ext1(EXT_HOLE, 0);
      } else {
        segments[depth] = i;
        this.write(element, depth + 1);
      }
    }
  }

  private plainObject(value: Readonly<Record<string, unknown>>, depth: number): void {
    const keys = Object.keys(value);
    if (Object.getOwnPropertyNames(value).length !== keys.length || Object.getOwnPropertySymbols(value).length > 0) {
      writeOther(this, value, depth);
      return;
    }
    if (this.mustPutOff(depth)) {
      this.node(NODE_OBJECT, 2);
      this.putOff((at) => this.map(value, keys, at), depth);
      return;
    }
    this.map(value, keys, depth);
  }

  /** A map of the given properties, without a number of its own. */
  map(value: Readonly<Record<string, unknown>>, keys: readonly string[], depth: number): void {
    const { out, segments } = this;
    out.mapHeader(keys.length);
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i] as string;
      if (!out.string(key)) this.string(key);
      segments[depth] = key;
      // Set before the read, so that a getter that throws is named.
      this.depth = depth + 1;
      const property = this.problems ? this.readOrNote(value, key) : value[key];
      if (typeof property === "string") this.string(property);
      else if (typeof property === "number") out.number(property);
      else this.write(property, depth + 1);
    }
  }

  /** Reads a property; when problems are collected, a getter that throws is one of them, and null stands in. */
  readOrNote(holder: Readonly<Record<string | symbol, unknown>>, key: string | symbol): unknown {
    if (!this.problems) return holder[key];
    try {
      return holder[key];
    } catch (error) {
      const problem = problemOf(this.explain(error));
      if (!problem) throw error;
      this.problems.push(problem);
      return null;
    }
  }

  // ── for encode-node.ts ───────────────────────────────────────────────────────────────────────────────────────────

  /** Begins a node of `length` elements, the marker included. */
  node(kind: number, length: number): void {
    this.out.byte(0x90 | length);
    this.out.ext1(EXT_NODE, kind);
  }

  mustPutOff(depth: number): boolean {
    return depth >= DEPTH_MAX || this.early > 0;
  }

  /** A node's last element: now, or after the root. */
  content(write: (depth: number) => void, depth: number): void {
    if (this.mustPutOff(depth)) this.putOff(write, depth);
    else write(depth);
  }

  private putOff(write: (depth: number) => void, depth: number): void {
    this.out.ext1(EXT_LATER, 0);
    this.later.push({ prefix: { parent: this.prefix, segments: this.segments.slice(0, depth) }, write });
  }

  private drain(): void {
    const outer = this.prefix;
    // The list grows while it is walked.
    for (let i = 0; i < this.later.length; i++) {
      const one = this.later[i] as Later;
      // Its own entry is given up at once: a long chain must not keep every step's closure alive.
      this.later[i] = DONE;
      this.prefix = one.prefix;
      this.depth = 0;
      one.write(0);
    }
    this.later = [];
    this.prefix = outer;
  }

  /** Writes values that must exist before `owner` does. */
  writeEarly(owner: object, depth: number, write: () => void): void {
    if (depth > EARLY_DEPTH_MAX) {
      this.depth = depth;
      throw this.refused(TOO_DEEP);
    }
    this.unborn.add(owner);
    this.early++;
    write();
    this.early--;
    this.unborn.delete(owner);
  }

  /** Writes values that must be complete, with everything they lead to, before `owner` is made. */
  writeComplete(owner: object, depth: number, write: () => void): void {
    const { early, later, segments, prefix } = this;
    if (depth > EARLY_DEPTH_MAX) {
      this.depth = depth;
      throw this.refused(TOO_DEEP);
    }
    this.early = 0;
    this.later = [];
    this.unborn.add(owner);
    const saved = segments.slice(0, depth + 1);
    write();
    this.drain();
    for (const [at, segment] of saved.entries()) segments[at] = segment;
    this.unborn.delete(owner);
    this.prefix = prefix;
    this.later = later;
    this.early = early;
  }

  get buffers(): BufferCollector {
    this.collector ??= new BufferCollector();
    return this.collector;
  }

  /** Plain data without identity: a custom node's head. */
  plain(value: unknown): void {
    const { out } = this;
    if (Array.isArray(value)) {
      out.arrayHeader(value.length);
      for (const one of value) this.plain(one);
    } else if (value instanceof Uint8Array) {
      out.bin(value);
    } else if (typeof value === "object" && value !== null) {
      const entries = Object.entries(value);
      out.mapHeader(entries.length);
      for (const [key, one] of entries) {
        this.string(key);
        this.plain(one);
      }
    } else if (typeof value === "function" || typeof value === "symbol") {
      throw new InternalError(`a custom node's head must be plain data, not a ${typeof value}`);
    } else {
      this.write(value, 0);
    }
  }

  /** Tells where an error message about what comes next should point. */
  at(depth: number, segment: Segment): void {
    this.segments[depth] = segment;
    this.depth = depth + 1;
  }
}

const NOTHING: readonly object[] = [];
const NO_CONTEXT: EncodeContext = {};
const DONE: Later = { prefix: { parent: undefined, segments: [] }, write: () => {} };
