/**
 * Replays what an engine of a real run was told (`node/recording.ts`): the engine as it is now must do what that one did, in
 * the same order.
 */
import { readFileSync } from "node:fs";
import { createMembers, type MembersEffects } from "../../core/src/control/mod.ts";
import type { RecordedEntry } from "../../core/src/node/recording.ts";
import { plain } from "../../core/src/node/recording.ts";
import { LeaseEngine, type LeaseEngineOptions } from "../../core/src/scheduler/mod.ts";
import { pack, unpack } from "../../core/src/wire/mod.ts";

export interface Replayed {
  readonly engine: string;
  /** Things that it was told. */
  readonly calls: number;
  /** Things that it did, results of calls included. */
  readonly answers: number;
}

export class ReplayDiffers extends Error {}

type AnyFunction = (...values: unknown[]) => unknown;
/** Effects under the names by which they were recorded, whatever they are. */
type Effects = Record<string, AnyFunction>;

/** @throws ReplayDiffers at the first thing that is not as it was recorded. */
export function replay(path: string): Replayed {
  const [first, ...entries] = read(path);
  if (first?.[0] !== "engine") throw new ReplayDiffers(`${path} does not begin as a recording does`);
  const [, engine, options] = first;
  const player = new Player(entries);
  player.play(targetOf(engine, options, player.effects));
  return { engine, calls: player.calls, answers: player.answers };
}

/** Complete entries: of one that is cut off, because its process was killed, nothing is known. */
function read(path: string): RecordedEntry[] {
  const bytes = readFileSync(path);
  const entries: RecordedEntry[] = [];
  for (let at = 0; at + 4 <= bytes.length; ) {
    const end = at + 4 + bytes.readUInt32LE(at);
    if (end > bytes.length) break;
    entries.push(unpack(bytes.subarray(at + 4, end)) as RecordedEntry);
    at = end;
  }
  return entries;
}

/** What is called by which name. Options are as the recording process wrote them, of the same version of the sources. */
function targetOf(engine: string, options: unknown, effects: Effects): Effects {
  switch (engine) {
    case "leases": {
      const made = new LeaseEngine({
        ...(options as LeaseEngineOptions),
        ...(effects as Pick<LeaseEngineOptions, "newWorkerId">),
      });
      return { step: made.step.bind(made) as AnyFunction };
    }
    case "members":
      return createMembers(
        effects as unknown as MembersEffects,
        options as { readonly epoch: number },
      ) as unknown as Effects;
    default:
      throw new ReplayDiffers(`nothing is known of an engine "${engine}"`);
  }
}

class Player {
  calls = 0;
  answers = 0;
  private readonly entries: readonly RecordedEntry[];
  private at = 0;
  private target: Effects = {};
  /** Given by the engine with its effects, in the order in which they were numbered. */
  private readonly functions: AnyFunction[] = [];

  constructor(entries: readonly RecordedEntry[]) {
    this.entries = entries;
  }

  play(target: Effects): void {
    this.target = target;
    while (this.at < this.end) this.call();
  }

  /** Of the last call that is there to its end. */
  private get end(): number {
    let depth = 0;
    let whole = 0;
    this.entries.forEach(([kind], index) => {
      depth += kind === "end" ? -1 : 1;
      if (depth === 0) whole = index + 1;
    });
    Object.defineProperty(this, "end", { value: whole });
    return whole;
  }

  private call(): void {
    const entry = this.entries[this.at++];
    if (entry?.[0] !== "call") throw new ReplayDiffers(`the engine was not done: ${show(entry)}`);
    const [, name, values] = entry;
    this.calls++;
    const told = name.startsWith("#") ? this.functions[Number(name.slice(1))] : this.target[name];
    if (!told) throw new ReplayDiffers(`the engine cannot be told ${name}`);
    const result = told(...values.map(revived));
    this.ended(result, `${name} ${show(values)}`);
  }

  readonly effects: Effects = new Proxy<Effects>(
    {},
    {
      get: (_, name) => (typeof name === "string" ? (...values: unknown[]) => this.effect(name, values) : undefined),
      ownKeys: () => this.names(),
      getOwnPropertyDescriptor: () => ({ enumerable: true, configurable: true }),
    },
  );

  private names(): string[] {
    return [...new Set(this.entries.flatMap((entry) => (entry[0] === "effect" ? [entry[1]] : [])))];
  }

  private effect(name: string, values: readonly unknown[]): unknown {
    const entry = this.entries[this.at++];
    const done = ["effect", name, values.map(plain)];
    if (!isSame(entry, done)) throw new ReplayDiffers(`now: ${show(done)}\nthen: ${show(entry)}`);
    this.answers++;
    for (const value of values) if (typeof value === "function") this.functions.push(value as AnyFunction);
    while (this.entries[this.at]?.[0] === "call") this.call();
    const end = this.entries[this.at++];
    if (end?.[0] !== "end") throw new ReplayDiffers(`nothing happened in ${name}, then: ${show(end)}`);
    return end[1] ?? undefined;
  }

  private ended(result: unknown, what: string): void {
    const entry = this.entries[this.at++];
    const done = ["end", plain(result)];
    if (!isSame(entry, done)) throw new ReplayDiffers(`of ${what}\nnow: ${show(done)}\nthen: ${show(entry)}`);
    this.answers++;
  }
}

const isSame = (recorded: unknown, now: unknown): boolean => Buffer.compare(pack(recorded), pack(now)) === 0;

/** A failed commit is told by an error, of which nothing but that it is one counts. */
function revived(value: unknown): unknown {
  if (value === null) return undefined;
  const { error } = value as { readonly error?: string };
  return typeof error === "string" ? Object.assign(new Error(error), { code: error }) : value;
}

const show = (value: unknown): string => JSON.stringify(value)?.slice(0, 2_000) ?? "nothing";
