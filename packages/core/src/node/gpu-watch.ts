/**
 * Asks the driver what the GPUs of this node do, each second, for as long as somebody wants to know. The asking is done by other
 * processes, since a driver may hang, take its time, or bring down whoever calls it:
 *
 * 1. `gpu-sampler.ts`, which calls NVML. When it cannot, or has failed, then
 * 2. `nvidia-smi`. When that has ended too, nothing is known for a while, and then the first is tried again.
 *
 * One that is silent is killed. While it cannot be killed, because the driver holds it, no other one is started.
 */
import { type ChildProcess, spawn } from "node:child_process";
import type { Readable } from "node:stream";
import { monotonicMs } from "../base/clock.ts";
import { compileCacheEnvironment } from "../bin/cache-directory.ts";
import { type ProcessCommand, processCommand } from "../bin/entries.ts";
import type { GpuReading } from "../wire/state-messages.ts";
import { samplerLine } from "./gpu-sampler.ts";
import { gpuArguments, parseGpuLine, parseProcessLine, processArguments, type SmiGpu } from "./nvidia-smi.ts";
import { unknownGpu } from "./nvml.ts";

export interface GpuWatchOptions {
  readonly ids: readonly string[];
  readonly log: (message: string) => void;
  /** The library is not tried. */
  readonly onlySmi?: boolean;
  /** Stands for the process that asks the library, in tests. */
  readonly sampler?: ProcessCommand;
  readonly times?: Partial<typeof TIMES>;
}

const TIMES = {
  everyMs: 1_000,
  /** Nobody has asked for so long: nothing is measured any more. */
  unwantedMs: 5_000,
  /** What is older is not how it is now. A driver that wakes up a GPU takes seconds. */
  staleMs: 5_000,
  silentMs: 15_000,
  restartMs: 1_000,
  restartMsMax: 60_000,
};
/** Between two complaints in the log. */
const SAY_AGAIN_MS = 600_000;
/** No line of either program is as long. */
const LINE_CHARS_MAX = 2 ** 20;
const WORDS_CHARS_MAX = 200;
/** It does not need a heap. */
const SAMPLER_OPTIONS = ["--max-semi-space-size=1", "--max-old-space-size=64"];

interface Run {
  readonly what: "NVML" | "nvidia-smi";
  readonly children: readonly ChildProcess[];
  heardMs: number;
  /** What it has said that was no reading, or why it was killed. */
  words: string | undefined;
}

export class GpuWatch implements Disposable {
  private readonly options: GpuWatchOptions;
  private readonly times: typeof TIMES;
  private run: Run | undefined;
  private readings = new Map<string, { readonly reading: GpuReading; readonly atMs: number }>();
  /** Of nvidia-smi, by UUID and pid. */
  private smiProcesses = new Map<
    string,
    { readonly uuid: string; readonly pid: number; readonly atMs: number } & Pick<
      GpuReading["processes"][number],
      "memoryBytes"
    >
  >();
  private sinceMs = 0;
  private failures = 0;
  private nvmlWords = "";
  private problem: string | undefined;
  private saidMs = Number.NEGATIVE_INFINITY;
  private restart: NodeJS.Timeout | undefined;
  private unwanted: NodeJS.Timeout | undefined;

  constructor(options: GpuWatchOptions) {
    this.options = options;
    this.times = { ...TIMES, ...options.times };
  }

  /** Of each id how it is now, as far as the driver says. The first time nothing is known yet. */
  latest(): readonly GpuReading[] {
    const nowMs = monotonicMs();
    const { unwantedMs, silentMs, staleMs } = this.times;
    clearTimeout(this.unwanted);
    this.unwanted = setTimeout(() => this.stop(), unwantedMs).unref();
    if (this.run === undefined && this.restart === undefined) {
      this.sinceMs = nowMs;
      this.begin();
    }
    const { run } = this;
    if (run && nowMs - run.heardMs > silentMs) {
      run.words ??= `it did not answer for ${Math.round(silentMs / 1_000)} s`;
      kill(run);
    }
    return this.options.ids.map((id) => {
      const known = this.readings.get(id);
      if (known && nowMs - known.atMs <= staleMs) return known.reading;
      const silentFor = nowMs - (known?.atMs ?? this.sinceMs);
      const isLate = silentFor > staleMs;
      return unknownGpu(
        id,
        run?.words ??
          this.problem ??
          (isLate ? `the driver has not answered for ${Math.round(silentFor / 1_000)} s` : null),
      );
    });
  }

  [Symbol.dispose](): void {
    this.stop();
  }

  private stop(): void {
    clearTimeout(this.unwanted);
    clearTimeout(this.restart);
    this.restart = undefined;
    const { run } = this;
    this.run = undefined;
    if (run) kill(run);
    this.readings.clear();
    this.smiProcesses.clear();
  }

  private begin(): void {
    if (this.options.onlySmi) this.beginSmi();
    else this.beginNvml();
  }

