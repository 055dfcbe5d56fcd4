import { describe, expect, test } from "vitest";
import type { LeaseEngine } from "./lease-engine.ts";
import type { SchedulerCommand } from "./protocol.ts";
import { client, demandOf, engineWith, job, leaseId, World, workerId } from "./test-world.ts";

const A = client("a");
const B = client("b");

function joined(engine: LeaseEngine, workers: number, clients: readonly [typeof A, string][] = [[A, "j1"]]): void {
  for (let index = 1; index <= workers; index++) {
    const id = workerId(`early${index}`);
    engine.step({ kind: "workers-started", workerIds: [id] }, 0);
    engine.step({ kind: "worker-ready", workerId: id, clientId: client(`p-early${index}`) }, 0);
  }
  for (const [id, name] of clients) engine.step({ kind: "client-joined", clientId: id, jobId: job(name) }, 0);
}
const kinds = (commands: readonly SchedulerCommand[]): string[] => commands.map(({ kind }) => kind);
const grants = (commands: readonly SchedulerCommand[]) => commands.filter((command) => command.kind === "grant-lease");

describe("leases", () => {
  test("a demand is granted at once on the workers that are ready, as far as the CPUs go", () => {
    const engine = engineWith({ cpu: 2 });
    joined(engine, 2);
    const commands = engine.step(
      { kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 5 },
      0,
    );
    expect(commands).toEqual([
      expect.objectContaining({ kind: "grant-lease", clientId: A, shape: 1, leaseId: 1, gpus: [], jobId: "j1" }),
      expect.objectContaining({ kind: "grant-lease", clientId: A, shape: 1, leaseId: 2 }),
    ]);
    expect(engine.pool.available()).toEqual({ cpu: 0 });
  });

  test("as many workers as CPUs are started before anybody asks, and no more", () => {
    const engine = engineWith({ cpu: 2 });
    expect(kinds(engine.step({ kind: "tick" }, 0))).toEqual(["start-worker", "start-worker"]);
    expect(engine.step({ kind: "tick" }, 0)).toEqual([]);
  });

  test("workers that were started before the engine was loaded count", () => {
    const engine = engineWith({ cpu: 2 });
    expect(kinds(engine.step({ kind: "workers-started", workerIds: [workerId("x")] }, 0))).toEqual(["start-worker"]);
    expect([...engine.tables.workers.keys()]).toContain("x");
    expect(engine.step({ kind: "workers-started", workerIds: [workerId("x"), workerId("y")] }, 0)).toEqual([]);
  });

  test("a returned lease goes to the next demand on the same worker of the same job", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 }, 0);
    engine.step({ kind: "demand-changed", clientId: A, shape: 2, demand: demandOf({ cpu: 1 }), wanted: 1 }, 0);
    const commands = engine.step({ kind: "lease-returned", clientId: A, leaseId: leaseId(1), retire: false }, 5);
    expect(grants(commands)).toEqual([expect.objectContaining({ shape: 2, leaseId: 2, workerId: "early1" })]);
  });

  test("a demand that is over is forgotten with its last lease, and its share of a placement group with it", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1);
    const groupId = "g";
    const bundles = [{ index: 0, units: { cpu: 10_000 } }];
    engine.step({ kind: "prepare-bundles", groupId, attempt: 1, bundles, commit: true }, 0);
    const demand = demandOf({ cpu: 1 }, { placement: { bundle: { groupId } } });
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand, wanted: 1 }, 0);
    engine.step({ kind: "demand-over", clientId: A, shape: 1 }, 1);
    const client = engine.tables.clients.get(A);
    expect([client?.asks.size, client?.inGroups.size, client?.job.inGroups.size]).toEqual([1, 1, 1]);
    engine.step({ kind: "lease-returned", clientId: A, leaseId: leaseId(1), retire: false }, 2);
    expect([client?.asks.size, client?.inGroups.size, client?.job.inGroups.size]).toEqual([0, 0, 0]);
    // It may be asked for again.
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand, wanted: 1 }, 3);
    expect(client?.asks.get(1)?.held.size).toBe(1);
  });

  test("a worker that served one job is not given to another", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1, [
      [A, "j1"],
      [B, "j2"],
    ]);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 }, 0);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, wanted: 0 }, 1);
    engine.step({ kind: "lease-returned", clientId: A, leaseId: leaseId(1), retire: false }, 1);
    const commands = engine.step(
      { kind: "demand-changed", clientId: B, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 },
      2,
    );
    expect(kinds(commands)).toEqual(["start-worker"]);
  });

  test("another runtime environment gets a process of its own", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1);
    const runtimeEnv = { env: { X: "1" } };
    const commands = engine.step(
      { kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }, { runtimeEnv }), wanted: 1 },
      0,
    );
    expect(commands).toEqual([expect.objectContaining({ kind: "start-worker", runtimeEnv })]);
  });

  test("a lease is lost with its worker, and its resources are free again", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 }, 0);
    const commands = engine.step({ kind: "worker-died", workerId: workerId("early1"), detail: "SIGKILL" }, 1);
    expect(kinds(commands)).toEqual(["lose-lease", "start-worker"]);
    expect(engine.pool.available()).toEqual({ cpu: 10_000 });
    expect(engine.step({ kind: "worker-died", workerId: workerId("early1"), detail: "again" }, 1)).toEqual([]);
  });

  test("when an owner goes, the workers of its leases are ended and their CPUs are free once they are gone", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 }, 0);
    expect(engine.step({ kind: "client-left", clientId: A }, 1)).toEqual([
      { kind: "stop-worker", workerId: "early1", reason: "owner-gone" },
    ]);
    expect(engine.pool.available()).toEqual({ cpu: 0 });
    engine.step({ kind: "worker-died", workerId: workerId("early1"), detail: "" }, 2);
    expect(engine.pool.available()).toEqual({ cpu: 10_000 });
    expect(engine.tables.jobs.size).toBe(0);
  });

  test("the leases of a client that leaves are its heir's, which asks for no more of them", () => {
    const engine = engineWith({ cpu: 2 });
    joined(engine, 2);
    engine.step({ kind: "client-joined", clientId: B, jobId: job("j1"), isDeputy: true }, 0);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 2 }, 0);
    expect([...engine.leasesOf(A)].map((lease) => lease.leaseId)).toEqual([1, 2]);
    engine.step({ kind: "leases-inherited", clientId: A, heir: B }, 1);
    expect(engine.step({ kind: "client-left", clientId: A }, 1)).toEqual([]);
    expect([...engine.leasesOf(B)].map((lease) => lease.leaseId)).toEqual([1, 2]);
    const died = engine.step({ kind: "worker-died", workerId: workerId("early1"), detail: "" }, 2);
    expect(died).toContainEqual({ kind: "lose-lease", clientId: B, leaseId: 1, workerId: "early1" });
    expect(grants(died)).toEqual([]);
    const returned = engine.step({ kind: "lease-returned", clientId: B, leaseId: leaseId(2), retire: true }, 3);
    expect(returned).toContainEqual({ kind: "stop-worker", workerId: "early2", reason: "retired" });
    expect(engine.pool.available()).toEqual({ cpu: 20_000 });
  });
});

