/** The pure parts of the node. */
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, test } from "vitest";
import type { JobId, ProcessId, WorkerId } from "../base/ids.ts";
import { EventRecorder, readBatch } from "../events/mod.ts";
import { describeDeath } from "./death.ts";
import { EventRing } from "./event-ring.ts";
import { findGpus } from "./gpu.ts";
import { COLLAPSE_MS, LineCollapser, type LogLine } from "./log-collapse.ts";
import { RotatingFile } from "./log-file.ts";
import { LineSplitter, Tail } from "./log-lines.ts";
import { type Candidate, chooseVictim, excessBytes, isOver, nextLookMs } from "./memory-policy.ts";
import { baseFolder, createSession, removeSession, sweepSessions } from "./session-folder.ts";

const MIB = 2 ** 20;
const workerId = (name: string): WorkerId => name as WorkerId;

describe("lines with names", () => {
  const splitWhole = (...chunks: (string | Buffer)[]) => {
    const splitter = new LineSplitter();
    return [...chunks.flatMap((chunk) => splitter.push(Buffer.from(chunk))), ...splitter.finish()];
  };
  const split = (...chunks: (string | Buffer)[]) => splitWhole(...chunks).map(({ name, text }) => ({ name, text }));

  test("a mark may have ids of task and actor", () => {
    expect(splitWhole("\x1b]mobula;f\x1ft1\x1fa1\x07one\n\x1b]mobula;g\x07two")).toEqual([
      { name: "f", ids: ["t1", "a1"], text: "one" },
      { name: "g", ids: [], text: "two" },
    ]);
  });

  test("a mark names what follows it and is taken out", () => {
    expect(split("before\n\x1b]mobula;square\x07one\ntwo\n\x1b]mobula;cube\x07three")).toEqual([
      { name: "", text: "before" },
      { name: "square", text: "one" },
      { name: "square", text: "two" },
      { name: "cube", text: "three" },
    ]);
  });

  test("text before a mark on the same line keeps its own name", () => {
    expect(split("\x1b]mobula;a\x07no end\x1b]mobula;b\x07next\r\n")).toEqual([
      { name: "a", text: "no end" },
      { name: "b", text: "next" },
    ]);
  });

  test("it does not matter where the stream is cut, characters and marks included", () => {
    const text = "\x1b]mobula;größe\x07äöü\n€ line\n\x1b]mobula;b\x07last 🐟";
    const whole = split(text);
    const bytes = Buffer.from(text);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: bytes.length })), (cuts) => {
        const sorted = [0, ...cuts.sort((a, b) => a - b), bytes.length];
        const chunks = sorted.slice(1).map((end, index) => bytes.subarray(sorted[index], end));
        expect(split(...chunks)).toEqual(whole);
      }),
    );
  });

  test("a line without end is cut instead of kept for ever", () => {
    const lines = split("x".repeat(200_000));
    expect(lines.length).toBeGreaterThan(2);
    expect(lines.reduce((sum, { text }) => sum + text.length, 0)).toBe(200_000);
  });

  test("an escape that is not a mark stays in the text", () => {
    expect(split(`\x1b]mobula;${"y".repeat(600)}\n`)[0]?.text).toContain("yyy");
  });

  test("a tail keeps the last whole lines", () => {
    const tail = new Tail(20);
    for (let index = 0; index < 100; index++) tail.push(`line ${index}`);
    expect(tail.toString()).toBe("line 98\nline 99");
  });
});

