/** `inspect` of tasks and actors: a debugger that a person attaches to. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";
import { afterEach, expect, test } from "vitest";
import { eventually } from "../eventually.ts";

const fixture = join(import.meta.dirname, "fixtures/debugged.ts");
let program: ChildProcessByStdio<Writable, Readable, Readable>;
let out = "";
let err = "";
const debuggers: WebSocket[] = [];

function run(how: string): void {
  out = "";
  err = "";
  program = spawn(process.execPath, ["--conditions=mobula-source", fixture, how], { stdio: ["pipe", "pipe", "pipe"] });
  program.stdout.setEncoding("utf8").on("data", (text: string) => {
    out += text;
  });
  program.stderr.setEncoding("utf8").on("data", (text: string) => {
    err += text;
  });
}
afterEach(async () => {
  for (const one of debuggers.splice(0)) one.close();
  if (program.exitCode !== null || program.signalCode !== null) return;
  program.kill("SIGTERM");
  await once(program, "exit");
});

interface Attached {
  send(method: string, params?: object): Promise<Record<string, unknown>>;
  event(method: string): Promise<Record<string, unknown>>;
  /** Where a script comes from. */
  script(id: string): Promise<string>;
}

/** Attaches where the program's stderr says. */
async function attach(): Promise<Attached> {
  const url = await eventually(
    () => /attach a debugger to (ws:\/\/127\.0\.0\.1:\d+\/[0-9a-f-]{36})/.exec(err)?.[1],
    () => `it says where to attach: ${err}`,
  );
  const socket = new WebSocket(url as string);
  debuggers.push(socket);
  await once(socket, "open");
  const seen: { id?: number; method?: string; result?: object; params?: object }[] = [];
  socket.addEventListener("message", ({ data }) => seen.push(JSON.parse(String(data))));
  let nextId = 1;
  const found = async (what: string, is: (one: (typeof seen)[number]) => boolean) =>
    (await eventually(() => seen.find(is), what)) as (typeof seen)[number];
  return {
    send: async (method, params = {}) => {
      const id = nextId++;
      socket.send(JSON.stringify({ id, method, params }));
      return ((await found(method, (one) => one.id === id)).result ?? {}) as Record<string, unknown>;
    },
    script: async (id) => {
      const isIt = ({ method, params }: (typeof seen)[number]): boolean =>
        method === "Debugger.scriptParsed" && (params as { scriptId: string }).scriptId === id;
      return ((await found(`script ${id}`, isIt)).params as { url: string }).url;
    },
    event: async (name) =>
      ((await found(name, ({ method }) => method === name)).params ?? {}) as Record<string, unknown>,
  };
}

const told = async (): Promise<Record<string, unknown>> => {
  await eventually(
    () => out.includes("\n"),
    () => `the program has said something: ${err}`,
  );
  return JSON.parse(out) as Record<string, unknown>;
};

const evaluated = async (debug: Attached, expression: string): Promise<unknown> =>
  ((await debug.send("Runtime.evaluate", { expression })).result as { value?: unknown }).value;

test("an actor with inspect: the program's stderr says in one line where to attach, and nothing else", async () => {
  run("actor");
  const { pid } = await told();
  const debug = await attach();
  expect(await evaluated(debug, "process.pid")).toBe(pid);
  const lines = err.split("\n").filter((line) => line !== "");
  expect(lines).toEqual([
    expect.stringMatching(
      /^\(mobula pid=\d+\) attach a debugger to ws:\/\/127\.0\.0\.1:(\d+)\/(\S+): in Chrome open devtools:\/\/\S+&ws=127\.0\.0\.1:\1\/\2, or chrome:\/\/inspect with 127\.0\.0\.1:\1$/,
    ),
  ]);
});

test("by NODE_OPTIONS too; tasks that it submits have no debugger", async () => {
  run("variable");
  const { pid, nested } = await told();
  const debug = await attach();
  expect(await evaluated(debug, "process.pid")).toBe(pid);
  expect(await evaluated(debug, "process.env.NODE_OPTIONS")).not.toMatch(/--inspect/);
  expect((nested as string[]).join(" ")).not.toMatch(/--inspect(=| |$)/);
});

test.each(["brk", "actor-brk"])("%s waits for a debugger, and pauses before the program's function", async (how) => {
  run(how);
  const debug = await attach();
  expect(out).toBe("");
  expect(err).toMatch(/; it waits for that: in Chrome/);
  await debug.send("Debugger.enable");
  await debug.send("Runtime.runIfWaitingForDebugger");
  const { callFrames } = await debug.event("Debugger.paused");
  const [{ location }] = callFrames as [{ location: { scriptId: string } }];
  expect(await debug.script(location.scriptId)).toMatch(/worker[\\/]breakpoint\.ts$/);
  expect(out).toBe("");
  await debug.send("Debugger.resume");
  expect(await told()).toHaveProperty("pid");
});
