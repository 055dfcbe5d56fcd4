/** `npm run sim`: runs the simulation. */
import { spawnSync } from "node:child_process";
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { plant } from "./plant.ts";
import { PLANTED, type Planted } from "./planted.ts";

const USAGE = `Usage: npm run sim -- [options]

  --seeds N          so many runs, from a seed drawn at random on; a seed repeats a run exactly (default: 1)
  --seed N           from this one on
  --nodes N          with so many nodes at first, 4 by default; 0: one that is in no cluster
  --heads N          of so many heads; 1, and 3 that share replicated state in each fourth run, by default
  --steps N          things that programs do in each run
  --about WORDS      of a run that fails, prints the events in which one of these occurs, parted by commas
  --lines N          prints so many of them
  --planted [WORD]   shows for each planted bug (whose name contains the word) how many seeds it takes to find it
  --plant NAME       puts that bug in, for this run
  --broadcast N      brings an object of 512 MiB to N nodes that ask for it at once, over links of several kinds
  --replay PATH      replays what an engine was told in a real run (MOBULA_RECORD=folder), or all in that folder, and compares what
                     they do
  --verbose          prints what each run was like
`;

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    seeds: { type: "string" },
    heads: { type: "string" },
    about: { type: "string" },
    lines: { type: "string" },
    steps: { type: "string" },
    nodes: { type: "string" },
    planted: { type: "boolean" },
    plant: { type: "string" },
    replay: { type: "string", multiple: true },
    broadcast: { type: "string" },
    verbose: { type: "boolean" },
    help: { type: "boolean", short: "h" },
  },
  allowPositionals: true,
});
const number = (name: string, text: string | undefined, otherwise: number): number => {
  const value = text === undefined ? otherwise : Number(text);
  if (!Number.isSafeInteger(value) || value < 0)
    throw new RangeError(`--${name} must be a whole number, not "${text}"`);
  return value;
};

/** Failing runs whose traces are printed. */
const TRACES_MAX = 3;

async function runSeeds(planted: Planted | undefined): Promise<boolean> {
  if (planted) plant(planted);
  const { SimulationFailure, simulate } = await import("./simulation.ts");
  const seeds = number("seeds", values.seeds, planted ? 1_000 : 1);
  const first = number("seed", values.seed, Math.floor(Math.random() * 2 ** 31));
  const nodes = number("nodes", values.nodes, planted?.nodes ?? 4);
  const steps = number("steps", values.steps, nodes === 0 ? 500 : 250);
  const heads = number("heads", values.heads, planted?.heads ?? 0);
  const where = nodes === 0 ? "one node" : `${nodes} nodes`;
  console.log(`seeds ${first} to ${first + seeds - 1}, ${where}, ${steps} steps each`);
  const shown = {
    ...(values.about !== undefined && { about: values.about.split(",") }),
    ...(values.lines !== undefined && { lines: number("lines", values.lines, 0) }),
  };
  let failures = 0;
  for (let seed = first; seed < first + seeds; seed++) {
    try {
      const result = await simulate({
        seed,
        steps,
        ...(nodes > 0 && { nodes }),
        ...(heads > 0 && { heads }),
        ...shown,
      });
      if (values.verbose || seeds === 1) console.log(JSON.stringify(result));
    } catch (error) {
      if (!(error instanceof SimulationFailure)) throw error;
      failures++;
      console.log(`✗ ${error.message}`);
      if (failures <= TRACES_MAX) console.log(error.trace);
      if (planted) return false;
    }
  }
  console.log(`${seeds - failures} runs passed, ${failures} failed`);
  return failures === 0;
}

/** Each in a process of its own, since a module is loaded once. */
function showPlanted(): boolean {
  const first = number("seed", values.seed, 1);
  let missed = 0;
  for (const { name } of PLANTED.filter((one) => one.name.includes(words()))) {
    const options = ["--plant", name, "--seed", String(first), "--seeds", values.seeds ?? "1000"];
    const { stdout, stderr } = spawnSync(process.execPath, [...process.execArgv, import.meta.filename, ...options], {
      encoding: "utf8",
      maxBuffer: 1 << 28,
    });
    const found = /^✗ seed (\d+), .* ms: ([^\n]{0,150})/m.exec(stdout);
    if (!found) missed++;
    const seeds = Number(found?.[1]) - first + 1;
    console.log(
      found
        ? `✓ ${name}\n    after ${seeds} seeds: ${found[2]}`
        : `✗ ${name} was not found${stderr.trim().split("\n").at(-1)}`,
    );
  }
  return missed === 0;
}

const words = (): string =>
  process.argv.slice(process.argv.indexOf("--planted") + 1).find((word) => !/^-|^\d/.test(word)) ?? "";

const planted = values.plant === undefined ? undefined : PLANTED.find(({ name }) => name === values.plant);
if (values.plant !== undefined && !planted) throw new RangeError(`no planted bug is called "${values.plant}"`);

/** False when one does something else. */
async function replayAll(paths: readonly string[]): Promise<boolean> {
  const { ReplayDiffers, replay } = await import("./replay.ts");
  const files = paths.flatMap((path) =>
    statSync(path).isDirectory() ? readdirSync(path).map((name) => join(path, name)) : [path],
  );
  const totals = new Map<string, { recordings: number; calls: number; answers: number }>();
  let different = 0;
  for (const file of files) {
    try {
      const { engine, calls, answers } = await replay(file);
      const total = totals.get(engine) ?? { recordings: 0, calls: 0, answers: 0 };
      totals.set(engine, {
        recordings: total.recordings + 1,
        calls: total.calls + calls,
        answers: total.answers + answers,
      });
    } catch (error) {
      if (!(error instanceof ReplayDiffers)) throw error;
      different++;
      console.error(`✗ ${error.message}`);
    }
  }
  for (const [engine, { recordings, calls, answers }] of totals)
    console.log(`${engine}: ${recordings} recordings, told ${calls} times, did the same ${answers} times`);
  console.log(`${different} recordings differ`);
  return different === 0;
}

async function showBroadcast(nodes: number): Promise<void> {
  const { broadcast, LINKS } = await import("./broadcast.ts");
  const bytes = 512 * 2 ** 20;
  for (const link of LINKS) {
    const [one = 0] = await broadcast({ ...link, bytes, nodes: 1 });
    const all = Math.max(...(await broadcast({ ...link, bytes, nodes })));
    const times = `${one.toFixed()} ms to one, ${all.toFixed()} ms to ${nodes}: ${(all / one).toFixed(2)}`;
    console.log(`${(link.bytesPerSecond * 8) / 1e9} Gbit/s, ${link.latencyMs} ms one way: ${times}`);
  }
}

if (values.help) process.stdout.write(USAGE);
else if (values.replay) process.exitCode = (await replayAll(values.replay)) ? 0 : 1;
else if (values.broadcast) await showBroadcast(number("broadcast", values.broadcast, 1));
else process.exitCode = (values.planted ? showPlanted() : await runSeeds(planted)) ? 0 : 1;
