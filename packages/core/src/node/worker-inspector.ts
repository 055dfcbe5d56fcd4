/**
 * The inspector of one worker: opened when somebody asks, and closed when the last one has been answered. While it is open,
 * whoever knows its address can run code in the worker; so it listens on a port of 127.0.0.1 that the system chooses, under
 * a name that only this node reads (`INSPECTOR_OPTIONS` in spawn.ts).
 *
 * SIGUSR1 has Node.js open it, on a thread of its own, also while the program computes. It may open late, when nobody waits
 * any more: after native code; and once more for the same signal when the event loop comes round, since Node.js asks both
 * the program that runs and the loop to do it. Then it is closed at once.
 */
import { readFileSync } from "node:fs";
import { monotonicMs } from "../base/clock.ts";
import { ConnectionLostError } from "../base/errors.ts";
import { InspectorClient } from "./inspector-client.ts";
import { InspectorNotices } from "./inspector-notices.ts";
import { connectInspector, type InspectorChannel } from "./inspector-socket.ts";

/** See client/inspection.ts. */
const HOOK = 'globalThis[Symbol.for("mobula.inspection")]';
/** Frames of what is evaluated under this name are known as the runtime's. */
const NAMED = "\n//# sourceURL=mobula:inspection";
export const LOOK = `${HOOK}.look()${NAMED}`;
/** Where in the program's own source these places are; lines and columns from 0 on, as V8 has them. */
export const placesIn = (
  places: readonly { readonly url: string; readonly line: number; readonly column: number }[],
): string => `${HOOK}.places(${JSON.stringify(places)})${NAMED}`;
const CLOSE = `${HOOK}.close()${NAMED}`;
const SIGUSR1_BIT = 1n << 9n;

export interface OpenInspector {
  readonly client: InspectorClient;
  /** To be called once. */
  release(): void;
}

export interface WorkerInspectorOptions {
  readonly pid: number;
  /** False when it is gone. */
  signal(): boolean;
}

export class WorkerInspector {
  private readonly options: WorkerInspectorOptions;
  private readonly notices = new InspectorNotices();
  /** Something of it may be on its stderr. */
  private isUsed: boolean;
  /** It was told to open it, and has not yet. */
  private isSignalled = false;
  /** By us: it is ours to close. */
  private readonly isOurs: boolean;
  private url: string | undefined;
  private waiting: ((url: string) => void)[] = [];
  private users = 0;
  private closing: Promise<void> | undefined;
  /** Called when the inspector that the program itself opened listens. */
  onListening: ((url: string) => void) | undefined;

  /** @param isOpened the program was started with it. */
  constructor(options: WorkerInspectorOptions, isOpened = false) {
    this.options = options;
    this.isOurs = !isOpened;
    this.isUsed = isOpened;
    this.notices.onListening = (url) => this.listening(url);
  }

  /** What of its stderr is the program's. */
  filter(chunk: Buffer): Buffer {
    return this.isUsed ? this.notices.push(chunk) : chunk;
  }

  /** Its stderr has ended. */
  finish(): Buffer {
    return this.notices.finish();
  }

  /** @throws ConnectionLostError that says why it does not answer. */
  async open(timeoutMs: number): Promise<OpenInspector> {
    const deadline = monotonicMs() + timeoutMs;
    const left = (): number => Math.max(1, deadline - monotonicMs());
    const why = whyDeaf(this.options.pid);
    if (why !== undefined) throw new ConnectionLostError(why);
    this.users++;
    try {
      if (this.closing) await within(this.closing, left(), STILL_CLOSING);
      const url = await this.address(left());
      const client = new InspectorClient();
      const channel = await connectInspector(url, client, left());
      client.opened(channel);
      // Or a program that has run to its end would wait for us to go.
      await client.post("NodeRuntime.notifyWhenWaitingForDisconnect", { enabled: true }, left()).catch((error) => {
        channel.close();
        throw error;
      });
      return { client, release: () => this.leave(client, channel, url) };
    } catch (error) {
      this.users--;
      if (this.users === 0) this.closeSoon();
      throw error;
    }
  }

  private async address(timeoutMs: number): Promise<string> {
    if (this.url !== undefined) return this.url;
    this.isUsed = true;
    if (!this.isSignalled && !this.options.signal()) throw new ConnectionLostError("the process has ended");
    this.isSignalled = true;
    const { promise, resolve } = Promise.withResolvers<string>();
    this.waiting.push(resolve);
    const silent = `its program did not come to a point where its inspector could be opened, within ${Math.round(timeoutMs)} ms`;
    try {
      return await within(promise, timeoutMs, silent);
    } finally {
      this.waiting = this.waiting.filter((one) => one !== resolve);
    }
  }

  private listening(url: string): void {
    this.url = url;
    this.isSignalled = false;
    for (const resolve of this.waiting.splice(0)) resolve(url);
    if (!this.isOurs) this.onListening?.(url);
    else if (this.users === 0) this.closeSoon();
  }

  private leave(client: InspectorClient, channel: InspectorChannel, url: string): void {
    this.users--;
    if (this.users > 0 || !this.isOurs) channel.close();
    else this.closing = this.close(client, channel, url);
  }

  /** Nobody is connected to it. */
  private closeSoon(): void {
    const { url } = this;
    if (!this.isOurs || url === undefined || this.closing) return;
    const client = new InspectorClient();
    this.closing = connectInspector(url, client, CLOSE_DIAL_MS).then(
      (channel) => {
        client.opened(channel);
        return this.close(client, channel, url);
      },
      // It is closed, or the process has ended.
      () => this.closed(url),
    );
  }

  /** Resolves when it is closed, however long a program in native code takes until it hears of that. */
  private async close(client: InspectorClient, channel: InspectorChannel, url: string): Promise<void> {
    // An answer never comes: closing ends the connection.
    client.postRaw("Runtime.evaluate", { expression: CLOSE, silent: true }, CLOSED_MS).catch(() => {});
    await within(client.ended, CLOSED_MS, "").catch(() => {});
    channel.close();
    this.closed(url);
  }

  private closed(url: string): void {
    this.closing = undefined;
    if (this.url === url) this.url = undefined;
    // It has opened again meanwhile.
    else if (this.users === 0) this.closeSoon();
  }
}

const STILL_CLOSING = "its program has not come to a point where it answers its inspector since it was asked last";
/** A program may be in native code for so long. */
const CLOSED_MS = 3_600_000;
const CLOSE_DIAL_MS = 10_000;

async function within<T>(promise: Promise<T>, ms: number, why: string): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new ConnectionLostError(why)), ms);
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Nothing would come of a question; or worse: what does not heed the signal ends by it. */
function whyDeaf(pid: number): string | undefined {
  let status: string;
  try {
    status = readFileSync(`/proc/${pid}/status`, "latin1");
  } catch {
    // No /proc here: then it is tried. Or the process has just ended, which is seen elsewhere.
    return undefined;
  }
  const [state = ""] = /^State:\s+(\S)/m.exec(status)?.slice(1) ?? [];
  if (state === "T" || state === "t") return "it is stopped";
  if (state === "Z" || state === "X") return "the process has ended";
  const [caught = "0"] = /^SigCgt:\s+([0-9a-f]+)/m.exec(status)?.slice(1) ?? [];
  if ((BigInt(`0x${caught}`) & SIGUSR1_BIT) === 0n)
    return "it does not listen to SIGUSR1, by which its inspector is opened";
  return undefined;
}
