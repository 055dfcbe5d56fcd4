/** What is written into the kernel's files, and what is read there of how a worker ended. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { JobId, WorkerId } from "../base/ids.ts";
import { toUnits } from "../base/resources.ts";
import { NoPlaceError } from "./cgroup-place.ts";
import { openLimits, RUNTIME_BYTES, WorkerLimits } from "./worker-limits.ts";

const MIB = 2 ** 20;
const job = "0badcafe" as JobId;
const one = "one" as WorkerId;
const two = "two" as WorkerId;
let place = "";
let limits: WorkerLimits;
let said: string[] = [];

beforeEach(() => {
  place = mkdtempSync("/tmp/mw-");
  said = [];
  limits = new WorkerLimits({ folder: place, controllers: ["memory", "cpu"] }, place, (message) => said.push(message));
  for (const name of [
    "worker-one",
    "worker-two",
    "job-0badcafe",
    "job-0badcafe/worker-one",
    "job-0badcafe/worker-two",
  ]) {
    group(name, {});
  }
  for (const id of [one, two]) limits.started(id, process.pid);
});
afterEach(() => {
  rmSync(place, { recursive: true });
});

/** As the kernel makes it. */
function group(name: string, files: Readonly<Record<string, string>>): void {
  const usual = {
    "cgroup.procs": "",
    "cgroup.subtree_control": "",
    "cpu.max": "max 100000\n",
    "cpu.weight": "100\n",
    "memory.current": "0\n",
    "memory.events": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\noom_group_kill 0\n",
    "memory.events.local": "low 0\nhigh 0\nmax 0\noom 0\noom_kill 0\n",
    "memory.max": "max\n",
    "memory.oom.group": "0\n",
    "memory.swap.max": "max\n",
  };
  mkdirSync(join(place, name), { recursive: true });
  for (const [file, text] of Object.entries({ ...usual, ...files })) writeFileSync(join(place, name, file), text);
}
const read = (name: string, file: string): string => readFileSync(join(place, name, file), "utf8").trim();

describe("the limits of a worker", () => {
  test("are those of its lease: memory beside what it needs for itself, and a weight for its CPUs", () => {
    limits.leased(one, job, toUnits({ cpu: 3, memory: 64 * MIB }));
    expect(read("worker-one", "memory.max")).toBe(String(64 * MIB + RUNTIME_BYTES));
    expect(read("worker-one", "cpu.weight")).toBe("300");
    expect(read("worker-one", "memory.swap.max")).toBe("0");
    expect(read("worker-one", "memory.oom.group")).toBe("1");
    expect(read("worker-two", "memory.max")).toBe("max");
  });

  test("go with the lease, and what is as before is not written again", () => {
    limits.leased(one, job, toUnits({ cpu: 3, memory: 64 * MIB }));
    group("worker-one", {});
    limits.leased(one, job, toUnits({ cpu: 3, memory: 64 * MIB }));
    expect(read("worker-one", "cpu.weight")).toBe("100");
    expect(read("worker-one", "memory.max")).toBe("max");
    group("worker-one", { "memory.max": "1\n", "cpu.weight": "1\n" });
    limits.leased(one, job, toUnits({ cpu: 1 }));
    expect(read("worker-one", "memory.max")).toBe("max");
    expect(read("worker-one", "cpu.weight")).toBe("100");
  });

  test("leave room for what the worker has when the lease begins", () => {
    group("worker-one", { "memory.current": `${300 * MIB}\n` });
    limits.leased(one, job, toUnits({ cpu: 1, memory: 64 * MIB }));
    expect(read("worker-one", "memory.max")).toBe(String(364 * MIB));
  });

  test("are weights that the kernel knows; what asks for no CPU counts as one", () => {
    const weights = [0, 0.001, 0.5, 7_000].map((cpu) => {
      limits.leased(one, job, toUnits({ cpu: 2 }));
      limits.leased(one, job, toUnits({ cpu }));
      return read("worker-one", "cpu.weight");
    });
    expect(weights).toEqual(["100", "1", "50", "10000"]);
  });

  test("are the sum for actors that share it, and none when one of them has none", () => {
    limits.requested(1, one, job, toUnits({ memory: 64 * MIB }));
    group("worker-one", { "memory.current": `${150 * MIB}\n` });
    limits.requested(2, one, job, toUnits({ memory: 32 * MIB }));
    expect(read("worker-one", "memory.max")).toBe(String(96 * MIB + RUNTIME_BYTES));
    limits.requested(3, one, job, {});
    expect(read("worker-one", "memory.max")).toBe("max");
    limits.released(3);
    limits.released(2);
    expect(read("worker-one", "memory.max")).toBe(String(64 * MIB + RUNTIME_BYTES));
    limits.released(2);
  });

  test("are for nobody without a cgroup, or whose cgroup has gone", () => {
    limits.leased("three" as WorkerId, job, toUnits({ memory: MIB }));
    rmSync(join(place, "worker-one"), { recursive: true });
    limits.leased(one, job, toUnits({ memory: MIB }));
    expect(limits.ended(one)).toBeUndefined();
    expect(said).toEqual([]);
  });

  test("that cannot be set are said once, and the others are set", () => {
    for (const name of ["worker-one", "worker-two"]) {
      rmSync(join(place, name, "memory.max"));
      mkdirSync(join(place, name, "memory.max"));
    }
    for (const id of [one, two]) limits.leased(id, job, toUnits({ cpu: 2, memory: MIB }));
    expect(said).toEqual([expect.stringMatching(/^a limit by cgroup cannot be set: EISDIR/)]);
    expect(read("worker-two", "cpu.weight")).toBe("200");
  });
});

