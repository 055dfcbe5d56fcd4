/** `init` and `shutdown`. */

import { basename } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { AlreadyInitializedError, isError } from "../base/errors.ts";
import { toUnits } from "../base/resources.ts";
import { inheritedExecArgv } from "../bin/entries.ts";
import { flushTraces } from "../client/mod.ts";
import { type Driver, PLACE, type Place, STOPPED, startDriver, startInline } from "../driver/mod.ts";
import type { LogLines } from "../wire/mod.ts";
import { findCurrent, setCurrent } from "./current.ts";
import { inheritEnvironment } from "./job-environment.ts";
import { type InitSettings, normalizeInitOptions } from "./options.ts";
import { board, takeProgressLine } from "./progress.ts";
import { environmentFor } from "./runtime-env.ts";
import { tellJob } from "./tell-job.ts";
import { openTracing } from "./tracing.ts";
import type { Context, InitOptions } from "./types.ts";
import { warnOnce } from "./warnings.ts";

/** How long a shutdown waits to be told of failures that nobody read. */
const UNREAD_MS = 500;

interface Session {
  readonly context: Context;
  readonly driver: Driver;
  readonly unhook: () => void;
}

let session: Session | undefined;
let starting: Promise<Session> | undefined;

/**
 * Starts Mobula: by default a node and workers of this program's own, which end with it, however it ends. With
 * `address: "auto"` it joins the node that `mobula start` has started, with `"host:port"` the cluster whose head is there.
 *
 * @throws AlreadyInitializedError on a second call, unless `ignoreReinit`, and inside tasks and actors.
 * @throws InvalidOptionError; ConnectionLostError when the node does not start or there is none to join;
 * AuthenticationError without the token of the cluster that it is to join.
 * @example await using context = await init({ resources: { cpu: 4 } });
 */
export async function init(options?: InitOptions): Promise<Context> {
  const settings = normalizeInitOptions(options, process.env);
  if (session || starting) {
    if (!settings.ignoreReinit) {
      throw new AlreadyInitializedError("init() was called before; shutdown() first, or pass ignoreReinit: true");
    }
    return (session ?? (await starting) ?? unreachableSession()).context;
  }
  if (findCurrent()) throw new AlreadyInitializedError("init() is for drivers: tasks and actors are connected already");
  starting = start(settings, (options as { readonly [PLACE]?: Place } | undefined)?.[PLACE]);
  try {
    session = await starting;
    return session.context;
  } finally {
    starting = undefined;
  }
}

function unreachableSession(): never {
  throw new AlreadyInitializedError("the earlier init() failed");
}

async function start(settings: InitSettings, place: Place | undefined): Promise<Session> {
  const tracing = settings.tracing ? await openTracing(settings.tracing) : undefined;
  const session = await startUntraced(settings, place);
  session.driver.client.tracing = tracing;
  return session;
}

/** The program's path; of a submitted job, whose path is the node's own affair, its name and the job's. */
function programName(): string {
  const { MOBULA_JOB_ID: submissionId } = process.env;
  const [, program = "interactive"] = process.argv;
  return submissionId === undefined ? program : `${basename(program)} of job ${submissionId}`;
}

async function startUntraced(settings: InitSettings, place: Place | undefined): Promise<Session> {
  const shared = {
    jobName: settings.jobName ?? programName(),
    metadata: settings.metadata,
    maxPendingTasks: settings.maxPendingTasks,
    onUnreadFailure: (name: string, error: Error) =>
      warnOnce(`unread ${name}`, `task ${name} failed and nobody read its result: ${error.message}`),
    onWarning: (code: string, message: string) => warnOnce(`${code} ${message}`, message),
    ...(settings.namespace !== undefined && { namespace: settings.namespace }),
  };
  const { address, resources, infeasibleTimeoutMs } = settings;
  if (address === "inline") return sessionOf(startInline({ ...shared, resources, infeasibleTimeoutMs }));
  const driver = await startDriver({
    ...shared,
    address,
    place,
    ...(address !== "auto" && { infeasibleTimeoutMs }),
    preemptAfterMs: settings.preemptAfterMs,
    ...(settings.quota && { quota: toUnits(settings.quota) }),
    node: {
      resources: settings.resources,
      infeasibleTimeoutMs: settings.infeasibleTimeoutMs,
      putTimeoutMs: settings.putTimeoutMs,
      memoryMonitor: settings.memoryMonitor,
      workerExecArgv: inheritedExecArgv(),
      onStderr: (text) => board().printAbove(() => process.stderr.write(text)),
      ...(settings.objectStoreBytes !== undefined && { objectStoreBytes: settings.objectStoreBytes }),
      ...(settings.spillDirectory !== undefined && { spillDirectory: settings.spillDirectory }),
      ...(settings.spillBytesMax !== undefined && { spillBytesMax: settings.spillBytesMax }),
    },
    onLog: (lines) => {
      if (settings.logToDriver) printLog(lines);
    },
    ...(settings.token !== undefined && { token: settings.token }),
    ...(settings.tls && { tls: settings.tls }),
  });
  try {
    inheritEnvironment(driver.client);
    driver.client.runtimeEnv = environmentFor(driver.client, "init()", settings.runtimeEnv);
  } catch (error) {
    await driver.stop();
    throw error;
  }
  const { MOBULA_JOB_ID: submissionId } = process.env;
  // A node of its own knows nothing of the job that its program was started by.
  if (submissionId && address !== "local") {
    await tellJob(driver.client, submissionId).catch((error: Error) =>
      warnOnce("job link", `job ${submissionId} does not show this driver: ${error.message}`),
    );
  }
  return sessionOf(driver);
}

