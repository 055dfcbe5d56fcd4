/** Submitted jobs on real clusters: what is written down, what is printed, what ends, whoever is killed meanwhile. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { zipSync } from "fflate";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { JobRecord } from "../../src/entrypoint/mod.ts";
import { askHead } from "../../src/head/mod.ts";
import type { JobRequest } from "../../src/jobs/mod.ts";
import { newFolder } from "../new-folder.ts";
import { Serving } from "./serving.ts";

let serving: Serving;
const begin = async (nodes: Parameters<typeof Serving.start>[0]): Promise<void> => {
  serving = await Serving.start(nodes);
};
const end = async (): Promise<void> => {
  const { problems } = serving;
  await serving[Symbol.asyncDispose]();
  expect(problems).toEqual([]);
};

const never = new AbortController().signal;
const submit = async (request: JobRequest): Promise<string> =>
  (await serving.manager.submit(request)).spec.submissionId;
const record = async (id: string): Promise<JobRecord> => (await serving.manager.find(id)).record;
const isGone = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true;
  }
};

async function printed(id: string): Promise<string> {
  let text = "";
  for await (const piece of serving.manager.follow(id, never)) text += piece.text;
  return text;
}

/** Follows a job until it has printed something like this. */
async function prints(id: string, pattern: RegExp): Promise<RegExpExecArray> {
  const reading = new AbortController();
  let text = "";
  try {
    for await (const piece of serving.manager.follow(id, reading.signal)) {
      text += piece.text;
      const found = pattern.exec(text);
      if (found) return found;
    }
  } finally {
    reading.abort();
  }
  throw new Error(`job ${id} has ended, and has printed ${JSON.stringify(text)}`);
}

const eventually = (claim: () => void | Promise<void>): Promise<void> =>
  vi.waitFor(claim, { timeout: 15_000, interval: 10 });
const becomes = (id: string, expected: object): Promise<void> =>
  eventually(async () => expect(await record(id)).toMatchObject(expected));

