/** What runs: the task or actor call to which code belongs, found again after every await. */
import { AsyncLocalStorage } from "node:async_hooks";
import type { ActorId, JobId, Seq, WorkerId } from "../base/ids.ts";
import type { ResourceUnits } from "../base/resources.ts";
import type { TaskOrigin } from "../owner/mod.ts";
import type { AskedBy } from "../wire/audit.ts";
import type { BundleChoice } from "../wire/mod.ts";
import type { Handle } from "./handles.ts";
import type { Tracing } from "./tracing.ts";

export interface Execution {
  readonly name: string;
  readonly jobId: JobId;
  readonly namespace: string;
  readonly taskId: string;
  /** As what it submits knows it. */
  readonly origin: TaskOrigin;
  readonly attempt: number;
  readonly actorId: ActorId | undefined;
  readonly workerId: WorkerId | null;
  readonly resources: ResourceUnits;
  readonly gpus: readonly string[];
  /** That of a placement group which it runs in. */
  readonly bundle: BundleChoice | undefined;
  readonly wasRestarted: boolean;
  /** By which others name it in wait reports: `task:<key>` or `actor:<id>`. */
  readonly waiter: string;
  /** How many executions the waiter may have at once. */
  readonly slots: number;
  self?(): Handle;
  /** Made when first asked for. */
  signal(): AbortSignal;
  /** Tasks and calls that it submitted: cancelled with it. */
  submitted(seq: Seq): void;
  /** A wait begins (+1) or ends (-1). */
  waiting(change: 1 | -1, seqs: readonly Seq[]): void;
  /**
   * Called with the error when the execution is cancelled: its own pending waits end too. Returns what takes the
   * callback back.
   */
  onCancel(reject: (error: Error) => void): () => void;
  /** Ends the actor after the calls before this one. */
  readonly exitActor?: (() => void) | undefined;
  /** It is part of a trace, and so is what it submits. */
  readonly tracing: Tracing | undefined;
}

const storage = new AsyncLocalStorage<Execution>();

export const currentExecution = (): Execution | undefined => storage.getStore();
export const runAs = <T>(execution: Execution, fn: () => T): T => storage.run(execution, fn);
/** For the audit log: whose code asks. Its node knows the process. */
export function askedBy(): { readonly by?: AskedBy } {
  const execution = currentExecution();
  if (!execution) return {};
  const { jobId, name, taskId, actorId } = execution;
  return { by: { jobId, name, taskId, ...(actorId !== undefined && { actorId }) } };
}

/** A run that was broken off leaves its execution behind: what comes next belongs to nobody. */
export const leaveExecution = (): void => storage.enterWith(undefined as unknown as Execution);
