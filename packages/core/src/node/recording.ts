/**
 * What an engine was told and what it did, as a file: with MOBULA_RECORD naming a folder, each engine of nodes and heads
 * writes one there. The simulation replays it (`npm run sim -- --replay FILE`): the same engine, told the same, does the same.
 *
 * An engine is made of options and a world: the functions by which it asks for the time, sets timers, writes and sends. It has no
 * other way out. An entry is one of these; what happens inside of another stands between its begin and its end:
 *
 *     ["call", name, values]   the engine is told something
 *     ["effect", name, values] it asks something of the world
 *     ["end", result]          of the innermost that has not ended
 *     ["threw", error]         the same, when it threw
 *     ["turn"]                 what promises led to was done before the next call
 *
 * Instead of a function, a promise or an error, wherever it stands in a value, there is a {@link Mark}. What the engine is given is
 * called by the engine, so that is an effect: "@number"; what it gives, the world calls: "#number". A promise that settles is such a
 * call, or effect, too: "@number fulfilled".
 */
import { appendFileSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";

export type RecordedEntry =
  | readonly ["engine", kind: string, options: unknown]
  | readonly ["call" | "effect", name: string, values: readonly unknown[]]
  | readonly ["end" | "threw", unknown]
  | readonly ["turn"];

/** How engines of a kind are made, where they work and where they are replayed. `Made` is one, or a promise of one. */
export interface EngineKind<Options, World extends object, Made extends object> {
  readonly name: string;
  make(options: Options, world: World): Made;
  /** What it is told by: methods, and getters. Others may be read, and change nothing. */
  readonly told: readonly (keyof Awaited<Made> & string)[];
}

// biome-ignore lint/suspicious/noExplicitAny: the functions of any engine.
export type AnyFunction = (...values: any[]) => unknown;
type Special = AnyFunction | Promise<unknown> | Error;

/** What stands for what cannot be written. */
export type Mark =
  | { readonly [MARK]: "function" | "promise"; readonly id: string }
  | { readonly [MARK]: "error"; readonly code: string; readonly kind: string; readonly message: string };

export const MARK = "\0recorded";

export const isMark = (value: unknown): value is Mark => typeof value === "object" && value !== null && MARK in value;

export function markOf(one: Special, id: string): Mark {
  if (!(one instanceof Error)) return { [MARK]: typeof one === "function" ? "function" : "promise", id };
  const { code = "", kind = "" } = one as { readonly code?: string; readonly kind?: string };
  return { [MARK]: "error", code, kind, message: one.message };
}

/** A value as it is written, and as it is given to the other side: itself when nothing in it is special. */
export function cross(
  value: unknown,
  wrap: (one: Special, name: string) => readonly [written: unknown, given: unknown],
  name = "",
): readonly [written: unknown, given: unknown] {
  if (typeof value === "function") return wrap(value as AnyFunction, name);
  if (value instanceof Promise || value instanceof Error) return wrap(value, name);
  if (!isPlain(value)) return [value, value];
  let written = value;
  let given = value;
  for (const key of Object.keys(value)) {
    const one = value[key];
    const [oneWritten, oneGiven] = cross(one, wrap, key);
    if (oneWritten === one && oneGiven === one) continue;
    if (written === value) {
      written = copyOf(value);
      given = copyOf(value);
    }
    written[key] = oneWritten;
    given[key] = oneGiven;
  }
  return [written, given];
}

type Plain = Record<string, unknown>;
const copyOf = (value: Plain): Plain => (Array.isArray(value) ? [...value] : { ...value }) as Plain;

function isPlain(value: unknown): value is Plain {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === Array.prototype || prototype === null;
}

/** Makes an engine, which is recorded if engines are. */
export function recorded<Options, World extends object, Engine extends object>(
  { name: kind, make, told }: EngineKind<Options, World, Engine>,
  name: string,
  options: Options,
  world: World,
): Engine {
  const recording = Recording.of(kind, name, options);
  return recording ? recording.told(make(options, recording.world(world)), told) : make(options, world);
}

/** Options and a world as one object, which is how most engines have them. */
export const withWorld = <Options extends object, World extends object>(
  options: Options,
  world: World,
): Options & World => Object.create(world, Object.getOwnPropertyDescriptors(options)) as Options & World;

/** Written when so much waits, and so often: what a process has done in its last moments is lost when it is killed. */
const BUFFER_BYTES = 256 * 1024;
const FLUSH_MS = 20;
/** What is not written. */
const unwritten = new Set<Recording>();
const flushAll = (): void => {
  for (const recording of unwritten) recording.flush();
};

export class Recording {
  private readonly path: string;
  private readonly serialize = process.getBuiltinModule("node:v8").serialize;
  private buffered: Uint8Array[] = [];
  private bufferedBytes = 0;
  private given = 0;
  private got = 0;
  private depth = 0;
  /** Whether something was called since promises led to anything. */
  private isInTurn = false;
  private hasTurned = false;

  /** Undefined unless MOBULA_RECORD says where to. `options` are those that the engine is made with. */
  static of(engine: string, name: string, options: unknown): Recording | undefined {
    const folder = process.env.MOBULA_RECORD;
    if (!folder) return undefined;
    mkdirSync(folder, { recursive: true });
    if (!process.listeners("exit").includes(flushAll)) process.on("exit", flushAll);
    // An engine may be made anew, and the id of a process given again.
    for (let count = 1; ; count++) {
      const path = join(folder, `${engine}-${name}-${process.pid}-${count}.rec`);
      if (existsSync(path)) continue;
      const recording = new Recording(path);
      recording.write(["engine", engine, options]);
      recording.flush();
      return recording;
    }
  }

  private constructor(path: string) {
    this.path = path;
  }

  /** The world as the engine is to have it: what it does through these functions is written down. */
  world<World extends object>(world: World): World {
    const seen: Record<string, unknown> = Object.fromEntries(Object.entries(world));
    for (const [name, effect] of Object.entries(world)) {
      if (typeof effect !== "function") continue;
      seen[name] = (...values: unknown[]) => this.within("effect", name, values, effect.bind(world));
    }
    return seen as World;
  }

  /** The engine as others are to have it: what it is told by these is written down. What it says to itself is not. */
  told<Engine extends object>(engine: Engine, names: readonly string[]): Engine {
    const known = new Map<string | symbol, unknown>();
    return new Proxy(engine, {
      get: (_, name) => {
        const read = (): unknown => Reflect.get(engine, name);
        const isTold = names.includes(name as string);
        if (isTold && isGetter(engine, name)) return this.within("call", name as string, [], read);
        if (known.has(name)) return known.get(name);
        const value = read();
        if (typeof value !== "function") return value;
        const method = value.bind(engine) as AnyFunction;
        const call = (...values: unknown[]): unknown => this.within("call", name as string, values, method);
        known.set(name, isTold ? call : method);
        return known.get(name);
      },
    });
  }

  private within(kind: "call" | "effect", name: string, values: readonly unknown[], run: AnyFunction): unknown {
    const isCall = kind === "call";
    if (isCall && this.depth === 0) this.noteTurn();
    const crossed = values.map((value) => this.cross(value, isCall));
    this.write([kind, name, crossed.map(([written]) => written)]);
    let result: unknown;
    this.depth++;
    try {
      result = run(...crossed.map(([, given]) => given));
    } catch (error) {
      this.write(["threw", markOf(error as Error, "")]);
      throw error;
    } finally {
      this.depth--;
    }
    const [written, given] = this.cross(result, !isCall);
    this.write(["end", written]);
    return given;
  }

  private cross(value: unknown, isToEngine: boolean): readonly [written: unknown, given: unknown] {
    const [call, settled] = isToEngine ? (["effect", "call"] as const) : (["call", "effect"] as const);
    return cross(value, (one, name) => {
      if (one instanceof Error) return [markOf(one, ""), one];
      const id = `${isToEngine ? `@${this.given++}` : `#${this.got++}`}${name && ` ${name}`}`;
      const mark = markOf(one, id);
      if (typeof one === "function") return [mark, (...values: unknown[]) => this.within(call, id, values, one)];
      const { promise, resolve, reject } = Promise.withResolvers();
      one.then(
        (of) => this.within(settled, `${id} fulfilled`, [of], resolve),
        (error) => this.within(settled, `${id} rejected`, [error], reject),
      );
      return [mark, promise];
    });
  }

  /** A call after another of the same turn comes before what promises led to; one of a later turn, after. */
  private noteTurn(): void {
    if (this.hasTurned) this.write(["turn"]);
    this.hasTurned = false;
    if (this.isInTurn) return;
    this.isInTurn = true;
    queueMicrotask(() => {
      this.isInTurn = false;
      this.hasTurned = true;
    });
  }

  private write(entry: RecordedEntry): void {
    const bytes = this.serialize(entry);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    this.buffered.push(length, bytes);
    this.bufferedBytes += 4 + bytes.length;
    if (this.bufferedBytes > BUFFER_BYTES) this.flush();
    else if (!unwritten.has(this)) {
      unwritten.add(this);
      setTimeout(() => this.flush(), FLUSH_MS).unref();
    }
  }

  flush(): void {
    unwritten.delete(this);
    // It has no file that stays open: nobody says when an engine has ended.
    if (this.bufferedBytes > 0) appendFileSync(this.path, Buffer.concat(this.buffered), { mode: 0o600 });
    this.buffered = [];
    this.bufferedBytes = 0;
  }
}

function isGetter(engine: object, name: string | symbol): boolean {
  for (let at: object | null = engine; at; at = Object.getPrototypeOf(at)) {
    const property = Object.getOwnPropertyDescriptor(at, name);
    if (property) return property.get !== undefined;
  }
  return false;
}