describe("equal lines", () => {
  const line = (pid: number, text = "same"): LogLine => ({ stream: "stdout", name: "f", pid, text, repeated: 0 });

  test("those of other workers are counted and said once, those of the same worker pass", () => {
    const collapser = new LineCollapser();
    expect(collapser.push(line(1), 0)).toEqual(line(1));
    expect(collapser.push(line(2), 10)).toBeUndefined();
    expect(collapser.push(line(3), 20)).toBeUndefined();
    expect(collapser.push(line(1), 30)).toEqual(line(1));
    expect(collapser.flush(COLLAPSE_MS - 1)).toEqual([]);
    expect(collapser.flush(COLLAPSE_MS)).toEqual([{ ...line(1), repeated: 2 }]);
    expect(collapser.push(line(2), COLLAPSE_MS)).toEqual(line(2));
  });

  test("lines of other nodes are counted with those of this one, and counts of theirs are added", () => {
    const collapser = new LineCollapser();
    collapser.push(line(1), 0);
    expect(collapser.push({ ...line(1), node: "two" }, 10)).toBeUndefined();
    expect(collapser.push({ ...line(1), node: "two", repeated: 3 }, 20)).toBeUndefined();
    expect(collapser.flush(COLLAPSE_MS)).toEqual([{ ...line(1), repeated: 4 }]);
    const late = { ...line(1), node: "two", repeated: 2 };
    expect(collapser.push(late, COLLAPSE_MS)).toEqual(late);
    expect(collapser.flush(2 * COLLAPSE_MS)).toEqual([]);
  });
});

describe("whom to end when memory runs out", () => {
  const worker = (id: string, mib: number, more: Partial<Candidate> = {}): Candidate => ({
    workerId: workerId(id),
    pid: 1,
    bytes: mib * MIB,
    isIdle: false,
    isRetriable: true,
    sinceMs: 0,
    ...more,
  });

  test("large idle workers first", () => {
    const idle = { isIdle: true };
    const list = [worker("busy", 900), worker("small", 70, idle), worker("large", 300, idle)];
    expect(chooseVictim(list)?.workerId).toBe("large");
  });
  test("an idle worker that would free nothing is not worth it", () => {
    expect(chooseVictim([worker("busy", 900), worker("tiny", 15, { isIdle: true })])?.workerId).toBe("busy");
  });
  test("one out of all proportion goes, though others are newer", () => {
    const list = [
      worker("hog", 3000, { sinceMs: 1 }),
      worker("a", 100, { sinceMs: 9 }),
      worker("b", 90, { sinceMs: 8 }),
    ];
    expect(chooseVictim(list)?.workerId).toBe("hog");
  });
  test("otherwise the newest that can be made again", () => {
    const list = [
      worker("old", 500, { sinceMs: 1 }),
      worker("new", 450, { sinceMs: 5 }),
      worker("newest, for good", 480, { sinceMs: 9, isRetriable: false }),
    ];
    expect(chooseVictim(list)?.workerId).toBe("new");
    expect(chooseVictim([])).toBeUndefined();
  });
  test("the threshold and the buffer below it", () => {
    const sample = { usedBytes: 960, totalBytes: 1000 };
    expect(isOver(sample, 0.95)).toBe(true);
    expect(isOver(sample, 0.97)).toBe(false);
    expect(excessBytes(sample, 0.95)).toBe(60);
  });
  test("steep growth is looked at sooner, but not without pause", () => {
    const gib = 2 ** 30;
    const at = (used: number) => ({ usedBytes: used * gib, totalBytes: 16 * gib });
    expect(nextLookMs(at(8), at(8), 250, 0.95, 250)).toBe(250);
    expect(nextLookMs(at(14), at(14.25), 250, 0.95, 250)).toBeLessThan(250);
    expect(nextLookMs(at(15), at(15.1), 100, 0.95, 250)).toBeLessThanOrEqual(30);
    expect(nextLookMs(at(15), at(15.3), 100, 0.95, 250)).toBe(20);
  });
});

