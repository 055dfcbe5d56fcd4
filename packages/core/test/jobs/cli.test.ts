/** `mobula submit` and `mobula job`, as people and scripts use them. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { LocalCluster } from "../../src/testing/mod.ts";
import { withPackages } from "../environments/programs.ts";
import { eventually } from "../eventually.ts";
import { newFolder } from "../new-folder.ts";

const cli = fileURLToPath(new URL("../../src/bin/mobula.ts", import.meta.url));
let cluster: LocalCluster;
beforeAll(async () => {
  cluster = await LocalCluster.start({ nodes: [{ resources: { cpu: 2 } }], network: "direct", dashboard: true });
});
afterAll(() => cluster.stop());

interface Ran {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

function start(args: readonly string[], cwd?: string): { readonly child: ChildProcess; readonly ran: Promise<Ran> } {
  const env = { ...process.env, MOBULA_ADDRESS: cluster.dashboardUrl, MOBULA_TOKEN: cluster.token, NO_COLOR: "1" };
  const child = spawn(process.execPath, [...process.execArgv, "--conditions=mobula-source", cli, ...args], {
    env,
    cwd,
  });
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk;
  });
  child.stderr.on("data", (chunk: Buffer) => {
    err += chunk;
  });
  return { child, ran: once(child, "close").then(([code]) => ({ code, out, err }) as Ran) };
}
const mobula = (...args: string[]): Promise<Ran> => start(args).ran;

describe("mobula submit", () => {
  test("prints what the command prints, and exits with its code", async () => {
    const good = await mobula("submit", "--submission-id", "good", "--", "sh", "-c", "echo out; echo err >&2");
    expect(good).toEqual({ code: 0, out: "out\nerr\n", err: "mobula: job good\n" });
    const bad = await mobula("submit", "--submission-id", "bad", "echo 'a b' | wc -w; exit 9");
    expect(bad).toMatchObject({ code: 9, out: "2\n" });
    expect(bad.err).toContain("mobula: job bad has failed: the command failed with exit code 9\n");
    expect((await mobula("submit", "kill -USR1 $$")).code).toBe(128 + 10);
    expect(await mobula("submit", "--submission-id", "good", "true")).toMatchObject({ code: 1, out: "" });
  });

  test("brings a folder along, without what .gitignore names, and variables from a file", async () => {
    const folder = newFolder();
    mkdirSync(join(folder, "data"));
    for (const [name, text] of [
      [".gitignore", "secret\n"],
      ["secret", "no"],
      ["data/words", "words\n"],
      ["run.sh", "#!/bin/sh\ncat link; ls; echo $WHO $ALSO\n"],
      ["env.yaml", "env:\n  WHO: me\nworkingDir: .\n"],
    ] as const)
      writeFileSync(join(folder, name), text);
    chmodSync(join(folder, "run.sh"), 0o755);
    symlinkSync("data/words", join(folder, "link"));
    const args = ["submit", "--runtime-env", "env.yaml", "--env", "ALSO=you", "./run.sh"];
    const first = await start(args, folder).ran;
    expect(first.out).toBe("words\ndata\nenv.yaml\nlink\nrun.sh\nme you\n");
    expect((await start(args, folder).ran).out).toBe(first.out);
    expect((await start(["submit", "--working-dir", "nowhere", "true"], folder).ran).err).toMatch(
      /nowhere is no folder/,
    );
  });

  test("a program in a folder without packages finds mobula, and its tasks are what is listed", async () => {
    const folder = newFolder();
    const program = `import { get, init, remote } from "mobula";
      await init();
      console.log(await get(remote(function double(n: number) { return 2 * n; }).remote(21)));`;
    writeFileSync(join(folder, "app.ts"), program);
    const args = ["submit", "--working-dir", ".", `node --conditions=mobula-source app.ts`];
    expect(await start(args, folder).ran).toMatchObject({ code: 0, out: "42\n" });
    const listed = async () => {
      const { out } = await mobula("list", "tasks", "--format", "json");
      return (JSON.parse(out) as { rows: { name: string; taskId: string }[] }).rows;
    };
    await eventually(async () => (await listed()).length > 0, "its task is listed");
    const [task, ...more] = await listed();
    expect([task?.name, more]).toEqual(["double", []]);
    // Its owner has ended with the program.
    const headers = { authorization: `Bearer ${cluster.token}` };
    const why = await fetch(`${cluster.dashboardUrl}/api/v1/why/${task?.taskId}`, { headers });
    const { state, sentences } = (await why.json()) as { state: string; sentences: string[] };
    expect(state).toBe("finished");
    expect(sentences[0]).toMatch(/^double ran for .* in process \d+ on node .* and finished\.$/);
    expect((await mobula("list", "actors")).out).toBe("no actors\n");
  });

  test("has npm install what the lockfile says, and tells what it said when it cannot", async () => {
    const folder = withPackages(newFolder(), [{ name: "beside", version: "2.0.0" }]);
    writeFileSync(join(folder, "env.yaml"), "workingDir: .\nnpm: true\n");
    const args = ["submit", "--runtime-env", "env.yaml", "--", "node", "-p", "require('beside')"];
    expect(await start(args, folder).ran).toMatchObject({ code: 0, out: "beside 2.0.0\n" });
    const other = withPackages(newFolder(), [{ name: "broken", version: "1.0.0" }]);
    writeFileSync(join(other, "env.yaml"), "workingDir: .\nnpm: true\n");
    writeFileSync(join(other, "broken-1.0.0.tgz"), "this is no archive");
    const broken = await start(args, other).ran;
    expect(broken).toMatchObject({ code: 1, out: "" });
    expect(broken.err).toMatch(/npm ci .* failed/);
  }, 60_000);

  test("tries again, holds what is asked for, and gives its id without waiting", async () => {
    const args = ["--no-wait", "--submission-id", "later", "--cpus", "1", "--metadata", "job_name=night"];
    expect(await mobula("submit", ...args, "--retries", "1", "--", "false")).toMatchObject({ code: 0, out: "later\n" });
    const followed = await mobula("job", "logs", "-f", "later");
    expect(followed).toMatchObject({ code: 0, out: "" });
    const { out } = await mobula("job", "status", "later", "--json");
    expect(JSON.parse(out)).toMatchObject({ status: "failed", attempt: 1, name: "night", exitCode: 1 });
  });

  test("Ctrl-C leaves the job running, and twice ends it", async () => {
    for (const [id, times, code] of [
      ["left", 1, 130],
      ["ended", 2, 143],
    ] as const) {
      const { child, ran } = start(["submit", "--submission-id", id, "echo in; sleep 100"]);
      let printed = "";
      child.stdout?.on("data", (chunk: Buffer) => {
        printed += chunk;
      });
      await vi.waitFor(() => expect(printed).toBe("in\n"), 10_000);
      let said = "";
      child.stderr?.on("data", (chunk: Buffer) => {
        said += chunk;
      });
      child.kill("SIGINT");
      await vi.waitFor(() => expect(said).toContain(`mobula job stop ${id}`), 5_000);
      if (times === 2) child.kill("SIGINT");
      expect((await ran).code).toBe(code);
    }
    expect((await mobula("job", "status", "left")).out).toContain("status: running");
    expect(await mobula("job", "stop", "left")).toMatchObject({ code: 0, out: "Job left has ended: stopped.\n" });
  });
});

describe("mobula job", () => {
  test("lists, shows, prints, stops and deletes", async () => {
    await mobula("submit", "--submission-id", "one", "echo hello");
    const listed = await mobula("job", "list");
    expect(listed.out).toMatch(/^one +succeeded/m);
    for (const line of listed.out.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
    expect(JSON.parse((await mobula("job", "list", "--status", "succeeded", "--json")).out)).toContainEqual(
      expect.objectContaining({ submissionId: "one" }),
    );
    expect(await mobula("job", "logs", "one")).toMatchObject({ code: 0, out: "hello\n" });
    expect((await mobula("job", "stop", "one")).out).toBe("Job one had ended before.\n");
    expect((await mobula("job", "delete", "one")).out).toBe("Job one is deleted.\n");
    for (const command of ["status", "logs", "stop", "delete"]) {
      expect(await mobula("job", command, "one")).toMatchObject({
        code: 3,
        err: expect.stringContaining("there is no "),
      });
    }
  });

  test("says why one waits", async () => {
    await mobula("submit", "--no-wait", "--submission-id", "waits", "--resource", "unicorn=1", "true");
    expect((await mobula("job", "status", "waits")).out).toMatch(/message: .*unicorn/);
    expect((await mobula("job", "delete", "waits")).err).toMatch(/stop it first/);
    await mobula("job", "stop", "waits");
  });
});
