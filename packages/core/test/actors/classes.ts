/** Classes whose actors the tests make. They are exports, so workers import this file. */
import { appendFileSync } from "node:fs";
import {
  type ActorHandle,
  exitActor,
  get,
  type ObjectRef,
  onRestart,
  onShutdown,
  onStart,
  remote,
  runtimeContext,
} from "mobula";
import { raise } from "../tasks/helpers.ts";

/** Lets callers wait for a moment that a test chooses. Make it with a `maxConcurrency` above the number of waiters. */
export class Gate {
  #gate = Promise.withResolvers<void>();
  #waiting = 0;

  open(): void {
    this.#gate.resolve();
  }
  async pass(): Promise<void> {
    this.#waiting++;
    await this.#gate.promise;
  }
  waiting(): number {
    return this.#waiting;
  }
}

export type GateHandle = ActorHandle<Gate>;

/** Remembers what it was told, in order. */
export class Recorder {
  #entries: string[] = [];

  add(entry: string): void {
    this.#entries.push(entry);
  }
  all(): string[] {
    return this.#entries;
  }
}

export class DetailedError extends Error {
  override name = "DetailedError";
  readonly detail: { readonly at: number };

  constructor(message: string, at: number, options?: ErrorOptions) {
    super(message, options);
    this.detail = { at };
  }
}

export class Counter {
  value: number;
  #running = 0;
  mostRunning = 0;

  constructor(value = 0) {
    this.value = value;
  }

  add(by = 1): number {
    this.value += by;
    return this.value;
  }
  get(): number {
    return this.value;
  }
  pid(): number {
    return process.pid;
  }
  most(): number {
    return this.mostRunning;
  }
  fail(message: string): never {
    throw new DetailedError(message, this.value, { cause: new RangeError("deeper") });
  }
  async failLater(message: string): Promise<never> {
    await Promise.resolve();
    return this.fail(message);
  }
  /** Adds once the gate is open. */
  async addBehind(gate: GateHandle, by = 1): Promise<number> {
    this.#running++;
    this.mostRunning = Math.max(this.mostRunning, this.#running);
    await get(gate.pass.remote());
    this.#running--;
    return this.add(by);
  }
  /** Fails the first `times` times that it runs. */
  flaky(times: number): { readonly attempts: number; readonly attempt: number } {
    this.value++;
    if (this.value <= times) throw new DetailedError("not yet", this.value);
    return { attempts: this.value, attempt: runtimeContext().attempt };
  }
  /** Never ends by itself. */
  spin(): void {
    this.value++;
    for (;;);
  }
  async untilAborted(gate: GateHandle): Promise<void> {
    const { signal } = runtimeContext();
    const aborted = new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
    void gate.pass.remote();
    await aborted;
    this.value = -1;
  }
  *count(to: number): Generator<number> {
    for (let at = 0; at < to; at++) {
      this.value = at;
      yield at;
    }
  }
  async *countThenFail(to: number): AsyncGenerator<number> {
    for (let at = 0; at < to; at++) yield at;
    throw new DetailedError("the stream broke", to);
  }
  bytes(length: number): Uint8Array {
    return new Uint8Array(length).fill(this.value);
  }
  sum(values: Float64Array): number {
    return values.reduce((sum, value) => sum + value, 0);
  }
  pair(): [string, number] {
    return ["two", 2];
  }
  async refsInside(boxed: { readonly ref: ObjectRef<number> }): Promise<number> {
    return get(boxed.ref);
  }
  context(): { readonly actorId: string | undefined; readonly namespace: string; readonly wasRestarted: boolean } {
    const { actorId, namespace, wasRestarted } = runtimeContext();
    return { actorId, namespace, wasRestarted };
  }
  self(): unknown {
    return runtimeContext<Counter>().self;
  }
  /** Has its own handle kept once `when` is there, and does not wait for it. */
  introduceTo({ keeper, when }: { readonly keeper: ActorHandle<Keeper>; readonly when: ObjectRef<unknown> }): void {
    const { self } = runtimeContext<Counter>();
    if (self) void keeper.keep.remote({ handle: self }, when);
  }
  /** Reads its own handle from somebody who keeps it, and lets go of it. */
  async meetItself({ keeper }: { readonly keeper: ActorHandle<Keeper> }): Promise<boolean> {
    const { self } = runtimeContext<Counter>();
    const { handle } = await get(keeper.kept.remote());
    const isAnother = handle !== self;
    handle?.[Symbol.dispose]();
    return isAnother;
  }
  async exit(): Promise<void> {
    await exitActor();
  }
  crash(): never {
    process.kill(process.pid, "SIGKILL");
    throw new Error("it outlived SIGKILL");
  }
}

export class Grouped {
  async slow(gate: GateHandle): Promise<string> {
    await get(gate.pass.remote());
    return "slow";
  }
  async fetch(gate: GateHandle): Promise<string> {
    await get(gate.pass.remote());
    return "fetched";
  }
  quick(): string {
    return "quick";
  }
}

/** Methods with names that the runtime might have liked for itself. */
export class AnyName {
  client(): string {
    return "client";
  }
  meta(): string {
    return "meta";
  }
  num(): string {
    return "num";
  }
  actorId(): string {
    return "actorId";
  }
  check(): string {
    return "check";
  }
  /** Shows only when the actor has been made. */
  arrow = (): string => "arrow";
}

/** Writes what its hooks do into a file: they run when nobody can ask any more. */
export class Hooked {
  readonly file: string;