describe("waiting tasks", () => {
  test("a blocked lease gives its CPUs to its own child, and takes them again", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 }, 0);
    const child = client("p-early1");
    engine.step({ kind: "demand-changed", clientId: child, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 }, 1);
    const blocked = engine.step({ kind: "worker-blocked", workerId: workerId("early1"), blocked: true }, 2);
    const started = blocked.find((command) => command.kind === "start-worker");
    expect(started).toBeDefined();
    const ready = engine.step(
      { kind: "worker-ready", workerId: started?.workerId ?? workerId(""), clientId: client("p2") },
      3,
    );
    expect(grants(ready)).toEqual([expect.objectContaining({ clientId: child })]);
    engine.step({ kind: "worker-blocked", workerId: workerId("early1"), blocked: false }, 4);
    expect(engine.pool.available()).toEqual({ cpu: -10_000 });
    expect(engine.step({ kind: "worker-blocked", workerId: workerId("early1"), blocked: false }, 4)).toEqual([]);
    expect(engine.pool.available()).toEqual({ cpu: -10_000 });
  });

  test("what runs beyond the CPUs there are is called back, so that nothing new starts there", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 }, 0);
    const child = client("p-early1");
    engine.step({ kind: "demand-changed", clientId: child, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 }, 1);
    const blocked = engine.step({ kind: "worker-blocked", workerId: workerId("early1"), blocked: true }, 2);
    const started = blocked.find((command) => command.kind === "start-worker");
    engine.step({ kind: "worker-ready", workerId: started?.workerId ?? workerId(""), clientId: client("p2") }, 3);
    // The child has ended, its lease is kept; the owner says that it has no use for it.
    engine.step({ kind: "demand-changed", clientId: child, shape: 1, wanted: 0 }, 4);
    const resumed = engine.step({ kind: "worker-blocked", workerId: workerId("early1"), blocked: false }, 5);
    expect(resumed).toEqual([{ kind: "revoke-lease", clientId: child, leaseId: leaseId(2) }]);
    expect(engine.step({ kind: "tick" }, 6)).toEqual([]);
    engine.step({ kind: "lease-returned", clientId: child, leaseId: leaseId(2), retire: false }, 7);
    expect(engine.pool.available()).toEqual({ cpu: 0 });
  });

  test("twenty levels of tasks that wait for each other end on one CPU", () => {
    const world = new World(engineWith({ cpu: 1 }));
    world.send({ kind: "tick" });
    world.run(100);
    world.send({ kind: "client-joined", clientId: A, jobId: job("j1") });
    let parent = A;
    const chain: string[] = [];
    for (let level = 0; level < 20; level++) {
      const before = world.commands.length;
      world.send({ kind: "demand-changed", clientId: parent, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 });
      world.run(world.nowMs + 200);
      const grant = world.commands.slice(before).find((command) => command.kind === "grant-lease");
      expect(grant, `level ${level}`).toBeDefined();
      if (!grant) return;
      chain.push(grant.workerId);
      world.send({ kind: "worker-blocked", workerId: grant.workerId, blocked: true });
      parent = client(`p-${grant.workerId}`);
    }
    expect(new Set(chain).size).toBe(20);
  });

  test.each([
    [1, 1 + 1],
    [4, 4 + 3],
  ])("while tasks wait on all of %i CPUs, %i workers are started ahead", (cpu, ahead) => {
    const world = new World(engineWith({ cpu }));
    world.send({ kind: "tick" });
    world.run(100);
    world.send({ kind: "client-joined", clientId: A, jobId: job("j1") });
    world.send({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }), wanted: cpu });
    const granted = grants(world.commands);
    expect(granted).toHaveLength(cpu);
    for (const { workerId } of granted) world.send({ kind: "worker-blocked", workerId, blocked: true });
    world.run(1_000);
    expect(world.commands.filter(({ kind }) => kind === "start-worker")).toHaveLength(cpu + ahead);
  });

  test("GPUs stay with a task that waits", () => {
    const engine = engineWith({ cpu: 1, gpu: 1 });
    joined(engine, 1);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1, gpu: 1 }), wanted: 1 }, 0);
    engine.step({ kind: "worker-blocked", workerId: workerId("early1"), blocked: true }, 1);
    expect(engine.pool.available()).toEqual({ cpu: 10_000, gpu: 0 });
  });
});

