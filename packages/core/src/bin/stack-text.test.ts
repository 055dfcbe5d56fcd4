import { expect, test } from "vitest";
import type { NodeId, WorkerId } from "../base/ids.ts";
import type { InspectedStack, ProgramView, StackFrame } from "../wire/inspection.ts";
import { stackLines, suspendedLines } from "./stack-text.ts";

const taskId = "b16905cb6fad0f83d49af27e000000000000000256c2a576";
const otherId = "b16905cb6fad0f83d49af27e000000000000000356c2a576";
const refId = `${otherId}00000001`;
const frame = (name: string, line: number, more: Partial<StackFrame> = {}): StackFrame => ({
  name,
  file: "/home/me/app/src/main.ts",
  line,
  column: 3,
  of: "program",
  ...more,
});
const empty: ProgramView = {
  stack: [],
  current: null,
  running: [],
  runningTotal: 0,
  waits: [],
  waitsTotal: 0,
  handles: {},
};
const process: Omit<InspectedStack, "program" | "kernel"> = {
  nodeId: "n" as NodeId,
  nodeName: "gpu-1",
  pid: 4711,
  role: "worker",
  workerId: "w" as WorkerId,
  atMs: 100_000,
};

function shown(stack: Partial<InspectedStack>, isFull = false, why: Record<string, string> = {}): string {
  const options = { why: new Map(Object.entries(why)), isFull, columns: 80, cwd: "/home/me/app" };
  const lines = stackLines({ ...process, program: null, kernel: null, ...stack }, options);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  return lines.join("\n");
}

const running = { name: "train", taskId, actorId: null, forMs: 3_400, waits: 0 };

test("what computes: its frames, without those of the runtime, and repeated ones once", () => {
  const stack = [
    frame("step", 12),
    ...[1, 2, 3].map(() => frame("descend", 7)),
    frame("train", 30),
    frame("AsyncLocalStorage.run", 65, { file: "node:internal/async_local_storage/async_context_frame", of: "node" }),
    frame("runAs", 44, { file: "/opt/mobula/dist/lib/worker.cjs", of: "runtime" }),
  ];
  const program = {
    ...empty,
    stack,
    current: { name: "train", taskId, actorId: null },
    running: [running],
    runningTotal: 1,
  };
  expect(shown({ program })).toBe(`worker 4711 on gpu-1 runs train for 3.4 s
  task ${taskId}
    at step src/main.ts:12:3
    at descend src/main.ts:7:3
      2 more of it
    at train src/main.ts:30:3
    2 frames of Node.js and Mobula (--full)`);
  expect(shown({ program }, true)).toContain(`    at AsyncLocalStorage.run
       node:internal/async_local_storage/async_context_frame:65:3
    at runAs /opt/mobula/dist/lib/worker.cjs:44:3`);
});

test("what awaits a ref: where, since when, and why it is not there", () => {
  const wait = {
    call: "get",
    sinceMs: 97_000,
    taskId,
    refs: 3,
    missing: 2,
    ids: [refId],
    at: [frame("train", 31)],
  } as const;
  const program = { ...empty, running: [running], runningTotal: 1, waits: [wait], waitsTotal: 1 };
  expect(
    shown({ program }, false, {
      [refId]: "load waits for a worker since 3.0 s; queued with the same demand: 7 tasks.",
    }),
  ).toBe(`worker 4711 on gpu-1: nothing is on its stack
  train has begun for 3.4 s and waits
    task ${taskId}
    get() of 3 refs, 2 of which are missing, for 3.0 s
      at train src/main.ts:31:3
      ${refId}
        load waits for a worker since 3.0 s; queued with the same demand: 7
          tasks.
      and 1 more`);
});

test("what awaits something else: what could wake it", () => {
  const program = { ...empty, running: [running], runningTotal: 1, handles: { Timeout: 1, TCPSocketWrap: 2 } };
  const inOneLine = (one: Parameters<typeof shown>[0]): string => shown(one).replaceAll(/\s+/g, " ");
  expect(inOneLine({ program })).toContain("(--async says where). Its event loop has 1 Timeout, 2 TCPSocketWrap");
  expect(inOneLine({ program: { ...program, handles: {} } })).toContain("has nothing that could wake it");
  expect(shown({ program: empty })).toBe("worker 4711 on gpu-1: nothing runs in it");
});

test("async functions that wait, found in the heap: the innermost first, and how much is not known", () => {
  const frames = [frame("fetch", 1, { of: "node" }), frame("load", 8), frame("report", 12, { isAsync: true })];
  const stacks = [
    { frames, taskId: "7e".repeat(24), count: 3 },
    { frames: frames.slice(0, 1), taskId: null, count: 1 },
  ];
  const options = { isFull: false, columns: 80, cwd: "/home/me/app/src" };
  expect(suspendedLines({ stacks, inexact: 2, stillMs: 640 }, options)).toEqual([
    "  one async function waits, the innermost first",
    `    3 times, of task ${"7e".repeat(24)}`,
    "      at load main.ts:8:3",
    "      at async report main.ts:12:3",
    "  of 2 functions the line is where they begin",
    "  it stood still for 0.6 s",
  ]);
  expect(suspendedLines({ stacks: [], inexact: 0, stillMs: 640 }, options).join(" ")).toMatch(
    /no async function of the program waits: what nothing can wake any more has\s+been\s+collected/,
  );
});

test("what does not answer: what the kernel says", () => {
  const thread = (id: number, name: string, cpuPercent: number) => ({
    id,
    name,
    state: "S",
    waitsIn: "futex_do_wait",
    cpuPercent,
  });
  const kernel = {
    why: "it is stopped",
    sentences: ["Process 4711 is stopped by a signal (SIGSTOP) or a debugger: it goes on after `kill -CONT 4711`."],
    threads: [thread(4711, "MainThread", 0), thread(4712, "V8Worker", 0), thread(4713, "libuv-worker", 40)],
    residentBytes: 105 * 2 ** 20,
    swappedBytes: 0,
  };
  expect(shown({ kernel })).toBe(`worker 4711 on gpu-1 does not answer: it is stopped
  Process 4711 is stopped by a signal (SIGSTOP) or a debugger: it goes on after
    \`kill -CONT 4711\`.
  It has 105 MiB in memory.
  1 other threads wait (--full)

THREAD  NAME          STATE  CPU   WAITS IN
4711    MainThread    S            futex_do_wait
4713    libuv-worker  S      40 %  futex_do_wait`);
});
