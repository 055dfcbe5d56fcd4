/** What leases say of CPUs and memory is kept by the kernel, where that has handed over a cgroup: a real one, in User Mode Linux. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { build } from "esbuild";
import { beforeAll, describe, expect, test } from "vitest";
import { RUNTIME_BYTES } from "../../src/node/worker-limits.ts";
import { hasKernel, runInGuest } from "../user-mode-linux.ts";

const MIB = 2 ** 20;
const core = join(import.meta.dirname, "../..");
const program = join(import.meta.dirname, "fixtures/program.ts");
/** Made from its source: types are stripped slowly there. */
const job = join(core, "node_modules/.cache/limits-job.mjs");

/** As systemd hands a cgroup over: the node starts in it, and nobody else is there. */
const COMMANDS = `
cli=packages/core/dist/cli.cjs
group=/sys/fs/cgroup/mobula
say() { echo "@[\\"$1\\",\\"$2\\"]"; }
groups() { find $group -mindepth 1 -type d | wc -l; }
mkdir $group
echo "+memory +cpu" >/sys/fs/cgroup/cgroup.subtree_control
echo $$ >/sys/fs/cgroup/cgroup.procs
sh -c 'echo $$ >'$group'/cgroup.procs; exec node '$cli' start --cgroup on --cpus 1 --object-store 384MiB --memory 512MiB' | grep limits: | sed 's/.*/@["started","&"]/'
node ${program}
node ${job}
say status "$(node $cli status | grep limits:)"
node $cli stop
say left $(groups)
say enabled "$(cat $group/cgroup.subtree_control)"
`;

describe.skipIf(!hasKernel)("limits by cgroup (needs User Mode Linux, see scripts/user-mode-linux.sh)", () => {
  const seen = new Map<string, unknown>();
  let output = "";

  beforeAll(async () => {
    await promisify(execFile)(process.execPath, [join(core, "scripts/build.ts"), "--no-types"]);
    const source = join(import.meta.dirname, "fixtures/job.ts");
    await build({ entryPoints: [source], outfile: job, bundle: true, platform: "node", format: "esm" });
    output = await runInGuest(COMMANDS, { memory: "1536M" });
    for (const line of output.split("\n")) {
      if (!line.startsWith("@")) continue;
      const [name, value] = JSON.parse(line.slice(1)) as [string, unknown];
      seen.set(name, value);
    }
  }, 180_000);

  test("the node says that they are enforced, and where", () => {
    expect(seen.get("started"), output).toBe("limits: memory and cpu, by cgroup, in /sys/fs/cgroup/mobula");
    expect(seen.get("status")).toBe(seen.get("started"));
  });

  test("a task that uses more memory than it has asked for is ended, with an error that names its limit; one beside it goes on", () => {
    expect(seen.get("greedy"), output).toEqual({
      code: "OUT_OF_MEMORY",
      message: expect.stringMatching(
        /^greedy was ended on worker .* more than the 64 MiB of memory that it had asked for/,
      ),
    });
    expect(seen.get("beside")).toMatch(/^\/mobula\/mobula-workers-\d+-\d+\/worker-[0-9a-f]+$/);
    expect(seen.get("alive")).toEqual(["alive"]);
  });

  test("what a worker puts into the object store does not count for its limit", () => {
    const { limit, used, bytes } = seen.get("puts") as Record<"limit" | "used" | "bytes", number>;
    expect(limit).toBe(MIB + RUNTIME_BYTES);
    expect(bytes).toBeGreaterThanOrEqual(limit);
    expect(used).toBeLessThan(limit);
  });

  test("who asks for three times as many CPUs gets three times as much while there are too few", () => {
    const [three = 0, one = 0] = seen.get("shares") as number[];
    expect(three / one).toBeGreaterThan(2);
    expect(three / one).toBeLessThan(4.5);
  });

  test("a job uses no more than its quota on a node, whatever its tasks have asked for", () => {
    expect(seen.get("job"), output).toMatch(
      /because job 0badcafe used more on this node than its quota of 64 MiB of memory/,
    );
    const { cpu, wall } = seen.get("half") as { cpu: number; wall: number };
    expect(cpu / wall).toBeLessThan(0.65);
    expect(cpu / wall).toBeGreaterThan(0.2);
    expect(seen.get("gone")).toBe(true);
  });

  test("nothing is left of them when the node has ended", () => {
    expect(seen.get("left"), output).toBe("0");
    expect(seen.get("enabled")).toBe("");
  });
});
