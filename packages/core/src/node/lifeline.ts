/** The first and the last of a process that was launched: what it tells its launcher, and how it ends. */
import { rmSync, writeSync } from "node:fs";
import { Socket } from "node:net";
import { ConnectionLostError, MobulaError } from "../base/errors.ts";
import type { LimitsInfo } from "../wire/queries.ts";

/**
 * The launcher holds the other end: a line on it says that the node is ready, its end that the launcher is gone. The other way
 * goes at most one line, {@link LauncherWord}.
 */
export const LIFELINE_FD = 3;
/** An end by SIGKILL follows if the orderly one hangs. */
const HURRIED_STOP_MS = 1_500;
const DRIVER_CHECK_MS = 500;
/** An orderly stop gives actors 30 s for their shutdown hooks; what takes longer is cut short. */
const ORDERLY_STOP_MS = 38_000;

/** What a process says on its lifeline, a JSON line each. */
export type ProcessNews =
  /** `address`: where others reach it, if by TCP. `limits`: of a node's workers. */
  | {
      readonly kind: "ready";
      readonly address?: string;
      readonly limits?: LimitsInfo;
      /** Where the state service answers over HTTP, if this is its parent. */
      readonly dashboard?: string;
    }
  | {
      readonly kind: "failed";
      readonly code: string;
      readonly errorKind: MobulaError["kind"];
      readonly message: string;
    }
  | { readonly kind: "ended" };

/** What a launcher says, if the configuration left it out: a JSON line. */
export interface LauncherWord {
  /** Of the head that has begun, `host:port`. */
  readonly address: string;
}

export class Lifeline {
  private readonly socket: Socket | undefined;
  private readonly word = Promise.withResolvers<LauncherWord>();
  onGone: (() => void) | undefined;
  private isGone = false;

  /** @param hasLauncher otherwise the descriptor may be anything. */
  constructor(hasLauncher = true) {
    this.word.promise.catch(() => {}); // Most have nothing to be told.
    if (!hasLauncher) return;
    try {
      this.socket = new Socket({ fd: LIFELINE_FD, readable: true, writable: true });
    } catch {
      this.socket = undefined; // Started by hand, without a launcher.
      return;
    }
    const gone = (): void => {
      if (this.isGone) return;
      this.isGone = true;
      this.word.reject(new ConnectionLostError("its launcher ended before it had said where the head is"));
      this.onGone?.();
    };
    this.socket.on("end", gone);
    this.socket.on("close", gone);
    this.socket.on("error", gone);
    let text = "";
    this.socket.setEncoding("utf8").on("data", (chunk: string) => {
      text += chunk;
      if (text.endsWith("\n")) this.word.resolve(JSON.parse(text) as LauncherWord); // Written by launch.ts.
    });
  }

  /** @throws ConnectionLostError when the launcher is gone before. */
  async told(): Promise<LauncherWord> {
    return this.word.promise;
  }

  /** Written at once: the process may end right after. */
  say(news: ProcessNews): void {
    if (!this.socket || this.isGone) return;
    try {
      writeSync(LIFELINE_FD, `${JSON.stringify(news)}\n`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
    }
  }

  /** Says why the process cannot begin. */
  fail(error: Error): void {
    const { code, kind } = error instanceof MobulaError ? error : ({ code: "INTERNAL", kind: "internal" } as const);
    this.say({ kind: "failed", code, errorKind: kind, message: error.message });
  }

  get hasEnded(): boolean {
    return this.isGone;
  }
}

export interface EndingOptions {
  /** Removed at the end. */
  readonly sessionDir: string;
  /** It goes on without the process that started it, unless `driverPid` says otherwise. */
  readonly standing: boolean;
  /** Its end is this one's. */
  readonly driverPid?: number | undefined;
}

/** What has to end before the process does. */
export interface Ends {
  /** In order, or with `atOnce` without waiting for anybody; called once. */
  stop(atOnce: boolean): Promise<void>;
  /** Hurries a stop that is under way. */
  hurry(): void;
}

/** Signals, a driver's death, and the end. */
export class Ending {
  private readonly config: EndingOptions;
  private readonly lifeline: Lifeline;
  private runtime: Ends | undefined;
  private isEnding = false;
  private isHurried = false;
  private endReaper: () => Promise<void> = async () => {};
  /** Starts the process over instead of ending it. */
  private startOver: (() => never) | undefined;

  constructor(config: EndingOptions, lifeline: Lifeline) {
    this.config = config;
    this.lifeline = lifeline;
    for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
      // In order first; a second one, at once.
      process.on(signal, () => this.begin(this.isEnding));
    }
  }

  watch(runtime: Ends): void {
    this.runtime = runtime;
    const { standing, driverPid } = this.config;
    if (standing && driverPid === undefined) return;
    this.lifeline.onGone = () => this.begin(true);
    if (this.lifeline.hasEnded) this.begin(true);
    // A child that inherited the launcher's end of the lifeline keeps it open; its own death does not hide.
    if (driverPid === undefined) return;
    setInterval(() => {
      if (process.ppid !== driverPid) this.begin(true);
    }, DRIVER_CHECK_MS).unref();
  }

  /** The last thing but one: nothing is left to tidy up. */
  atEnd(end: () => Promise<void>): void {
    this.endReaper = end;
  }

  get hasBegun(): boolean {
    return this.isEnding;
  }

  /** Ends everything at once, and then starts the process over, unless somebody has it end by then. */
  beginAnew(startOver: () => never): void {
    if (this.isEnding) return;
    this.begin(true);
    this.startOver = startOver;
  }

  begin(atOnce: boolean): void {
    this.startOver = undefined;
    if (this.isEnding && (!atOnce || this.isHurried)) return;
    const wasEnding = this.isEnding;
    this.isEnding = true;
    if (atOnce) {
      this.isHurried = true;
      setTimeout(() => this.finish(), HURRIED_STOP_MS);
    } else setTimeout(() => this.begin(true), ORDERLY_STOP_MS);
    const { runtime } = this;
    if (!runtime) {
      this.finish();
      return;
    }
    if (wasEnding && atOnce) runtime.hurry();
    else void runtime.stop(atOnce).finally(() => this.finish());
  }

  private finish(): void {
    const reaperEnded = this.endReaper();
    // Its end has to be seen: a process that is started over knows nothing of the children it had.
    if (this.startOver) {
      void reaperEnded
        .then(() => this.startOver?.())
        .catch((error) => console.error("it could not be started over:", error))
        .finally(() => this.end());
    } else this.end();
  }

  private end(): void {
    this.lifeline.say({ kind: "ended" });
    endProcess(this.config);
  }
}

/** `process.exit` was seen to hang in native code: the last act is a signal that cannot. */
export function endProcess(config: Pick<EndingOptions, "sessionDir">): void {
  try {
    rmSync(config.sessionDir, { recursive: true, force: true, maxRetries: 3 });
  } finally {
    process.kill(process.pid, "SIGKILL");
  }
}
