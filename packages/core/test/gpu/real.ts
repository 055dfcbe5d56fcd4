/**
 * Whether the GPU of this machine is seen as it is: `node packages/core/test/gpu/real.ts`, with PyTorch for `python3`, by the built
 * package (or `--conditions=mobula-source` by the sources). No test file: it needs an NVIDIA GPU, and says by its exit code and its
 * last line whether everything was as it should be.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { get, init, kill, remote, shutdown } from "mobula";
import { loadNvml, Nvml } from "../../src/node/nvml.ts";

interface Gpu {
  readonly id: string;
  readonly name: string | null;
  readonly utilisationPercent: number | null;
  readonly memoryUsedBytes: number | null;
  readonly memoryTotalBytes: number | null;
  readonly temperatureCelsius: number | null;
  readonly powerWatts: number | null;
  readonly powerLimitWatts: number | null;
  readonly problem: string | null;
  readonly leasedShare: number;
  readonly holders: readonly { readonly workerId: string; readonly actorId: string | null; readonly name: string }[];
  readonly processes: readonly {
    readonly pid: number;
    readonly name: string | null;
    readonly memoryBytes: number | null;
    readonly workerId: string | null;
  }[];
}

const GIB = 2 ** 30;
const BURN = `
import time, torch
a = torch.zeros(${2 * GIB} // 4, device="cuda")
m = torch.randn(8192, 8192, device="cuda")
print("ready", flush=True)
end = time.time() + 120
while time.time() < end:
    for _ in range(20): m @ m
    torch.cuda.synchronize()
`;

/** Holds the GPU by a program in Python, as many do. */
class Trainer {
  private readonly children: ChildProcess[] = [];

  async train(program: string): Promise<number> {
    const child = spawn("python3", ["-c", program], { stdio: ["ignore", "pipe", "inherit"] });
    this.children.push(child);
    await new Promise<void>((resolve, reject) => {
      child.stdout.on("data", () => resolve());
      child.once("exit", (code) => reject(new Error(`python3 ended with ${code}`)));
    });
    return child.pid ?? 0;
  }

  devices(): string {
    return process.env.CUDA_VISIBLE_DEVICES ?? "";
  }
}

const failures: string[] = [];
function check(what: string, isRight: boolean, seen: unknown): void {
  console.log(`${isRight ? "right" : "WRONG"}: ${what} (${JSON.stringify(seen)})`);
  if (!isRight) failures.push(what);
}

async function main(): Promise<void> {
  console.log(execFileSync("nvidia-smi", { encoding: "utf8" }));
  const { dashboardUrl = "" } = await init({ resources: { cpu: 2 }, logToDriver: false });
  const { origin } = new URL(dashboardUrl);
  const entered = await fetch(dashboardUrl, { redirect: "manual" });
  const [cookie = ""] = (entered.headers.get("set-cookie") ?? "").split(";");
  const ask = (path: string) => fetch(`${origin}${path}`, { headers: { cookie } });
  const gpus = async (): Promise<readonly Gpu[]> =>
    ((await (await ask("/api/v1/nodes")).json()) as { rows: { gpus: Gpu[] }[] }).rows[0]?.gpus ?? [];
  const eventually = async (isSo: (gpu: Gpu) => boolean): Promise<Gpu | undefined> => {
    for (const endMs = Date.now() + 30_000; ; await delay(250)) {
      const gpu = (await gpus())[0];
      if ((gpu && isSo(gpu)) || Date.now() > endMs) return gpu;
    }
  };

  const idle = await eventually(({ name }) => name !== null);
  check("name, memory, temperature and power are known", idle?.name != null && idle.powerWatts !== null, idle);
  check("nobody holds it", idle?.holders.length === 0 && idle.leasedShare === 0, idle?.holders);

  const trainer = remote(Trainer, { numGpus: 1, maxConcurrency: 2 }).remote();
  check(
    "the actor is shown its device",
    (await get(trainer.devices.remote())) !== "",
    await get(trainer.devices.remote()),
  );
  const pid = await get(trainer.train.remote(BURN));
  const busy = await eventually(
    ({ utilisationPercent, memoryUsedBytes, holders, processes }) =>
      (utilisationPercent ?? 0) > 50 &&
      (memoryUsedBytes ?? 0) > 2 * GIB &&
      holders.length > 0 &&
      processes.some((one) => one.pid === pid),
  );
  check("it is busy", (busy?.utilisationPercent ?? 0) > 50, busy);
  check("its memory is used", (busy?.memoryUsedBytes ?? 0) > 2 * GIB, busy?.memoryUsedBytes);
  const holder = busy?.holders[0];
  check("the actor holds it", holder?.name === "Trainer" && holder.actorId !== null && busy?.leasedShare === 1, holder);
  const own = busy?.processes.find((one) => one.pid === pid);
  check(
    "its program in Python is on it, and is said to be its",
    own !== undefined && (own.memoryBytes ?? 0) > 2 * GIB && own.workerId === holder?.workerId,
    { pid, processes: busy?.processes },
  );
  sayPids(pid);

  // A stranger: neither worker nor driver has started it, as far as its ancestors tell.
  const stranger = spawn("setsid", ["-f", "python3", "-c", BURN], { stdio: "ignore" });
  stranger.unref();
  const two = await eventually(({ processes }) => processes.some(({ workerId }) => workerId === null));
  check(
    "a program that is not of Mobula is on it too",
    two?.processes.some(({ workerId }) => workerId === null) === true,
    two?.processes,
  );

  const metrics = await (await ask("/metrics")).text();
  console.log(
    metrics
      .split("\n")
      .filter((line) => line.includes("gpu"))
      .join("\n"),
  );
  timeLibrary();
  await cost();

  kill(trainer);
  const after = await eventually(({ holders }) => holders.length === 0);
  check("nobody holds it any more", after?.holders.length === 0 && after.leasedShare === 0, after?.holders);
  for (const { pid: left, name } of after?.processes ?? []) if (name === "python3") process.kill(left, "SIGKILL");
  await shutdown();
}

