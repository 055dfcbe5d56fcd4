/** What workers have written, through the service and the command line, also when they have ended. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterEach, expect, test } from "vitest";
import { type Context, get, init, isInitialized, kill, remote, runtimeContext, shutdown } from "../../src/api/mod.ts";
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
