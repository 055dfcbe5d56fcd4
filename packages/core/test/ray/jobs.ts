/**
 * Ray's own command line and Python SDK, unmodified, with jobs: the same commands go to Mobula and to a real Ray, and what they say is
 * compared.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { hasRay, plain, type Ran, run as runTool, type Side, START_MS, sides } from "./sides.ts";

const folder = mkdtempSync("/tmp/ray-");
const work = join(folder, "work");

/** A Ray that runs already has those of the last time. */
const id = (name: string): string => `${name}-${process.pid}`;

const run = (side: Pick<Side, "url" | "env">, program: string, ...args: string[]): Promise<Ran> =>
  runTool(program, args, { ...side.env, RAY_ADDRESS: side.url });
const job = (side: Pick<Side, "url" | "env">, command: string, ...args: string[]): Promise<Ran> =>
  run(side, "ray", "job", command, "--address", side.url, ...args);

/** What was said, without what differs from run to run: times, colours, places, and what Ray logs of itself. */
function essence({ code, text }: Ran): { readonly code: number | null; readonly lines: readonly string[] } {
  const lines = text
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours begin with it
    .replace(/\u001b\[[\d;]*m/g, "")
    .split("\n")
    .filter(
      (line) =>
        !/^(Running entrypoint for job|\d{4}-\d\d-\d\d .*\t(INFO|WARNING) (sdk|packaging|dashboard_sdk)\.py)/.test(
          line,
        ),
    )
    .map((line) => line.replace(/^\d{4}-\d\d-\d\d [\d:,]+\t(\w+) \S+ -- /, "$1 ").replace(/http:\S+/g, "URL"))
    .filter((line) => line.trim() !== "" && !/^INFO Job has not exited yet|Runtime env is setting up/.test(line))
    // The text of `ray job logs` is said as its first line begins.
    .map((line) => line.replace(/^INFO /, ""));
  return { code, lines };
}

const failureOf = ({ code, text }: Ran) => ({
  code,
  why: /(\w+Error): Request failed with status code/.exec(text)?.[1],
});

afterAll(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));

