import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type JobEvent, step } from "./life.ts";
import {
  decodeRecord,
  encodeRecord,
  isEnded,
  type JobRecord,
  NO_RETRIES,
  newRecord,
  type RetryPolicy,
} from "./record.ts";

const began = (retry: Partial<RetryPolicy> = {}): JobRecord =>
  newRecord(
    {
      submissionId: "one",
      entrypoint: "node app.ts",
      resources: {},
      labels: {},
      env: {},
      workingDir: null,
      npm: null,
      runtimeEnv: {},
      metadata: {},
      retry: { ...NO_RETRIES, ...retry },
    },
    1_000,
  );

const taken = (supervisor = "a", nodeId = "n1"): JobEvent => ({
  kind: "taken-over",
  supervisor,
  nodeId,
  address: null,
});
const starting = (supervisor = "a"): JobEvent => ({ kind: "starting", supervisor });
const exited = (exitCode: number | null, signal: string | null = null, supervisor = "a"): JobEvent => ({
  kind: "exited",
  supervisor,
  exitCode,
  signal,
  tail: "last words",
});

/** Each event at the time that it is given with, or 10 ms after the one before. */
function live(record: JobRecord, ...events: readonly (JobEvent | [JobEvent, number])[]): JobRecord {
  let [now, nowMs] = [record, 1_000];
  for (const each of events) {
    const [event, atMs] = Array.isArray(each) ? each : [each, nowMs + 10];
    nowMs = atMs;
    const next = step(now, event, nowMs);
    if (next.kind === "changed") now = next.record;
  }
  return now;
}

describe("a job", () => {
  test("waits, runs and succeeds", () => {
    expect(live(began(), taken())).toMatchObject({ status: "pending", supervisor: "a", nodeId: "n1" });
    expect(live(began(), taken(), starting())).toMatchObject({ status: "running", startedAtMs: 1_020 });
    expect(live(began(), taken(), starting(), { kind: "started", supervisor: "a", pid: 7 })).toMatchObject({ pid: 7 });
    expect(live(began(), taken(), starting(), exited(0))).toMatchObject({
      status: "succeeded",
      exitCode: 0,
      endedAtMs: 1_030,
      message: null,
    });
  });

  test("fails with what its command said last", () => {
    expect(live(began(), taken(), starting(), exited(3))).toMatchObject({
      status: "failed",
      exitCode: 3,
      errorType: "JOB_ENTRYPOINT_COMMAND_ERROR",
      message: "the command failed with exit code 3",
      tail: "last words",
    });
    expect(live(began(), taken(), starting(), exited(null, "SIGKILL"))).toMatchObject({
      status: "failed",
      signal: "SIGKILL",
      message: "the command was ended by SIGKILL",
    });
  });

  test("fails when its command cannot be started", () => {
    const event: JobEvent = {
      kind: "not-startable",
      supervisor: "a",
      errorType: "RUNTIME_ENV_SETUP_FAILURE",
      why: "no",
    };
    expect(live(began(), taken(), event)).toMatchObject({ status: "failed", errorType: "RUNTIME_ENV_SETUP_FAILURE" });
  });

  test("that nobody has begun with is stopped at once, and one that runs when its command has ended", () => {
    expect(live(began(), { kind: "stop-asked" })).toMatchObject({ status: "stopped", endedAtMs: 1_010 });
    const asked = live(began(), taken(), starting(), { kind: "stop-asked" });
    expect(asked).toMatchObject({ status: "running", isStopAsked: true });
    expect(live(asked, exited(0))).toMatchObject({ status: "stopped", exitCode: 0 });
    expect(live(asked, exited(null, "SIGTERM"))).toMatchObject({ status: "stopped", signal: "SIGTERM" });
  });

  test("that is stopped before its command starts never starts it", () => {
    const asked = live(began(), taken(), { kind: "stop-asked" });
    expect(asked.status).toBe("pending");
    expect(live(asked, starting())).toMatchObject({ status: "stopped", startedAtMs: null });
    expect(live(asked, taken("b"))).toMatchObject({ status: "stopped" });
  });
});

describe("retries", () => {
  test("follow as often as asked, after longer and longer pauses", () => {
    const policy = { maxRetries: 2, delayMs: 100, multiplier: 3, maxDelayMs: 250 };
    const first = live(began(policy), taken(), starting(), exited(1));
    expect(first).toMatchObject({ status: "pending", attempt: 1, notBeforeMs: 1_130, exitCode: 1 });
    expect(first.message).toBe("attempt 0 failed with exit code 1; retry 1 of 2 follows");
    expect(step(first, starting(), 1_129)).toEqual({ kind: "unchanged", why: "too-early" });
    const second = live(first, [starting(), 1_130], [exited(1), 1_200]);
    expect(second).toMatchObject({ status: "pending", attempt: 2, notBeforeMs: 1_450 });
    expect(live(second, [starting(), 1_450], exited(1))).toMatchObject({ status: "failed", attempt: 2 });
    expect(live(second, [starting(), 1_450], exited(0))).toMatchObject({ status: "succeeded", attempt: 2 });
  });

  test("do not follow after exit codes that say so, nor when the end was asked for", () => {
    const policy = { maxRetries: -1, notOnExitCodes: [2] };
    expect(live(began(policy), taken(), starting(), exited(2)).status).toBe("failed");
    expect(live(began(policy), taken(), starting(), { kind: "stop-asked" }, exited(1)).status).toBe("stopped");
    expect(live(began(policy), taken(), starting(), exited(1), { kind: "stop-asked" }, starting()).status).toBe(
      "stopped",
    );
  });
});

