/** The commands that ask the state service, as a person types them, while a program with a node of its own runs. */
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type ActorHandle, type Context, get, init, progressBar, put, remote, shutdown } from "../../src/api/mod.ts";
import { eventually } from "../eventually.ts";

const cli = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
let context: Context;
let address: string[] = [];
let folder = "";
let kept: unknown;

class Counter {
  n = 0;
  add(): number {
    return ++this.n;
  }
}
let counter: ActorHandle<Counter>;

interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function mobula(...args: string[]): Promise<Ran> {
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, [cli, ...args])) };
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string };
    return { code, stdout, stderr };
  }
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "mobula-cli-"));
  context = await init({ resources: { cpu: 2 }, logToDriver: false });
  address = ["--address", new URL(context.dashboardUrl ?? "").origin];
  counter = remote(Counter, { name: "visits" }).remote();
  await get(counter.add.remote());
  const square = remote((n: number) => n * n, { name: "square" });
  await get([1, 2, 3].map((n) => square.remote(n)));
  const failing = remote(
    () => {
      throw new Error("on purpose");
    },
    { name: "failing" },
  );
  await get(failing.remote()).catch(() => {}); // It is there to fail.
  kept = put(new Uint8Array(2 ** 20));
  await eventually(
    async () => (await mobula("list", "tasks", "--filter", "name=failing", ...address)).stdout.includes("failed"),
    "the attempts",
  );
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  expect(kept).toBeDefined();
  await shutdown();
});

const fits = (text: string): string[] => text.split("\n").filter((line) => line.length > 80);

test.each([
  ["nodes", /^NODE ID +NAME +STATE/],
  ["workers", /WORKER ID +PID +KIND/],
  ["actors", /Counter +visits +alive/],
  ["jobs", /running/],
  ["events", /no events|WHEN/],
  ["logs", /FILE|no logs/],
  ["placement-groups", /no placement-groups/],
])("mobula list %s fits 80 columns", async (kind, expected) => {
  const { code, stdout } = await mobula("list", kind, ...address);
  expect(code).toBe(0);
  expect(stdout).toMatch(expected);
  if (kind !== "logs") expect(fits(stdout)).toEqual([]);
});

test("filters, limits and formats of lists", async () => {
  const failed = JSON.parse(
    (await mobula("list", "tasks", "--filter", "state=failed", "--format", "json", ...address)).stdout,
  );
  expect(failed.rows).toMatchObject([
    { name: "failing", state: "failed", error: expect.stringContaining("on purpose") },
  ]);
  const some = await mobula("list", "task", "--limit", "1", ...address);
  expect(some.stdout).toMatch(/1 of \d+; --limit shows more/);
  const sorted = JSON.parse((await mobula("list", "tasks", "--sort", "-name", "--format", "json", ...address)).stdout);
  const names = (sorted.rows as { name: string }[]).map(({ name }) => name);
  expect(names).toEqual(names.toSorted().reverse());
  const yaml = await mobula("list", "actors", "--format", "yaml", ...address);
  expect(yaml.stdout).toContain("className: Counter");
});

test("one of them is shown by its id, and what is not there exits with 1 and says so", async () => {
  const { rows } = JSON.parse((await mobula("list", "actors", "--format", "json", ...address)).stdout);
  const shown = await mobula("get", "actors", rows[0].actorId, ...address);
  expect(shown.stdout).toContain("className: Counter");
  expect(await mobula("get", "actors", "nothing", ...address)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining("there is no nothing among the actors"),
  });
});

test("a task is shown with its attempts, and a list with all that is known of its rows", async () => {
  const { stdout } = await mobula("list", "tasks", "--filter", "name=failing", "--detail", ...address);
  expect(stdout).toMatch(/^- taskId: [0-9a-f]{48}\n {2}attempt: 0\n {2}name: failing\n/);
  const [, taskId = ""] = /taskId: ([0-9a-f]{48})/.exec(stdout) ?? [];
  const shown = await mobula("get", "task", taskId, ...address);
  expect(shown.stdout).toMatch(
    /^taskId: .*\nATTEMPT +STATE +NODE +PID +SENT +RAN +WHY IT ENDED\n0 +failed .*on\s+purpose/s,
  );
  const { attempts } = JSON.parse((await mobula("get", "task", taskId, "--format", "json", ...address)).stdout);
  expect(attempts).toMatchObject([{ attempt: 0, state: "failed" }]);
});