describe("the limits of a job", () => {
  const quota = new Map([[job, toUnits({ cpu: 1.5, memory: 256 * MIB })]]);

  test("are those of its quota, for all of its workers together", () => {
    limits.limitJobs(quota);
    limits.leased(one, job, toUnits({ cpu: 1 }));
    limits.leased(two, job, toUnits({ cpu: 2 }));
    expect(read("job-0badcafe", "cpu.max")).toBe("150000 100000");
    expect(read("job-0badcafe", "memory.max")).toBe(String(256 * MIB + 2 * RUNTIME_BYTES));
    // Among those of other jobs it has the weight of what is in it.
    expect(read("job-0badcafe", "cpu.weight")).toBe("300");
    expect(read("job-0badcafe/worker-two", "cpu.weight")).toBe("200");
    expect(readFileSync(join(place, "job-0badcafe/worker-one", "cgroup.procs"), "utf8")).toBe(String(process.pid));
  });

  test("come to workers that it has already, and change", () => {
    limits.leased(one, job, toUnits({ cpu: 1, memory: MIB }));
    limits.limitJobs(quota);
    expect(read("job-0badcafe/worker-one", "memory.max")).toBe(String(MIB + RUNTIME_BYTES));
    limits.limitJobs(new Map([[job, toUnits({ cpu: 2 })]]));
    expect(read("job-0badcafe", "cpu.max")).toBe("200000 100000");
    expect(read("job-0badcafe", "memory.max")).toBe("max");
    limits.limitJobs(new Map());
    expect(read("job-0badcafe", "cpu.max")).toBe("max");
  });
});

describe("a worker that has ended", () => {
  const killed = "oom 1\noom_kill 1\n";

  test("was ended for its limit when its own cgroup says so", () => {
    limits.leased(one, job, toUnits({ cpu: 1, memory: 64 * MIB }));
    group("worker-one", { "memory.events": killed });
    expect(limits.ended(one)?.words).toMatch(
      /^worker \d+ was ended by the kernel because .* than the 64 MiB of memory/,
    );
    expect(limits.ended(one)).toBeUndefined();
  });

  test("was ended for its job's, when that one's says so", () => {
    limits.limitJobs(new Map([[job, toUnits({ memory: 256 * MIB })]]));
    for (const id of [one, two]) limits.leased(id, job, toUnits({ cpu: 1 }));
    group("job-0badcafe", { "memory.events.local": "oom 1\n" });
    for (const name of ["one", "two"]) group(`job-0badcafe/worker-${name}`, { "memory.events": "oom 0\noom_kill 1\n" });
    expect(limits.ended(one)?.words).toMatch(/because job 0badcafe used more on this node than its quota of 256 MiB/);
    // What has ended the other one was not a second time that the job had too much.
    expect(limits.ended(two)).toEqual({});
  });

  test("was ended for all of the machine, when nobody's limit was reached, or by nobody", () => {
    group("worker-one", { "memory.events": "oom 0\noom_kill 1\n" });
    expect(limits.ended(one)).toEqual({});
    expect(limits.ended(two)).toBeUndefined();
  });
});

describe("a node", () => {
  const config = { sessionDir: "/nowhere", resources: {} };
  const nowhere = () => Promise.reject(new NoPlaceError("nobody has handed it over", "start it otherwise"));

  test("says why it keeps no limits, and what to do; one that must keep them does not start", async () => {
    const { info } = await openLimits({ ...config, cgroup: "auto" }, () => {}, nowhere);
    expect(info).toEqual({ controllers: [], why: "nobody has handed it over", advice: "start it otherwise" });
    await expect(openLimits({ ...config, cgroup: "on" }, () => {}, nowhere)).rejects.toThrow(
      /cannot be enforced: nobody has handed it over; start it otherwise/,
    );
  });

  test("does not look when it is not asked to", async () => {
    const never = () => Promise.reject(new Error("it looked"));
    expect(await openLimits(config, () => {}, never)).toMatchObject({ info: { controllers: [] } });
    expect(existsSync(place)).toBe(true);
  });
});
