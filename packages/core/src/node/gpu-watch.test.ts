import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeEach, describe, expect, test } from "vitest";
import type { JobId, WorkerId } from "../base/ids.ts";
import type { ProcessCommand } from "../bin/entries.ts";
import type { GpuReading } from "../wire/state-messages.ts";
import { findGpus, watchGpus } from "./gpu.ts";
import { GpuWatch, type GpuWatchOptions } from "./gpu-watch.ts";
import { NodeGpus } from "./gpus.ts";
import { parseGpuLine, parseProcessLine } from "./nvidia-smi.ts";
import { Nvml, type NvmlFunction, type NvmlLibrary, unknownGpu } from "./nvml.ts";
import { fakeSmi } from "./test-smi.ts";

const H100 = "0, GPU-aa11, 97, 2613, 81559, 41, 352.17, 700.00, NVIDIA H100 80GB HBM3";
const OLD = "1, GPU-bb22, [N/A], [N/A], [Not Supported], [Unknown Error], N/A, [N/A], GeForce GT 730";

describe("what nvidia-smi prints", () => {
  test("a line with everything", () => {
    expect(parseGpuLine(H100)).toEqual({
      ...{ index: 0, uuid: "GPU-aa11", name: "NVIDIA H100 80GB HBM3", utilisationPercent: 97 },
      ...{ memoryUsedBytes: 2613 * 2 ** 20, memoryTotalBytes: 81559 * 2 ** 20 },
      ...{ temperatureCelsius: 41, powerWatts: 352.17, powerLimitWatts: 700 },
    });
    expect(parseProcessLine("GPU-aa11, 4188, 2604")).toEqual({
      ...{ uuid: "GPU-aa11", pid: 4188, memoryBytes: 2604 * 2 ** 20 },
    });
  });

  test("fields that a GPU does not have are null", () => {
    expect(parseGpuLine(OLD)).toEqual({
      ...{ index: 1, uuid: "GPU-bb22", name: "GeForce GT 730", utilisationPercent: null },
      ...{ memoryUsedBytes: null, memoryTotalBytes: null },
      ...{ temperatureCelsius: null, powerWatts: null, powerLimitWatts: null },
    });
    expect(parseProcessLine("GPU-aa11, 4188, [N/A]")?.memoryBytes).toBeNull();
  });

  test.each([
    "",
    "No devices were found",
    "Unable to determine the device handle for GPU 0000:BA:00.0: Unknown Error",
    "0, GPU-aa11, 97",
    "x, y, 1, 2, 3, 4, 5, 6, 7",
  ])("%j is no GPU and no process", (line) => {
    expect(parseGpuLine(line)).toBeUndefined();
    expect(parseProcessLine(line)).toBeUndefined();
  });
});