describe.skipIf(!hasRay)("Ray's command line", { timeout: 120_000 }, () => {
  beforeAll(async () => {
    mkdirSync(work);
    writeFileSync(join(work, "words.txt"), "from the working directory\n");
    // Its agent takes jobs some seconds after its dashboard answers.
    await vi.waitFor(async () => expect((await job(sides.ray, "submit", "--", "true")).code).toBe(0), {
      timeout: START_MS,
      interval: 500,
    });
  }, START_MS);

  const both = async (ask: (side: Side) => Promise<unknown>): Promise<unknown> => {
    const [ours, theirs] = await Promise.all([ask(sides.mobula), ask(sides.ray)]);
    expect(ours).toEqual(theirs);
    return ours;
  };

  /**
   * A real Ray may know one again: its monitor writes down that the supervisor died when it sees that after the deletion, which
   * makes a new row. Deleted once more it is gone.
   */
  const statusOfDeleted = async (side: Side, name: string): Promise<unknown> => {
    const asked = await job(side, "status", name);
    if (side !== sides.ray || asked.code !== 0) return failureOf(asked);
    expect(asked.text).toMatch(new RegExp(`Job .${name}. failed`));
    await job(side, "delete", name);
    return failureOf(await job(side, "status", name));
  };

  test("submits with a working directory and an environment, and follows", async () => {
    const env = JSON.stringify({ env_vars: { GREETING: "hello" } });
    const args = ["--submission-id", id("good"), "--working-dir", work, "--runtime-env-json", env];
    const said = await both(async (side) =>
      essence(await job(side, "submit", ...args, "--", "sh", "-c", "cat words.txt; echo $GREETING")),
    );
    expect(said).toMatchObject({ code: 0 });
    expect((said as { lines: string[] }).lines).toEqual(
      expect.arrayContaining(["from the working directory", "hello", `SUCC Job '${id("good")}' succeeded`]),
    );
  });

  test("says how one has failed, by its exit code too", async () => {
    const said = await both(async (side) =>
      essence(await job(side, "submit", "--submission-id", id("bad"), "--", "sh", "-c", "echo no; exit 7")),
    );
    expect(said).toMatchObject({ code: 1 });
    await both(async (side) => essence(await job(side, "status", id("bad"))));
    await both(async (side) => essence(await job(side, "logs", id("bad"))));
    await both(async (side) => essence(await job(side, "logs", "--follow", id("bad"))));
  });

  test("does not wait when it is told so, stops what runs, and deletes it", async () => {
    await both(async (side) => {
      const submitted = essence(
        await job(side, "submit", "--no-wait", "--submission-id", id("long"), "--", "sleep", "100"),
      );
      await vi.waitFor(async () => expect((await job(side, "status", id("long"))).text).toContain("RUNNING"), {
        timeout: 20_000,
        interval: 200,
      });
      return [
        submitted,
        essence(await job(side, "status", id("long"))),
        failureOf(await job(side, "delete", id("long"))),
        essence(await job(side, "stop", id("long"))),
        essence(await job(side, "delete", id("long"))),
        await statusOfDeleted(side, id("long")),
      ];
    });
  });

  test("is told of what is not there, and of an id that is taken", async () => {
    await both(async (side) => {
      const asked = [
        ["status", "nothing"],
        ["logs", "nothing"],
        ["stop", "nothing"],
        ["delete", "nothing"],
        ["submit", "--submission-id", id("good"), "--", "true"],
      ];
      return Promise.all(asked.map(async ([command = "", ...args]) => failureOf(await job(side, command, ...args))));
    });
  });

  test("lists jobs with the same columns", async () => {
    await both(async (side) => {
      const { code, text } = await job(side, "list");
      // Ray lists its programs too.
      const submitted = text.split("JobDetails(").filter((row) => row.includes("JobType.SUBMISSION"));
      const columns = [...new Set([...submitted.join().matchAll(/[( ](\w+)=/g)].map(([, name]) => name))].sort();
      return { code, columns: columns.filter((name) => name?.includes("_")) };
    });
  });

  test("without the token it is turned away", async () => {
    const { code, text } = await job({ ...sides.mobula, env: plain }, "list");
    expect(code).toBe(1);
    expect(text).toMatch(/AuthenticationError/);
  });
});

describe.skipIf(!hasRay)("Ray's SDK", { timeout: 120_000 }, () => {
  test("hears the same of jobs, field by field", async () => {
    const script = fileURLToPath(new URL("fixtures/sdk.py", import.meta.url));
    const [ours, theirs] = await Promise.all(
      [sides.mobula, sides.ray].map(async (side) => {
        const { code, text } = await run(side, "python", script, side.url, work, id("sdk"));
        expect(code, text).toBe(0);
        return comparable(JSON.parse(text.split("\n").find((line) => line.startsWith("{")) ?? ""));
      }),
    );
    expect(ours).toEqual(theirs);
  });
});

/** Without what is of one cluster or one moment, and what Mobula does not show. */
function comparable(said: Record<string, unknown>): Record<string, unknown> {
  const withoutHeading = (text: unknown): unknown =>
    typeof text === "string"
      ? text.replace(/^(Running entrypoint for job .*|.*Runtime env is setting up\.)\n/gm, "")
      : text;
  return Object.fromEntries(
    Object.entries(said).map(([name, value]) => {
      if (typeof value !== "object" || value === null || Array.isArray(value)) return [name, withoutHeading(value)];
      const details = value as Record<string, unknown>;
      const { runtime_env: env, message, ...rest } = details;
      for (const changing of ["start_time", "end_time", "driver_agent_http_address", "driver_node_id"])
        delete rest[changing];
      const fields = env && {
        ...(env as object),
        env_vars: Object.keys((env as { env_vars?: object }).env_vars ?? {}),
      };
      // What Ray has seen printed holds a line of its own.
      const shown = String(withoutHeading(message)).replace(
        /(, last available logs .*:\n|\. No logs available\.)[\s\S]*$/,
        "",
      );
      return [name, { ...rest, runtime_env: fields, message: shown, hasNode: details.driver_node_id !== null }];
    }),
  );
}
