/** GPUs of nodes, as people and tools see them; `nvidia-smi` is a stand-in, all else is real. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { get, init, isInitialized, kill, remote, shutdown } from "../../src/api/mod.ts";
import { isInFirstNamespace } from "../../src/node/gpus.ts";
import { fakeSmi } from "../../src/node/test-smi.ts";
import type { Row } from "../../src/state/mod.ts";
import { eventually } from "../eventually.ts";
import { openStateApi, type StateApi } from "./state-api.ts";

const MIB = 2 ** 20;
const before = { path: process.env.PATH, sampling: process.env.MOBULA_GPU_SAMPLING };
let smi: ReturnType<typeof fakeSmi>;
let api: StateApi;

class Trainer {
  pid(): number {
    return process.pid;
  }
  devices(): string {
    return process.env.CUDA_VISIBLE_DEVICES ?? "";
  }
}

beforeAll(async () => {
  smi = fakeSmi();
  process.env.PATH = smi.path;
  process.env.MOBULA_GPU_SAMPLING = "nvidia-smi";
  smi.say({
    gpus: "0, GPU-aa11, 97, 2613, 81559, 41, 352.17, 700.00, NVIDIA H100 80GB HBM3\n1, GPU-bb22, 0, 1, 81559, 29, 70.20, 700.00, NVIDIA H100 80GB HBM3",
  });
  api = await openStateApi(await init({ resources: { cpu: 2, gpu: 2 }, logToDriver: false }));
});
afterAll(async () => {
  if (isInitialized()) await shutdown();
  process.env.PATH = before.path;
  if (before.sampling === undefined) delete process.env.MOBULA_GPU_SAMPLING;
  else process.env.MOBULA_GPU_SAMPLING = before.sampling;
  smi.remove();
});

const whose = (workerId: string | undefined) =>
  isInFirstNamespace()
    ? { workerId: workerId ?? null, isOurs: workerId !== undefined }
    : { workerId: null, isOurs: null };

async function gpus(): Promise<Row<"nodes">["gpus"]> {
  return (await api.list("nodes")).rows[0]?.gpus ?? [];
}

test("how they are used, who holds them, and who is on them", async () => {
  await eventually(async () => (await gpus())[0]?.name, "the driver's answer");
  const actor = remote(Trainer, { numGpus: 1 }).remote();
  const half = remote(Trainer, { numGpus: 0.5 }).remote();
  const pid = await get(actor.pid.remote());
  const index = Number(await get(actor.devices.remote()));
  await get(half.pid.remote());
  smi.say({ processes: `GPU-aa11, ${pid}, 2604\nGPU-aa11, ${process.pid}, [N/A]\nGPU-aa11, 1, 12` });
  const seen = await eventually(async () => {
    const all = await gpus();
    return all[0]?.processes.length === 3 && all.every(({ holders }) => holders.length === 1) ? all : undefined;
  }, "the processes and holders");
  const [worker] = (await api.list("workers", `pid=${pid}`)).rows;
  const [driver] = (await api.list("workers", "kind=driver")).rows;
  const [first] = (await api.list("actors", `pid=${pid}`)).rows;
  const whole = {
    workerId: worker?.workerId,
    pid,
    share: 1,
    actorId: first?.actorId,
    jobId: first?.jobId,
    name: "Trainer",
  };
  expect(seen?.[index]?.holders).toEqual([whole]);
  expect(seen?.map(({ leasedShare }) => leasedShare).toSorted()).toEqual([0.5, 1]);
  expect(seen?.[0]).toMatchObject({
    ...{ id: "0", index: 0, uuid: "GPU-aa11", name: "NVIDIA H100 80GB HBM3", utilisationPercent: 97 },
    ...{ memoryUsedBytes: 2613 * MIB, memoryTotalBytes: 81559 * MIB },
    ...{ temperatureCelsius: 41, powerWatts: 352.17, powerLimitWatts: 700, problem: null },
    // In a container nobody knows whose they are.
    processes: [
      { pid, memoryBytes: 2604 * MIB, ...whose(worker?.workerId) },
      { pid: 1, memoryBytes: 12 * MIB, ...whose(undefined) },
      { pid: process.pid, memoryBytes: null, ...whose(driver?.workerId) },
    ],
  });
  const overview = await api.get<{ gpus: unknown }>("overview");
  expect(overview.gpus).toEqual({
    ...{ count: 2, utilisationPercent: 48.5, problems: 0 },
    ...{ memoryUsedBytes: 2614 * MIB, memoryTotalBytes: 2 * 81559 * MIB },
  });
  kill(actor);
  kill(half);
  await eventually(async () => (await gpus()).every(({ holders }) => holders.length === 0), "their end");
});
