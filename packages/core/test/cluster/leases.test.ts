/** Tasks on several nodes: owners lease workers of other nodes through their own, and push to them by TCP. */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Program } from "../failures/programs.ts";

const cli = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
const folders = [0, 1, 2].map(() => mkdtempSync("/tmp/ml-"));
const environment = (at: number, env: object = {}) => ({
  ...process.env,
  TMPDIR: folders[at],
  XDG_STATE_HOME: join(folders[0] ?? "", "state"),
  ...env,
});

async function mobula(at: number, env: object, ...args: string[]): Promise<string> {
  return (await promisify(execFile)(process.execPath, [cli, ...args], { env: environment(at, env) })).stdout;
}

let token = "";
let address = "";
const start = (at: number, name: string) =>
  mobula(at, { MOBULA_TOKEN: token }, "start", "--address", address, "--name", name, "--cpus", "1");

beforeAll(async () => {
  const begun = await mobula(0, {}, "start", "--head", "--port", "0", "--name", "one", "--cpus", "1");
  [, token = "", address = ""] = /MOBULA_TOKEN=(\w+) mobula start --address (\S+)/.exec(begun) ?? [];
  await start(1, "two");
});
afterAll(async () => {
  for (const at of [2, 1, 0]) await mobula(at, {}, "stop", "--now");
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

function spread(scenario: string, ...args: string[]): Program {
  return new Program("../../cluster/fixtures/spread.ts", scenario, { folder: folders[0] ?? "", args });
}

test("tasks that wait are run by all nodes", async () => {
  const ran = await spread("counts", "40", "50").line<Record<string, number>>("ran");
  expect((ran.one ?? 0) + (ran.two ?? 0)).toBe(40);
  expect(ran.two).toBeGreaterThan(5);
});

test("a worker elsewhere submits tasks too, and gives back what it holds", async () => {
  const ran = await spread("nested", "8").line<number>("sum");
  expect(ran).toBe(8 * 3);
});

test("a cancel reaches a loop on another node, and its worker lives on", async () => {
  expect(await spread("cancels").line<string[]>("ends")).toEqual(["TASK_CANCELLED", "two"]);
});

test("what a task prints on another node reaches its driver", async () => {
  const program = spread("prints");
  await program.prints(/printed elsewhere/);
  program.kill();
});

test("a result of 1 MiB comes from another node as it was", async () => {
  expect(await spread("large").line<boolean>("equal")).toBe(true);
});

test("tasks of a node that is killed are run again elsewhere", async () => {
  await start(2, "three");
  const program = spread("survives", "three", "60", "200");
  await program.line("under way");
  const { pid } = JSON.parse(
    readFileSync(join(folders[2] ?? "", `mobula-${process.getuid?.()}`, "standing.json"), "utf8"),
  );
  process.kill(pid, "SIGKILL");
  expect(await program.line<number>("right")).toBe(60);
});
