/**
 * `ray logs`, `ray status`, `ray memory` and the rest of Ray's command line with the address `host:port`, of what Ray's tools take for the
 * control store of a cluster: the same commands on Mobula and on a real Ray.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { request } from "node:http";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../eventually.ts";
import { askBoth, bin, hasRay, plain, type Ran, run, type Side, START_MS, sides, tools, visit } from "./sides.ts";

const NO_ACTOR = "0".repeat(32);
const NO_TASK = "0".repeat(48);
const JOB = `logged-${process.pid}`;

async function submitJobs(): Promise<void> {
  const job = { entrypoint: "echo one; echo two", submission_id: JOB };
  await Promise.all(
    [sides.mobula, sides.ray].map((side) =>
      eventually(
        async () => {
          const found = await ask(side, `/api/jobs/${JOB}`);
          // Its agent takes jobs some seconds after its dashboard answers.
          if (!found.isGood) await ask(side, "/api/jobs/", job);
          return found.text.includes("SUCCEEDED");
        },
        `the job of ${side.url} is done`,
        START_MS,
      ),
    ),
  );
}

interface Answer {
  readonly isGood: boolean;
  readonly text: string;
}

/** Without what `fetch` says of itself: Ray takes it for a browser, which may submit nothing. */
function ask({ url, env }: Side, path: string, body?: object): Promise<Answer> {
  const headers = { "content-type": "application/json", authorization: `Bearer ${env.RAY_AUTH_TOKEN}` };
  return new Promise((resolve, reject) => {
    const asked = request(`${url}${path}`, { method: body ? "POST" : "GET", headers }, async (answer) =>
      resolve({ isGood: answer.statusCode === 200, text: await text(answer) }),
    );
    asked.on("error", reject);
    asked.end(body && JSON.stringify(body));
  });
}

const codes = (ran: readonly Ran[]) => ran.map(({ code }) => code);
/** What was written, without the heading, and without marks of Ray's own. */
const written = ({ out }: Ran): readonly string[] =>
  out.split("\n").filter((line) => line !== "" && !line.startsWith("---") && !line.startsWith(":"));
const headingOf = ({ out }: Ran): string => out.split("\n")[0] ?? "";
/** Of the error that it ended with. */
const errorOf = ({ err }: Ran): string => /^[\w.]*?(\w+(?:Error|Exception)): /m.exec(err)?.[1] ?? "";