  constructor(file: string) {
    this.file = file;
    this.note("constructor");
  }
  note(text: string): void {
    appendFileSync(this.file, `${text}\n`);
  }
  pid(): number {
    return process.pid;
  }
  async exit(): Promise<void> {
    await exitActor();
  }
  async noteBehind(gate: GateHandle, text: string): Promise<void> {
    await get(gate.pass.remote());
    this.note(text);
  }
  async [onStart](): Promise<void> {
    await Promise.resolve();
    this.note("start");
  }
  async [onRestart](context: { readonly incarnation: number }): Promise<void> {
    await Promise.resolve();
    this.note(`restart ${context.incarnation}`);
  }
  async [onShutdown](): Promise<void> {
    await Promise.resolve();
    this.note("shutdown");
  }
}

export class OnlyStart {
  started = 0;
  async [onStart](): Promise<void> {
    this.started++;
  }
  get(): number {
    return this.started;
  }
  pid(): number {
    return process.pid;
  }
}

export class Broken {
  constructor(at: number) {
    throw new DetailedError("no such thing", at);
  }
  ping(): string {
    return "pong";
  }
}

/** Holds on to handles. */
export class Keeper {
  #kept: ActorHandle<Counter> | undefined;

  keep(boxed: { readonly handle: ActorHandle<Counter> }, _when?: unknown): void {
    this.#kept = boxed.handle;
  }
  kept(): { readonly handle: ActorHandle<Counter> | undefined } {
    return { handle: this.#kept };
  }
  async addToKept(): Promise<number> {
    if (!this.#kept) throw new Error("nothing is kept");
    return get(this.#kept.add.remote(1));
  }
  dropKept(): void {
    this.#kept?.[Symbol.dispose]();
    this.#kept = undefined;
  }
}

/** Calls another of its kind, which may call back. */
/** Hands a letter to whoever waits for it. Make it with a `maxConcurrency` of 2. */
export class Mailbox {
  #letter = Promise.withResolvers<ObjectRef<string>[]>();
  send(letter: ObjectRef<string>[]): void {
    this.#letter.resolve(letter);
  }
  receive(): Promise<ObjectRef<string>[]> {
    return this.#letter.promise;
  }
}

/** Waits for a ref that somebody else owns. */
export class Reader {
  async read(boxed: { readonly from: ActorHandle<Mailbox> }): Promise<string> {
    const [letter] = await get(boxed.from.receive.remote());
    try {
      return letter ? await get(letter) : "nothing came";
    } catch (error) {
      return (error as Error).name;
    }
  }
  reply(): string {
    return "a reply";
  }
}

export class Caller {
  #other: ActorHandle<Caller> | undefined;

  meet(boxed: { readonly other: ActorHandle<Caller> }): void {
    this.#other = boxed.other;
  }
  async ask(depth: number): Promise<string> {
    if (depth === 0 || !this.#other) return "answered";
    return get(this.#other.ask.remote(depth - 1));
  }
  /** The error that it got, by name. */
  async askSafely(depth: number): Promise<string> {
    try {
      return await this.ask(depth);
    } catch (error) {
      return (error as Error).name;
    }
  }
  /** By a call that takes an answer of its own as argument, and so is not sent before. */
  async askForOwn(): Promise<string> {
    const own = runtimeContext().self as ActorHandle<Caller>;
    return this.#other ? get(this.#other.repeat.remote(own.ping.remote())) : "alone";
  }
  /** By a task that takes the answer as argument, and is handed over. */
  async askByTask(): Promise<string> {
    const passOn = remote((answer: string) => answer);
    return this.#other ? get(passOn.remote(this.#other.ping.remote())) : "alone";
  }
  repeat(answer: string): string {
    return answer;
  }
  ping(): string {
    return "pong";
  }
}

/** Counts its steps; one of them never ends. */
export class Moody {
  private steps = 0;

  step(folder: string, isEndless: boolean): number {
    this.steps++;
    if (isEndless) {
      raise(folder, "loops");
      for (;;);
    }
    return this.steps;
  }
}
