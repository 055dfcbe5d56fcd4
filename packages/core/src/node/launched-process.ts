/** A process of ours that was started, a node or a head: until it is ready, and how it ends. */
import type { ChildProcess } from "node:child_process";
import type { Duplex, Readable } from "node:stream";
import { ConnectionLostError, errorFromCode } from "../base/errors.ts";
import type { ProcessNews } from "./lifeline.ts";
import { Tail } from "./log-lines.ts";
import { removeBrokenSession, removeSession } from "./session-folder.ts";

export interface FollowOptions {
  /** What it is, for messages. */
  readonly name: "node" | "head";
  readonly sessionDir: string;
  /** It goes on when this process ends. */
  readonly outlives: boolean;
  /** Default 30,000. */
  readonly readyTimeoutMs?: number | undefined;
  /** Given what it writes to standard error. */
  readonly onStderr?: ((text: string) => void) | undefined;
  readonly onReady?: (news: ProcessNews & { readonly kind: "ready" }) => void;
}

export interface ProcessExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderrTail: string;
  /** It ended because it was told to, and has left nothing behind. */
  readonly isOrderly: boolean;
}

export interface LaunchedProcess {
  readonly pid: number;
  readonly sessionDir: string;
  /** Resolves once, when the process has ended and what it left, if it was killed, is removed. */
  readonly exited: Promise<ProcessExit>;
  /** Ends it in order, at once after `timeoutMs` (default 40,000: actors have 30 s for their shutdown hooks). */
  stop(timeoutMs?: number): Promise<void>;
  /** Ends it at once, in at most two seconds. */
  stopNow(): Promise<void>;
}

const READY_TIMEOUT_MS = 30_000;
const STOP_TIMEOUT_MS = 40_000;
/** After a second signal, or the end of its lifeline, a node is gone by then; then it is killed. */
const HURRY_MS = 2_000;
/** A line of news is short; a broken peer must not fill our memory. */
const NEWS_BYTES_MAX = 64 * 1024;

/**
 * Follows a process that was just started, with its lifeline as descriptor 3, until it says that it is ready.
 *
 * @throws ConnectionLostError (`unavailable`) when it ended before, with the last lines it wrote, or is not ready in time;
 * what it reports itself as the reason otherwise.
 */
export async function follow(child: ChildProcess, options: FollowOptions): Promise<LaunchedProcess> {
  const { name, sessionDir, outlives, readyTimeoutMs = READY_TIMEOUT_MS, onStderr, onReady } = options;
  const tail = new Tail();
  const lifeline = child.stdio[3] as Duplex; // "pipe" at index 3 of `stdio`.
  const stderr = child.stderr as Readable | null;
  stderr?.setEncoding("utf8").on("data", (text: string) => {
    tail.push(text.trimEnd());
    onStderr?.(text);
  });
  let hasEndedInOrder = false;
  let isReady = false;

  const exited = new Promise<ProcessExit>((resolve) => {
    const end = (code: number | null, signal: NodeJS.Signals | null): void => {
      // What it said last may still be unread.
      setImmediate(() => {
        (hasEndedInOrder ? removeSession : removeBrokenSession)(sessionDir);
        lifeline.destroy();
        const isOrderly = hasEndedInOrder;
        resolve({
          code: isOrderly ? 0 : code,
          signal: isOrderly ? null : signal,
          stderrTail: tail.toString(),
          isOrderly,
        });
      });
    };
    child.once("exit", end);
    child.once("error", (error) => {
      if (child.pid !== undefined) return;
      tail.push(error.message);
      end(null, null);
    });
  });

  const ready = new Promise<void>((resolve, reject) => {
    readNews(lifeline, (news) => {
      if (news.kind === "ready") {
        onReady?.(news);
        resolve();
      } else if (news.kind === "ended") hasEndedInOrder = true;
      else reject(errorFromCode(news.code, news.errorKind, news.message));
    });
    void exited.then(({ code, signal, stderrTail }) => {
      if (isReady) return;
      const how = signal === null ? `exit code ${code}` : `signal ${signal}`;
      reject(new ConnectionLostError(`the ${name} ended before it was ready (${how}): ${stderrTail}`));
    });
    const timer = setTimeout(() => {
      if (!isReady) reject(new ConnectionLostError(`the ${name} was not ready within ${readyTimeoutMs} ms`));
    }, readyTimeoutMs);
    timer.unref();
  });

  try {
    await ready;
    isReady = true;
  } catch (error) {
    child.kill("SIGKILL");
    await exited;
    throw error;
  }
  if (outlives) {
    // The launcher may end; the process then goes on without it.
    lifeline.destroy();
  }
  // None of this keeps the program alive.
  child.unref();
  for (const stream of [lifeline, stderr]) (stream as unknown as { unref?(): void } | null)?.unref?.();

  const stopNow = async (): Promise<void> => {
    if (child.exitCode === null && child.signalCode === null) {
      child.ref();
      // Two different signals: equal ones can become one on the way.
      child.kill("SIGTERM");
      child.kill("SIGINT");
      const timer = setTimeout(() => child.kill("SIGKILL"), HURRY_MS);
      await exited;
      clearTimeout(timer);
    }
    await exited;
  };
  return {
    pid: child.pid ?? 0,
    sessionDir,
    exited,
    stopNow,
    async stop(timeoutMs = STOP_TIMEOUT_MS) {
      if (child.exitCode === null && child.signalCode === null) {
        child.ref();
        child.kill("SIGTERM");
        const timer = setTimeout(() => void stopNow(), timeoutMs);
        await exited;
        clearTimeout(timer);
      }
      await exited;
    },
  };
}

function readNews(lifeline: Duplex, onNews: (news: ProcessNews) => void): void {
  let text = "";
  lifeline.on("error", () => lifeline.destroy()); // Its end is told by the exit of the process.
  lifeline.setEncoding("utf8").on("data", (chunk: string) => {
    text = (text + chunk).slice(-NEWS_BYTES_MAX);
    for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
      const line = text.slice(0, end);
      text = text.slice(end + 1);
      onNews(JSON.parse(line) as ProcessNews); // Written by main.ts.
    }
  });
}