describe("the watch", () => {
  const folder = mkdtempSync(join(tmpdir(), "mobula-watch-"));
  const path = process.env.PATH;
  const watches: GpuWatch[] = [];
  const words: string[] = [];
  let smi: ReturnType<typeof fakeSmi>;
  beforeEach(() => {
    smi = fakeSmi();
    process.env.PATH = smi.path;
    words.length = 0;
  });
  afterEach(() => {
    for (const watch of watches.splice(0)) watch[Symbol.dispose]();
    process.env.PATH = path;
    smi.remove();
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const TIMES = { everyMs: 20, staleMs: 200, silentMs: 300, restartMs: 50, restartMsMax: 200 };
  function watchOf(options: Partial<GpuWatchOptions> = {}): GpuWatch {
    const watch = new GpuWatch({ ids: ["0"], log: (message) => words.push(message), times: TIMES, ...options });
    watches.push(watch);
    return watch;
  }
  /** A program in the place of the one that asks the library. */
  function sampler(script: string): ProcessCommand {
    const file = join(folder, `sampler-${Math.random()}.sh`);
    writeFileSync(file, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    return { execPath: file, args: [] };
  }
  async function until(watch: GpuWatch, isSo: (first: GpuReading) => boolean): Promise<GpuReading> {
    let seen = unknownGpu("", null);
    const look = (): boolean => {
      seen = watch.latest()[0] ?? seen;
      return isSo(seen);
    };
    await expect.poll(look, { timeout: 10_000, interval: 10 }).toBe(true);
    return seen;
  }
  const line = (more: Partial<GpuReading> = {}): string =>
    JSON.stringify({ gpus: [{ ...unknownGpu("0", null), name: "H100", utilisationPercent: 5, ...more }] });

  test("nvidia-smi says all of it; what is not offered is left out", async () => {
    smi.say({ gpus: `${H100}\n${OLD}\n`, processes: "GPU-aa11, 4188, 2604\nGPU-bb22, 7, [N/A]\n" });
    const watch = watchOf({ ids: ["GPU-bb", "0"], onlySmi: true });
    await until(watch, ({ name, processes }) => name !== null && processes.length > 0);
    expect(watch.latest()).toMatchObject([
      { id: "GPU-bb", index: 1, utilisationPercent: null, processes: [{ pid: 7, memoryBytes: null }], problem: null },
      { id: "0", index: 0, utilisationPercent: 97, processes: [{ pid: 4188, memoryBytes: 2604 * 2 ** 20 }] },
    ]);
    smi.say({ processes: "" });
    expect(await until(watch, ({ processes }) => processes.length === 0)).toMatchObject({ index: 1 });
    expect(words).toEqual([]);
  });

  test("the program that asks the library says it, and nvidia-smi is left alone", async () => {
    smi.say({ gpus: H100 });
    const watch = watchOf({ sampler: sampler(`echo '${line()}'; exec sleep 100`) });
    expect(watch.latest()).toEqual([unknownGpu("0", null)]);
    expect(await until(watch, ({ name }) => name !== null)).toMatchObject({ name: "H100", utilisationPercent: 5 });
  });

  test.each([
    ["cannot be loaded", `echo '{"unusable":"no such library"}'`],
    ["crashes", "kill -SEGV $$"],
    ["prints rubbish for ever", "while :; do echo garbage; echo '{'; sleep 0.01; done & sleep 0.2; kill $!; exit 1"],
    ["hangs", "exec sleep 100"],
    ["is not there", undefined],
  ])("where the library %s, nvidia-smi is asked", async (_how, script) => {
    smi.say({ gpus: H100 });
    const watch = watchOf({
      sampler: script === undefined ? { execPath: join(folder, "nowhere"), args: [] } : sampler(script),
    });
    expect(await until(watch, ({ name }) => name !== null)).toMatchObject({ utilisationPercent: 97, problem: null });
    expect(words).toEqual([]);
  });

  test("where neither says anything, the row says why, and the log once; it is known again when one does", async () => {
    smi.say({ gpus: "exit" });
    const watch = watchOf({ sampler: sampler(`echo '{"unusable":"no such library"}'`) });
    const { problem, utilisationPercent } = await until(watch, (gpu) => gpu.problem?.includes("nvidia-smi:") === true);
    expect(utilisationPercent).toBeNull();
    expect(problem).toBe("NVML: no such library; nvidia-smi: it ended with code 9");
    smi.say({ gpus: "No devices were found\n" });
    await until(watch, (gpu) => gpu.problem === "No devices were found");
    smi.say({ gpus: H100 });
    expect(await until(watch, ({ name }) => name !== null)).toMatchObject({ utilisationPercent: 97, problem: null });
    expect(words).toEqual([`GPUs cannot be measured (${problem}); \`mobula doctor\` says more`]);
  });

  test("what a driver that hangs said last is not shown as how it is now", async () => {
    const watch = watchOf({
      sampler: sampler(`echo '${line()}'; exec sleep 100`),
      times: { ...TIMES, silentMs: 60_000 },
    });
    await until(watch, ({ name }) => name !== null);
    const late = await until(watch, ({ name }) => name === null);
    expect(late.problem).toMatch(/the driver has not answered for \d+ s/);
  });

  test("nothing is asked before somebody wants to know, nor when nobody does any more, nor after its end", async () => {
    const note = join(folder, "pid");
    const asks = sampler(`echo $$ >> ${note}; echo '${line()}'; exec sleep 100`);
    const pids = (): string[] => readFileSync(note, "utf8").trim().split("\n");
    const isGone = (pid: string): boolean => !existsSync(`/proc/${pid}`);
    const watch = watchOf({ sampler: asks, times: { ...TIMES, unwantedMs: 100 } });
    expect(existsSync(note)).toBe(false);
    await until(watch, ({ name }) => name !== null);
    await expect.poll(() => pids().every(isGone), { timeout: 5_000 }).toBe(true);
    await until(watch, ({ name }) => name !== null);
    expect(pids()).toHaveLength(2);
    watch[Symbol.dispose]();
    await expect.poll(() => pids().every(isGone), { timeout: 5_000 }).toBe(true);
  });

  test("there is none without GPUs or a driver, or when it is turned off", () => {
    const log = (message: string) => void words.push(message);
    expect(watchGpus([], { MOBULA_GPU_SAMPLING: "nvidia-smi" }, log)).toBeUndefined();
    expect(watchGpus(["0"], { MOBULA_GPU_SAMPLING: "off" }, log)).toBeUndefined();
    expect(watchGpus(["0"], { MOBULA_GPU_SAMPLING: "nvidia-smi" }, log)).toBeInstanceOf(GpuWatch);
    expect(() => watchGpus(["0"], { MOBULA_GPU_SAMPLING: "often" }, log)).toThrow(/auto, nvidia-smi or off/);
  });
});

describe("the library", () => {
  interface FakeGpu {
    readonly uuid: string;
    /** Codes that functions give. */
    codes: Partial<Record<NvmlFunction, number>>;
  }
  const LOST = 15;
  const NOT_SUPPORTED = 3;
  const TOTAL = 85_520_809_984n;

  /** With structures at the offsets of nvml.h. */
  function fakeNvml(gpus: FakeGpu[], without: readonly NvmlFunction[] = []): NvmlLibrary & { inits: number } {
    const processes: readonly (readonly [pid: number, bytes: bigint])[] = [
      [4188, 2n ** 31n],
      [7, 2n ** 64n - 1n],
    ];
    const fake = {
      inits: 0,
      wordsOf: (code: number) => (code === LOST ? "GPU is lost" : `error ${code}`),
      call(name: NvmlFunction, ...args: readonly (number | bigint | string | Buffer)[]): number {
        if (without.includes(name)) return 13;
        if (name === "nvmlInit_v2") return ++fake.inits && 0;
        if (name === "nvmlShutdown") return 0;
        const out = args.findLast((arg) => Buffer.isBuffer(arg)) as Buffer; // Every other one has one.
        const [of] = args;
        if (name === "nvmlDeviceGetCount_v2") return out.writeUInt32LE(gpus.length) && 0;
        if (name === "nvmlDeviceGetHandleByIndex_v2" || name === "nvmlDeviceGetHandleByUUID") {
          const index = typeof of === "number" ? of : gpus.findIndex(({ uuid }) => uuid === of);
          const gpu = gpus[index];
          if (!gpu) return typeof of === "number" ? 2 : 6;
          if (gpu.codes[name]) return gpu.codes[name];
          out.writeBigUInt64LE(BigInt(index + 1) << 32n);
          return 0;
        }
        const index = Number((of as bigint) >> 32n) - 1;
        const gpu = gpus[index];
        if (gpu?.codes[name]) return gpu.codes[name];
        switch (name) {
          case "nvmlDeviceGetIndex":
            return out.writeUInt32LE(index) && 0;
          case "nvmlDeviceGetUUID":
            return out.write(`${gpu?.uuid}\0rest`) && 0;
          case "nvmlDeviceGetName":
            return out.write("NVIDIA H100 80GB HBM3\0") && 0;
          case "nvmlDeviceGetUtilizationRates":
            return out.writeUInt32LE(97) && out.writeUInt32LE(40, 4) && 0;
          case "nvmlDeviceGetMemoryInfo_v2":
            if (out.readUInt32LE() !== 0x2000028) return 25;
            for (const [at, bytes] of [TOTAL, 512n, 1n, 2n ** 31n].entries()) out.writeBigUInt64LE(bytes, 8 + 8 * at);
            return 0;
          case "nvmlDeviceGetMemoryInfo":
            for (const [at, bytes] of [TOTAL, 1n, 2n ** 31n + 512n].entries()) out.writeBigUInt64LE(bytes, 8 * at);
            return 0;
          case "nvmlDeviceGetTemperature":
            return out.writeUInt32LE(41) && 0;
          case "nvmlDeviceGetPowerUsage":
            return out.writeUInt32LE(352_170) && 0;
          case "nvmlDeviceGetEnforcedPowerLimit":
            return out.writeUInt32LE(700_000) && 0;
          case "nvmlDeviceGetComputeRunningProcesses_v3":
          case "nvmlDeviceGetComputeRunningProcesses_v2": {
            (args[1] as Buffer).writeUInt32LE(processes.length);
            for (const [at, [pid, bytes]] of processes.entries()) {
              out.writeUInt32LE(pid, at * 24);
              out.writeBigUInt64LE(bytes, at * 24 + 8);
            }
            return 0;
          }
          default:
            return NOT_SUPPORTED;
        }
      },
    };
    return fake;
  }
  const gpus = (): FakeGpu[] => [
    { uuid: "GPU-aa11", codes: {} },
    { uuid: "GPU-bb22", codes: {} },
  ];

  test("everything that a GPU says", () => {
    const nvml = new Nvml(fakeNvml(gpus()));
    expect(nvml.devices()).toEqual([
      { index: "0", uuid: "GPU-aa11" },
      { index: "1", uuid: "GPU-bb22" },
    ]);
    expect(nvml.readAll(["1"])).toEqual([
      {
        ...{ id: "1", index: 1, uuid: "GPU-bb22", name: "NVIDIA H100 80GB HBM3", utilisationPercent: 97 },
        ...{ memoryUsedBytes: 2 ** 31, memoryTotalBytes: Number(TOTAL), temperatureCelsius: 41 },
        ...{ powerWatts: 352.17, powerLimitWatts: 700, problem: null },
        processes: [
          { pid: 4188, memoryBytes: 2 ** 31 },
          { pid: 7, memoryBytes: null },
        ],
      },
    ]);
    expect(nvml.readAll(["GPU-bb22", "GPU-aa", "GPU-cc"]).map(({ index, problem }) => [index, problem])).toEqual([
      [1, null],
      [0, null],
      [null, "the driver knows no such GPU"],
    ]);
  });

  test("what it does not support is null, and no problem", () => {
    const [first] = gpus();
    const codes = { nvmlDeviceGetUtilizationRates: NOT_SUPPORTED, nvmlDeviceGetPowerUsage: 4 };
    const [reading] = new Nvml(fakeNvml([{ ...first, uuid: "MIG-cc33", codes }])).readAll(["MIG-cc33"]);
    expect(reading).toMatchObject({
      utilisationPercent: null,
      powerWatts: null,
      temperatureCelsius: 41,
      problem: null,
    });
  });

  test("an older library has other functions", () => {
    const without: NvmlFunction[] = ["nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetComputeRunningProcesses_v3"];
    const [reading] = new Nvml(fakeNvml(gpus(), without)).readAll(["0"]);
    expect(reading).toMatchObject({ memoryUsedBytes: 2 ** 31 + 512, processes: [{ pid: 4188 }, { pid: 7 }] });
  });

  test("more processes than there is room for are all read", () => {
    const library = fakeNvml(gpus());
    const wider: NvmlLibrary = {
      ...library,
      call(name, ...args) {
        if (name !== "nvmlDeviceGetComputeRunningProcesses_v3") return library.call(name, ...args);
        const [, count, infos] = args as [bigint, Buffer, Buffer];
        const room = count.readUInt32LE();
        count.writeUInt32LE(100);
        if (room < 100) return 7;
        for (let at = 0; at < 100; at++) infos.writeUInt32LE(at + 1, at * 24);
        return 0;
      },
    };
    expect(new Nvml(wider).readAll(["0"])[0]?.processes).toHaveLength(100);
  });

  test("a GPU that has fallen off the bus says so, the other one goes on, and after a while it is looked for anew", () => {
    const both = gpus();
    const library = fakeNvml(both);
    const nvml = new Nvml(library);
    const [first] = both;
    if (first)
      first.codes = Object.fromEntries(
        ["nvmlDeviceGetUtilizationRates", "nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetMemoryInfo"].map((name) => [
          name,
          LOST,
        ]),
      );
    expect(nvml.readAll(["0", "1"])).toMatchObject([
      {
        utilisationPercent: null,
        memoryUsedBytes: null,
        problem: "GPU is lost (nvmlDeviceGetUtilizationRates gave 15)",
      },
      { utilisationPercent: 97, problem: null },
    ]);
    if (first) first.codes = { nvmlDeviceGetHandleByIndex_v2: LOST };
    expect(nvml.readAll(["0", "1"])[0]).toMatchObject({
      name: null,
      index: 0,
      problem: expect.stringMatching(/is lost/),
    });
    expect(library.inits).toBe(1);
    for (let second = 0; second < 60; second++) nvml.readAll(["0", "1"]);
    expect(library.inits).toBe(2);
    if (first) first.codes = {};
    expect(nvml.readAll(["0"])[0]).toMatchObject({ utilisationPercent: 97, problem: null });
  });

  test("one that does not begin says why", () => {
    const library: NvmlLibrary = { call: () => 9, wordsOf: () => "Driver Not Loaded" };
    expect(() => new Nvml(library)).toThrow("Driver Not Loaded (nvmlInit gave 9)");
  });
});

describe("GPUs of a node", () => {
  test("who has leased them, and who is on them: a worker, what it has started, and strangers", async () => {
    const child = spawn("sleep", ["100"]);
    await once(child, "spawn");
    try {
      const worker = "0a0b0c0d0e0f0a0b" as WorkerId;
      const pids = [1, process.pid, child.pid ?? 0, 2 ** 22 + 1];
      const reading: GpuReading = {
        ...unknownGpu("GPU-aa", null),
        processes: pids.map((pid, index) => ({ pid, memoryBytes: index === 3 ? null : 10 + index })),
      };
      const gpus = new NodeGpus({
        ids: ["GPU-aa"],
        hasAllPids: true,
        watch: { latest: () => [reading] },
        free: () => [2_500],
        holdings: () => [
          { device: "GPU-aa", units: 5_000, workerId: worker, jobId: "0a0b0c0d" as JobId, name: "Trainer" },
          { device: "other", units: 5_000, workerId: worker, jobId: "0a0b0c0d" as JobId, name: "Trainer" },
        ],
        processes: () => [[process.pid, worker]],
      });
      expect(gpus.sample()).toMatchObject([
        {
          id: "GPU-aa",
          leasedShare: 0.75,
          holders: [{ workerId: worker, pid: process.pid, share: 0.5, jobId: "0a0b0c0d", name: "Trainer" }],
          processes: [
            { pid: child.pid, name: "sleep", workerId: worker, isOurs: true },
            { pid: process.pid, workerId: worker, isOurs: true },
            { pid: 1, workerId: null, isOurs: false },
            { pid: 2 ** 22 + 1, name: null, memoryBytes: null, workerId: null },
          ],
        },
      ]);
    } finally {
      child.kill("SIGKILL");
    }
  });

  test("in a container pids are those of other processes, so nothing is said of them", () => {
    const processes = [{ pid: process.pid, memoryBytes: 10 }];
    const gpus = new NodeGpus({
      ...{ ids: ["0"], hasAllPids: false, watch: { latest: () => [{ ...unknownGpu("0", null), processes }] } },
      ...{ free: () => [], holdings: () => [], processes: () => [[process.pid, "0a0b0c0d0e0f0a0b" as WorkerId]] },
    });
    expect(gpus.sample()?.[0]?.processes).toEqual([
      { pid: process.pid, name: null, memoryBytes: 10, workerId: null, isOurs: null },
    ]);
  });

  test("declared ones without a driver are there, and nothing is known of them; without any nothing is said", () => {
    const none = { watch: undefined, free: () => [], holdings: () => [], processes: () => [] };
    expect(new NodeGpus({ ids: [], ...none }).sample()).toBeUndefined();
    const ids = findGpus({ declared: 1, env: {}, log: () => {} });
    expect(new NodeGpus({ ids, ...none }).sample()).toEqual([
      { ...unknownGpu("0", null), leasedShare: 0, holders: [], processes: [] },
    ]);
  });
});