describe("GPUs", () => {
  test("fractions share one device, whole ones get a device that nobody uses", () => {
    const engine = engineWith({ cpu: 8, gpu: 2 });
    joined(engine, 4);
    const first = grants(
      engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ gpu: 0.5 }), wanted: 2 }, 0),
    );
    expect(first.map(({ gpus }) => gpus)).toEqual([["0"], ["0"]]);
    const whole = grants(
      engine.step({ kind: "demand-changed", clientId: A, shape: 2, demand: demandOf({ gpu: 1 }), wanted: 1 }, 0),
    );
    expect(whole.map(({ gpus }) => gpus)).toEqual([["1"]]);
  });

  test("a worker that used a GPU ends when its lease does, so that the device's memory is free", () => {
    const engine = engineWith({ cpu: 1, gpu: 1 });
    joined(engine, 1);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ gpu: 1 }), wanted: 1 }, 0);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, wanted: 0 }, 1);
    const commands = engine.step({ kind: "lease-returned", clientId: A, leaseId: leaseId(1), retire: false }, 1);
    expect(commands).toContainEqual({ kind: "stop-worker", workerId: "early1", reason: "retired" });
  });
});

describe("who goes first", () => {
  test("higher priority calls leases of lower priority in the same job back", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 9 }, 0);
    const urgent = demandOf({ cpu: 1 }, { priority: 10 });
    expect(engine.step({ kind: "demand-changed", clientId: A, shape: 2, demand: urgent, wanted: 1 }, 1)).toEqual([
      { kind: "revoke-lease", clientId: A, leaseId: 1 },
    ]);
    const commands = engine.step({ kind: "lease-returned", clientId: A, leaseId: leaseId(1), retire: false }, 2);
    expect(grants(commands)).toEqual([expect.objectContaining({ shape: 2 })]);
  });

  test("of what waits, higher priority goes first, whoever asked first and has had least", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1, [
      [A, "j1"],
      [B, "j1"],
    ]);
    const ask = (id: typeof A, shape: number, priority: number): void => {
      const demand = demandOf({ cpu: 1 }, { priority });
      engine.step({ kind: "demand-changed", clientId: id, shape, demand, wanted: 1 }, 0);
    };
    ask(A, 1, 20);
    ask(B, 1, -10);
    ask(A, 2, 0);
    ask(A, 3, 10);
    const served: unknown[] = [];
    for (let lease = 1; lease <= 3; lease++) {
      // The one that was served wants no more.
      const [client, shape] = lease === 1 ? [A, 1] : (served.at(-1) as [typeof A, number]);
      engine.step({ kind: "demand-changed", clientId: client, shape, wanted: 0 }, lease * 500);
      const returned = { kind: "lease-returned", clientId: client, leaseId: leaseId(lease), retire: false } as const;
      for (const grant of grants(engine.step(returned, lease * 500))) served.push([grant.clientId, grant.shape]);
    }
    expect(served).toEqual([
      [A, 3],
      [A, 2],
      [B, 1],
    ]);
  });

  test("an idle lease whose owner wants nothing is called back as soon as somebody waits", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1, [
      [A, "j1"],
      [B, "j2"],
    ]);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 }, 0);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, wanted: 0 }, 1);
    const commands = engine.step(
      { kind: "demand-changed", clientId: B, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 },
      2,
    );
    expect(kinds(commands)).toContain("revoke-lease");
  });

  test("an idle worker ends its lease when somebody waits, since its owner may hear nothing for long", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1);
    const idle = (now: number, isIdle = true, worker = "early1") =>
      engine.step({ kind: "lease-idle", workerId: workerId(worker), leaseId: leaseId(1), idle: isIdle }, now);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 }, 0);
    expect(idle(10)).toEqual([]);
    engine.step({ kind: "client-joined", clientId: B, jobId: job("j1") }, 11);
    const revoked = engine.step(
      { kind: "demand-changed", clientId: B, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 },
      12,
    );
    expect(revoked).toEqual([
      { kind: "revoke-lease", clientId: A, leaseId: 1 },
      { kind: "end-lease", workerId: "early1", leaseId: 1 },
    ]);
    // It had work again, and refused; once it is idle again, it is asked again.
    expect([idle(13, false), idle(20, true, "w9"), idle(23)]).toEqual([
      [],
      [],
      [{ kind: "end-lease", workerId: "early1", leaseId: 1 }],
    ]);
    // The owner's number counted the lease: it is not granted to it again.
    const ended = engine.step({ kind: "lease-ended", workerId: workerId("early1"), leaseId: leaseId(1) }, 24);
    expect(ended).toEqual([
      { kind: "reclaim-lease", clientId: A, shape: 1, leaseId: 1 },
      expect.objectContaining({ kind: "grant-lease", clientId: B, leaseId: 2, workerId: "early1" }),
    ]);
    expect(engine.step({ kind: "lease-returned", clientId: A, leaseId: leaseId(1), retire: false }, 25)).toEqual([]);
  });

  test("a second job gets half of the CPUs from a job that holds them all", () => {
    const engine = engineWith({ cpu: 4 });
    joined(engine, 4, [
      [A, "j1"],
      [B, "j2"],
    ]);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 100 }, 0);
    const commands = engine.step(
      { kind: "demand-changed", clientId: B, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 100 },
      1,
    );
    expect(kinds(commands).filter((kind) => kind === "revoke-lease")).toHaveLength(2);
  });

  test.each([
    ["short against short", 1, 10, 10],
    ["short against long tasks", 2, 5, 400],
    ["long tasks on one CPU", 1, 300, 20],
    ["many CPUs", 8, 50, 7],
  ])("two jobs that wait share the CPUs within 20 %% over any 5 s: %s", (_name, cpus, msA, msB) => {
    const world = new World(engineWith({ cpu: cpus }));
    world.send({ kind: "client-joined", clientId: A, jobId: job("j1") });
    world.send({ kind: "client-joined", clientId: B, jobId: job("j2") });
    world.submit(A, 1, demandOf({ cpu: 1 }), 1_000_000, msA);
    world.run(2_000);
    world.submit(B, 1, demandOf({ cpu: 1 }), 1_000_000, msB);
    world.run(30_000);
    for (let from = 3_000; from + 5_000 <= 30_000; from += 250) {
      const inWindow = world.finished.filter(({ atMs }) => atMs > from && atMs <= from + 5_000);
      const of = (id: typeof A) =>
        inWindow.filter(({ clientId }) => clientId === id).reduce((sum, { cpuMs }) => sum + cpuMs, 0);
      const [a, b] = [of(A), of(B)];
      const share = Math.min(a, b) / Math.max(a, b);
      expect(share, `from ${from}: ${a} and ${b}`).toBeGreaterThan(0.8);
      expect(a + b, `from ${from}`).toBeGreaterThan(0.75 * cpus * 5_000);
    }
  });

  test("a nested submitter is not starved by the driver that fills the node", () => {
    const world = new World(engineWith({ cpu: 2 }));
    world.send({ kind: "client-joined", clientId: A, jobId: job("j1") });
    world.send({
      kind: "worker-requested",
      requestId: 1,
      jobId: job("j1"),
      demand: demandOf({}),
      worker: "fresh",
    });
    world.run(100);
    const actor = world.commands.find((command) => command.kind === "grant-request");
    world.submit(A, 1, demandOf({ cpu: 1 }), 1_000_000, 10);
    world.run(1_000);
    const nested = world.submit(client(`p-${actor?.workerId}`), 1, demandOf({ cpu: 1 }), 1_000_000, 10);
    world.run(6_000);
    expect(nested.done).toBeGreaterThan(300);
  });

  test("a large demand is not held off for ever by a stream of small ones", () => {
    const world = new World(engineWith({ cpu: 4 }));
    world.send({ kind: "client-joined", clientId: A, jobId: job("j1") });
    world.submit(A, 1, demandOf({ cpu: 1 }), 1_000_000, 30);
    world.run(500);
    const large = world.submit(A, 2, demandOf({ cpu: 4 }), 3, 10);
    world.run(5_000);
    expect(large.done).toBe(3);
  });
});