describe("on a cluster that lives", () => {
  beforeAll(() => begin({ nodes: [{ resources: { cpu: 2, disk: 1 } }, { resources: { cpu: 1 } }], network: "direct" }));
  afterAll(end);

  test("a job runs its command with its environment, and its output is kept in order", async () => {
    const id = await submit({
      entrypoint: "echo one; echo two >&2; echo $GREETING $MOBULA_JOB_ID; env | grep -c MOBULA_WORKER",
      runtimeEnv: { env_vars: { GREETING: "hello" } },
      metadata: { job_name: "greeter" },
    });
    expect(await printed(id)).toBe(`one\ntwo\nhello ${id}\n0\n`);
    await becomes(id, { status: "failed", exitCode: 1, tail: expect.stringContaining("hello") });
    expect(await serving.manager.output(id, 1_000)).toBe(`one\ntwo\nhello ${id}\n0\n`);
    expect(await serving.manager.output(id, 2)).toBe("0\n");
  });

  test("its exit code, or the signal that ended it, is what it is", async () => {
    const [good, bad, killed] = [
      await submit({ entrypoint: "true" }),
      await submit({ entrypoint: "exit 7" }),
      await submit({ entrypoint: "kill -9 $$" }),
    ];
    await becomes(good, { status: "succeeded", exitCode: 0 });
    await becomes(bad, { status: "failed", exitCode: 7 });
    await becomes(killed, { status: "failed", exitCode: null, signal: "SIGKILL" });
    const notThere = await submit({ entrypoint: "/not/there" });
    expect(await printed(notThere)).toMatch(/not found/);
    await becomes(notThere, { status: "failed", exitCode: 127 });
  });

  test("an id is used once, and what is wrong is refused", async () => {
    const id = await submit({ entrypoint: "true", submissionId: "mine" });
    expect(id).toBe("mine");
    await expect(submit({ entrypoint: "true", submissionId: "mine" })).rejects.toMatchObject({ code: "JOB_EXISTS" });
    await expect(submit({ entrypoint: "true", submissionId: "../x" })).rejects.toThrow(/no submission id/);
    await expect(submit({ entrypoint: "  " })).rejects.toThrow(/entrypoint/);
    await expect(submit({ entrypoint: "true", runtimeEnv: { pip: ["x"] } })).rejects.toThrow(
      /installs Python packages/,
    );
    await expect(submit({ entrypoint: "true", runtimeEnv: { working_dir: "gcs://no.zip" } })).rejects.toThrow(
      /was not uploaded/,
    );
    await expect(record("nowhere")).rejects.toMatchObject({ code: "JOB_NOT_FOUND" });
  });

  test("a working directory is unpacked, and the command runs in it", async () => {
    const zip = zipSync({
      "main.sh": [new TextEncoder().encode("#!/bin/sh\ncat data/words\n"), { os: 3, attrs: 0o100755 << 16 }],
      "data/words": new TextEncoder().encode("from the package\n"),
    });
    await serving.manager.packages.add(
      "gcs://work.zip",
      (async function* () {
        yield zip;
      })(),
    );
    const runtimeEnv = { workingDir: "gcs://work.zip" };
    // The second one finds it unpacked.
    for (const entrypoint of ["./main.sh", "./main.sh; pwd"]) {
      expect(await printed(await submit({ entrypoint, runtimeEnv }))).toContain("from the package\n");
    }
  });

  test("a program that joins belongs to its job", async () => {
    const program = join(newFolder(), "driver.ts");
    const api = new URL("../../src/api/mod.ts", import.meta.url).pathname;
    writeFileSync(
      program,
      `import { get, init, remote } from ${JSON.stringify(api)};
await using context = await init();
console.log("job", context.jobId, await get(remote(() => 6 * 7).remote()));`,
    );
    const id = await submit({ entrypoint: `${process.execPath} --conditions=mobula-source ${program}` });
    const text = await printed(id);
    const [, jobId] = /job (\w+) 42/.exec(text) ?? [];
    expect(text).toMatch(/^job [0-9a-f]{8} 42$/m);
    await becomes(id, { status: "succeeded", jobId });
    expect(await serving.manager.find(jobId as string)).toMatchObject({ record: { spec: { submissionId: id } } });
  });

  test("resources are held while it runs, and choose its node", async () => {
    const first = await submit({ entrypoint: "echo in; sleep 60", resources: { disk: 1 } });
    await prints(first, /in/);
    const second = await submit({ entrypoint: "true", resources: { disk: 1 } });
    await eventually(async () => expect(await serving.manager.whyPending(await record(second))).toMatch(/disk 1/));
    await serving.manager.stop(first);
    await becomes(first, { status: "stopped" });
    await becomes(second, { status: "succeeded" });
    expect((await record(second)).nodeId).toBe((await record(first)).nodeId);
  });

  test("what no node has is waited for, and says so; and it can be stopped", async () => {
    const id = await submit({ entrypoint: "true", resources: { gpu: 8 } });
    await eventually(async () => expect(await serving.manager.whyPending(await record(id))).toMatch(/gpu/i));
    await expect(serving.manager.remove(id)).rejects.toMatchObject({ code: "JOB_NOT_ENDED" });
    expect(await serving.manager.stop(id)).toBe(true);
    await becomes(id, { status: "stopped" });
    expect(await printed(id)).toBe("");
    expect(await serving.manager.stop(id)).toBe(false);
    await serving.manager.remove(id);
    await expect(record(id)).rejects.toMatchObject({ code: "JOB_NOT_FOUND" });
  });

  test("what no node has it may wait for so long, and then fails with the reason", async () => {
    const id = await submit({ entrypoint: "true", resources: { gpu: 8 }, startTimeoutMs: 1_500 });
    await eventually(async () =>
      expect(await serving.manager.whyPending(await record(id))).toMatch(
        /no node can ever offer that.*it fails in \d/s,
      ),
    );
    await becomes(id, {
      status: "failed",
      errorType: "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE",
      message: expect.stringMatching(
        /^it was not started within 2 s: it waits for gpu 8; .*no node can ever offer that/,
      ),
    });
    expect(await serving.manager.explain(id)).toMatchObject({
      state: "failed",
      sentences: [expect.stringContaining("no node can ever offer that")],
    });
    const none = await submit({ entrypoint: "echo hi", startTimeoutMs: 60_000 });
    expect(await printed(none)).toBe("hi\n");
  });

  test("to be stopped, a command has time to end in order", async () => {
    const id = await submit({ entrypoint: "trap 'echo bye; exit 5' TERM; echo in; while true; do sleep 0.05; done" });
    await prints(id, /in/);
    expect(await serving.manager.stop(id)).toBe(true);
    expect(await printed(id)).toMatch(/^in\n(Terminated\n)?bye\n$/);
    await becomes(id, { status: "stopped", exitCode: 5 });
  });

  test("one that does not is killed, with its children, also those in sessions of their own", async () => {
    const id = await submit({
      entrypoint: "trap '' TERM; sleep 1001 & echo child $!; setsid sleep 1002 & echo far $!; echo me $$; sleep 1003",
    });
    const [, child, far, me] = await prints(id, /child (\d+)\nfar (\d+)\nme (\d+)/);
    const startedMs = Date.now();
    await serving.manager.stop(id);
    await becomes(id, { status: "stopped", signal: "SIGKILL" });
    expect(Date.now() - startedMs).toBeGreaterThan(2_900);
    for (const pid of [child, far, me]) expect(isGone(Number(pid))).toBe(true);
  });

  test("what it has left behind ends with it", async () => {
    const id = await submit({ entrypoint: "sleep 1004 & echo child $!" });
    const [, child] = /child (\d+)/.exec(await printed(id)) ?? [];
    await becomes(id, { status: "succeeded" });
    await eventually(() => expect(isGone(Number(child))).toBe(true));
  });

  test("it is tried again as often as asked", async () => {
    const marks = newFolder();
    const entrypoint = `echo attempt; touch ${marks}/$$; [ $(ls ${marks} | wc -l) -ge 3 ]`;
    const id = await submit({ entrypoint, retry: { maxRetries: 5, delayMs: 10 } });
    expect(await printed(id)).toBe("attempt\nattempt\nattempt\n");
    await becomes(id, { status: "succeeded", attempt: 2 });
  });

  test("who follows gets a long output whole, also late", async () => {
    const id = await submit({ entrypoint: "i=0; while [ $i -lt 20000 ]; do echo line $i äöü; i=$((i+1)); done" });
    const lines = (await printed(id)).split("\n");
    expect(lines.length).toBe(20_001);
    expect(lines[19_999]).toBe("line 19999 äöü");
    expect((await printed(id)).split("\n")).toEqual(lines);
  });
});

