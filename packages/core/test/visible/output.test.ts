/** What reaches the person in front of the driver: output of workers, progress, the node's own words, warnings. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { get, init, remote, runtimeContext, shutdown } from "mobula";
import { beforeAll, describe, expect, test } from "vitest";
import { type Ran, runProgram } from "./run-program.ts";

const prefixed = (lines: readonly string[], name: string): string[] =>
  lines
    .filter((line) => new RegExp(`^\\(${name} pid=\\d+\\) `).test(line))
    .map((line) => line.replace(/^\(.*?\) /, ""));

describe("output of workers", () => {
  let loud: Ran;
  let quiet: Ran;
  beforeAll(async () => {
    [loud, quiet] = await Promise.all([runProgram("logs"), runProgram("logs", ["quiet"], { MOBULA_LOG: "debug" })]);
  });

  test("each line has name and pid, and goes to the stream it was written to", () => {
    expect(loud.code, loud.err.join("\n")).toBe(0);
    expect(prefixed(loud.out, "speak")).toEqual(["to standard output", "no line end"]);
    expect(prefixed(loud.err, "speak")).toEqual(["to standard error"]);
    expect(prefixed(loud.out, "Talker.talk")).toEqual(["from an actor"]);
    expect(prefixed(loud.out, "speech")).toEqual(["from an actor"]);
  });

  test("a line that several workers print comes once, and once more with a count", () => {
    expect(prefixed(loud.out, "same")).toEqual([
      "the same from everybody",
      "the same from everybody [1 more time from other workers]",
    ]);
  });

  test("a worker's last words arrive, also in the error", () => {
    expect(prefixed(loud.out, "die")).toEqual(["last words"]);
    expect(prefixed(loud.err, "die")).toEqual(["why it died"]);
    expect(loud.told.died).toMatch(/signal SIGKILL.*why it died/s);
  });

  test("what a task prints just before shutdown is not lost", () => {
    expect(prefixed(loud.out, "anonymous")).toEqual(["just before the end"]);
    expect(loud.told.ended).toBe(true);
  });

  test("a progress bar inside a task is drawn by the driver, on standard error", () => {
    expect(loud.err.filter((line) => line.startsWith("counting "))).toEqual([expect.stringMatching(/100% 3\/3/)]);
    expect(loud.out.join("\n")).not.toContain("mobula-progress");
  });

  test("logToDriver: false keeps it in the files; MOBULA_LOG=debug shows what the node does", () => {
    expect(quiet.code, quiet.err.join("\n")).toBe(0);
    expect(quiet.out.filter((line) => !line.startsWith("{"))).toEqual([]);
    const node = quiet.err.filter((line) => line.startsWith("[mobula node] "));
    expect(node.join("\n")).toMatch(/worker \d+ ended: signal SIGKILL/);
    expect(loud.err.filter((line) => line.startsWith("[mobula node] "))).toEqual([]);
  });
});

test("thousands of lines just before the end all arrive, in order", async () => {
  const { out, code, err } = await runProgram("many");
  expect(code, err.join("\n")).toBe(0);
  const numbers = prefixed(out, "flood").map((line) => Number(line.split(" ")[1]));
  expect(numbers).toEqual(Array.from({ length: 5_000 }, (_, line) => line));
});

test("each line in the files has job, task and actor", async () => {
  const context = await init({ resources: { cpu: 1 }, objectStoreBytes: 64 * 2 ** 20 });
  try {
    class Speaker {
      speak(): (string | number | undefined)[] {
        console.log("spoken by an actor");
        const { taskId, actorId } = runtimeContext();
        return [process.pid, taskId, actorId];
      }
    }
    const say = remote(function say() {
      console.log("spoken by a task");
      return [process.pid, runtimeContext().taskId];
    });
    using speaker = remote(Speaker).remote();
    const [ofTask, ofActor] = await get([say.remote(), speaker.speak.remote()] as const);
    const lineOf = async (pid: unknown, text: string): Promise<string> => {
      const file = join(dirname(context.address), "logs", `worker-${pid}.log`);
      for (;;) {
        const written = existsSync(file) ? readFileSync(file, "utf8") : "";
        const line = written.split("\n").find((each) => each.endsWith(text));
        if (line !== undefined) return line;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    };
    expect(await lineOf(ofTask[0], "spoken by a task")).toContain(
      ` ${context.jobId} ${ofTask[0]} stdout ${ofTask[1]} say: `,
    );
    expect(await lineOf(ofActor[0], "spoken by an actor")).toContain(
      ` ${context.jobId} ${ofActor[0]} stdout ${ofActor[1]} ${ofActor[2]} Speaker.speak: `,
    );
  } finally {
    await shutdown();
  }
});

describe("warnings", () => {
  const warnings = ({ err }: Ran): string[] =>
    err.filter((line) => line.startsWith("mobula: warning: ")).map((line) => line.slice("mobula: warning: ".length));

  test("each classic mistake is named once, with its remedy; MOBULA_LOG=error silences them", async () => {
    const ran = await runProgram("warnings");
    const silenced = await runProgram("warnings", [], { MOBULA_LOG: "error" });
    expect(ran.code, ran.err.join("\n")).toBe(0);
    expect(warnings(ran)).toEqual([
      expect.stringMatching(/^200 tasks were each waited for .*submit them all/),
      expect.stringMatching(/^tiny has run 10,000 times .*batch/),
      expect.stringMatching(/^task unread failed and nobody read its result: .*nobody looks/),
      expect.stringMatching(/^more than 5000 calls wait for actor Busy.*spread the work/),
      expect.stringMatching(/captures 40\.0 MiB.*put\(\)/),
      expect.stringMatching(/^task keptRef failed and nobody read its result: .*nor at the end/),
    ]);
    expect(warnings(silenced)).toEqual([]);
  });

  test("an ordinary program gets none", async () => {
    const ran = await runProgram("quiet");
    expect(ran.code, ran.err.join("\n")).toBe(0);
    expect(ran.err).toEqual([]);
  });
});
