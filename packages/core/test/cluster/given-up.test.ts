/** A standing node that stood still until its cluster gave it up: it ends what ran there, and comes back as another node. */
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import { processStart, type StandingNode } from "../../src/node/mod.ts";
import type { NodeInfo } from "../../src/wire/mod.ts";
import { eventually } from "../eventually.ts";
import { Program } from "../failures/programs.ts";

const cli = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
const folders = [0, 1].map(() => mkdtempSync("/tmp/mg-"));

async function mobula(at: number, env: object, ...args: string[]): Promise<string> {
  const whole = { ...process.env, TMPDIR: folders[at], XDG_STATE_HOME: join(folders[0] ?? "", "state"), ...env };
  return (await promisify(execFile)(process.execPath, [cli, ...args], { env: whole })).stdout;
}

async function nodesOf(at: number): Promise<readonly NodeInfo[]> {
  return JSON.parse(await mobula(at, {}, "status", "--json")).nodes;
}

/** Nobody tells the command line: it asks again and again. */
async function untilNodes(at: number, isSo: (nodes: readonly NodeInfo[]) => boolean): Promise<readonly NodeInfo[]> {
  let nodes: readonly NodeInfo[] = [];
  const areThey = async () => {
    nodes = await nodesOf(at);
    return isSo(nodes);
  };
  await eventually(areThey, () => `the nodes are as they should be, and not ${JSON.stringify(nodes)}`);
  return nodes;
}

const base = join(folders[1] ?? "", `mobula-${process.getuid?.()}`);
const standing = (): StandingNode => JSON.parse(readFileSync(join(base, "standing.json"), "utf8"));
/** What has gone since it was listed is nothing. */
function seen(read: () => string): string[] {
  try {
    return [read()];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
}
const openFiles = (pid: number): string[] =>
  readdirSync(`/proc/${pid}/fd`).flatMap((fd) => seen(() => readlinkSync(`/proc/${pid}/fd/${fd}`)));
const statesOfChildren = (pid: number): string[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8")
    .trim()
    .split(" ")
    .flatMap((child) =>
      seen(() =>
        readFileSync(`/proc/${child}/stat`, "utf8")
          .replace(/^.*\) /, "")
          .charAt(0),
      ),
    );

const small = ["--cpus", "1", "--object-store", "16MiB"];

beforeAll(async () => {
  const begun = await mobula(0, {}, "start", "--head", "--port", "0", "--name", "one", ...small);
  const [, token, address = ""] = /MOBULA_TOKEN=(\w+) mobula start --address (\S+)/.exec(begun) ?? [];
  const more = ["--name", "two", "--label", "rack=b7", ...small];
  await mobula(1, { MOBULA_TOKEN: token }, "start", "--address", address, ...more);
});
afterAll(async () => {
  for (const at of [1, 0]) await mobula(at, {}, "stop", "--now");
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

test("it comes back in its process under another id, with its name, labels and socket, and runs tasks", async () => {
  const program = new Program("../../cluster/fixtures/given-up.ts", "", { folder: folders[1] ?? "" });
  const oldId = await program.line("joined");
  const [, worker] = await program.line<[string, number]>("ran");
  const before = standing();
  const filesBefore = openFiles(before.pid);
  process.kill(before.pid, "SIGSTOP");
  await untilNodes(0, (nodes) => nodes.some(({ name, state }) => name === "two" && state === "dead"));
  process.kill(before.pid, "SIGCONT");
  const [code, message] = await program.line<[string, string]>("lost");
  expect(code).toBe("CONNECTION_LOST");
  expect(message).toMatch(/its cluster has given it up: .*init\(\) to start again/);
  expect(processStart(worker)).toBeUndefined();

  const nodes = await untilNodes(0, (all) => all.some(({ name, state }) => name === "two" && state === "alive"));
  const states = nodes.filter(({ name }) => name === "two").map(({ nodeId, state, labels }) => [nodeId, state, labels]);
  const [newId] = await program.line<[string, number]>("again");
  expect(newId).not.toBe(oldId);
  expect(states).toEqual(
    expect.arrayContaining([
      [oldId, "dead", { rack: "b7" }],
      [newId, "alive", { rack: "b7" }],
    ]),
  );
  expect(states).toHaveLength(2);

  expect(processStart(before.pid)).toBe(before.started);
  expect(readdirSync(base).filter((name) => name.startsWith("session-"))).toEqual([
    before.sessionDir.split("/").at(-1),
  ]);
  // One that has just ended is a zombie until the node looks: none stays.
  await eventually(() => !statesOfChildren(before.pid).includes("Z"), "no zombie is left");
  expect(openFiles(before.pid).length).toBeLessThanOrEqual(filesBefore.length + 2);
  expect((await program.exitWithin(5_000)).code).toBe(0);
});
