/**
 * Replays what an engine of a real run was told (`node/recording.ts`): the engine as it is now must do what that one did, in
 * the same order.
 */
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { deserialize, serialize } from "node:v8";
import { type ErrorKind, errorFromCode } from "../../core/src/base/mod.ts";
import { HEAD } from "../../core/src/head/recorded.ts";
import { BROKER, CONTROL, LEASES, LOCAL_GROUPS, OWN_GROUPS } from "../../core/src/node/recorded-engines.ts";
import {
  type AnyFunction,
  cross,
  type EngineKind,
  isMark,
  MARK,
  type Mark,
  markOf,
  type RecordedEntry,
} from "../../core/src/node/recording.ts";

export interface Replayed {
  readonly engine: string;
  /** Things that it was told. */
  readonly calls: number;
  /** Things that it did, results of calls included. */
  readonly answers: number;
  /** How often it was told of what, and said what: by the kinds of messages, events and commands. */
  readonly kinds: ReadonlyMap<string, number>;
}

export class ReplayDiffers extends Error {}

// biome-ignore lint/suspicious/noExplicitAny: options are as the recording process wrote them, of the same version of the sources.
type AnyKind = EngineKind<any, any, any>;

const KINDS: readonly AnyKind[] = [LEASES, BROKER, CONTROL, LOCAL_GROUPS, OWN_GROUPS, HEAD];

/** @throws ReplayDiffers at the first thing that is not as it was recorded. */
export async function replay(path: string, kinds: readonly AnyKind[] = KINDS): Promise<Replayed> {
  const entries = new Entries(path);
  const first = entries.at(0);
  if (first?.[0] !== "engine") throw new ReplayDiffers(`${path} does not begin as a recording does`);
  const [, engine, options] = first;
  const kind = kinds.find(({ name }) => name === engine);
  if (!kind) throw new ReplayDiffers(`${path}: nothing is known of an engine "${engine}"`);
  const player = new Player(path, entries);
  await player.play((world) => kind.make(options, world));
  return { engine, calls: player.calls, answers: player.answers, kinds: player.kinds };
}

/** Those of a file, which may be many. */
class Entries {
  /** Up to the end of the last thing that is there whole: of what is cut off, because its process was killed, nothing is known. */
  readonly end: number = 0;
  private readonly path: string;
  private readonly bytes: Buffer;
  private readonly offsets: number[] = [];
  private latest: { readonly index: number; readonly entry: RecordedEntry } | undefined;

  constructor(path: string) {
    this.path = path;
    this.bytes = readFileSync(path);
    const { bytes, offsets } = this;
    let depth = 0;
    for (let at = 0; at + 4 <= bytes.length; ) {
      const end = at + 4 + bytes.readUInt32LE(at);
      if (end > bytes.length) break;
      offsets.push(at + 4);
      const kind = this.at(offsets.length - 1)?.[0];
      if (kind === "call" || kind === "effect") depth++;
      else if (kind === "end" || kind === "threw") depth--;
      if (depth === 0) this.end = offsets.length;
      at = end;
    }
  }

  at(index: number): RecordedEntry | undefined {
    if (this.latest?.index === index) return this.latest.entry;
    const offset = this.offsets[index];
    if (offset === undefined) return undefined;
    try {
      const bytes = this.bytes.subarray(offset, offset + this.bytes.readUInt32LE(offset - 4));
      const entry = deserialize(bytes) as RecordedEntry;
      this.latest = { index, entry };
      return entry;
    } catch (error) {
      throw new ReplayDiffers(`${this.path} is no recording: ${(error as Error).message}`);
    }
  }
}

/** By name, whatever they are. */
type Functions = Record<string, AnyFunction>;

class Player {
  calls = 0;
  answers = 0;
  readonly kinds = new Map<string, number>();
  private readonly path: string;
  private readonly entries: Entries;
  /** The first says what engine it is. */
  private at = 1;
  private depth = 0;
  private engine: object | undefined;
  /** Given by the engine, or what settles a promise that it was given. */
  private readonly functions = new Map<string, AnyFunction>();
  private got = 0;
  private told = "its making";
  private difference: ReplayDiffers | undefined;

  constructor(path: string, entries: Entries) {
    this.path = path;
    this.entries = entries;
  }

  async play(make: (world: Functions) => object | Promise<object>): Promise<void> {
    const made = make(this.world);
    if (made instanceof Promise) {
      made.then(
        (engine: object) => {
          this.engine = engine;
        },
        (error: Error) => this.differ(`now: it cannot be made: ${error.message}`),
      );
    } else this.engine = made;
    while (this.at < this.entries.end) {
      const { at } = this;
      const kind = this.entries.at(at)?.[0];
      if (kind === "call") {
        this.call();
      } else {
        if (kind === "turn") this.at++;
        // What promises led to, it does by itself.
        await turn();
        if (this.at === at) this.differ("now: nothing");
      }
      if (this.difference) throw this.difference;
    }
  }