describe("what cannot be", () => {
  test("an infeasible demand is refused after its time, naming the demand and the best node", () => {
    const engine = engineWith({ cpu: 2 });
    joined(engine, 2);
    const event = {
      kind: "demand-changed",
      clientId: A,
      shape: 7,
      demand: demandOf({ cpu: 8 }, { name: "train" }),
      wanted: 1,
    } as const;
    expect(engine.step(event, 0)).toEqual([]);
    expect(engine.nextTickMs(0)).toBe(50);
    expect(engine.step({ kind: "tick" }, 9_999)).toEqual([]);
    const commands = engine.step({ kind: "tick" }, 10_000);
    expect(commands).toEqual([expect.objectContaining({ kind: "refuse-demand", clientId: A, shape: 7 })]);
    expect(commands[0]).toHaveProperty("message", expect.stringMatching(/train needs \{ cpu: 8 \}.*n1.*\{ cpu: 2 \}/));
    expect(engine.step({ kind: "tick" }, 30_000)).toEqual([]);
  });

  test("an environment whose workers die at their start refuses its demands instead of waiting for ever", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1);
    const demand = demandOf({ cpu: 1 }, { runtimeEnv: { workingDir: "/missing" } });
    let commands = engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand, wanted: 1 }, 0);
    let now = 0;
    for (let attempt = 0; attempt < 3; attempt++) {
      const started = commands.find((command) => command.kind === "start-worker");
      expect(started, `attempt ${attempt}`).toBeDefined();
      if (!started) return;
      commands = engine.step({ kind: "worker-died", workerId: started.workerId, detail: "no such folder" }, now);
      if (attempt < 2) {
        now = engine.nextTickMs(now) ?? now;
        for (let waits = 0; waits < 20 && !commands.some(({ kind }) => kind === "start-worker"); waits++) {
          now += 50;
          commands = engine.step({ kind: "tick" }, now);
        }
      }
    }
    expect(commands).toEqual([
      expect.objectContaining({ kind: "refuse-demand", message: expect.stringContaining("no such folder") }),
    ]);
  });

  test("explain gives the reason in sentences with numbers", () => {
    const engine = engineWith({ cpu: 2 });
    joined(engine, 2);
    engine.step(
      { kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }, { name: "slow" }), wanted: 9 },
      0,
    );
    const explanation = engine.explain(A, 1, 2_500);
    expect(explanation?.sentences.join(" ")).toMatch(
      /slow waits for 7 more of \{ cpu: 1 \}.*2 are in use.*0 of 2 cpu are free.*slow of job j1 holds 2/,
    );
    expect(engine.explain(A, 99, 0)).toBeUndefined();
  });
});

