import { expect, test } from "vitest";
import type { Overview, Row } from "../state/mod.ts";
import { gpuFinding } from "./gpu-finding.ts";
import { gpuCells } from "./gpu-text.ts";
import { tableOf } from "./row-table.ts";
import { topLines } from "./top-text.ts";

const GIB = 2 ** 30;
type Gpu = Row<"nodes">["gpus"][number];

const idle: Gpu = {
  ...{ id: "0", index: 0, uuid: "GPU-aa", name: "NVIDIA H100 80GB HBM3", utilisationPercent: 97.4 },
  ...{ memoryUsedBytes: 2.5 * GIB, memoryTotalBytes: 79.6 * GIB, temperatureCelsius: 41, powerWatts: 352.17 },
  ...{ powerLimitWatts: 700, problem: null, leasedShare: 0, holders: [], processes: [] },
};
const holder: Gpu["holders"][number] = {
  ...{ workerId: "w1", pid: 4188, share: 0.5, jobId: "0a0b0c0d", actorId: null, name: "Trainer" },
};

test("who holds a GPU, what is reserved of it, and who is on it without a lease", () => {
  const on = (pid: number, workerId: string | null, memoryBytes: number | null = GIB) => ({
    ...{ pid, workerId, memoryBytes, name: "python3", isOurs: workerId !== null },
  });
  const nodes = [
    {
      name: "gpu-1",
      gpus: [
        idle,
        { ...idle, id: "1", index: 1, leasedShare: 1, holders: [holder], processes: [on(4190, "w1"), on(9120, null)] },
        { ...idle, id: "3", index: 3, processes: [{ ...on(81, null), name: null, isOurs: null }] },
        {
          ...idle,
          id: "2",
          index: 2,
          leasedShare: 1,
          holders: [{ ...holder, share: 1 }],
          processes: [on(7, "driver", null)],
        },
        {
          ...{ ...idle, id: "GPU-bb", index: null, utilisationPercent: null, memoryUsedBytes: null, powerWatts: null },
          ...{ temperatureCelsius: null, problem: "GPU is lost (nvmlDeviceGetPowerUsage gave 15)" },
        },
      ],
    },
  ];
  expect(gpuCells(nodes)).toEqual([
    ["gpu-1:0", "97 %", "2.5 GiB of 79.6 GiB", "41 °C", "352 W", ""],
    [
      ...["gpu-1:1", "97 %", "2.5 GiB of 79.6 GiB", "41 °C", "352 W"],
      "Trainer (4188) 50 %; 50 % reserved by placement groups; not Mobula's: python3 (9120) 1.0 GiB",
    ],
    [...["gpu-1:3", "97 %", "2.5 GiB of 79.6 GiB", "41 °C", "352 W"], "pid 81 1.0 GiB"],
    [...["gpu-1:2", "97 %", "2.5 GiB of 79.6 GiB", "41 °C", "352 W"], "Trainer (4188); without a lease: python3 (7)"],
    ["gpu-1:GPU-bb", "", "", "", "", "GPU is lost (nvmlDeviceGetPowerUsage gave 15)"],
  ]);
});

const node = {
  ...{ nodeId: "5f2c81c0a7be3d41c09f6ab15f2c81c0", name: "gpu-1", state: "alive", address: null, isHead: true },
  ...{ resources: { cpu: 2, gpu: 2 }, available: { cpu: 2, gpu: 2 }, labels: {}, cpuPercent: 12 },
  ...{ storeUsedBytes: 0, storeSpilledBytes: 0, storeCapacityBytes: GIB, memoryUsedBytes: GIB, memoryTotalBytes: GIB },
  ...{ gpus: [idle, { ...idle, id: "1", index: 1, utilisationPercent: 0 }], workers: 2, startedAtMs: 0 },
} satisfies Row<"nodes">;

test("a list of nodes says how many there are and how busy, in 80 columns, and nothing where there are none", () => {
  expect(tableOf("nodes", [node], 80).join("\n")).toMatch(/GPUS .*\n.*2 × 49 %/);
  expect(tableOf("nodes", [{ ...node, gpus: [] }], 80)[0]).not.toContain("GPUS");
});

const overview = {
  ...{ asOfMs: 0, nodes: { alive: 1, draining: 0, dead: 0 }, resources: {}, tasks: {}, actors: {}, throughput: [] },
  ...{ store: { usedBytes: 0, spilledBytes: 0, capacityBytes: GIB }, waiting: [], alerts: [], progress: [] },
  gpus: { count: 2, utilisationPercent: 48.7, memoryUsedBytes: 5 * GIB, memoryTotalBytes: 159 * GIB, problems: 0 },
} satisfies Overview;

test("top has a line of all GPUs and one of each, and none where there are none", () => {
  const size = { columns: 80, rows: 24 };
  const seen = { overview, workers: [], nodes: [node], bars: [] };
  const text = topLines(seen, size).join("\n");
  expect(text).toMatch(/^GPUs {4}\[#{10}\.{10}\] 49 % busy, 5\.0 GiB of 159 GiB$/m);
  expect(text).toMatch(/^GPU +BUSY +MEMORY +TEMP +POWER/m);
  expect(text).toMatch(/^gpu-1:0 +97 % +2\.5 GiB of 79\.6 GiB +41 °C +352 W$/m);
  expect(topLines({ ...seen, overview: { ...overview, gpus: null }, nodes: [] }, size).join("\n")).not.toContain("GPU");
  const unknown = { ...overview.gpus, utilisationPercent: null, memoryUsedBytes: 0, memoryTotalBytes: 0, problems: 2 };
  expect(topLines({ ...seen, overview: { ...overview, gpus: unknown }, nodes: [] }, size).join("\n")).toMatch(
    /^GPUs {4}nothing is known of 2 of 2$/m,
  );
});

test("the doctor says what the driver says, and what to do", () => {
  const find = (answer: ReturnType<NonNullable<Parameters<typeof gpuFinding>[0]>["askNvml"]>, smi?: string) =>
    gpuFinding({
      isThere: () => true,
      askNvml: () => answer,
      askSmi: () => {
        if (smi === undefined) throw new Error("Command failed: nvidia-smi");
        return smi;
      },
    });
  const { leasedShare: _leased, holders: _holders, ...reading } = idle;
  expect(find({ gpus: [reading] })).toEqual({
    ...{ what: "GPUs", is: "good", says: "NVIDIA H100 80GB HBM3 (2.5 GiB of 79.6 GiB used)" },
  });
  expect(find({ gpus: [reading, { ...reading, id: "1", problem: "GPU is lost" }] })).toMatchObject({
    ...{ is: "bad", says: "nothing can be known of GPU 1 of 2: GPU is lost" },
    advice: expect.stringMatching(/xid.*--gpu-reset -i 1/),
  });
  expect(
    find({ unusable: "Failed to load shared library: cannot open shared object file" }, "H100\nH100\n"),
  ).toMatchObject({
    ...{ is: "note", says: expect.stringMatching(/^H100, H100; NVML.*nvidia-smi is asked instead/) },
    advice: expect.stringMatching(/libnvidia-ml\.so\.1.*NVIDIA_DRIVER_CAPABILITIES/),
  });
  expect(find({ unusable: "Driver/library version mismatch (nvmlInit gave 18)" })).toMatchObject({
    ...{ is: "bad", says: expect.stringMatching(/NVML: Driver.*; nvidia-smi: Command failed/) },
    advice: expect.stringMatching(/restart the machine/),
  });
  expect(gpuFinding({ isThere: () => false, askNvml: () => ({ gpus: [] }), askSmi: () => "" })).toMatchObject({
    is: "good",
  });
});