  /** Whatever it asks for. */
  private readonly world: Functions = new Proxy<Functions>(
    {},
    { get: (_, name) => (typeof name === "string" ? (...values: unknown[]) => this.effect(name, values) : undefined) },
  );

  private call(): void {
    const entry = this.next();
    if (entry?.[0] !== "call") {
      this.differ("now: it waits to be told something", entry);
      return;
    }
    const [, name, written] = entry;
    this.calls++;
    this.count(name, written);
    if (this.depth === 0) this.told = `${name}(${show(written).slice(1, -1)})`;
    const values = written.map((value) => this.revived(value));
    let done: RecordedEntry;
    this.depth++;
    try {
      done = ["end", this.written(this.tell(name, values))];
    } catch (error) {
      if (error === this.difference) throw error;
      done = ["threw", markOf(error as Error, "")];
    } finally {
      this.depth--;
    }
    this.compare(done);
  }

  private tell(name: string, values: readonly unknown[]): unknown {
    const told = this.functions.get(name) ?? Reflect.get(this.engine ?? {}, name);
    if (typeof told === "function") return told.apply(this.engine, values);
    if (this.engine && name in this.engine) return told; // A getter.
    return this.differ(`now: it cannot be told ${name}`);
  }

  private effect(name: string, values: readonly unknown[]): unknown {
    // What came of the last entries is not known.
    if (this.difference || this.at >= this.entries.end) return undefined;
    this.count(name, values);
    this.compare(["effect", name, values.map((value) => this.written(value))]);
    while (this.entries.at(this.at)?.[0] === "call") this.call();
    const end = this.next();
    if (end?.[0] === "end") return this.revived(end[1]);
    if (end?.[0] === "threw") throw this.revived(end[1]);
    return this.differ(`now: nothing more within ${name}`, end);
  }

  private next(): RecordedEntry | undefined {
    return this.entries.at(this.at++);
  }

  private compare(now: RecordedEntry): void {
    const then = this.next();
    this.answers++;
    if (isDeepStrictEqual(then, now) || isDeepStrictEqual(then, deserialize(serialize(now)))) return;
    this.differ(`now: ${show(now)}`, then);
  }

  /** It ends what it is about, unless nobody would hear of that. */
  private differ(now: string, then: unknown = this.entries.at(this.at)): undefined {
    const where = `${this.path}, entry ${this.at}, after ${this.calls} calls`;
    this.difference ??= new ReplayDiffers(`${where}, the last of which was ${this.told}\n${now}\nthen: ${show(then)}`);
    if (this.depth > 0) throw this.difference;
    return undefined;
  }

  private count(name: string, values: readonly unknown[]): void {
    for (const value of values) {
      const { t, kind = t } = (value ?? {}) as { readonly t?: unknown; readonly kind?: unknown };
      if (typeof kind === "string") this.kinds.set(kind, (this.kinds.get(kind) ?? 0) + 1);
    }
    if (!/^[#@]/.test(name)) this.kinds.set(name, (this.kinds.get(name) ?? 0) + 1);
  }

  // ── values ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** As the recording has it, with what others may call of it. */
  private written(value: unknown): unknown {
    const [written] = cross(value, (one, name) => {
      if (one instanceof Error) return [markOf(one, ""), one];
      const id = `#${this.got++}${name && ` ${name}`}`;
      if (typeof one === "function") this.functions.set(id, one);
      else
        one.then(
          (of) => this.effect(`${id} fulfilled`, [of]),
          (error) => this.effect(`${id} rejected`, [error]),
        );
      return [markOf(one, id), one];
    });
    return written;
  }

  /** As the engine was given it. */
  private revived(value: unknown): unknown {
    if (isMark(value)) return this.ofMark(value);
    if (typeof value !== "object" || value === null || ArrayBuffer.isView(value) || value instanceof Map) return value;
    const holder = value as Functions;
    for (const key of Object.keys(holder)) holder[key] = this.revived(holder[key]) as AnyFunction;
    return holder;
  }

  private ofMark(mark: Mark): unknown {
    if ("code" in mark) {
      const { code, kind, message } = mark;
      return code === "" ? new Error(message) : errorFromCode(code, kind as ErrorKind, message);
    }
    const { id } = mark;
    if (mark[MARK] === "function") return (...values: unknown[]) => this.effect(id, values);
    const { promise, resolve, reject } = Promise.withResolvers();
    this.functions.set(`${id} fulfilled`, resolve);
    this.functions.set(`${id} rejected`, reject);
    return promise;
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

const show = (value: unknown): string => JSON.stringify(value)?.slice(0, 2_000) ?? "nothing";
