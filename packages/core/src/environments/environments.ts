/** The environments of a node at work: carries out what the engine decides, and says how it gets on. */
import { setTimeout as delay } from "node:timers/promises";
import { RuntimeEnvError } from "../base/errors.ts";
import type { RuntimeEnv } from "../wire/messages.ts";
import { Builder, type BuilderOptions, type ReadyEnvironment } from "./builder.ts";
import { type EnvironmentCommand, EnvironmentEngine, type EnvironmentEvent } from "./engine.ts";
import { Folders, type FoldersOptions } from "./folders.ts";

export interface EnvironmentsOptions extends Omit<BuilderOptions, "folders">, FoldersOptions {
  /** Of all that is kept for later. */
  readonly bytesMax: number;
  nowMs(): number;
  onReady(key: string): void;
  onFailed(key: string, message: string): void;
  /** For people: what is done, in words that follow "waits for its environment". */
  onProgress(key: string, words: string): void;
  /** A line for the terminals of programs that wait for it. */
  say(key: string, line: string): void;
  log(message: string): void;
}

const TIMEOUT_MS = 10 * 60_000;
const SAY_EVERY_MS = 10_000;
/** Ends of builds that a closing node waits for. */
const CLOSE_MS = 1_000;

interface Wanted {
  readonly env: RuntimeEnv;
  /** Folders of the cache. */
  readonly units: Set<string>;
  ready: ReadyEnvironment | undefined;
  stop: AbortController | undefined;
}

export class Environments {
  private readonly options: EnvironmentsOptions;
  private readonly engine: EnvironmentEngine;
  private readonly folders: Folders;
  private readonly builder: Builder;
  private readonly wanted = new Map<string, Wanted>();
  private readonly running = new Set<Promise<void>>();
  private timer: NodeJS.Timeout | undefined;
  private isClosed = false;

  constructor(options: EnvironmentsOptions) {
    this.options = options;
    this.engine = new EnvironmentEngine(options.bytesMax);
    this.folders = new Folders(options);
    this.builder = new Builder({ ...options, folders: this.folders });
    this.run(this.folders.sweep(), "what dead processes have left half made cannot be removed");
  }

  /** Answered by `onReady` or `onFailed`. */
  prepare(key: string, env: RuntimeEnv): void {
    const units = this.wanted.get(key)?.units ?? new Set<string>();
    this.wanted.set(key, { env, units, ready: undefined, stop: undefined });
    this.feed({ kind: "needed", key, timeoutMs: env.timeoutMs ?? TIMEOUT_MS });
  }

  release(key: string): void {
    this.feed({ kind: "released", key });
    const wanted = this.wanted.get(key);
    // One that is being stopped lets go when it has ended.
    if (!wanted || wanted.stop) return;
    this.forget(key, wanted);
    this.feed({ kind: "counted", units: this.folders.list() });
  }

  /** Where workers start; undefined before it is ready. */
  find(key: string): ReadyEnvironment | undefined {
    return this.wanted.get(key)?.ready;
  }

  private feed(event: EnvironmentEvent): void {
    if (this.isClosed) return;
    for (const command of this.engine.step(event, this.options.nowMs())) this.obey(command);
    clearTimeout(this.timer);
    const atMs = this.engine.nextDeadlineMs();
    if (atMs === undefined) return;
    this.timer = setTimeout(() => this.feed({ kind: "tick" }), Math.max(1, atMs - this.options.nowMs()));
    this.timer.unref();
  }

  private obey(command: EnvironmentCommand): void {
    switch (command.kind) {
      case "build":
        this.run(this.build(command.key), "an environment");
        return;
      case "stop":
        this.wanted.get(command.key)?.stop?.abort(new RuntimeEnvError(command.reason));
        return;
      case "ready":
        this.options.onReady(command.key);
        return;
      case "failed":
        this.options.onFailed(command.key, command.message);
        return;
      case "remove":
        this.run(this.remove(command.name), `${command.name} cannot be removed`);
        return;
    }
  }

  /** What it is waited for is told by events; what fails all the same is written down. */
  private run(work: Promise<unknown>, what: string): void {
    const running = work.then(
      () => {},
      (error: Error) => this.options.log(`${what}: ${error.message}`),
    );
    this.running.add(running);
    void running.finally(() => this.running.delete(running));
  }

  private async build(key: string): Promise<void> {
    const wanted = this.wanted.get(key);
    if (!wanted) return;
    const stop = new AbortController();
    wanted.stop = stop;
    const sinceMs = this.options.nowMs();
    let doing = "";
    let hasSaid = false;
    const seconds = (): string => `${Math.round((this.options.nowMs() - sinceMs) / 1000)} s`;
    const ticker = setInterval(() => {
      if (hasSaid) this.options.say(key, `${doing}, ${seconds()}`);
    }, SAY_EVERY_MS).unref();
    try {
      wanted.ready = await this.builder.build(wanted.env, stop.signal, {
        doing: (words) => {
          doing = words;
          this.options.onProgress(key, words);
        },
        say: (line) => {
          hasSaid = true;
          this.options.say(key, line);
        },
        uses: (unit) => wanted.units.add(unit),
      });
      wanted.stop = undefined;
      if (hasSaid) this.options.say(key, `ready after ${seconds()}`);
      this.feed({ kind: "built", key });
      this.feed({ kind: "counted", units: this.folders.list() });
      // What was packed here may have made it too large.
      this.options.packages.cache.trim();
    } catch (error) {
      wanted.stop = undefined;
      if (hasSaid) this.options.say(key, `failed after ${seconds()}`);
      this.forget(key, wanted);
      this.feed({ kind: "failed", key, message: (error as Error).message });
    } finally {
      clearInterval(ticker);
    }
  }

  private forget(key: string, wanted: Wanted): void {
    if (this.wanted.get(key) === wanted) this.wanted.delete(key);
    for (const unit of wanted.units) {
      if (![...this.wanted.values()].some(({ units }) => units.has(unit))) this.folders.unuse(unit);
    }
  }

  private async remove(name: string): Promise<void> {
    // It may have been needed since it was counted.
    if ([...this.wanted.values()].some(({ units }) => units.has(name))) return;
    if (await this.folders.remove(name)) this.options.log(`${name} was removed: the cache is larger than its limit`);
  }

  /** Ends what is under way; nothing is told any more. */
  async close(): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.timer);
    for (const { stop } of this.wanted.values()) stop?.abort(new RuntimeEnvError("the node is ending"));
    await Promise.race([Promise.all(this.running), delay(CLOSE_MS, undefined, { ref: false })]);
    for (const { units } of this.wanted.values()) for (const unit of units) this.folders.unuse(unit);
  }
}
