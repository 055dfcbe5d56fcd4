/** Whatever passes between an engine and its world is recorded, and replayed, as far as the recording goes. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { MobulaError, NodeNotFoundError } from "../../core/src/base/mod.ts";
import { type EngineKind, recorded } from "../../core/src/node/recording.ts";
import { ReplayDiffers, replay } from "./replay.ts";

interface World {
  nowMs(): number;
  random(): number;
  later(ms: number, run: () => void): () => void;
  read(key: string): Promise<string>;
  write(value: unknown, done: (error: Error | undefined) => void): void;
  say(what: unknown): void;
}

type Way = { send(what: unknown): void };

/** Does something with each kind of value, some of it after a promise has settled. */
class Engine {
  private readonly world: World;
  private reads = 0;
  private readonly ways: Way[] = [];

  constructor(name: string, world: World) {
    this.world = world;
    world.say({ made: name, bytes: new Uint8Array([1, 2]), map: new Map([["a", undefined]]) });
  }

  get count(): number {
    return this.reads + this.world.nowMs();
  }

  connect(way: Way): { hear(what: string): void; close(): void } {
    this.ways.push(way);
    return {
      hear: (what) => way.send({ what, atMs: this.world.nowMs(), of: this.reads }),
      close: () => void this.ways.splice(this.ways.indexOf(way), 1),
    };
  }

  wait(ms: number): void {
    const takeBack = this.world.later(ms, () => this.world.say("too late"));
    this.world.later(ms, () => {
      takeBack();
      this.world.write({ reads: this.reads }, (error) =>
        this.world.say(error ? [error.message, error instanceof MobulaError] : "written"),
      );
    });
  }

  async read(key: string): Promise<string> {
    this.told();
    try {
      const value = await this.world.read(key);
      this.reads++;
      for (const way of this.ways) way.send(value);
      return `${value} ${this.reads}`;
    } catch (error) {
      this.world.say({ error });
      throw error;
    }
  }

  /** Of the same turn: what it counts is not what comes after. */
  told(): number {
    return this.reads;
  }

  fail(how: string): void {
    if (how === "itself") throw new NodeNotFoundError("there is none");
    this.world.write(undefined, () => {});
  }
}

const KIND: EngineKind<string, World, Engine> = {
  name: "toy",
  make: (name, world) => new Engine(name, world),
  told: ["count", "connect", "wait", "read", "told", "fail"],
};

const folder = mkdtempSync("/tmp/mr-");
const replayed = (path: string): ReturnType<typeof replay> => replay(path, [KIND]);
let now = 0;
let file = "";

beforeAll(() => {
  process.env.MOBULA_RECORD = folder;
});
afterAll(() => {
  delete process.env.MOBULA_RECORD;
  rmSync(folder, { recursive: true, force: true });
});

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Its words, in their order. */
async function run(): Promise<readonly unknown[]> {
  const said: unknown[] = [];
  const timers: (() => void)[] = [];
  const engine = recorded(KIND, "it", "it", {
    nowMs: () => now++,
    random: Math.random,
    later(_ms, run) {
      timers.push(run);
      return () => void said.push("taken back");
    },
    read: (key) => (key === "none" ? Promise.reject(new NodeNotFoundError(key)) : turn().then(() => key.toUpperCase())),
    write(value, done) {
      if (value === undefined) throw new MobulaError("DISK_FULL", "exhausted", "no room");
      setImmediate(done, new MobulaError("DISK_FULL", "exhausted", "no room"));
    },
    say: (what) => void said.push(what),
  });
  const { hear, close } = engine.connect({ send: (what) => void said.push(what) });
  hear("a");
  const reads = [engine.read("b"), engine.read("c")];
  said.push(engine.told(), engine.count);
  said.push(...(await Promise.all(reads)), engine.told());
  await engine.read("none").catch((error: Error) => said.push(error.message));
  engine.wait(5);
  for (const timer of timers) timer();
  await turn();
  await turn();
  expect(() => engine.fail("itself")).toThrow("there is none");
  expect(() => engine.fail("disk")).toThrow("no room");
  close();
  hear("b");
  return said;
}

beforeEach(async () => {
  await run();
  // It is written soon.
  await expect.poll(() => readdirSync(folder).length).toBeGreaterThan(0);
  await new Promise((resolve) => setTimeout(resolve, 50));
  file = join(folder, readdirSync(folder).sort().at(-1) ?? "");
});

test("functions, promises, errors and throws on both sides are repeated", async () => {
  const { calls, answers } = await replayed(file);
  expect(calls).toBeGreaterThan(15);
  expect(answers).toBeGreaterThan(30);
});

test("what is cut off anywhere is repeated as far as it goes", async () => {
  const bytes = readFileSync(file);
  const calls: number[] = [];
  for (let length = bytes.length; length > 60; length -= 7) {
    writeFileSync(file, bytes.subarray(0, length));
    calls.push((await replayed(file)).calls);
  }
  expect(calls).toEqual([...calls].sort((a, b) => b - a));
  expect(new Set(calls).size).toBeGreaterThan(10);
});

test("an engine that does something else is told from it, also when it does so after a promise", async () => {
  const other = (change: Partial<Record<keyof Engine, unknown>>): EngineKind<string, World, Engine> => ({
    ...KIND,
    make: (name, world) => Object.assign(new Engine(name, world), change),
  });
  for (const kind of [
    other({ told: () => 7 }),
    other({ wait() {} }),
    other({ read: async () => "at once" }),
    other({ fail() {} }),
    { ...KIND, make: (_: string, world: World) => new Engine("another", world) },
  ]) {
    await expect(replay(file, [kind])).rejects.toThrow(ReplayDiffers);
  }
  await expect(replay(file)).rejects.toThrow('nothing is known of an engine "toy"');
});