  private beginNvml(): void {
    const { ids, sampler = processCommand("gpu-sampler", SAMPLER_OPTIONS) } = this.options;
    const { execPath, args } = sampler;
    const env = { ...process.env, ...compileCacheEnvironment(), MOBULA_NODE: "", MOBULA_TOKEN: "" };
    const child = spawn(execPath, [...args, String(this.times.everyMs), ...ids], {
      stdio: ["pipe", "pipe", "ignore"],
      env,
    });
    child.stdin.on("error", () => {}); // It has ended, which is told by its exit.
    const run = this.began("NVML", child);
    eachLine(child.stdout, (text) => {
      const line = samplerLine(text);
      run.heardMs = monotonicMs();
      if (line === undefined || this.run !== run) return;
      if ("unusable" in line) run.words = line.unusable;
      else for (const reading of line.gpus) this.heard(reading);
    });
    this.atEnd(run, child, (words) => {
      this.nvmlWords = words;
      this.beginSmi();
    });
  }

  private beginSmi(): void {
    const [gpus, processes] = [gpuArguments, processArguments].map((args) =>
      spawn("nvidia-smi", args(this.times.everyMs), { stdio: ["ignore", "pipe", "ignore"] }),
    ) as [ChildProcess & { stdout: Readable }, ChildProcess & { stdout: Readable }]; // Of two, with pipes.
    const run = this.began("nvidia-smi", gpus, processes);
    eachLine(processes.stdout, (text) => {
      const parsed = parseProcessLine(text);
      if (parsed && this.run === run)
        this.smiProcesses.set(`${parsed.uuid} ${parsed.pid}`, { ...parsed, atMs: monotonicMs() });
    });
    // Without it the rest is still known.
    processes.on("error", () => {});
    eachLine(gpus.stdout, (text) => {
      if (this.run !== run) return;
      run.heardMs = monotonicMs();
      const gpu = parseGpuLine(text);
      if (gpu) this.heardOfSmi(gpu, run.heardMs);
      else if (text.trim() !== "") run.words = text.trim().slice(0, WORDS_CHARS_MAX);
    });
    this.atEnd(run, gpus, (words) => this.failed(words));
  }

  private began(what: Run["what"], ...children: readonly ChildProcess[]): Run {
    const run: Run = { what, children, heardMs: monotonicMs(), words: undefined };
    for (const child of children) child.unref();
    this.run = run;
    return run;
  }

  private atEnd(run: Run, child: ChildProcess, next: (words: string) => void): void {
    const ended = (words: string): void => {
      kill(run);
      if (this.run !== run) return;
      this.run = undefined;
      next(run.words ?? words);
    };
    child.once("error", ({ message }) => ended(message));
    child.once("close", (code, signal) =>
      ended(signal === null ? `it ended with code ${code}` : `it ended by ${signal}`),
    );
  }

  /** Neither could say anything, or both have stopped to. */
  private failed(words: string): void {
    const parts = this.options.onlySmi ? [] : [`NVML: ${this.nvmlWords}`];
    this.problem = [...parts, `nvidia-smi: ${words}`].join("; ");
    const nowMs = monotonicMs();
    if (nowMs - this.saidMs > SAY_AGAIN_MS) {
      this.saidMs = nowMs;
      this.options.log(`GPUs cannot be measured (${this.problem}); \`mobula doctor\` says more`);
    }
    const { restartMs, restartMsMax } = this.times;
    this.restart = setTimeout(
      () => {
        this.restart = undefined;
        this.begin();
      },
      Math.min(restartMsMax, restartMs * 2 ** this.failures++),
    ).unref();
  }

  private heard(reading: GpuReading): void {
    this.readings.set(reading.id, { reading, atMs: monotonicMs() });
    this.problem = undefined;
    this.failures = 0;
  }

  private heardOfSmi(gpu: SmiGpu, atMs: number): void {
    // It is told of each second for as long as it is there.
    for (const [key, { atMs: seenMs }] of this.smiProcesses)
      if (atMs - seenMs > 2.5 * this.times.everyMs) this.smiProcesses.delete(key);
    const processes = [...this.smiProcesses.values()]
      .filter(({ uuid }) => uuid === gpu.uuid)
      .map(({ pid, memoryBytes }) => ({ pid, memoryBytes }));
    for (const id of this.options.ids)
      if (id === String(gpu.index) || gpu.uuid.startsWith(id)) this.heard({ ...gpu, id, processes, problem: null });
  }
}

const kill = ({ children }: Run): void => {
  for (const child of children) child.kill("SIGKILL");
};

function eachLine(stream: Readable, onLine: (text: string) => void): void {
  let rest = "";
  stream.setEncoding("utf8").on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = (lines.pop() ?? "").slice(0, LINE_CHARS_MAX);
    for (const line of lines) onLine(line);
  });
}