describe("requests of control", () => {
  test("a fresh worker is one that served nobody, and nobody else gets it", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1);
    const request = { kind: "worker-requested", requestId: 1, jobId: job("j1"), demand: demandOf({}) } as const;
    const commands = engine.step({ ...request, worker: "fresh" }, 0);
    expect(commands).toEqual([
      { kind: "grant-request", requestId: 1, workerId: "early1", resources: {}, gpus: [] },
      expect.objectContaining({ kind: "start-worker" }),
    ]);
    expect(engine.step({ ...request, worker: "fresh" }, 0)).toEqual([]);
    const more = engine.step({ ...request, requestId: 2, worker: workerId("early1") }, 0);
    expect(more).toEqual([expect.objectContaining({ kind: "grant-request", requestId: 2, workerId: "early1" })]);
    const gone = engine.step({ ...request, requestId: 3, worker: workerId("nobody") }, 0);
    expect(gone).toEqual([expect.objectContaining({ kind: "refuse-request", requestId: 3 })]);
  });

  test("resources come back when released, or with the worker", () => {
    const engine = engineWith({ cpu: 2 });
    joined(engine, 2);
    const request = { kind: "worker-requested", jobId: job("j1"), demand: demandOf({ cpu: 1 }) } as const;
    engine.step({ ...request, requestId: 1, worker: "fresh" }, 0);
    engine.step({ ...request, requestId: 2, worker: "fresh" }, 0);
    expect(engine.pool.available()).toEqual({ cpu: 0 });
    engine.step({ kind: "request-released", requestId: 1 }, 1);
    engine.step({ kind: "request-released", requestId: 1 }, 1);
    expect(engine.pool.available()).toEqual({ cpu: 10_000 });
    engine.step({ kind: "worker-died", workerId: workerId("early1"), detail: "" }, 2);
    engine.step({ kind: "worker-died", workerId: workerId("early2"), detail: "" }, 2);
    expect(engine.pool.available()).toEqual({ cpu: 20_000 });
    expect(engine.tables.requests.size).toBe(0);
  });

  test("what does not wait is refused when there is no room now, and is not when only a process is missing", () => {
    const engine = engineWith({ cpu: 2 });
    joined(engine, 1);
    const request = {
      kind: "worker-requested",
      jobId: job("j1"),
      demand: demandOf({ cpu: 1 }),
      worker: "fresh",
    } as const;
    const impatient = { ...request, refusal: "FULL" };
    const granted = engine.step({ ...impatient, requestId: 1 }, 0);
    expect(granted).toContainEqual(expect.objectContaining({ kind: "grant-request", requestId: 1 }));
    expect(engine.step({ ...impatient, requestId: 2 }, 0).map(({ kind }) => kind)).not.toContain("refuse-request");
    engine.step({ kind: "worker-ready", workerId: workerId("late"), clientId: client("late") }, 0);
    const refused = engine.step({ ...impatient, requestId: 3 }, 0);
    expect(refused).toContainEqual(expect.objectContaining({ kind: "refuse-request", requestId: 3, code: "FULL" }));
    expect([...engine.tables.requests.keys()]).toEqual([1, 2]);
  });

  test("ten thousand actors that join two workers are placed in well under half a second", () => {
    const engine = engineWith({ cpu: 2 });
    joined(engine, 2);
    const request = { kind: "worker-requested", jobId: job("j1"), demand: demandOf({}) } as const;
    engine.step({ ...request, requestId: 1, worker: "fresh" }, 0);
    engine.step({ ...request, requestId: 2, worker: "fresh" }, 0);
    let granted = 0;
    const before = process.cpuUsage();
    for (let id = 3; id <= 10_000; id++) {
      const worker = workerId(id % 2 === 0 ? "early1" : "early2");
      granted += engine.step({ ...request, requestId: id, worker }, 0).length;
    }
    // CPU time, not elapsed time: other tests run beside this one.
    const { user, system } = process.cpuUsage(before);
    expect(granted).toBe(9_998);
    expect((user + system) / 1_000).toBeLessThan(500);
  });
});