describe("when something is killed", () => {
  afterEach(end);

  test("the head: a job goes on, ends while it is away, and is known afterwards", async () => {
    await begin({ nodes: 1, network: "direct" });
    const gate = join(newFolder(), "go");
    const going = await submit({ entrypoint: `echo in; while [ ! -e ${gate} ]; do sleep 0.05; done; echo out` });
    const before = await submit({ entrypoint: "echo done" });
    await prints(going, /in/);
    await becomes(before, { status: "succeeded" });
    const { pid } = await record(going);
    await serving.cluster.killHead();
    writeFileSync(gate, "");
    await eventually(() => expect(isGone(pid as number)).toBe(true));
    await serving.cluster.restartHead();
    expect(await printed(going)).toBe("in\nout\n");
    await becomes(going, { status: "succeeded", attempt: 0 });
    expect(await printed(before)).toBe("done\n");
  });

  test("its node: it has failed, or runs again elsewhere if it may", async () => {
    await begin({ nodes: 2, network: "direct" });
    const cpu = { resources: { cpu: 1 } };
    const once = await submit({ entrypoint: "echo in; sleep 60", ...cpu });
    await prints(once, /in/);
    const again = await submit({ entrypoint: "echo in; sleep 60", retry: { maxRetries: 1 }, ...cpu });
    await prints(again, /in/);
    const places = [await record(once), await record(again)].map(({ nodeId }) => nodeId);
    // A second after its first line.
    await eventually(async () =>
      expect(await askHead(serving.cluster, "kv-get", { key: `job-output/${once}` })).not.toBeNull(),
    );
    const nodeOf = (id: string | null) => serving.cluster.nodes.find((node) => node.id === id);
    await serving.cluster.addNode({ resources: { cpu: 2 } });
    for (const place of places) {
      const node = nodeOf(place);
      if (node) await serving.cluster.kill(node);
    }
    await becomes(once, { status: "failed", errorType: "JOB_SUPERVISOR_ACTOR_DIED", attempt: 0 });
    await becomes(again, { status: "running", attempt: 1 });
    expect(places).not.toContain((await record(again)).nodeId);
    await prints(again, /in/);
    await serving.manager.stop(again);
    await becomes(again, { status: "stopped" });
    expect(await printed(once)).toMatch(
      /^\[mobula\] node [0-9a-f]{32}, where this job ran, is gone: .* were kept\nin\n$/,
    );
    expect(await serving.manager.output(once, 1_000)).toMatch(/^\[mobula\] node .*\nin\n$/);
  });

  test("its node, which no other can stand in for: it waits for one, and begins again when it comes", async () => {
    await begin({ nodes: [{ resources: { cpu: 1 } }, { resources: { horn: 1 } }], network: "direct" });
    const id = await submit({ entrypoint: "echo in", resources: { mane: 1 } });
    const late = await submit({ entrypoint: "echo in", resources: { mane: 1 }, startTimeoutMs: 20_000 });
    // After 10 s control gives up the actor beside the command.
    await vi.waitFor(
      async () =>
        expect(await record(id)).toMatchObject({
          status: "pending",
          unplaceableSinceMs: expect.any(Number),
          message: expect.stringMatching(/^JobSupervisor needs .*no node can ever offer that/),
        }),
      { timeout: 20_000, interval: 50 },
    );
    expect(await serving.manager.explain(id)).toMatchObject({
      state: "pending",
      sentences: [expect.stringMatching(/no node can ever offer that.*it fails in 15 min otherwise/s)],
    });
    await serving.cluster.addNode({ resources: { mane: 2 } });
    await becomes(id, { status: "succeeded" });
    await becomes(late, { status: "succeeded" });
  }, 60_000);

  test("its node is drained: the command ends, and what it printed last is kept", async () => {
    await begin({ nodes: [{ resources: { cpu: 1 } }, { resources: { horn: 1 } }], network: "direct" });
    const id = await submit({
      entrypoint: "trap 'echo bye; exit 0' TERM; echo in; while true; do sleep 0.05; done",
      resources: { horn: 1 },
    });
    await prints(id, /in/);
    const [, node] = serving.cluster.nodes;
    if (!node) throw new Error("there are two nodes");
    await serving.cluster.drain(node, { deadlineMs: 5_000 });
    await becomes(id, { status: "failed", errorType: "JOB_SUPERVISOR_ACTOR_DIED" });
    expect(await printed(id)).toMatch(/is gone: .*\nin\n(Terminated\n)?bye\n$/s);
  }, 30_000);

  test("the worker beside its command: nothing of that is left, and it has failed", async () => {
    await begin({ nodes: 1, network: "direct" });
    const id = await submit({ entrypoint: "sleep 1005 & echo $$ $!; wait" });
    const [, me, child] = await prints(id, /(\d+) (\d+)/);
    const parent = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${me}/status`, "utf8"))?.[1]);
    process.kill(parent, "SIGKILL");
    await becomes(id, { status: "failed", errorType: "JOB_SUPERVISOR_ACTOR_DIED" });
    await eventually(() => expect([me, child].map(Number).every(isGone)).toBe(true));
  });

  test("who takes jobs: they go on, and whoever takes its place knows them", async () => {
    await begin({ nodes: 1, network: "direct" });
    const gate = join(newFolder(), "go");
    const id = await submit({ entrypoint: `echo in; while [ ! -e ${gate} ]; do sleep 0.05; done; echo out` });
    await prints(id, /in/);
    await serving.exchangeManager();
    writeFileSync(gate, "");
    expect(await printed(id)).toBe("in\nout\n");
    await becomes(id, { status: "succeeded" });
  });
});