describe("why a process ended", () => {
  const facts = {
    workerId: workerId("w"),
    pid: 7,
    exitCode: null,
    signal: "SIGKILL",
    stderrTail: "",
    kernelKills: 0,
  } as const;

  test("a SIGKILL from somewhere is not memory, one beside a kill of the kernel is", () => {
    expect(describeDeath(facts).outOfMemory).toBeUndefined();
    expect(describeDeath({ ...facts, kernelKills: 1, lastBytes: 3 * 2 ** 30 }).outOfMemory).toMatch(
      /ended by the kernel.*3\.00 GiB/,
    );
    expect(describeDeath({ ...facts, kernelKills: 1, intended: "cancelled" }).outOfMemory).toBeUndefined();
    const limited = { ...facts, kernelKills: 1, limitWords: "more than 64 MiB" };
    expect(describeDeath(limited).outOfMemory).toBe("more than 64 MiB");
    expect(describeDeath({ ...limited, intended: "cancelled" }).outOfMemory).toBeUndefined();
  });
  test("V8's words with its exit are memory, an abort alone is not", () => {
    const stderrTail = "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory";
    expect(describeDeath({ ...facts, signal: "SIGABRT", stderrTail }).outOfMemory).toMatch(/heap limit of V8/);
    expect(describeDeath({ ...facts, signal: null, exitCode: 134, stderrTail }).outOfMemory).toMatch(/heap limit/);
    expect(describeDeath({ ...facts, signal: "SIGABRT" }).outOfMemory).toBeUndefined();
  });
});

describe("GPUs", () => {
  const log = () => {};
  test("MOBULA_GPUS, then what is declared, by the ids that are visible", () => {
    expect(findGpus({ declared: undefined, env: { MOBULA_GPUS: "2" }, log })).toEqual(["0", "1"]);
    expect(findGpus({ declared: 1, env: { MOBULA_GPUS: "3,5" }, log })).toEqual(["3", "5"]);
    expect(findGpus({ declared: 2, env: {}, log })).toEqual(["0", "1"]);
    expect(findGpus({ declared: 2, env: { CUDA_VISIBLE_DEVICES: "4,6" }, log })).toEqual(["4", "6"]);
    expect(() => findGpus({ declared: 1.5, env: {}, log })).toThrow(/whole number/);
    expect(() => findGpus({ declared: undefined, env: { MOBULA_GPUS: "1,1" }, log })).toThrow(/MOBULA_GPUS/);
  });
});

describe("GPUs that the driver reports", () => {
  const folder = mkdtempSync(join(tmpdir(), "mg-"));
  const path = process.env.PATH;
  afterAll(() => {
    process.env.PATH = path;
    rmSync(folder, { recursive: true });
  });

  test("nvidia-smi is asked where the library is missing; hidden devices are not offered", () => {
    const script = `#!/bin/sh\n[ "$1" = --query-gpu=index,uuid ] && printf '0, GPU-aa11\\n1, GPU-bb22\\n'\n`;
    writeFileSync(join(folder, "nvidia-smi"), script, { mode: 0o755 });
    process.env.PATH = `${folder}:${path}`;
    const words: string[] = [];
    const find = (visible?: string) =>
      findGpus({
        declared: undefined,
        env: visible === undefined ? {} : { CUDA_VISIBLE_DEVICES: visible },
        log: (message) => words.push(message),
        hasDriver: true,
        library: "libmissing.so",
      });
    expect(find()).toEqual(["0", "1"]);
    expect(words[0]).toMatch(/NVML cannot be used.*nvidia-smi/);
    expect(find("1")).toEqual(["1"]);
    expect(find("GPU-bb,0")).toEqual(["GPU-bb", "0"]);
    expect(find("1,-1,0")).toEqual(["1"]);
    expect(find("")).toEqual([]);
  });

  test("no driver, no GPUs; a driver that does not answer, none, and a word about it", () => {
    process.env.PATH = "/nowhere";
    const words: string[] = [];
    const log = (message: string) => void words.push(message);
    expect(findGpus({ declared: undefined, env: {}, log, hasDriver: false })).toEqual([]);
    expect(findGpus({ declared: undefined, env: {}, log, hasDriver: true, library: "libmissing.so" })).toEqual([]);
    expect(words.at(-1)).toMatch(/declare them with resources.gpu/);
  });
});

