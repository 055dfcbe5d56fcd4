/**
 * What an engine was told and what it did, as a file: with MOBULA_RECORD naming a folder, each engine of nodes and heads
 * writes one there. The simulation replays it (`npm run sim -- --replay FILE`): the same engine, told the same, does the same.
 *
 * An entry is one of these; what happens inside of another stands between its begin and its end:
 *
 *     ["call", name, arguments]   the engine is told something; a function among the arguments of an effect has a number,
 *                                 and its call later is that of "#number"
 *     ["effect", name, arguments] it asks something of the world
 *     ["end", result]             of the innermost that has not ended
 */
import { mkdirSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { pack } from "../wire/mod.ts";

export type RecordedEntry =
  | readonly ["engine", string, unknown]
  | readonly ["call", string, readonly unknown[]]
  | readonly ["effect", string, readonly unknown[]]
  | readonly ["end", unknown];

// biome-ignore lint/suspicious/noExplicitAny: the functions of any engine.
type AnyFunction = (...values: any[]) => unknown;

/** Written at once when so much waits, and once a turn. */
const BUFFER_BYTES = 64 * 1024;

export class Recording {
  private readonly file: number;
  private buffered: Uint8Array[] = [];
  private bufferedBytes = 0;
  private isFlushDue = false;
  private functions = 0;

  /** Undefined unless MOBULA_RECORD says where to. `options` are those that the engine is made with. */
  static of(engine: string, name: string, options: unknown): Recording | undefined {
    const folder = process.env.MOBULA_RECORD;
    if (!folder) return undefined;
    mkdirSync(folder, { recursive: true });
    const recording = new Recording(join(folder, `${engine}-${name}-${process.pid}.rec`));
    recording.write(["engine", engine, options]);
    return recording;
  }

  private constructor(path: string) {
    this.file = openSync(path, "w", 0o600);
    process.on("exit", () => this.flush());
  }

  /** What the engine does through these functions is written down. */
  effects<T extends object>(effects: T): T {
    const recorded: Record<string, unknown> = {};
    Object.assign(recorded, effects);
    for (const [name, effect] of Object.entries(effects)) {
      if (typeof effect !== "function") continue;
      recorded[name] = (...values: unknown[]) =>
        this.within("effect", name, values, () =>
          (effect as AnyFunction)(...values.map((value) => this.answer(value))),
        );
    }
    return recorded as T;
  }

  /** What the engine is told by these methods is written down. */
  methods<T extends object>(target: T, names: readonly (keyof T & string)[], prefix = ""): void {
    for (const name of names) {
      const method = (target[name] as AnyFunction).bind(target);
      const recorded = (...values: unknown[]): unknown =>
        this.within("call", prefix + name, values, () => method(...values));
      Object.defineProperty(target, name, { value: recorded });
    }
  }

  private answer(value: unknown): unknown {
    if (typeof value !== "function") return value;
    const name = `#${this.functions++}`;
    return (...values: unknown[]) => this.within("call", name, values, () => (value as AnyFunction)(...values));
  }

  private within<R>(kind: "call" | "effect", name: string, values: readonly unknown[], run: () => R): R {
    this.write([kind, name, values.map(plain)]);
    const result = run();
    this.write(["end", plain(result)]);
    return result;
  }

  private write(entry: RecordedEntry): void {
    const bytes = pack(entry);
    const length = Buffer.alloc(4);
    length.writeUInt32LE(bytes.length);
    this.buffered.push(length, bytes);
    this.bufferedBytes += 4 + bytes.length;
    if (this.bufferedBytes > BUFFER_BYTES) this.flush();
    if (this.isFlushDue || this.bufferedBytes === 0) return;
    this.isFlushDue = true;
    setImmediate(() => this.flush());
  }

  private flush(): void {
    this.isFlushDue = false;
    if (this.bufferedBytes > 0) writeSync(this.file, Buffer.concat(this.buffered));
    this.buffered = [];
    this.bufferedBytes = 0;
  }
}

/** As it is written: functions by their presence, errors by their code, maps by their entries, generators not at all. */
export function plain(value: unknown): unknown {
  if (typeof value === "function") return "function";
  if (value instanceof Error) return { error: (value as { readonly code?: string }).code ?? value.message };
  if (value instanceof Map) return [...value].map(([key, one]) => [key, plain(one)]);
  if (value === undefined) return null;
  return value;
}
