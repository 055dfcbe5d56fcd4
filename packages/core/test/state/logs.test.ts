/** What workers have written, through the service and the command line, also when they have ended. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, expect, test } from "vitest";
import { type Context, get, init, isInitialized, kill, remote, runtimeContext, shutdown } from "../../src/api/mod.ts";
import { baseFolder } from "../../src/node/mod.ts";
import { eventually } from "../eventually.ts";

const cli = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
const running: ChildProcess[] = [];
afterEach(async () => {
  for (const child of running.splice(0)) child.kill("SIGKILL");
  if (isInitialized()) await shutdown();
});

class Talker {
  say(text: string): string {
    console.log(text);
    return runtimeContext().actorId ?? "";
  }
}

const at = ({ dashboardUrl = "" }: Context): string => new URL(dashboardUrl).origin;
const mobula = async (...args: string[]): Promise<string> =>
  (await promisify(execFile)(process.execPath, [cli, ...args])).stdout;

test("the log of an actor that was killed is found by its id and its name", async () => {
  const context = await init({ resources: { cpu: 1 }, logToDriver: false });
  const talker = remote(Talker, { name: "talker" }).remote();
  const actorId = await get(talker.say.remote("before the end"));
  await kill(talker);
  const address = ["--address", at(context)];
  const shown = await eventually(async () => {
    const text = await mobula("logs", actorId, ...address);
    return text.includes("before the end") ? text : undefined;
  }, "its line is in the file");
  expect(shown).toMatch(/^\d\d:\d\d:\d\d\.\d{3} \(Talker\.say pid=\d+\) before the end\n$/);
  expect(await mobula("logs", "talker", "--raw", ...address)).toContain(` ${actorId} `);
  expect(await mobula("logs", "talker", "--search", "nothing of that", ...address)).toBe("");
  await expect(mobula("logs", "nobody", ...address)).rejects.toThrow(/no actor has that name or class/);
});

test("a log is followed: what is written next comes by itself", async () => {
  const context = await init({ resources: { cpu: 1 }, logToDriver: false });
  const talker = remote(Talker).remote();
  await get(talker.say.remote("first"));
  const follower = spawn(process.execPath, [cli, "logs", "Talker", "-f", "--address", at(context)]);
  running.push(follower);
  let text = "";
  follower.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    text += chunk;
  });
  await eventually(
    () => text.includes("first"),
    () => `the first line: ${text}`,
  );
  await get(talker.say.remote("second"));
  await eventually(
    () => text.includes("second"),
    () => `the second line: ${text}`,
  );
});

test("files are listed, and one is read by its name", async () => {
  const context = await init({ resources: { cpu: 1 }, logToDriver: false });
  await get(remote(() => console.log("into the file")).remote());
  const address = ["--address", at(context)];
  const { rows } = JSON.parse(await mobula("list", "logs", "--format", "json", ...address));
  const file = rows.find((row: { file: string }) => /^worker-\d+\.log$/.test(row.file));
  await eventually(async () => (await mobula("logs", file.logId, ...address)).includes("into the file"), "its line");
});

test("lines as objects: of a task by its id, with its actor, its job and where it ran, after its worker has died", async () => {
  const context = await init({ resources: { cpu: 1 }, logToDriver: false });
  const talks = remote(async function talks(): Promise<string> {
    console.error('said "so"');
    return runtimeContext().taskId ?? "";
  });
  const taskId = await get(talks.remote());
  const talker = remote(Talker).remote();
  const actorId = await get(talker.say.remote("as an actor"));
  await kill(talker);
  const address = ["--format", "json", "--address", at(context)];
  const recordsOf = async (id: string) =>
    (await eventually(async () => {
      const text = await mobula("logs", id, ...address);
      return text === "" ? undefined : text;
    }, `a line of ${id}`)) as string;
  const [ofTask] = (await recordsOf(taskId))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(ofTask).toMatchObject({
    ...{ level: "info", node: context.nodeId, source: "worker", job: context.jobId, stream: "stderr", task: taskId },
    ...{ actor: null, name: "talks", message: 'said "so"' },
  });
  expect(Math.abs(ofTask.timeMs - Date.now())).toBeLessThan(60_000);
  expect(JSON.parse(await recordsOf(actorId))).toMatchObject({
    actor: actorId,
    name: "Talker.say",
    message: "as an actor",
  });
});

test("MOBULA_LOG_FORMAT=json: the files are lines of JSON, and are read as before", async () => {
  process.env.MOBULA_LOG_FORMAT = "json";
  process.env.MOBULA_LOG = "debug";
  try {
    const context = await init({ resources: { cpu: 1 }, logToDriver: false });
    const talker = remote(Talker, { name: "json-talker" }).remote();
    const actorId = await get(talker.say.remote('with "quotes"'));
    await kill(talker);
    const address = ["--address", at(context)];
    const shown = await eventually(async () => {
      const text = await mobula("logs", actorId, "--search", 'with "q', ...address);
      return text === "" ? undefined : text;
    }, "its line is in the file");
    expect(shown).toMatch(/^\d\d:\d\d:\d\d\.\d{3} \(Talker\.say pid=\d+\) with "quotes"\n$/);
    const { rows } = JSON.parse(await mobula("list", "logs", "--format", "json", ...address));
    const fileOf = (pattern: RegExp) => rows.find((row: { file: string }) => pattern.test(row.file));
    const own = JSON.parse(
      (await mobula("logs", fileOf(/^node\.log$/).logId, "-n", "1", "--format", "json", ...address)).trim(),
    );
    expect(own).toMatchObject({
      node: context.nodeId,
      source: "node",
      level: expect.stringMatching(/debug|info|warn/),
    });
    const [, pid = ""] = /pid=(\d+)/.exec(shown as string) ?? [];
    const files = readdirSync(baseFolder()).map((run) => join(baseFolder(), run, "logs", `worker-${pid}.log`));
    const lines = files.filter(existsSync).flatMap((file) => readFileSync(file, "utf8").trim().split("\n"));
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { node: context.nodeId, pid: Number(pid), worker: expect.stringMatching(/^[0-9a-f]{16}$/), actor: actorId },
    ]);
  } finally {
    delete process.env.MOBULA_LOG_FORMAT;
    delete process.env.MOBULA_LOG;
  }
});
