/**
 * The store of attempts, full: how long questions take, and its memory. Run by hand, with `--expose-gc` for the memory:
 * `node --conditions=mobula-source --expose-gc attempts.bench.ts [rows]`. It does not measure HTTP or JSON.
 */
import { AttemptStore } from "./attempts.ts";
import type { Filter } from "./rows.ts";
import { batchesOf, jobId, type TestAttempt } from "./test-attempts.ts";

const rows = Number(process.argv[2] ?? 1_000_000);
const ROUNDS = 20;
const START_MS = 1_700_000_000_000;

/** 200 functions of 20 jobs and 40 owners on 400 workers; one of 1,000 fails, one of 100 is a call of one of 2,000 actors. */
function* attempts(): Generator<TestAttempt> {
  for (let index = 0; index < rows; index++) {
    // Owners report 250 ms of work at a time.
    const owner = Math.floor(index / 500) % 40;
    const failed = index % 1_000 === 7;
    yield {
      ...{
        owner,
        job: owner % 20,
        name: `function-${(index * 7) % 200}`,
        parent: [`function-${owner}`, owner, index >> 3],
        seq: index,
      },
      ...{ worker: (index * 13) % 400, runMicros: 100 + ((index * 7919) % 100_000) },
      ...(index % 100 === 3 && { actor: ((index / 100) % 2_000) | 0 }),
      ...(failed && { outcome: "error" as const, error: `it failed in worker process ${index % 400}: no such row` }),
      ...{ submittedAtMs: START_MS + index * 5 - 50, sentAfterMs: 20, finishedAtMs: START_MS + index * 5 },
    };
  }
}

const heap = (): number => {
  globalThis.gc?.();
  const { heapUsed, arrayBuffers } = process.memoryUsage();
  return (heapUsed + arrayBuffers) / 1e6;
};

const store = new AttemptStore();
const before = heap();
let addMs = 0;
for (const batch of batchesOf(attempts())) {
  const start = performance.now();
  store.add(batch, START_MS);
  addMs += performance.now() - start;
}
console.log(`${store.size} rows; added at ${Math.round(rows / addMs)} thousand a second`);
if (globalThis.gc) console.log(`${(heap() - before).toFixed(1)} MB`);

const where = (text: string): Filter => {
  const [, key = "", op = "=", value = ""] = /^(\w+)(!=|=|~|<|>)(.*)$/.exec(text) ?? [];
  return { key, op: op as Filter["op"], value };
};
const list = (...filters: string[]) => store.list({ filters: filters.map(where), limit: 100 }, START_MS);
const sorted = (sort: string, limit: number, ...filters: string[]) =>
  store.sorted(
    {
      ...{ filters: filters.map(where), limit },
      sort: { key: sort.replace("-", ""), isDown: sort.startsWith("-") },
    },
    [],
  );
const lastId = list().rows.at(-1)?.taskId ?? "";
const questions: readonly (readonly [string, () => unknown])[] = [
  ["list of 100", () => list()],
  ["name of one", () => list("name=function-3")],
  ["name of none", () => list("name=nothing")],
  ["state=failed", () => list("state=failed")],
  ["state=finished, nearly all", () => list("state=finished")],
  ["job, name and state", () => list(`jobId=${jobId(3)}`, "name=function-3", "state=failed")],
  ["error~row", () => list("error~row")],
  ["name~tion-19", () => list("name~tion-19")],
  ["one actor", () => list("actorId=00000000000000000000000000000007")],
  ...["-ranMs", "ranMs", "-submittedAtMs", "startedAtMs", "name", "-nodeId", "actorId", "-state", "error"].map(
    (sort): [string, () => unknown] => [`sort=${sort}, 100`, () => sorted(sort, 100)],
  ),
  ...["-ranMs", "-submittedAtMs", "submittedAtMs", "-name"].map((sort): [string, () => unknown] => [
    `sort=${sort}, 10,000`,
    () => sorted(sort, 10_000),
  ]),
  ["sort=-ranMs of one function", () => sorted("-ranMs", 100, "name=function-3")],
  ["ranMs>100", () => list("ranMs>100")],
  ["taskId of one", () => list(`taskId=${lastId}`)],
  ["children of one", () => list(`parentId=${list().rows[0]?.parentId}`)],
  ["taskId~part", () => list(`taskId~${lastId.slice(30, 40)}`)],
  ["one task", () => store.find(lastId)],
  ["summary, p95 made before", () => store.summary()],
  ["throughput", () => store.throughput(START_MS)],
  ["graph of a job", () => store.graph(jobId(3))],
];
const firstSummary = performance.now();
store.summary();
console.log(`${"summary with p95".padEnd(28)} ${(performance.now() - firstSummary).toFixed(2)} ms`);
for (const [name, ask] of questions) {
  const times = Array.from({ length: ROUNDS }, () => {
    const start = performance.now();
    ask();
    return performance.now() - start;
  }).sort((a, b) => a - b);
  const [median = 0, worst = 0] = [times[ROUNDS >> 1], times[ROUNDS - 1]];
  console.log(`${name.padEnd(28)} ${median.toFixed(2)} ms, worst of ${ROUNDS} ${worst.toFixed(2)}`);
}