test("wrong uses name the right one", async () => {
  const wrong = async (...args: string[]) => {
    const { code, stderr } = await mobula(...args, ...address);
    return `${code} ${stderr}`;
  };
  expect(await wrong("list", "colours")).toMatch(/^1 .*there are nodes, workers, tasks/);
  expect(await wrong("list", "actors", "--filter", "colour=red")).toMatch(/^1 .*rows have no "colour" to filter by/);
  expect(await wrong("list", "nodes", "--sort", "-resources")).toMatch(
    /^1 .*nodes cannot be sorted by "resources"; they can by nodeId, name, state/,
  );
  expect(await wrong("list", "actors", "--limit", "0")).toMatch(/^1 .*from 1 to 10000/s);
  expect(await wrong("summary", "colours")).toMatch(/^1 .*there are tasks, actors, objects/);
  expect((await mobula("completion", "tcsh")).stderr).toMatch(/bash, zsh, fish/);
});

test("summaries count by function, class and call site", async () => {
  const tasks = await mobula("summary", "tasks", ...address);
  expect(tasks.stdout).toMatch(/square .*3 finished/);
  expect(tasks.stdout).toMatch(/failing .*1 failed/);
  expect((await mobula("summary", "actors", ...address)).stdout).toMatch(/Counter +1 alive/);
  const objects = await mobula("summary", "objects", ...address);
  expect(objects.stdout).toMatch(/1\.0 MiB +1 +.*cli\.test\.ts:\d+/);
  expect((await mobula("memory", ...address)).stdout).toMatch(/OBJECT STORE.*\n.* of .*\n\n.*CALL SITE/);
});

test("top shows it all once where there is no terminal", async () => {
  using bar = progressBar(10, "baking");
  bar.add(4);
  const { code, stdout } = await eventually(async () => {
    const ran = await mobula("top", "--once", ...address);
    return ran.stdout.includes("baking") ? ran : undefined;
  }, "top does not show the bar");
  expect(stdout).toMatch(/^\[#{8}\.{12}\] 4 of 10.*: baking$/m);
  expect(code).toBe(0);
  expect(stdout).toMatch(/mobula top, .*: 1 nodes alive/);
  expect(stdout).toMatch(/actors {2}1 alive/);
  expect(stdout).toMatch(/PID +STATE/);
  expect(fits(stdout)).toEqual([]);
});

test("the timeline is a file that Chrome reads", async () => {
  const file = join(folder, "trace.json");
  expect((await mobula("timeline", "-o", file, ...address)).stdout).toContain("ui.perfetto.dev");
  const { traceEvents } = JSON.parse(readFileSync(file, "utf8")) as {
    traceEvents: { ph: string; name: string; cat?: string }[];
  };
  expect(traceEvents.filter(({ ph, name, cat }) => ph === "X" && name === "square" && cat === "task").length).toBe(3);
});

test("the doctor finds this machine fit, and says what it looked at", async () => {
  const { stdout } = await mobula("doctor", "--json");
  const findings = JSON.parse(stdout) as { what: string; is: string }[];
  expect(findings.map(({ what }) => what)).toEqual(
    expect.arrayContaining(["Node.js", "memory", "shared memory", "open files", "temporary folder", "running here"]),
  );
  expect(findings.filter(({ is }) => is === "bad")).toEqual([]);
});

test("a debug bundle has what is there and no token", async () => {
  const file = join(folder, "bundle.tar.gz");
  const { code, stderr } = await mobula("debug-bundle", "-o", file, ...address);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  execFileSync("tar", ["-xzf", file, "-C", folder]);
  const inside = join(folder, "bundle");
  expect(readdirSync(inside)).toEqual(
    expect.arrayContaining(["doctor.json", "overview.json", "actors.json", "tasks-failed.json", "metrics.txt", "logs"]),
  );
  const { stdout: token } = await mobula("token", ...address);
  expect(() => execFileSync("grep", ["-r", token.trim(), inside])).toThrow();
});

test("bash completes commands, kinds and options", async () => {
  const { stdout: script } = await mobula("completion", "bash");
  const complete = (...words: string[]): string =>
    execFileSync(
      "bash",
      [
        "-c",
        `${script}\nCOMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}) COMP_CWORD=${words.length - 1}; _mobula; echo "\${COMPREPLY[@]}"`,
      ],
      { encoding: "utf8" },
    );
  expect(complete("mobula", "tim")).toBe("timeline\n");
  expect(complete("mobula", "list", "pl")).toBe("placement-groups\n");
  expect(complete("mobula", "list", "nodes", "--fi")).toBe("--filter\n");
  expect(complete("mobula", "job", "st")).toMatch(/status/);
});