/** Of the process that asks: its memory, and processor time within ten seconds. */
async function cost(): Promise<void> {
  const asker = process.env.MOBULA_GPU_SAMPLING === "nvidia-smi" ? "--query-gpu" : "gpu-sampler";
  const sampler = readdirSync("/proc").find((pid) => /^\d+$/.test(pid) && commandLine(pid).includes(asker));
  check(`${asker} is asked by a process of its own`, sampler !== undefined, sampler);
  if (sampler === undefined) return;
  const ticks = (): number => {
    const fields = readFileSync(`/proc/${sampler}/stat`, "utf8").split(" ");
    return Number(fields[13]) + Number(fields[14]);
  };
  const before = ticks();
  await delay(10_000);
  const memory = /^VmRSS:\s+(.*)$/m.exec(readFileSync(`/proc/${sampler}/status`, "utf8"))?.[1];
  console.log(`${asker}: ${memory} resident, ${(ticks() - before) * 10} ms of processor time in 10 s`);
}

/** How long one look at a GPU takes, beside what computes on it. */
function timeLibrary(): void {
  const begunMs = performance.now();
  const nvml = new Nvml(loadNvml());
  const openedMs = performance.now() - begunMs;
  const times = Array.from({ length: 100 }, () => {
    const atMs = performance.now();
    nvml.readAll(["0"]);
    return performance.now() - atMs;
  }).toSorted((a, b) => a - b);
  nvml[Symbol.dispose]();
  const at = (part: number): string => (times[Math.floor(part * (times.length - 1))] ?? 0).toFixed(2);
  console.log(
    `NVML: opened in ${openedMs.toFixed(0)} ms; a reading takes ${at(0.5)} ms (p50), ${at(1)} ms at most, of 100`,
  );
}

function commandLine(pid: string): string {
  try {
    return readFileSync(join("/proc", pid, "cmdline"), "utf8");
  } catch {
    return ""; // It has ended.
  }
}

/** In a container the driver may count processes otherwise. */
function sayPids(pid: number): void {
  if (commandLine(String(pid)) === "") return;
  console.log(
    readFileSync(`/proc/${pid}/status`, "utf8")
      .split("\n")
      .filter((line) => /^NSpid|^Pid/.test(line))
      .join(", "),
  );
  console.log(execFileSync("readlink", ["/proc/self/ns/pid"], { encoding: "utf8" }).trim());
  const query = ["--query-compute-apps=gpu_uuid,pid,used_gpu_memory", "--format=csv,noheader,nounits"];
  console.log(`nvidia-smi: ${JSON.stringify(execFileSync("nvidia-smi", query, { encoding: "utf8" }))}`);
}

await main();
console.log(failures.length === 0 ? "all is right" : `wrong: ${failures.join("; ")}`);
process.exit(failures.length === 0 ? 0 : 1);
