import { describe, expect, test } from "vitest";
import { newNodeId } from "../base/ids.ts";
import type { LeaseEngine } from "./lease-engine.ts";
import type { SchedulerCommand, SchedulerEvent } from "./protocol.ts";
import { runtimeEnvKey } from "./protocol.ts";
import { client, demandOf, engineWith, job } from "./test-world.ts";

const A = client("a");
const runtimeEnv = {
  npm: { from: { hash: "one", bytes: 1, node: newNodeId() }, allowScripts: false, dev: false },
} as const;
const envKey = runtimeEnvKey(runtimeEnv);
const PREPARE: SchedulerCommand = { kind: "prepare-environment", envKey, runtimeEnv };

class Steps {
  nowMs = 0;
  readonly engine: LeaseEngine = engineWith({ cpu: 1 });

  constructor() {
    this.start(this.step({ kind: "client-joined", clientId: A, jobId: job("j") }));
  }

  step(event: SchedulerEvent): SchedulerCommand[] {
    return this.engine.step(event, this.nowMs);
  }

  ask(shape: number, env: object | undefined, wanted = 1): SchedulerCommand[] {
    const demand = demandOf({ cpu: 1 }, { name: `f${shape}`, ...(env && { runtimeEnv: env }) });
    return this.step({ kind: "demand-changed", clientId: A, shape, demand, wanted });
  }

  /** The workers that were ordered are ready. */
  start(commands: readonly SchedulerCommand[]): SchedulerCommand[] {
    return commands.flatMap((command) => {
      if (command.kind !== "start-worker") return [];
      const { workerId } = command;
      return this.step({ kind: "worker-ready", workerId, clientId: client(`p-${workerId}`) });
    });
  }
}

const kinds = (commands: readonly SchedulerCommand[]): string[] => commands.map(({ kind }) => kind);

