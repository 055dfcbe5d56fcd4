/** Batches of attempts as owners make them, for tests and benchmarks. */
import type { ActorId, JobId, NodeId, ProcessId } from "../base/ids.ts";
import { type AttemptOutcome, EventRecorder } from "../events/mod.ts";

export interface TestAttempt {
  readonly owner?: number;
  readonly job?: number;
  readonly name: string;
  /** Its function, and the owner and the number of its task. */
  readonly parent?: readonly [name: string, owner: number, seq: number];
  readonly seq: number;
  readonly attempt?: number;
  readonly outcome?: AttemptOutcome;
  /** Undefined: it never ran. */
  readonly worker?: number | undefined;
  readonly actor?: number;
  readonly error?: string;
  readonly runMicros?: number;
  readonly submittedAtMs?: number;
  /** Undefined: its arguments never were there. */
  readonly readyAfterMs?: number | undefined;
  readonly sentAfterMs?: number;
  readonly finishedAtMs: number;
}

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, "0");
export const ownerId = (owner: number): ProcessId => hex(owner, 24) as ProcessId;
export const jobId = (job: number): JobId => hex(job, 8) as JobId;
export const actorId = (actor: number): ActorId => hex(actor, 32) as ActorId;
export const testWorker = (worker: number) => ({
  workerId: hex(worker, 16),
  nodeId: hex(worker % 4, 32) as NodeId,
  pid: 1_000 + worker,
});

type Parent = { readonly name: string; readonly owner: ProcessId; readonly seq: number };
let last: Parent | undefined;
/** The same object while it is the same one, as in a worker. */
function parentOf({ parent }: TestAttempt): Parent | undefined {
  if (!parent) return undefined;
  const [name, owner, seq] = parent;
  if (last?.name !== name || last.owner !== ownerId(owner) || last.seq !== seq)
    last = { name, owner: ownerId(owner), seq };
  return last;
}

/** One batch for each run of attempts of one owner and job; nothing is left out, if they end 5 ms after each other. */
export function* batchesOf(attempts: Iterable<TestAttempt>): Generator<Uint8Array> {
  const batches: Uint8Array[] = [];
  const codes = new Map<string, object>();
  let current: { readonly key: string; readonly recorder: EventRecorder } | undefined;
  for (const test of attempts) {
    const { owner = 1, job = 1, name, worker, actor, outcome = "ok", sentAfterMs = 0, error } = test;
    const { submittedAtMs = test.finishedAtMs } = test;
    const key = `${owner} ${job}`;
    if (current?.key !== key) {
      current?.recorder.flush();
      const send = (batch: Uint8Array): void => void batches.push(Uint8Array.from(batch));
      const options = { owner: ownerId(owner), pid: 100 + owner, job: () => jobId(job), send };
      current = { key, recorder: new EventRecorder(options) };
    }
    const kind = actor === undefined ? "task" : "actor-call";
    const code = codes.get(`${kind} ${name}`) ?? {};
    codes.set(`${kind} ${name}`, code);
    const readyAfterMs = "readyAfterMs" in test ? test.readyAfterMs : 0;
    current.recorder.record(
      {
        ...{ name, code, className: undefined, parent: parentOf(test), seq: test.seq, attempt: test.attempt ?? 0 },
        ...{ kind, isSerial: true, submittedAtMs },
        actorId: actor === undefined ? undefined : actorId(actor),
        readyAfterMicros: readyAfterMs === undefined ? undefined : readyAfterMs * 1000,
        sentAtMs: submittedAtMs + sentAfterMs,
      },
      worker === undefined ? undefined : testWorker(worker),
      test.runMicros ?? 0,
      test.finishedAtMs,
      outcome,
      error === undefined ? undefined : () => error,
    );
    yield* batches.splice(0);
  }
  current?.recorder.flush();
  yield* batches;
}