describe.skipIf(!hasRay)("ray logs", { timeout: 120_000 }, () => {
  beforeAll(submitJobs, 2 * START_MS);

  test("lists the files of a node, those that match, and prints the only one that does", async () => {
    const [ours, theirs] = await askBoth(
      (_ids, { pid, workerNode, url }) => [
        ["logs", "cluster"],
        ["logs", "cluster", "--node-id", workerNode],
        ["logs", "cluster", "worker-*", "--node-id", workerNode],
        ["logs", "worker-*", "--node-id", workerNode],
        ["logs", "cluster", "no such file"],
        ["logs", "cluster", `worker-*${pid}.${url === sides.ray.url ? "out" : "log"}`, "--node-id", workerNode],
        ["logs", "cluster", "--node-id", "0".repeat(56)],
        ["logs", "cluster", "--node-ip", "9.9.9.9"],
      ],
      "address",
    );
    expect(codes(ours)).toEqual([0, 0, 0, 0, 0, 0, 1, 1]);
    expect(codes(theirs)).toEqual(codes(ours));
    expect(ours.map(errorOf)).toEqual(theirs.map(errorOf));
    const keys = ({ out }: Ran): readonly string[] => [...out.matchAll(/^(\w+):$/gm)].map(([, key = ""]) => key);
    const [, files, workers, asShort, none, only] = ours as [Ran, Ran, Ran, Ran, Ran, Ran];
    const [, theirFiles, , , noneOfTheirs, theirOnly] = theirs as [Ran, Ran, Ran, Ran, Ran, Ran];
    expect(keys(theirFiles)).toEqual(expect.arrayContaining([...keys(files)]));
    expect(keys(files)).toContain("worker_out");
    expect(keys(workers)).toEqual(["worker_out"]);
    expect(asShort.out).toBe(workers.out);
    expect([headingOf(files), headingOf(none)]).toEqual([
      `Node ID: ${sides.mobula.workerNode}`,
      expect.stringMatching(/^Node IP: /),
    ]);
    expect(none.out.split("\n").slice(1)).toEqual(noneOfTheirs.out.split("\n").slice(1));
    for (const { out } of [only, theirOnly]) expect(out).toMatch(/truncated to last 1000 lines(.|\n)*adds 2/);
  });

  test("of actors, also of one that is dead, of tasks, of processes, and of jobs", async () => {
    const [ours, theirs] = await askBoth(
      ({ actor, killed, task }, { pid }) => [
        ["logs", "actor", "--id", actor],
        ["logs", "actor", "--id", actor, "--err"],
        ["logs", "actor", "--id", killed],
        ["logs", "actor", "--pid", String(pid)],
        ["logs", "worker", "--pid", String(pid)],
        ["logs", "worker", "--pid", String(pid), "--err", "--tail", "1"],
        ["logs", "task", "--id", task],
        ["logs", "task", "--id", task, "--tail", "-1"],
        ["logs", "job", "--id", JOB],
      ],
      "address",
    );
    expect(codes(ours)).toEqual(theirs.map(() => 0));
    expect(codes(theirs)).toEqual(codes(ours));
    const cut = (ran: Ran): string => (headingOf(ran).startsWith("---") ? headingOf(ran) : "");
    expect(ours.map(cut)).toEqual(theirs.map(cut));
    const [ourLines, theirLines] = [ours, theirs].map((side) => side.map(written)) as [string[][], string[][]];
    expect(ourLines.slice(0, 6)).toEqual([["adds 2"], ["warns 2"], ["adds 1"], ["adds 2"], ["adds 2"], ["warns 2"]]);
    expect(ourLines.slice(0, 6)).toEqual(theirLines.slice(0, 6));
    for (const lines of [...ourLines.slice(6, 8), ...theirLines.slice(6, 8)])
      expect(lines).toEqual([expect.stringMatching(/^squared \d$/)]);
    const [ourJob = [], theirJob = []] = [ourLines[8], theirLines[8]];
    expect(ourJob).toEqual(["one", "two"]);
    expect(theirJob).toEqual(expect.arrayContaining(ourJob));
  });

  test("says what is not there", async () => {
    const [ours, theirs] = await askBoth(
      ({ task }, { workerNode }) => [
        ["logs", "actor", "--id", NO_ACTOR],
        ["logs", "task", "--id", NO_TASK],
        ["logs", "task", "--id", task, "--attempt-number", "7"],
        ["logs", "worker", "--pid", "1"],
        ["logs", "worker", "--pid", "1", "--node-id", workerNode],
        ["logs", "job", "--id", "nothing"],
        ["logs", "actor"],
        ["logs", "task"],
        ["logs", "worker"],
        ["logs", "nothing", "--nope"],
      ],
      "address",
    );
    expect(codes(ours)).toEqual([1, 1, 1, 1, 1, 1, 2, 2, 2, 2]);
    expect(codes(theirs)).toEqual(codes(ours));
    expect(ours.map(errorOf)).toEqual(theirs.map(errorOf));
    const why = ours.slice(0, 6).map(({ err }) => err.trim().split("\n").at(-1));
    const { task } = sides.mobula.ids;
    expect(why).toEqual([
      expect.stringContaining(`Actor ID ${NO_ACTOR} not found`),
      expect.stringContaining(`Could not find log file for task: ${NO_TASK}`),
      expect.stringContaining(`Could not find log file for task: ${task} (attempt 7)`),
      expect.stringContaining("Could not find a log file of process 1 on node"),
      expect.stringContaining("Could not find a log file of process 1 on node"),
      expect.stringContaining("nothing"),
    ]);
  });

  test("follows what is written", async () => {
    const { address, env, ids } = sides.mobula;
    const args = ["logs", "actor", "--id", ids.actor, "--follow", "--interval", "0.1", "--address", address];
    const child = spawn(join(bin, "ray"), args, { env, stdio: ["ignore", "pipe", "inherit"] });
    let said = "";
    child.stdout.on("data", (chunk: Buffer) => {
      said += chunk;
    });
    await eventually(() => said.includes("adds 2"), "what was written");
    await visit(3);
    await eventually(() => said.includes("adds 3"), "what comes");
    child.kill("SIGKILL");
    await once(child, "close");
  });
});