describe("environments", () => {
  test("what waits for one lets others go on, and gets a worker when it is ready", () => {
    const s = new Steps();
    expect(s.ask(1, runtimeEnv)).toEqual([PREPARE]);
    expect(kinds(s.ask(2, undefined))).toContain("grant-lease");
    expect([...s.engine.jobsWaitingFor(envKey)]).toEqual(["j"]);
    s.nowMs = 12_000;
    s.step({ kind: "environment-progress", envKey, words: "npm ci" });
    expect(s.engine.explain(A, 1, s.nowMs)?.sentences).toEqual([
      "f1 waits for 1 more of { cpu: 1 }, since 12.0 s; 0 are in use.",
      "It waits for its environment: npm ci, 12 s.",
    ]);
    expect(s.engine.waiting()).toMatchObject([{ name: "f1", why: "It waits for its environment." }]);
    const lease = [...s.engine.leasesOf(A)][0]?.leaseId;
    s.step({ kind: "environment-ready", envKey });
    s.ask(2, undefined, 0);
    const ordered = s.step({ kind: "lease-returned", clientId: A, leaseId: lease ?? (0 as never), retire: false });
    expect(ordered).toMatchObject([{ kind: "start-worker", runtimeEnv }]);
    expect(kinds(s.start(ordered))).toEqual(["grant-lease"]);
  });

  test("what has waited long for its environment has not waited for room yet: nothing ends for it", () => {
    const s = new Steps();
    const B = client("b");
    s.step({ kind: "client-joined", clientId: B, jobId: job("k") });
    expect(kinds(s.ask(1, undefined))).toContain("grant-lease");
    const demand = demandOf({ cpu: 1 }, { runtimeEnv, priority: 5 });
    s.step({ kind: "demand-changed", clientId: B, shape: 1, demand, wanted: 1, preemptAfterMs: 5_000 });
    s.nowMs = 60_000;
    expect(kinds(s.step({ kind: "environment-ready", envKey }))).not.toContain("preempt-lease");
    s.nowMs = 64_999;
    expect(kinds(s.step({ kind: "tick" }))).not.toContain("preempt-lease");
    s.nowMs = 65_000;
    expect(kinds(s.step({ kind: "tick" }))).toContain("preempt-lease");
  });

  test("several demands have it made ready once", () => {
    const s = new Steps();
    expect(s.ask(1, runtimeEnv)).toEqual([PREPARE]);
    expect(s.ask(2, { ...runtimeEnv })).toEqual([]);
    expect(s.ask(3, { ...runtimeEnv, env: { A: "1" } })).toMatchObject([{ kind: "prepare-environment" }]);
  });

  test("what no node can run is not worth making ready", () => {
    const s = new Steps();
    const demand = demandOf({ cpu: 99 }, { runtimeEnv });
    expect(s.step({ kind: "demand-changed", clientId: A, shape: 1, demand, wanted: 1 })).toEqual([]);
  });

  test("one that failed refuses what waits, and tries again for what is asked for later, ever later", () => {
    const s = new Steps();
    s.ask(1, runtimeEnv, 2);
    const failed = s.step({ kind: "environment-failed", envKey, message: "npm ci failed: exit code 1" });
    const refused = { kind: "refuse-demand", clientId: A, code: "RUNTIME_ENV" } as const;
    const message = "f1 cannot run: npm ci failed: exit code 1";
    expect(failed).toEqual([{ ...refused, shape: 1, message }]);
    s.ask(1, runtimeEnv, 0);
    s.nowMs += 1_999;
    expect(s.ask(1, runtimeEnv, 1)).toEqual([{ ...refused, shape: 1, message }]);
    s.ask(1, runtimeEnv, 0);
    s.nowMs += 1;
    expect(s.ask(1, runtimeEnv, 1)).toEqual([PREPARE]);
    s.step({ kind: "environment-failed", envKey, message: "again" });
    s.ask(1, runtimeEnv, 0);
    s.nowMs += 3_999;
    expect(kinds(s.ask(1, runtimeEnv, 1))).toEqual(["refuse-demand"]);
    s.ask(1, runtimeEnv, 0);
    s.nowMs += 1;
    expect(s.ask(1, runtimeEnv, 1)).toEqual([PREPARE]);
  });

  test("requests of control are refused by its code too", () => {
    const s = new Steps();
    const demand = demandOf({ cpu: 1 }, { runtimeEnv });
    const request = { kind: "worker-requested", requestId: 7, jobId: job("j"), demand, worker: "fresh" } as const;
    expect(s.step(request)).toEqual([PREPARE]);
    expect(s.step({ kind: "environment-failed", envKey, message: "no" })).toMatchObject([
      { kind: "refuse-request", requestId: 7, code: "RUNTIME_ENV" },
    ]);
  });

  test("one that nobody needs for ten seconds is given back, ready or not, and made ready anew when it is needed", () => {
    const s = new Steps();
    s.ask(1, runtimeEnv);
    s.ask(1, runtimeEnv, 0);
    expect(s.engine.nextTickMs(s.nowMs)).toBe(10_000);
    s.nowMs = 5_000;
    s.ask(1, runtimeEnv, 1);
    s.ask(1, runtimeEnv, 0);
    s.nowMs = 14_999;
    expect(s.step({ kind: "tick" })).toEqual([]);
    s.nowMs = 15_000;
    expect(s.step({ kind: "tick" })).toEqual([{ kind: "release-environment", envKey }]);
    // It was on its way.
    expect(s.step({ kind: "environment-ready", envKey })).toEqual([]);
    expect(s.ask(1, runtimeEnv, 1)).toEqual([PREPARE]);
  });

  test("a worker keeps its environment, and is ended when it has been idle for a minute", () => {
    const s = new Steps();
    s.ask(1, runtimeEnv);
    const [granted] = s.start(s.step({ kind: "environment-ready", envKey }));
    if (granted?.kind !== "grant-lease") throw new Error("it was not granted");
    s.ask(1, runtimeEnv, 0);
    s.step({ kind: "lease-returned", clientId: A, leaseId: granted.leaseId, retire: false });
    s.nowMs = 59_999;
    expect(s.step({ kind: "tick" })).not.toMatchObject([{ workerId: granted.workerId }]);
    expect(s.engine.nextTickMs(s.nowMs)).toBe(60_000);
    s.nowMs = 60_000;
    const ended = { kind: "stop-worker", workerId: granted.workerId, reason: "idle" };
    expect(s.step({ kind: "tick" })).toContainEqual(ended);
    s.step({ kind: "worker-died", workerId: granted.workerId, detail: "idle" });
    s.nowMs = 70_000;
    expect(s.step({ kind: "tick" })).toContainEqual({ kind: "release-environment", envKey });
  });

  test("what differs in files, packages, setup or their places is another environment", () => {
    const at = (env: Parameters<typeof runtimeEnvKey>[0]) => runtimeEnvKey(env);
    const files = { hash: "aa", bytes: 1, node: "n1" } as never;
    const same = { hash: "aa", bytes: 1, node: "n2" } as never;
    expect(at({ files })).toBe(at({ files: same }));
    const keys = [
      at({ files }),
      at({ files: { hash: "bb", bytes: 1, node: "n1" } as never }),
      at({ files, npm: { from: "files", allowScripts: false, dev: false } }),
      at({ files, npm: { from: "files", allowScripts: true, dev: false } }),
      at({ files, setup: { module: "./a.mjs", timeoutMs: 1 } }),
      at({ files, env: { A: "1" } }),
    ];
    expect(new Set(keys).size).toBe(keys.length);
    expect(at({ env: {}, nodeOptions: [] })).toBe("");
  });
});
