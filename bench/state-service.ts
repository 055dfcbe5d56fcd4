/**
 * The state service at its limits: 10,000 actors alive, 1,000,000 finished attempts kept, while 20,000 tasks a second run. Prints how long
 * lists take, from the request to the last byte, and the service's memory: `npm run bench:state`.
 *
 * The attempts come to the node as its processes report them, made up here, since no owner reports so many without a sample. What
 * is not measured: a network, and the time in which a client reads JSON.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { get, init, remote, shutdown } from "mobula";
import { type JobId, type NodeId, newProcessId } from "../packages/core/src/base/ids.ts";
import { SPOKEN_VERSIONS } from "../packages/core/src/base/wire-version.ts";
import { EventRecorder } from "../packages/core/src/events/mod.ts";
import { connectUnix } from "../packages/core/src/transport/mod.ts";
import { takeBenchmarkLock } from "./harness/lock.ts";

const { values } = parseArgs({
  options: {
    attempts: { type: "string", default: "1000000" },
    actors: { type: "string", default: "10000" },
    rate: { type: "string", default: "20000" },
    questions: { type: "string", default: "300" },
    quick: { type: "boolean", default: false },
    /** How long its memory is watched afterwards, while the tasks run on. */
    minutes: { type: "string", default: "0" },
    hold: { type: "boolean", default: false },
  },
});
const attempts = Number(values.attempts);
const actorCount = Number(values.actors);
const rate = Number(values.rate);
const questions = Number(values.questions);
await using _lock = values.quick ? undefined : await takeBenchmarkLock();

const context = await init({ resources: { cpu: 2 } });
const link = context.dashboardUrl ?? "";
const opened = performance.now();
const first = await fetch(link, { redirect: "manual" });
const firstMs = performance.now() - opened;
const headers = { cookie: (first.headers.get("set-cookie") ?? "").split(";")[0] ?? "" };
const { origin } = new URL(link);

async function ask(path: string): Promise<{ readonly text: string; readonly ms: number }> {
  const start = performance.now();
  const response = await fetch(origin + path, { headers });
  const text = await response.text();
  if (!response.ok) throw new Error(`${path}: ${response.status} ${text}`);
  return { text, ms: performance.now() - start };
}

// Actors.
class Resident {
  ready(): true {
    return true;
  }
}
const Shared = remote(Resident, { isolation: "shared", maxActorsPerWorker: 2_000 });
const actors = Array.from({ length: actorCount }, () => Shared.remote());
await get(actors.map((actor) => actor.ready.remote()));

// Attempts, as a process of the node reports them.
const functions = 200;
const token = readFileSync(join(dirname(context.address), "cluster-token"), "utf8").trim();
const owner = newProcessId(context.nodeId as NodeId);
const peer = await connectUnix(context.address, { onMessage() {}, onClose() {} });
peer.send({ t: "hello", ...SPOKEN_VERSIONS, token, language: "js", role: "tool", processId: owner, pid: process.pid });
const recorder = new EventRecorder({
  owner,
  pid: process.pid,
  job: () => context.jobId as JobId,
  send: (batch) => peer.send({ t: "events", batch }),
});
const codes = Array.from({ length: functions }, () => ({}));
const startMs = Date.now() - attempts;
for (let seq = 0; seq < attempts; seq++) {
  const at = startMs + seq;
  const failed = seq % 1_000 === 7;
  recorder.record(
    {
      ...{
        name: `function-${seq % functions}`,
        code: codes[seq % functions] ?? {},
        className: undefined,
        parent: undefined,
      },
      ...{ seq, attempt: 0, kind: "task", isSerial: true, actorId: undefined },
      ...{ submittedAtMs: at, readyAfterMicros: 10, sentAtMs: at },
    },
    { workerId: (seq % 64).toString(16).padStart(16, "0"), nodeId: context.nodeId as NodeId, pid: 1_000 + (seq % 64) },
    400,
    at + 0.5,
    failed ? "error" : "ok",
    failed ? () => "it failed: no such row" : undefined,
  );
  // The ring of the node holds 32 MiB: what it sends on must have time to leave.
  if (seq % 20_000 === 0) {
    recorder.flush();
    peer.flush();
    await delay(30);
  }
}
recorder.flush();
peer.flush();
const totalOf = async (path: string): Promise<number> =>
  (JSON.parse((await ask(path)).text) as { readonly total: number }).total;
for (let total = 0; total < attempts * 0.95; await delay(200)) total = await totalOf("/api/v1/tasks?limit=1");

// Work beside it.
const noop = remote((n: number) => n);
let ran = 0;
let isOver = false;
const work = (async () => {
  const start = performance.now();
  while (!isOver) {
    const due = Math.min(5_000, Math.floor(((performance.now() - start) / 1_000) * rate) - ran);
    if (due > 0) {
      await get(Array.from({ length: due }, (_, n) => noop.remote(n)));
      ran += due;
    } else await delay(5);
  }
  return ran / ((performance.now() - start) / 1_000);
})();

const paths = [
  ["tasks, the newest 100", "/api/v1/tasks?limit=100"],
  ["tasks that failed", "/api/v1/tasks?limit=100&filter=state=failed"],
  ["tasks of one function", "/api/v1/tasks?limit=100&filter=name=function-3"],
  ["actors, 100 of them", "/api/v1/actors?limit=100"],
  ["actors, all of them", `/api/v1/actors?limit=${actorCount}`],
  ["overview", "/api/v1/overview"],
  ["summary of tasks", "/api/v1/summary/tasks"],
] as const;
console.log(`first answer after the link was opened: ${firstMs.toFixed(0)} ms`);
console.log(`${"".padEnd(28)}${["p50", "p99", "max"].map((head) => head.padStart(9)).join("")} ms`);
for (const [name, path] of paths) {
  const times: number[] = [];
  for (let at = 0; at < questions; at++) {
    times.push((await ask(path)).ms);
    await delay(10);
  }
  times.sort((a, b) => a - b);
  const part = (share: number): number => times[Math.min(times.length - 1, Math.floor(share * times.length))] ?? 0;
  console.log(name.padEnd(28) + [part(0.5), part(0.99), part(1)].map((ms) => ms.toFixed(1).padStart(9)).join(""));
}
const memoryMb = async (): Promise<number> => {
  const [, bytes = Number.NaN] = /^mobula_state_service_memory_bytes (\d+)/m.exec((await ask("/metrics")).text) ?? [];
  return Math.round(Number(bytes) / 1e6);
};
console.log(`memory of the state service: ${await memoryMb()} MB`);
const seen: number[] = [];
for (let minute = 1; minute <= Number(values.minutes); minute++) {
  await delay(60_000);
  for (const [, path] of paths) await ask(path);
  seen.push(await memoryMb());
  console.log(`${minute} min: ${seen.at(-1)} MB, ${ran} tasks`);
}
if (seen.length > 1) {
  const half = Math.floor(seen.length / 2);
  const [first, second] = [seen.slice(0, half), seen.slice(half)].map((part) => Math.max(...part));
  console.log(`memory at most: ${first} MB in the first half, ${second} MB in the second`);
}
if (values.hold) {
  console.log(`${context.dashboardUrl}\nCtrl-C ends it`);
  await new Promise(() => {});
}
isOver = true;
const alive = await totalOf("/api/v1/actors?limit=1&filter=state=alive");
// Handles that nobody holds would have ended them.
if (alive !== actors.length) throw new Error(`${alive} of ${actors.length} actors are alive`);
console.log(`${Math.round(await work)} tasks a second ran beside it`);
peer.destroy();
await shutdown();