describe("the warm pool", () => {
  test("idle workers beyond the CPUs are ended after a while", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 3);
    expect(engine.step({ kind: "tick" }, 9_000)).toEqual([]);
    expect(engine.nextTickMs(9_000)).toBe(10_000);
    expect(kinds(engine.step({ kind: "tick" }, 10_000))).toEqual(["stop-worker", "stop-worker"]);
  });

  test("idle workers of a job whose driver left are ended at once, and fresh ones are made ready", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 }, 0);
    engine.step({ kind: "demand-changed", clientId: A, shape: 1, wanted: 0 }, 0);
    engine.step({ kind: "lease-returned", clientId: A, leaseId: leaseId(1), retire: false }, 0);
    const commands = engine.step({ kind: "client-left", clientId: A }, 1);
    expect(commands).toContainEqual({ kind: "stop-worker", workerId: "early1", reason: "job-ended" });
    const after = engine.step({ kind: "worker-died", workerId: workerId("early1"), detail: "" }, 2);
    expect([...kinds(commands), ...kinds(after)]).toContain("start-worker");
  });

  test("a node that is drained grants nothing more, calls back its leases, and is quiet when they are back", () => {
    const engine = engineWith({ cpu: 2 });
    joined(engine, 2);
    const wants = { kind: "demand-changed", clientId: A, shape: 1, demand: demandOf({ cpu: 1 }), wanted: 1 } as const;
    expect(kinds(engine.step(wants, 0))).toContain("grant-lease");
    expect(engine.isQuiet).toBe(false);
    const revoked = { kind: "revoke-lease", clientId: A, leaseId: leaseId(1) };
    expect(engine.step({ kind: "drain-began" }, 1)).toEqual([revoked]);
    expect(engine.step({ kind: "drain-began" }, 1)).toEqual([]);
    expect(engine.step({ ...wants, wanted: 5 }, 2)).toEqual([]);
    expect(engine.step({ kind: "lease-returned", clientId: A, leaseId: leaseId(1), retire: false }, 3)).toEqual([]);
    expect(engine.isQuiet).toBe(true);
  });

  test("after shutdown began nothing is started or granted", () => {
    const engine = engineWith({ cpu: 1 });
    joined(engine, 1);
    engine.step({ kind: "shutdown-began" }, 0);
    const demand = demandOf({ cpu: 1 });
    expect(engine.step({ kind: "demand-changed", clientId: A, shape: 1, demand, wanted: 1 }, 0)).toEqual([]);
    expect(engine.step({ kind: "worker-died", workerId: workerId("early1"), detail: "" }, 0)).toEqual([]);
    expect(engine.nextTickMs(0)).toBeUndefined();
  });
});
