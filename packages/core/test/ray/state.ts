/**
 * Ray's own command line and Python SDK, unmodified, with state: the same commands go to Mobula and to a real Ray where the same kind of
 * work is done, and columns, keys, states and exit codes are compared.
 */
import { describe, expect, test } from "vitest";
import { askBoth, hasRay, plain, type Ran, type Rows, run, type Side, sides, tools } from "./sides.ts";

/** Kinds that have rows on both sides, and what of their rows must be the same; Ray's list of tasks has creations of actors too. */
const KINDS = {
  actors: ["class_name", "state", "name", "ray_namespace"],
  nodes: ["state"],
  tasks: ["name", "state", "type", "attempt_number", "error_type"],
  workers: ["is_alive", "worker_type", "exit_type"],
  jobs: ["type", "status", "submission_id", "error_type"],
  "placement-groups": ["name", "state"],
  objects: ["task_status", "attempt_number", "type"],
} as const;
/** Ray lists also what was, and what is held of actors. */
const SUPERSETS: ReadonlySet<string> = new Set(["objects", "nodes", "workers"] satisfies (keyof typeof KINDS)[]);
const kinds = Object.keys(KINDS) as (keyof typeof KINDS)[];

const unique = (texts: readonly string[]): readonly string[] => [...new Set(texts)].sort();
const rowsOf = ({ code, out, err }: Ran): Rows => {
  expect(code, err).toBe(0);
  return JSON.parse(out) as Rows;
};
const isListed = (row: Rows[number]): boolean => row.type !== "ACTOR_CREATION_TASK";
const keysOf = (rows: Rows): readonly string[] => unique(rows.map((row) => Object.keys(row).join(" ")));
const headingOf = ({ out }: Ran): readonly string[] =>
  (out.split("\n").find((line) => /^ +[A-Z_]+ /.test(line)) ?? "").trim().split(/\s+/);
const isOfType = (value: unknown): string => (value === null ? "null" : Array.isArray(value) ? "list" : typeof value);

