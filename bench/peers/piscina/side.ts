/** Piscina's side of the benchmark: a pool of threads, as many as the others have workers. */
import { createRequire } from "node:module";
import { join } from "node:path";
import { assertExecutions } from "../../harness/evidence.ts";
import { type OpenOptions, type Sizes, serve, type Workload } from "../../harness/protocol.ts";
import { nowSeconds, repeat } from "../../harness/timing.ts";

/** The part of Piscina's interface that is used here. It is installed at run time, so its own types are not there. */
interface Pool {
  run(task: null): Promise<number>;
  destroy(): Promise<void>;
}
type PoolConstructor = new (options: { filename: string; minThreads: number; maxThreads: number }) => Pool;

const installFolder = process.argv[2];
if (installFolder === undefined) throw new Error("usage: side.ts FOLDER_WITH_PISCINA");
// The package's documented exports include the class under this name.
const { Piscina } = createRequire(join(installFolder, "package.json"))("piscina") as { Piscina: PoolConstructor };

let pool: Pool | undefined;

function openPool({ cpus }: OpenOptions): Pool {
  pool = new Piscina({ filename: join(import.meta.dirname, "task.mjs"), minThreads: cpus, maxThreads: cpus });
  return pool;
}

function openedPool(): Pool {
  if (pool === undefined) throw new Error("the pool was not opened");
  return pool;
}

const runMany = (from: Pool, count: number): Promise<number[]> =>
  Promise.all(Array.from({ length: count }, () => from.run(null)));

const repeated =
  (step: (from: Pool, sizes: Sizes) => Promise<number[]>): Workload =>
  async (sizes) => {
    const from = openedPool();
    const stamps: number[][] = [];
    const outcome = await repeat(sizes.seconds, async () => {
      const values = await step(from, sizes);
      stamps.push(values);
      return values.length;
    });
    const all = stamps.flat();
    assertExecutions(all, all.length);
    return outcome;
  };

const workloads: Record<string, Workload> = {
  async start(_sizes, options) {
    const start = nowSeconds();
    const value = await openPool(options).run(null);
    const seconds = nowSeconds() - start;
    assertExecutions([value], 1);
    return { seconds, count: 1, bytes: 0 };
  },
  "tasks-sync": repeated(async (from, { count }) => {
    const values: number[] = [];
    for (let index = 0; index < count; index += 1) values.push(await from.run(null));
    return values;
  }),
  "tasks-async": repeated((from, { count }) => runMany(from, count)),
  async queued({ count }) {
    const from = openedPool();
    await runMany(from, 100);
    const start = nowSeconds();
    const stamps = await runMany(from, count);
    const seconds = nowSeconds() - start;
    assertExecutions(stamps, count);
    return { seconds, count, bytes: 0 };
  },
};

await serve({
  async open(options) {
    openPool(options);
  },
  async close() {
    await pool?.destroy();
  },
  workloads,
});