describe("when the node dies", () => {
  test("a job that ran has failed, unless it may be run again", () => {
    expect(live(began(), taken(), starting(), taken("b", "n2"))).toMatchObject({
      status: "failed",
      nodeId: "n1",
      errorType: "JOB_SUPERVISOR_ACTOR_DIED",
    });
    const again = live(began({ maxRetries: 1 }), taken(), starting(), taken("b", "n2"));
    expect(again).toMatchObject({ status: "pending", attempt: 1, supervisor: "b", nodeId: "n2" });
    expect(again.message).toMatch(/^node n1 or the process .* died while attempt 0 ran; retry 1 of 1 follows$/);
  });

  test("a job that had not begun loses nothing", () => {
    expect(live(began(), taken(), taken("b", "n2"), starting("b"), exited(0, null, "b"))).toMatchObject({
      status: "succeeded",
      attempt: 0,
    });
  });

  test("what a supervisor says that was replaced does not count", () => {
    const now = live(began({ maxRetries: 1 }), taken(), starting(), taken("b"), starting("b"));
    for (const late of [exited(0), starting(), { kind: "started", supervisor: "a", pid: 1 } as const]) {
      expect(step(now, late, 2_000)).toEqual({ kind: "unchanged", why: "replaced" });
    }
  });

  test("and nobody will look after it again, it has failed; if its end was asked for, that is what it is", () => {
    const lost: JobEvent = { kind: "lost", errorType: "JOB_SUPERVISOR_ACTOR_DIED", why: "gone" };
    expect(live(began({ maxRetries: 5 }), taken(), starting(), lost)).toMatchObject({
      status: "failed",
      message: "gone",
    });
    expect(live(began(), taken(), starting(), { kind: "stop-asked" }, lost)).toMatchObject({ status: "stopped" });
  });
});

describe("whatever happens in whatever order", () => {
  const supervisor = fc.constantFrom("a", "b");
  const event: fc.Arbitrary<JobEvent> = fc.oneof(
    supervisor.map((name) => taken(name, `node of ${name}`)),
    supervisor.map(starting),
    fc.record({ kind: fc.constant("started" as const), supervisor, pid: fc.nat() }),
    fc.tuple(fc.constantFrom(0, 1, 2), supervisor).map(([code, name]) => exited(code, null, name)),
    fc.constant<JobEvent>({ kind: "stop-asked" }),
    fc.constant<JobEvent>({ kind: "lost", errorType: "JOB_SUPERVISOR_ACTOR_DIED", why: "gone" }),
  );

  test("an end never changes, attempts are never more than allowed, and each of them starts once", () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 60 }), fc.nat({ max: 3 }), (events, maxRetries) => {
        let record = began({ maxRetries });
        const started: number[] = [];
        for (const [at, each] of events.entries()) {
          const next = step(record, each, 1_000 + at);
          if (next.kind === "unchanged") continue;
          expect(isEnded(record)).toBe(false);
          if (each.kind === "starting" && next.record.status === "running") started.push(next.record.attempt);
          expect(next.record.attempt).toBeGreaterThanOrEqual(record.attempt);
          expect(next.record.attempt).toBeLessThanOrEqual(maxRetries);
          expect(next.record.endedAtMs !== null).toBe(isEnded(next.record));
          record = decodeRecord(encodeRecord(next.record));
          expect(record).toEqual(next.record);
        }
        expect(started).toEqual([...new Set(started)]);
      }),
    );
  });

  test("waits for a node that could take it, and begins when there is one", () => {
    const waits = live(began(), { kind: "unplaceable", why: "no node has a unicorn" });
    expect(waits).toMatchObject({ status: "pending", unplaceableSinceMs: 1_010, message: "no node has a unicorn" });
    const later = step(waits, { kind: "unplaceable", why: "no node has a unicorn" }, 9_000);
    expect(later).toEqual({ kind: "unchanged", why: "known" });
    expect(live(waits, taken(), starting())).toMatchObject({
      status: "running",
      unplaceableSinceMs: null,
      message: null,
    });
    expect(live(waits, { kind: "start-timed-out", why: "too late" })).toMatchObject({
      status: "failed",
      errorType: "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE",
      message: "too late",
    });
    // It was started at the last moment.
    expect(live(began(), taken(), starting(), { kind: "start-timed-out", why: "" })).toMatchObject({
      status: "running",
    });
  });

  test("whose node died, and which no other can take, waits if it may be tried again", () => {
    const gone: JobEvent = { kind: "unplaceable", why: "no node has a unicorn" };
    expect(live(began({ maxRetries: 1 }), taken(), starting(), gone)).toMatchObject({
      status: "pending",
      attempt: 1,
      message: "no node has a unicorn",
    });
    expect(live(began(), taken(), starting(), gone)).toMatchObject({
      status: "failed",
      errorType: "JOB_SUPERVISOR_ACTOR_DIED",
    });
    expect(live(began(), { kind: "stop-asked" }, gone)).toMatchObject({ status: "stopped" });
  });
});