function sessionOf(driver: Driver): Session {
  const { client } = driver;
  setCurrent({ client, isDriver: true });
  const context: Context = {
    address: driver.address,
    // Made when it is asked for: it has a code that is good once.
    get dashboardUrl() {
      return driver.dashboardUrl;
    },
    jobId: client.jobId,
    nodeId: client.nodeId,
    namespace: client.namespace,
    timeline: (file) => driver.timeline(file),
    // Of a program that has ended it, and begun another one since, there is nothing left to end.
    [Symbol.asyncDispose]: async () => {
      if (session?.context === context) await shutdown();
    },
  };
  return { context, driver, unhook: hookSignals(driver) };
}

/**
 * Ends what `init` started, or leaves the standing node. Actors may run their `[onShutdown]` first. Leaves no process,
 * socket, shared memory or temporary file behind. Does nothing before `init`.
 */
export async function shutdown(): Promise<void> {
  if (starting) await starting.catch(() => {});
  const ending = session;
  if (!ending) return;
  session = undefined;
  setCurrent(undefined);
  ending.unhook();
  await Promise.race([ending.driver.client.tellUnreadFailures(), delay(UNREAD_MS, undefined, { ref: false })]).catch(
    () => {
      // The owner is gone, and what it knew with it: the program was told then.
    },
  );
  await ending.driver.stop();
  await flushTraces();
}

/** Whether Mobula runs in this process; always true in tasks and actors. */
export const isInitialized = (): boolean => findCurrent() !== undefined;

function printLog(lines: LogLines["lines"]): void {
  for (const { stream, name, pid, node, text, repeated } of lines) {
    if (takeProgressLine(text)) continue;
    // The first such line was printed when it came; this one stands for those of other workers since.
    const times = repeated > 0 ? ` [${repeated} more time${repeated === 1 ? "" : "s"} from other workers]` : "";
    const who = `${name === "" ? "" : `${name} `}pid=${pid}${node === undefined ? "" : ` node=${node}`}`;
    board().printAbove(() => process[stream].write(`(${who}) ${text}${times}\n`));
  }
}

/** Ctrl-C ends everything in order; a second one at once. A program that handles signals itself is left alone. */
function hookSignals(driver: Driver): () => void {
  let count = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (process.listenerCount(signal) > 1) return;
    if (count++ === 0) process.on("uncaughtException", outliveRejections);
    const end = (): void => {
      process.removeListener(signal, onSignal);
      process.kill(process.pid, signal);
    };
    if (count === 1) void shutdown().then(end, end);
    else void driver.stopNow().then(end, end);
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return () => {
    process.removeListener("SIGINT", onSignal);
    process.removeListener("SIGTERM", onSignal);
  };
}

/**
 * What an interrupted program waits for is rejected. Most programs do not catch that, and it must neither end them before
 * their actors have ended in order, nor be shown as a fault: they then end by the signal.
 */
function outliveRejections(error: unknown): void {
  for (let at = error; at instanceof Error; at = at.cause) {
    if (isError(at, "CONNECTION_LOST") && at.message === STOPPED) return;
  }
  process.removeListener("uncaughtException", outliveRejections);
  // Others may listen; without them it is what it would have been without us: the end.
  if (process.listenerCount("uncaughtException") === 0) throw error;
}