describe.skipIf(!hasRay)("host:port, as Ray's other tools take it", { timeout: 120_000 }, () => {
  test("ray status", async () => {
    const ask = () => askBoth(() => [["status"], ["status", "-v"]], "address");
    let [ours, theirs] = await ask();
    // Ray's nodes tell what waits every now and then.
    const isTold = async (): Promise<boolean> => {
      if (theirs.every(({ out }) => out.includes("pending placement groups"))) return true;
      [ours, theirs] = await ask();
      return false;
    };
    await eventually(isTold, "Ray shows what waits", 60_000);
    expect([codes(ours), codes(theirs)]).toEqual([
      [0, 0],
      [0, 0],
    ]);
    // Ray counts what an actor and a group wait for in the same words.
    const shape = ({ out }: Ran): readonly string[] =>
      out
        .split("\n")
        .filter((line) => !/^GCS request|^Node Provider|^Autoscaler iteration|memory$/.test(line))
        .map((line) =>
          line
            .replace(/={8}.*={8}|-{8,}/, "=")
            .replace(/ \(.*reserved in placement groups\)/, "")
            .replace(/[0-9a-f]{32,}/g, "ID")
            .replace(/(\d+)\.\d+/g, "$1"),
        );
    const lines = (ran: Ran | undefined): ReadonlySet<string> => new Set(ran && shape(ran));
    expect(lines(ours[0])).toEqual(lines(theirs[0]));
    expect([...lines(theirs[1])]).toEqual(expect.arrayContaining([...lines(ours[1])]));
    expect(ours[0]?.out).toMatch(/Pending Demands:\n {'CPU': 1}: 2\+ pending tasks\/actors\n.*\(PACK\): 1\+ pending/);
  });

  test("ray memory", async () => {
    const [ours, theirs] = await askBoth(
      () => [
        ["memory"],
        ["memory", "--group-by", "STACK_TRACE", "--sort-by", "PID", "--units", "KB"],
        ["memory", "--stats-only"],
      ],
      "address",
    );
    expect([codes(ours), codes(theirs)]).toEqual([
      [0, 0, 0],
      [0, 0, 0],
    ]);
    const headings = ({ out }: Ran): readonly string[] => [
      ...new Set(
        out
          .split("\n")
          .filter((line) => /^(Grouping|--- |Mem Used|IP Address|=)/.test(line))
          .map((line) => line.replace(/: .*/, "").replaceAll("=", "")),
      ),
    ];
    expect(ours.map(headings)).toEqual(theirs.map(headings));
    for (const { out } of [ours[0], theirs[0]] as Ran[]) {
      expect(out).toMatch(/\| Driver {2}\| .* FINISHED .* 300\d{3}(\.0)? B +\| LOCAL_REFERENCE \| [0-9a-f]{56}/);
    }
    expect(ours[2]?.out).toMatch(/Plasma memory usage \d+ MiB, [1-9]\d* objects, [\d.]+% full/);
  });

  test("everything that also takes the address of the dashboard", async () => {
    const commands = ({ node, actor }: (typeof sides)["ray"]["ids"]) => [
      ["list", "actors", "--filter", "state=ALIVE"],
      ["get", "nodes", node],
      ["get", "actors", actor],
      ["summary", "actors"],
      ["summary", "tasks"],
      ["job", "status", JOB],
      ["job", "logs", JOB],
      ["health-check"],
    ];
    const [ours, theirs] = await askBoth(commands, "address");
    expect(codes(ours)).toEqual(ours.map(() => 0));
    expect(codes(theirs)).toEqual(codes(ours));
    const [{ commands: asBefore }] = await Promise.all([tools(sides.mobula, commands(sides.mobula.ids).slice(1, 3))]);
    expect(ours.slice(1, 3).map(({ out }) => out)).toEqual(asBefore.map(({ out }) => out));
  });

  test("in RAY_ADDRESS, and without a token, or with another", async () => {
    const { address, env } = sides.mobula;
    const list = (more: NodeJS.ProcessEnv) => run("ray", ["logs", "cluster"], { ...more, RAY_ADDRESS: address });
    const [good, without, wrong] = await Promise.all([
      list(env),
      list(plain),
      list({ ...env, RAY_AUTH_TOKEN: "wrong" }),
    ]);
    expect(good, good.err).toMatchObject({ code: 0, out: expect.stringMatching(/^Node IP: /) });
    for (const { code, err } of [without, wrong]) {
      expect(code).toBe(1);
      expect(err).toMatch(/AuthenticationError: RPC error: (a token is needed|the token is not one)/);
    }
  });

  test("what wants to join as a program of Ray ends with an error", async () => {
    const { address, env } = sides.mobula;
    const { code, err } = await run("ray", ["drain-node", "--address", address, ...DRAIN], env);
    expect(code).toBe(1);
    expect(err).toContain("this tool of Ray needs a cluster of Ray");
  });
});

const DRAIN = [
  ...["--node-id", "0".repeat(54).concat("01"), "--reason", "DRAIN_NODE_REASON_PREEMPTION"],
  ...["--reason-message", "none"],
];