describe.skipIf(!hasRay)("Ray's command line", { timeout: 120_000 }, () => {
  test("lists everything with the same keys, types and states", async () => {
    const [ours, theirs] = await askBoth(() =>
      kinds.flatMap((kind) => [
        ["list", kind, "--format", "json"],
        ["list", kind, "--format", "json", "--detail"],
      ]),
    );
    for (const [at, kind] of kinds.entries()) {
      const [our, their, ourDetail, theirDetail] = [
        ours[2 * at],
        theirs[2 * at],
        ours[2 * at + 1],
        theirs[2 * at + 1],
      ].map((ran) => rowsOf(ran as Ran).filter(isListed)) as unknown as [Rows, Rows, Rows, Rows];
      expect(our.length, kind).toBeGreaterThan(0);
      expect(keysOf(our), kind).toEqual(keysOf(their));
      expect(keysOf(ourDetail), kind).toEqual(keysOf(theirDetail));
      const values = (rows: Rows): readonly string[] =>
        unique(rows.map((row) => JSON.stringify(KINDS[kind].map((key) => row[key]))));
      if (SUPERSETS.has(kind)) expect(values(their), kind).toEqual(expect.arrayContaining([...values(our)]));
      else expect(values(our), kind).toEqual(values(their));
      for (const key of Object.keys(our[0] ?? {})) {
        const types = (rows: Rows) => unique(rows.map((row) => isOfType(row[key]))).filter((type) => type !== "null");
        const [own, other] = [types(our), types(their)];
        if (own.length > 0 && other.length > 0) expect(own, `${kind}.${key}`).toEqual(other);
      }
    }
  });

  test("prints the same columns as a table and as YAML, and cuts and filters alike", async () => {
    const [ours, theirs] = await askBoth(() => [
      ...kinds.map((kind) => ["list", kind]),
      ["list", "actors", "--filter", "state=ALIVE", "--filter", "CLASS_NAME!=waiting"],
      ["list", "tasks", "--limit", "2", "--filter", "name=square"],
    ]);
    expect(ours.map(headingOf)).toEqual(theirs.map(headingOf));
    const totals = (ran: readonly Ran[]) => ran.slice(-2).map(({ out }) => /Total: \d+/.exec(out)?.[0]);
    expect(totals(ours)).toEqual(["Total: 1", "Total: 2"]);
    expect(totals(theirs)).toEqual(totals(ours));
  });

  test("gets one by its id", async () => {
    const [ours, theirs] = await askBoth(({ actor, task, node }) => [
      ["get", "actors", actor],
      ["get", "tasks", task],
      ["get", "nodes", node],
      ["get", "actors", "0".repeat(32)],
      ["get", "tasks", "0".repeat(48)],
      ["get", "objects", "0".repeat(56)],
    ]);
    const keys = ({ out }: Ran): readonly (string | undefined)[] =>
      [...out.matchAll(/^[- ] {3}(\w+):/gm)].map(([, key]) => key);
    for (const [at, ran] of ours.slice(0, 3).entries()) {
      expect(keys(ran).length).toBeGreaterThan(5);
      expect(keys(ran)).toEqual(keys(theirs[at] as Ran));
    }
    expect(ours.slice(3).map(({ code, out }) => ({ code, out }))).toEqual(
      theirs.slice(3).map(({ code, out }) => ({ code, out })),
    );
    expect(ours.map(({ code }) => code)).toEqual([0, 0, 0, 0, 0, 0]);
  });

  test("sums up", async () => {
    const [ours, theirs] = await askBoth(() => [
      ["summary", "actors"],
      ["summary", "tasks"],
      ["summary", "objects"],
    ]);
    const lines = ({ out }: Pick<Ran, "out"> = { out: "" }): readonly string[] =>
      out
        .split("\n")
        // Ray counts the making of a named actor apart, by its name.
        .filter((line) => !/={8}|Counter\.(__init__|constructor)/.test(line))
        .map((line) =>
          line
            .replace(/^\d+ +/, "")
            .replace(".__init__", ".constructor")
            .replace(/ +/g, " ")
            .trim(),
        )
        .sort();
    expect(lines(ours[0])).toEqual(lines(theirs[0]));
    expect(lines(ours[1])).toEqual(lines(theirs[1]));
    expect(ours[1]?.out).toMatch(/Counter\.constructor +FINISHED: 2 +ACTOR_CREATION_TASK/);
    const names = ({ out }: Pick<Ran, "out"> = { out: "" }): readonly (string | undefined)[] => [
      ...[...out.matchAll(/^(\w+): /gm)].map(([, name]) => name),
      ...(out.split("\n").find((line) => line.includes("TOTAL_OBJECTS")) ?? "").trim().split(/\s+/),
    ];
    expect(names(ours[2])).toEqual(names(theirs[2]));
    expect(ours.map(({ code }) => code)).toEqual([0, 0, 0]);
  });

  test("ends with the same exit codes, and for the same reasons, when it is used wrongly", async () => {
    const [ours, theirs] = await askBoth(() => [
      ["get", "actors", "00"],
      ["get", "actors", "no hex"],
      ["get", "tasks", "00"],
      ["list", "actors", "--filter", "nope=1"],
      ["list", "actors", "--filter", "is_detached=true"],
      ["list", "actors", "--filter", "state"],
      ["list", "actors", "--filter", "pid=abc"],
      ["list", "actors", "--limit", "20000"],
      ["list", "actors", "--format", "xml"],
      ["list", "nothing"],
      ["list", "jobs", "--filter", "entrypoint=x"],
      ["list", "actors", "--filter", "state=ALIVE", "--filter", "state=DEAD"],
      ["list", "runtime-envs"],
      ["logs", "cluster"],
    ]);
    expect(ours.map(({ code }) => code)).toEqual(theirs.map(({ code }) => code));
    const why = ({ err }: Ran): string =>
      /Error: ([^.]*\.? ?[^.:{]*)/.exec(err.split("\n").filter(Boolean).at(-1) ?? "")?.[1] ?? "";
    const same = [0, 2, 3, 5, 6, 8, 9];
    expect(same.map((at) => why(ours[at] as Ran))).toEqual(same.map((at) => why(theirs[at] as Ran)));
    expect(ours.map(({ code }) => code)).toEqual([2, 2, 2, 2, 2, 1, 2, 2, 2, 2, 2, 0, 0, 2]);
  });

  test("as it is installed, takes the token from its environment, and is turned away without it", async () => {
    const { url, env } = sides.mobula;
    const list = (given: NodeJS.ProcessEnv) => run("ray", ["list", "actors", "--address", url], given);
    const [with_, without, wrong] = await Promise.all([
      list(env),
      list(plain),
      list({ ...env, RAY_AUTH_TOKEN: "wrong" }),
    ]);
    expect(with_, with_.err).toMatchObject({ code: 0, out: expect.stringContaining("visits") });
    for (const { code, err } of [without, wrong]) {
      expect(code).toBe(1);
      expect(err).toContain("AuthenticationError");
    }
  });
});

describe.skipIf(!hasRay)("Ray's SDK", { timeout: 120_000 }, () => {
  test("hears the same of state", async () => {
    const [ours, theirs] = await Promise.all(
      [sides.mobula, sides.ray].map(async (side) => (await tools(side, [], { sdk: true })).sdk),
    );
    expect(ours).toEqual(theirs);
    expect(ours).toMatchObject({ alive: [["Counter", "visits", "ALIVE"]], same: true, nobody: null, failed: ["fail"] });
  });
});

describe.skipIf(!hasRay)("logs over HTTP, as Ray's SDK asks for them once it knows where", { timeout: 60_000 }, () => {
  const ask = async ({ url, env }: Side, path: string): Promise<readonly [isGood: boolean, text: string]> => {
    const answer = await fetch(`${url}/api/v0/logs${path}`, {
      headers: { authorization: `Bearer ${env.RAY_AUTH_TOKEN}` },
    });
    return [answer.ok, await answer.text()];
  };
  const asked = (path: (ids: Side["ids"]) => string) =>
    Promise.all([sides.mobula, sides.ray].map((side) => ask(side, path(side.ids))));

  test("of a task, by its stream, and the last lines only", async () => {
    const paths = ["lines=100", "lines=-1&attempt_number=0", "lines=100&suffix=err", "lines=100&attempt_number=7"];
    for (const path of paths) {
      const [[isGood, ours], [isTheirs, theirs]] = (await asked(({ task }) => `/file?task_id=${task}&${path}`)) as [
        readonly [boolean, string],
        readonly [boolean, string],
      ];
      expect(isGood, path).toBe(isTheirs);
      // Each says which one it is by what it was called with; Ray puts marks of its own around it.
      const words = (text: string) => /squared \d/.test(text);
      if (isGood) expect(words(ours), path).toBe(words(theirs));
    }
    const [isGood, text] = await ask(sides.mobula, `/file?task_id=${sides.mobula.ids.task}&lines=100`);
    expect([isGood, text]).toEqual([true, expect.stringMatching(/^squared \d\n$/)]);
  });

  test("of a process and of a file of a node, whose files are listed", async () => {
    const files = JSON.parse((await ask(sides.mobula, `?node_id=${workerNode()}&glob=worker-*`))[1]);
    const [file] = files.data.result.worker_out as string[];
    expect(Object.keys(files.data.result)).toEqual(["worker_out"]);
    const pid = /\d+/.exec(file ?? "")?.[0];
    const [, whole] = await ask(sides.mobula, `/file?node_id=${workerNode()}&filename=${file}&lines=1`);
    expect(whole.split("\n")).toHaveLength(2);
    expect((await ask(sides.mobula, `/file?node_id=${workerNode()}&pid=${pid}`))[0]).toBe(true);
  });

  test("are refused where there is none, and where nothing is named", async () => {
    const paths = [
      "",
      "?node_ip=9.9.9.9",
      "/file?lines=10",
      `/file?actor_id=${"0".repeat(32)}&lines=10`,
      `/file?task_id=${"0".repeat(48)}&lines=10`,
      "/file?node_id=00&filename=x",
      "/file?filename=x",
    ];
    for (const path of paths) {
      const [ours, theirs] = await asked(() => path);
      expect([ours?.[0], theirs?.[0]], path).toEqual([false, false]);
    }
  });

  test("are followed", async () => {
    const ending = new AbortController();
    const answer = await fetch(`${sides.mobula.url}/api/v0/logs/stream?task_id=${sides.mobula.ids.task}&lines=10`, {
      headers: { authorization: `Bearer ${sides.mobula.env.RAY_AUTH_TOKEN}` },
      signal: ending.signal,
    });
    const first = await answer.body?.getReader().read();
    expect(new TextDecoder().decode(first?.value)).toMatch(/^squared \d\n$/);
    ending.abort();
  });

  test("of a job that was submitted, also while it is followed to its end", async () => {
    const submitted = await fetch(`${sides.mobula.url}/api/jobs/`, {
      method: "POST",
      headers: { authorization: `Bearer ${sides.mobula.env.RAY_AUTH_TOKEN}`, "content-type": "application/json" },
      body: JSON.stringify({ entrypoint: "echo one; echo two", submission_id: "logged" }),
    });
    expect(submitted.status).toBe(200);
    const of = `submission_id=logged&node_id=${workerNode()}`;
    expect(await ask(sides.mobula, `/stream?${of}`)).toEqual([true, "one\ntwo\n"]);
    expect(await ask(sides.mobula, `/file?${of}&lines=1`)).toEqual([true, "two\n"]);
    expect((await ask(sides.mobula, "/stream?submission_id=nothing"))[0]).toBe(false);
  });

  const workerNode = (): string => sides.mobula.workerNode;
});