describe("events", () => {
  test("the ring keeps the newest and counts what it loses", () => {
    const ring = new EventRing(10);
    for (let index = 0; index < 5; index++) ring.push(new Uint8Array(4).fill(index));
    expect(ring.all().map(([first]) => first)).toEqual([3, 4]);
    expect(ring.droppedBatches).toBe(3);
    ring.push(new Uint8Array(11));
    expect([ring.all().length, ring.droppedBatches]).toEqual([2, 4]);
  });

  test("of the batches that made room their counts stay", () => {
    const batches: Uint8Array[] = [];
    const [owner, job] = ["0".repeat(24) as ProcessId, "0a0b0c0d" as JobId];
    const recorder = new EventRecorder({ owner, pid: 1, job: () => job, send: (batch) => batches.push(batch) });
    const task = {
      name: "f",
      code: {},
      className: undefined,
      parent: { name: "main", owner, seq: 1 },
      seq: 1,
      attempt: 0,
      kind: "task",
    } as const;
    const times = { isSerial: true, actorId: undefined, submittedAtMs: 0, readyAfterMicros: 0, sentAtMs: 1 };
    for (let index = 0; index < 3; index++) {
      recorder.record({ ...task, ...times }, undefined, 5, 2, "ok");
      recorder.flush();
    }
    const ring = new EventRing((batches[0]?.length ?? 0) + 1);
    for (const batch of batches) ring.push(batch);
    const [counts, ...kept] = ring.all();
    expect(kept.map((batch) => Buffer.from(batch))).toEqual([Buffer.from(batches[2] ?? [])]);
    expect(readBatch(counts ?? new Uint8Array())).toMatchObject({
      job,
      tallies: [{ name: "f", parent: "main", kind: "task", counts: [2, 0, 0, 0, 0], runMicros: 10 }],
    });
  });

  test("a batch in the ring keeps nothing beside it alive", () => {
    const ring = new EventRing();
    ring.push(new Uint8Array(1_000).subarray(10, 20).fill(7));
    expect(ring.all()).toEqual([new Uint8Array(10).fill(7)]);
    expect(ring.all()[0]?.buffer.byteLength).toBe(10);
  });
});

describe("files", () => {
  test("a log is rotated and the oldest part deleted", () => {
    const folder = mkdtempSync(join(tmpdir(), "ml-"));
    const file = new RotatingFile(join(folder, "a.log"), 10);
    for (let index = 0; index < 8; index++) file.write(`${index}23456789\n`);
    file.close();
    expect(readdirSync(folder).sort()).toEqual(["a.log.1", "a.log.2", "a.log.3", "a.log.4"]);
    expect(readFileSync(join(folder, "a.log.1"), "utf8")).toMatch(/^7/);
    rmSync(folder, { recursive: true });
  });

  test("a temporary folder that is missing or too long is passed over, and none at all is one clear error", () => {
    const folder = mkdtempSync(join(tmpdir(), "mb-"));
    writeFileSync(join(folder, "file"), "");
    expect(baseFolder([join(folder, "file"), folder])).toMatch(new RegExp(`^${folder}/mobula-`));
    expect(() => baseFolder([join(folder, "file")])).toThrow(/set TMPDIR/);
    expect(() => baseFolder([join(folder, "x".repeat(100))])).toThrow(/too long for sockets/);
    rmSync(folder, { recursive: true });
  });

  test("a base folder that others could read is closed to them", () => {
    const folder = mkdtempSync(join(tmpdir(), "mb-"));
    const base = baseFolder([folder]);
    chmodSync(base, 0o755);
    expect(baseFolder([folder])).toBe(base);
    rmSync(folder, { recursive: true });
  });

  test("only sessions of dead runs are swept", async () => {
    const folder = mkdtempSync(join(tmpdir(), "mb-"));
    const living = createSession(folder);
    const dead = createSession(folder);
    writeFileSync(join(dead, "owner.json"), JSON.stringify({ pid: 2 ** 22 - 1, started: "1" }));
    mkdirSync(join(folder, "session-new"));
    mkdirSync(join(folder, "other"));
    expect(await sweepSessions(folder)).toEqual([dead]);
    removeSession(living);
    expect(readdirSync(folder).sort()).toEqual(["other", "session-new"]);
    rmSync(folder, { recursive: true });
  });
});
